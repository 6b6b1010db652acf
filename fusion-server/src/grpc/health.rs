//! `grpc.health.v1`: server-wide, per service, and per view as `fusion.v1.view/NAME`.
//!
//! The server and its services are SERVING until it goes down, whatever its views are. A view is
//! SERVING exactly when a TRUSTED read of it would be answered.

use std::collections::BTreeMap;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::view::ViewState;
use fusion_proto::limits::HEALTH_VIEW_PREFIX;
use fusion_proto::pb::admin_service_server::SERVICE_NAME as ADMIN;
use fusion_proto::pb::event_service_server::SERVICE_NAME as EVENTS;
use fusion_proto::pb::job_service_server::SERVICE_NAME as JOBS;
use fusion_proto::pb::session_service_server::SERVICE_NAME as SESSIONS;
use fusion_proto::pb::view_service_server::SERVICE_NAME as VIEWS;
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use tokio::net::TcpListener;
use tokio::sync::watch::Receiver;
use tokio_stream::wrappers::WatchStream;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthService, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::HealthReporter;

use super::authenticate::caller;
use crate::service::views::Views;

/// The services that are told of by name; the empty name is the server.
const SERVICES: [&str; 6] = ["", SESSIONS, EVENTS, VIEWS, JOBS, ADMIN];

/// Most bytes of a question on the listener of its own, and most of them at once on a connection.
const PROBE_BYTES: usize = 4 << 10;
const PROBES: usize = 16;
/// An open connection there is asked so often whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Serves health alone, in plaintext and to anyone, for as long as the server lives. It goes on while the server
/// drains: that is when NOT_SERVING is of use.
pub(crate) async fn serve(listener: TcpListener, health: Health) {
    let served = Server::builder()
        .concurrency_limit_per_connection(PROBES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(health.open_service())
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "health is not served on its own listener any more");
    }
}

/// Tells of the server's health; a cheap handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// The service that answers.
    pub(super) fn service(&self) -> HealthServer<impl HealthService> {
        let reporter = self.reporter.clone();
        HealthServer::new(Told {
            inner: tonic_health::server::HealthService::from_health_reporter(reporter),
            tells_of_views: true,
        })
    }

    /// The same for those of whom nothing is known: of a view it tells nobody.
    fn open_service(&self) -> HealthServer<impl HealthService> {
        let reporter = self.reporter.clone();
        HealthServer::new(Told {
            inner: tonic_health::server::HealthService::from_health_reporter(reporter),
            tells_of_views: false,
        })
        .max_decoding_message_size(PROBE_BYTES)
    }

    /// From now on calls are taken.
    pub(crate) async fn set_serving(&self) {
        self.set_all(ServingStatus::Serving).await;
    }

    /// From now on nothing new should come.
    pub(crate) async fn set_not_serving(&self, views: &Views) {
        self.set_all(ServingStatus::NotServing).await;
        for view in views.all() {
            self.set_view(view.name(), false).await;
        }
    }

    async fn set_all(&self, status: ServingStatus) {
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Tells of a view.
    pub(crate) async fn set_view(&self, view: &ViewName, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(format!("{HEALTH_VIEW_PREFIX}{view}"), status).await;
    }

    /// As if it had never been.
    async fn clear_view(&self, view: &ViewName) {
        // The reporter clears by a name; its handle is its own.
        self.reporter.clone().clear_service_status(&format!("{HEALTH_VIEW_PREFIX}{view}")).await;
    }

    /// Follows the views for as long as the server lives.
    pub(crate) async fn follow(self, views: Views) {
        let mut count = views.count();
        let mut followed: BTreeMap<ViewName, Receiver<ViewState>> = BTreeMap::new();
        let mut states = SelectAll::new();
        loop {
            let all = views.all();
            let is_gone = |name: &ViewName| all.iter().all(|view| view.name() != name);
            for (name, _) in followed.extract_if(.., |name, _| is_gone(name)) {
                self.clear_view(&name).await;
            }
            for view in all {
                let name = view.name().clone();
                // A view that was begun anew has another channel; that of the life before has ended.
                let state = view.state();
                let known = followed.insert(name.clone(), state.clone());
                if !known.is_some_and(|known| known.same_channel(&state)) {
                    let changes = WatchStream::new(state);
                    states.push(changes.map(move |state| (name.clone(), state)).boxed());
                }
            }
            tokio::select! {
                changed = count.changed() => if changed.is_err() { return },
                Some((view, state)) = states.next(), if !states.is_empty() => {
                    // A view that is no more may have a last word.
                    if followed.contains_key(&view) {
                        self.set_view(&view, state == ViewState::Ready).await;
                    }
                }
            }
        }
    }
}

/// Tells of a view only who may see it; to all others there is none.
struct Told {
    inner: tonic_health::server::HealthService,
    tells_of_views: bool,
}

impl Told {
    fn check_seen(&self, request: &Request<HealthCheckRequest>) -> Result<(), Status> {
        let Some(view) = request.get_ref().service.strip_prefix(HEALTH_VIEW_PREFIX) else {
            return Ok(());
        };
        match ViewName::new(view) {
            Ok(view) if self.tells_of_views && caller(request).reach.views.has(&view) => Ok(()),
            // As it is said of a service that does not exist.
            _ => Err(Status::not_found("service not registered")),
        }
    }
}

#[tonic::async_trait]
impl HealthService for Told {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.check_seen(&request)?;
        self.inner.check(request).await
    }

    type WatchStream = tonic_health::server::WatchStream;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.check_seen(&request)?;
        self.inner.watch(request).await
    }
}
