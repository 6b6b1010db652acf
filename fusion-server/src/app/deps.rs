//! What a server is given from outside, and how the program comes by it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use fusion_core::time::Clock;
use fusion_store::StoreError;
use tokio::net::TcpListener;

use crate::clock::RuntimeClock;
use crate::cluster::Membership;
use crate::config::{Config, Reread};
use crate::ids::{Ids, RandomIds};
use crate::listeners::HandedOver;
use crate::ops::log_filter::LogFilter;
use crate::stores::Stores;

/// What a server is given from outside.
pub struct Deps {
    /// Listens for gRPC.
    pub grpc: TcpListener,
    /// Listens for `/metrics`, `/livez` and `/readyz`.
    pub http: TcpListener,
    /// Listens for health checks alone.
    pub health: Option<TcpListener>,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub ids: Arc<dyn Ids>,
    /// What survives.
    pub stores: Stores,
    /// How it takes part among several servers on the same stores; absent if it is alone.
    pub membership: Option<Membership>,
    /// What is logged.
    pub log: LogFilter,
    /// Reads the configuration anew.
    pub reread: Reread,
}

/// Why a server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("listen for {what} on {address}: {source}")]
    Listen {
        /// `gRPC` or `HTTP`.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why; a port in use says so.
        source: std::io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that was asked for cannot be written.
    #[error("write {}: {source}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A metric that Prometheus refuses, or a view that gets no thread.
    #[error("start: {0}")]
    Start(String),
    /// A listener broke while it was served.
    #[error("serve: {0}")]
    Serve(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Deps {
    /// Listens on the configured addresses and opens the data directory, with the real clock and
    /// random ids. Read anew, the configuration is always this one.
    ///
    /// # Errors
    /// [`ServerError::Listen`], naming the address; [`ServerError::Store`], naming the directory or the
    /// engine; [`ServerError::Start`] if it is to be one of several and cannot.
    pub async fn bind(config: &Config) -> Result<Self, ServerError> {
        Self::bind_with(config, HandedOver::default()).await
    }

    /// The same with sockets that listen already, each where the configuration says.
    ///
    /// # Errors
    /// Those of [`Deps::bind`]; [`ServerError::Start`] if a socket is elsewhere.
    pub async fn bind_with(config: &Config, mut sockets: HandedOver) -> Result<Self, ServerError> {
        let grpc = sockets.listen("listen.grpc", "gRPC", config.grpc.address).await?;
        let http = sockets.listen("listen.http", "HTTP", config.http.address).await?;
        let health = match config.health {
            Some(address) => Some(sockets.listen("listen.health", "health checks", address).await?),
            None => None,
        };
        let stores = match &config.data_dir {
            Some(dir) => {
                let (ids, state) = (RandomIds, &config.state);
                Stores::open_as(dir, ids.draw(), config.server_id, state, || ids.draw())?
                    .with_change_log(&config.change_log)?
            }
            None => Stores::memory(),
        };
        let membership = membership(config, &stores)?;
        let config = config.clone();
        Ok(Self {
            grpc,
            http,
            health,
            clock: Arc::new(RuntimeClock::new()),
            ids: Arc::new(RandomIds),
            stores,
            membership,
            log: LogFilter::detached(&config.log.filter),
            reread: Arc::new(move || Ok(config.clone())),
        })
    }
}

/// How the server takes part among several, if it does.
fn membership(config: &Config, stores: &Stores) -> Result<Option<Membership>, ServerError> {
    let Some(cluster) = &config.cluster else { return Ok(None) };
    let refused = |why: &str| ServerError::Start(format!("[cluster]: {why}"));
    let ownership = stores.ownership()?.ok_or_else(|| {
        refused("several servers need a data directory each, and change_log.engine = \"nats\"")
    })?;
    let memory = cluster.memory.or_else(crate::cluster::memory_allowed).ok_or_else(|| {
        refused("the system does not say how much memory there is; set cluster.memory")
    })?;
    let (address, lease) = (cluster.advertise.clone(), cluster.lease);
    tracing::info!(%address, ?lease, memory, "one of several servers");
    let peers = cluster.peers(config.tls.as_ref());
    Ok(Some(Membership { ownership, address, lease, memory, peers }))
}
