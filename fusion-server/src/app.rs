//! Assembly: everything that a running server consists of, in the order in which it is built.
//!
//! Called by `main`, by `fusionctl dev` and by tests, all with the same function. Must never: read
//! signals, the environment or the command line, or set up telemetry; what is injectable is in
//! [`Deps`] or an argument of [`Server::run`].

mod address_file;
mod deps;
mod drain;
mod guards;
mod in_process;
mod membership;
mod sweep;
mod tasks;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::time::Clock;
use fusion_store::ServerId;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::deps::{Deps, ServerError};
use self::drain::{begin_drain, end, quiet};
pub(crate) use self::guards::Guards;
pub use self::in_process::Edge;
use crate::access::quotas::Quotas;
use crate::cluster::Cluster;
use crate::config::{Config, InForce, Reread};
use crate::grpc::health::Health;
use crate::grpc::{self, Services};
use crate::ids::Ids;
use crate::ops::http::{self, Probed};
use crate::ops::log_filter::LogFilter;
use crate::ops::metrics::Metrics;
use crate::reload::Files;
use crate::service::admin::About;
use crate::service::audit::{Audit, AuditDeps};
use crate::service::errands::Errands;
use crate::service::idempotency::{Idempotency, IdempotencyDeps};
use crate::service::ingest::Ingest;
use crate::service::jobs::{Jobs, JobsDeps};
use crate::service::refresh::Refreshes;
pub use crate::service::reloader::Reloader;
use crate::service::reloader::ReloaderDeps;
use crate::service::sessions::Sessions;
use crate::service::views::{Views, ViewsDeps};
use crate::spawn::Tasks;
use crate::stores::{Saver, Stores};
use crate::task::view::{ScanNews, ViewFailed};

/// How long the last write may take when all else has ended.
const LET_GO: Duration = Duration::from_secs(1);

/// A server that listens and does not yet serve.
pub struct Server {
    grpc: TcpListener,
    http: TcpListener,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    health_listener: Option<(TcpListener, SocketAddr)>,
    config: Arc<Config>,
    services: Services,
    guards: Guards,
    health: Health,
    /// Views whose task panicked.
    failures: mpsc::UnboundedReceiver<ViewFailed>,
    /// Scans of whole trees.
    scans: mpsc::UnboundedReceiver<ScanNews>,
    /// Ends the views' threads; they end last, after the calls that they serve.
    end_views: CancellationToken,
    stores: Stores,
}

/// Puts a server together, in the order in which its parts need each other. Must be called within a
/// tokio runtime. Nothing is served before [`Server::run`].
///
/// # Errors
/// [`ServerError`].
pub fn build(config: Config, deps: Deps) -> Result<Server, ServerError> {
    let config = Arc::new(config);
    let Deps { grpc, http, health, clock, ids, stores, membership, log, reread } = deps;
    let (grpc_address, http_address) = (address(&grpc, "gRPC")?, address(&http, "HTTP")?);
    let health_address = health.as_ref().map(|it| address(it, "health checks")).transpose()?;
    let end_views = CancellationToken::new();
    let (failed, failures) = mpsc::unbounded_channel();
    let (scans_out, scans) = mpsc::unbounded_channel();
    let told = (scans_out, failed);
    let (metrics, tasks) = (Metrics::new().map_err(not_started)?, Tasks::default());
    let guards = Guards::begin(&config, &metrics, &tasks)?;
    let files = guards.files.clone();
    let cluster = membership
        .map(|it| Cluster::new(ServerId(ids.draw()), it, Arc::clone(&clock), metrics.clone()));
    let clock = cluster.as_ref().map_or(clock, |cluster| Arc::clone(cluster.clock()) as _);
    let given = Given { clock, ids, log, reread, metrics, tasks, files, cluster };
    let services = services(&config, &stores, given, end_views.clone(), told)?;
    Ok(Server {
        grpc,
        http,
        grpc_address,
        http_address,
        health_listener: health.zip(health_address),
        config,
        services,
        guards,
        health: Health::default(),
        failures,
        scans,
        end_views,
        stores,
    })
}

/// What the use cases are made with, besides stores and configuration.
struct Given {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    log: LogFilter,
    reread: Reread,
    metrics: Metrics,
    tasks: Tasks,
    files: Vec<Arc<dyn Files>>,
    cluster: Option<Cluster>,
}

/// The use cases, with what the stores still know of an earlier life.
#[expect(clippy::too_many_lines, reason = "one list of parts, in the order of their needs")]
fn services(
    config: &Arc<Config>,
    stores: &Stores,
    given: Given,
    end_views: CancellationToken,
    (scans, failed): (mpsc::UnboundedSender<ScanNews>, mpsc::UnboundedSender<ViewFailed>),
) -> Result<Services, ServerError> {
    let Given { clock, ids, log, reread, metrics, tasks, files, cluster } = given;
    let draining = CancellationToken::new();
    let in_force = InForce::new(Arc::clone(config));
    let views = Views::new(ViewsDeps {
        config: in_force.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        metrics: metrics.clone(),
        stores: stores.clone(),
        tasks: tasks.clone(),
        end: end_views,
        scans,
        failed,
        cluster: cluster.clone(),
    });
    let loaded = views.load().map_err(not_started)?;
    for name in config.views.keys() {
        views.make(name).map_err(not_started)?;
    }
    let lease = cluster.as_ref().map(|cluster| cluster.lease().clone());
    let saver = Saver::begin(stores.clone(), lease).map_err(not_started)?;
    let sessions = Sessions::new(
        in_force.clone(),
        views.clone(),
        Arc::clone(&clock),
        Arc::clone(&ids),
        metrics.clone(),
        saver.clone(),
    );
    if cluster.is_none() {
        sessions.restore(stores, &loaded, false).map_err(not_started)?;
    }
    let ingest = Ingest::new(
        sessions.clone(),
        views.clone(),
        Arc::clone(&clock),
        metrics.clone(),
        draining.clone(),
    );
    let idempotency = Idempotency::new(IdempotencyDeps {
        state: Arc::clone(&stores.state),
        saver: saver.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        metrics: metrics.clone(),
        ttl: config.idempotency_ttl,
    });
    let audit = Audit::new(AuditDeps {
        state: Arc::clone(&stores.state),
        saver: saver.clone(),
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        metrics: metrics.clone(),
        server: stores.server().unwrap_or_else(|| ids.draw()),
        ttl: config.audit_ttl,
    });
    let about = About::new(
        in_force.clone(),
        views.clone(),
        sessions.clone(),
        stores.clone(),
        log.clone(),
        Arc::clone(&clock),
        ids.draw(),
    );
    let errands =
        Errands::new(views.clone(), sessions.clone(), Arc::clone(&clock), Arc::clone(&ids));
    let jobs = Jobs::new(JobsDeps {
        state: Arc::clone(&stores.state),
        saver,
        clock: Arc::clone(&clock),
        ids: Arc::clone(&ids),
        metrics: metrics.clone(),
        tasks: tasks.clone(),
        draining: draining.clone(),
        views: views.clone(),
        sessions: sessions.clone(),
        errands: errands.clone(),
        ttl: config.job_ttl,
        config: in_force.clone(),
    });
    if cluster.is_none() {
        jobs.load().map_err(not_started)?;
    }
    let parts = (&views, &sessions, &jobs, stores, &tasks);
    let conductor = cluster.map(|cluster| membership::conductor(cluster, parts));
    let refreshes = Refreshes::new(
        views.clone(),
        sessions.clone(),
        Arc::clone(&clock),
        errands,
        jobs.clone(),
        tasks.clone(),
        draining.clone(),
    );
    let quotas = Quotas::new(in_force.clone(), Arc::clone(&clock), metrics.clone());
    let reloader = Reloader::new(ReloaderDeps {
        reread,
        config: in_force,
        files,
        sessions: sessions.clone(),
        log,
        audit: audit.clone(),
        metrics: metrics.clone(),
        ids: Arc::clone(&ids),
    });
    let busy = watch::Sender::new(0);
    Ok(Services {
        sessions,
        ingest,
        views,
        idempotency,
        audit,
        jobs,
        refreshes,
        about,
        reloader,
        ids,
        clock,
        quotas,
        metrics,
        tasks,
        busy,
        draining,
        conductor,
    })
}

fn not_started(error: impl std::fmt::Display) -> ServerError {
    ServerError::Start(error.to_string())
}

fn address(listener: &TcpListener, what: &'static str) -> Result<SocketAddr, ServerError> {
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| ServerError::Listen { what, address, source })
}

impl Server {
    /// Where gRPC is listened for.
    #[must_use]
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Reads the configuration anew when told to.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.services.reloader.clone()
    }

    /// Where HTTP is listened for.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where health checks alone are listened for.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.health_listener.as_ref().map(|(_, address)| *address)
    }

    /// All of them, as scripts read them: `grpc=HOST:PORT`, `http=HOST:PORT` and, if there is one,
    /// `health=HOST:PORT`, a line each.
    #[must_use]
    pub fn addresses(&self) -> String {
        let health = self.health_address().map(|address| format!("health={address}\n"));
        let (grpc, http) = (self.grpc_address, self.http_address);
        format!("grpc={grpc}\nhttp={http}\n{}", health.unwrap_or_default())
    }

    /// Serves until `shutdown` is ready, then ends gracefully: new sessions are refused, streams are
    /// ended with SERVER_DRAINING, and calls under way may finish. The configured grace is the limit of it
    /// all: calls are cut when three quarters of it are over, and what writes to the store in the last one,
    /// whatever hangs. Nothing was acknowledged that is lost by it.
    ///
    /// # Errors
    /// [`ServerError`]: a listener broke, or the address file cannot be written.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let (stores, grace) = (self.stores.clone(), self.config.shutdown_grace);
        let ended = self.serve(shutdown).await;
        // Who opens the directory next must not meet the last write, nor its being closed.
        let let_go = async {
            while stores.is_shared() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(LET_GO.min(grace / 8), let_go).await.is_err() {
            tracing::warn!("the data directory is still being written to");
        }
        drop(stores);
        tracing::info!("ended");
        ended
    }

    async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServerError> {
        let addresses = self.addresses();
        let Self {
            grpc,
            http,
            grpc_address,
            http_address,
            health_listener,
            config,
            services,
            guards,
            health,
            failures,
            scans,
            end_views,
            stores,
        } = self;
        if let Some(file) = &config.address_file {
            address_file::write(file, &addresses)?;
        }

        tasks::begin(&services, &health, failures, scans, health_listener);
        let membered = services.conductor.clone().map(membership::begin).transpose()?;
        services.tasks.spawn("state sweep", sweep::run(stores, Arc::clone(&services.clock)));
        let probed = probed(&services);
        let stop = CancellationToken::new();
        let stop_http = stop.clone();
        let http = axum::serve(http::Door::new(http), http::router(probed))
            .with_graceful_shutdown(async move { stop_http.cancelled().await });
        let (most, all) = (config.max_connections, services.clone());
        let grpc = grpc::serve(grpc, most, guards, all, health.clone(), stop.clone());
        health.set_serving().await;
        tracing::info!(grpc = %grpc_address, http = %http_address, "serving");

        let served =
            async { tokio::try_join!(grpc, async { http.await.map_err(grpc::EdgeError::from) }) };
        let mut served = pin!(served);
        let early = tokio::select! {
            served = &mut served => Some(served),
            () = shutdown => None,
        };
        let grace = config.shutdown_grace;
        let (cut_at, end_at) = (Instant::now() + grace / 4 * 3, Instant::now() + grace / 8 * 7);
        let served = match early {
            Some(served) => served,
            None => {
                membership::leave(services.conductor.as_ref(), grace / 4).await;
                begin_drain(&services, &health).await;
                stop.cancel();
                tokio::select! {
                    served = &mut served => served,
                    () = quiet(&services.busy, cut_at) => Ok(((), ())),
                }
            }
        };
        end(&services, &end_views, end_at).await;
        if let (Some(membered), Some(conductor)) = (membered, &services.conductor) {
            membership::end(membered, conductor.cluster.clone(), end_at).await;
        }
        served.map(|_| ()).map_err(ServerError::Serve)
    }
}

/// Listens, builds and serves in one call; for who needs no address in between.
///
/// # Errors
/// [`ServerError`].
pub async fn run(
    config: Config,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServerError> {
    let deps = Deps::bind(&config).await?;
    build(config, deps)?.run(shutdown).await
}

/// What the probes look at.
fn probed(services: &Services) -> Probed {
    let Services { sessions, views, jobs, metrics, draining, conductor, .. } = services.clone();
    Probed { metrics, sessions, views, jobs, conductor, draining }
}
