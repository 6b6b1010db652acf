//! The gRPC edge: the one folder that names tonic.
//!
//! Handlers convert in, call a use case, convert out; every status comes from the status table.
//! Limits are set here, once for all services. Must never: decide anything.

mod accept;
mod admin;
mod audit;
mod authenticate;
mod body;
mod deprecated;
mod edge;
mod events;
pub(crate) mod health;
mod idempotency;
mod jobs;
mod layer;
mod methods;
mod out;
mod owner;
mod paths;
mod quotas;
mod sessions;
mod views;

use std::borrow::Cow;
use std::sync::Arc;

use fusion_core::id::{CorrelationId, SessionId, ViewName};
use fusion_core::time::Clock;
use fusion_proto::convert::Unsendable;
use fusion_proto::pb::admin_service_server::AdminServiceServer;
use fusion_proto::pb::event_service_server::EventServiceServer;
use fusion_proto::pb::job_service_server::JobServiceServer;
use fusion_proto::pb::session_service_server::SessionServiceServer;
use fusion_proto::pb::view_service_server::ViewServiceServer;
use fusion_proto::status::{Code, Refusal};
use fusion_proto::{FILE_DESCRIPTOR_SET, limits};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::access::Reach;
use crate::access::quotas::Quotas;
use crate::app::Guards;
use crate::cluster::Conductor;
use crate::ids::Ids;
use crate::ops::metrics::Metrics;
use crate::service::admin::About;
use crate::service::audit::Audit;
use crate::service::idempotency::CallIdentity;
use crate::service::idempotency::Idempotency;
use crate::service::ingest::Ingest;
use crate::service::internal;
use crate::service::jobs::Jobs;
use crate::service::refresh::Refreshes;
use crate::service::reloader::Reloader;
use crate::service::sessions::{DRAINING_RETRY, Sessions};
use crate::service::views::Views;
use crate::spawn::Tasks;
use crate::task::view::Operator;
use crate::tokens::Keyring;

pub use edge::Edge;

/// How often an idle connection is asked whether it lives; a dead one is cut after twice that.
const KEEPALIVE: std::time::Duration = std::time::Duration::from_secs(20);

/// Most calls at once over one connection; the library has no bound of its own.
const STREAMS: u32 = 8_192;

/// What the handlers call.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) sessions: Sessions,
    pub(crate) ingest: Ingest,
    pub(crate) views: Views,
    pub(crate) idempotency: Idempotency,
    pub(crate) audit: Audit,
    pub(crate) jobs: Jobs,
    pub(crate) refreshes: Refreshes,
    pub(crate) about: About,
    pub(crate) reloader: Reloader,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) quotas: Quotas,
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    /// Calls under way that are waited for when the server goes down.
    pub(crate) busy: watch::Sender<usize>,
    /// Cancelled when the server goes down: long answers end.
    pub(crate) draining: CancellationToken,
    /// Among several servers.
    pub(crate) conductor: Option<Conductor>,
}

impl Services {
    /// The same with that only which a caller may see: to it there is nothing else.
    fn of<T>(&self, request: &tonic::Request<T>) -> Cow<'_, Self> {
        match authenticate::caller(request).reach {
            Reach::ALL => Cow::Borrowed(self),
            reach => Cow::Owned(Self { views: self.views.within(reach), ..self.clone() }),
        }
    }

    /// What cannot be told on the wire is a bug.
    fn sendable<T>(&self, told: Result<T, Unsendable>) -> Result<T, Refusal> {
        told.map_err(|error| internal(&*self.ids, &error))
    }
}

/// Says on the span of the call, and so on every line of its log, what it is about.
fn about(view: Option<&ViewName>, session: Option<SessionId>) {
    let span = tracing::Span::current();
    if let Some(view) = view {
        span.record("view", tracing::field::display(view));
    }
    if let Some(session) = session {
        span.record("session", tracing::field::display(session));
    }
}

/// Who asks for an operation, and under which correlation id: the one of the call.
fn operator<T>(request: &tonic::Request<T>) -> Operator {
    let correlation = request.extensions().get::<CorrelationId>().cloned();
    let principal = authenticate::caller(request).principal.as_str().to_owned();
    let call = request.extensions().get::<CallIdentity>().copied();
    Operator { principal, correlation, call }
}

/// How a long answer ends when the server goes down.
fn draining() -> Refusal {
    Refusal::ServerDraining { retry_after: DRAINING_RETRY }
}

/// The name of a code, as audit records have it.
pub(crate) fn code_name(code: Code) -> &'static str {
    layer::code_name(code)
}

/// Why the edge broke.
pub(crate) type EdgeError = Box<dyn std::error::Error + Send + Sync>;

/// What every call goes through before its handler, the first outermost.
type Layers = (
    layer::RpcLayer,
    deprecated::DeprecatedLayer,
    authenticate::AuthenticateLayer,
    quotas::QuotaLayer,
    paths::PathLayer,
    owner::OwnerLayer,
    idempotency::IdempotencyLayer,
    audit::AuditLayer,
);

fn layers(services: &Services, keyring: Option<Keyring>) -> Result<Layers, EdgeError> {
    let asks_who = keyring.is_some();
    Ok((
        layer::RpcLayer::new(services),
        deprecated::DeprecatedLayer::new(services.metrics.deprecated_calls.clone())?,
        authenticate::AuthenticateLayer::new(services, keyring),
        quotas::QuotaLayer::new(services),
        paths::PathLayer::new(services),
        owner::OwnerLayer::new(services, asks_who),
        idempotency::IdempotencyLayer::new(services),
        audit::AuditLayer::new(services),
    ))
}

/// The handlers of every service that is served.
fn routes(services: &Services, health: &health::Health) -> Result<Routes, EdgeError> {
    let sessions = SessionServiceServer::new(sessions::Handler(services.clone()))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let events = EventServiceServer::new(events::Handler(services.clone()))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let views = ViewServiceServer::new(views::Handler(services.clone()))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let admin = AdminServiceServer::new(admin::Handler(services.clone()))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let jobs = JobServiceServer::new(jobs::Handler(services.clone()))
        .max_decoding_message_size(limits::MESSAGE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(sessions).add_service(events).add_service(views).add_service(admin);
    let routes = routes.add_service(jobs).add_service(health.service());
    Ok(routes.add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?))
}

/// Serves, over TLS if there is one, until `stop` is cancelled and every connection has ended. The caller bounds the wait.
pub(crate) async fn serve(
    listener: TcpListener,
    max_connections: usize,
    guards: Guards,
    services: Services,
    health: health::Health,
    stop: CancellationToken,
) -> Result<(), EdgeError> {
    let Guards { tls, keyring, files: _ } = guards;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(Some(STREAMS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .layer(layers(&services, keyring)?)
        .add_routes(routes(&services, &health)?)
        .serve_with_incoming_shutdown(
            accept::connections(incoming, tls, max_connections, services.metrics.clone()),
            stop.cancelled_owned(),
        )
        .await?;
    Ok(())
}
