//! The agent as a whole: [`build`] makes every part in order, [`Agent::run`] lives its life.
//!
//! Owns the order in which things begin and end. Called by `process`, by `fusionctl dev` and by
//! tests, which all give their own shutdown; signals are theirs to handle. Must never: start
//! anything in [`build`], or take longer than 2 s to end.

pub(crate) mod commands;
pub(crate) mod desk;
pub(crate) mod duties;
pub(crate) mod fellows;
pub(crate) mod figures;
pub(crate) mod keep;
pub(crate) mod open;
mod place;
mod root_watch;
pub(crate) mod scans;
pub(crate) mod shared;
pub mod spooler;
mod watching;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::{AgentId, InstanceId, ViewName};
use tokio::sync::{mpsc, watch};

use crate::clock::{HostClock, SharedClock};
use crate::config::AgentConfig;
use crate::ids::{RandomIds, SharedIds};
use crate::link::{Link, LinkConfig, LinkDeps, LinkError, LinkHandle};
use crate::progress::{LinkState, Progress};
use crate::scan::Limits;
use crate::spawn::{Task, spawn};
use crate::spool::SpoolError;
use commands::{CommandsTask, Slots};
use desk::ReportDesk;
use duties::DutiesTask;
use fellows::Fellows;
use figures::Figures;
use keep::{Part, keep};
use open::Patience;
use root_watch::RootWatch;
use shared::{Shared, State, Watched};
use spooler::SharedSpool;
use watching::Watching;

/// How long the last evidence may take on its way out.
const DRAIN_LIMIT: Duration = Duration::from_millis(300);

/// How long the spool may take to be given back: its disk may hang, and the process ends all the same.
const RELEASE_LIMIT: Duration = Duration::from_millis(500);

/// Audits that the server asked for and nobody has taken in yet; it gives one at a time.
const AUDITS_WAITING: usize = 16;

/// What an agent is given from outside, beside its configuration.
#[derive(Clone)]
pub struct Deps {
    /// The time.
    pub clock: SharedClock,
    /// Ids and chance.
    pub ids: SharedIds,
}

impl Default for Deps {
    /// The clocks and the randomness of the host.
    fn default() -> Self {
        Self { clock: Arc::new(HostClock), ids: Arc::new(RandomIds) }
    }
}

/// Why an agent cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The root is missing, no directory, or not to be read.
    #[error("root {}: {why}", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The root is another view's, or one lies within the other.
    #[error("root {}: {why}; each tree needs a root outside of the others'", path.display())]
    Nested {
        /// The root.
        path: PathBuf,
        /// Whose it touches, and how.
        why: String,
    },
    /// The spool cannot be had.
    #[error("{0}")]
    Spool(#[from] SpoolError),
    /// The HTTP listener cannot be had.
    #[error("listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The address file cannot be written.
    #[error("address file {}: {source}", path.display())]
    AddressFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A name cannot be made or a metric is there twice.
    #[error("{0}")]
    Internal(String),
    /// The server refuses this agent for good.
    #[error("{0}")]
    Link(#[from] LinkError),
    /// No tree of a process can be served, for these reasons.
    #[error("{}", .0.iter().map(|(view, why)| format!("view {view}: {why}")).collect::<Vec<_>>().join("\n"))]
    Trees(Vec<(ViewName, AgentError)>),
}

impl AgentError {
    /// What the process exits with: 2 for configuration, 1 for all else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Root { .. } | Self::Nested { .. } => 2,
            Self::Trees(all) => all.iter().map(|(_, why)| why.exit_code()).min().unwrap_or(1),
            Self::Spool(_)
            | Self::Listen { .. }
            | Self::AddressFile { .. }
            | Self::Internal(_)
            | Self::Link(_) => 1,
        }
    }
}

/// An agent, built and not yet running. Holds the spool's lock.
pub struct Agent {
    shared: Arc<Shared>,
    link: LinkConfig,
}

/// Why one life of an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It was told to.
    ByWish,
    /// The root that was held is gone, and the same tree stands at its path again.
    RootAnew,
}

/// How long after an agent could not be built on a root that came back it is tried again.
const ROOT_AGAIN: Duration = Duration::from_secs(1);

/// Opens the root and the spool; starts nothing.
///
/// # Errors
/// The root cannot be read, or the spool is held by another agent.
pub async fn build(config: AgentConfig, deps: Deps) -> Result<Agent, AgentError> {
    let progress = watch::Sender::new(Progress::default());
    let fellows = Fellows::alone(&config)?;
    build_with(config, deps, fellows, progress, Patience::Ends).await
}

pub(crate) async fn build_with(
    config: AgentConfig,
    deps: Deps,
    fellows: Fellows,
    progress: watch::Sender<Progress>,
    patience: Patience<'_>,
) -> Result<Agent, AgentError> {
    let Deps { clock, ids } = deps;
    let host = open::host_name();
    let instance = InstanceId::new(ids.uuid());
    let (root, identity) = open::root(&config, patience).await?;
    fellows
        .roots
        .claim(&config.view, &root)
        .map_err(|why| AgentError::Nested { path: config.root.clone(), why })?;
    let mut opened = open::spool(&config, &host, instance, &clock, &ids).await?;
    let agent = open::agent_id(&config, &host, &opened.spool.identity().agent_suffix)?;
    opened.spool.sign(&agent)?;
    for what in &opened.found {
        fellows.metrics.spool_recoveries.with_label_values(&[what]).inc();
    }
    let state = Arc::new(State::new(identity));
    let own = fellows.own_directories(&config.spool);
    let spool =
        SharedSpool::new(opened, own, Arc::clone(&state), Arc::clone(&clock), Arc::clone(&ids));
    let link = LinkConfig {
        servers: config.servers.clone(),
        tls: config.tls.clone(),
        token_file: config.token_file.clone(),
        view: config.view.clone(),
        agent,
        instance,
        client: open::client(&host),
        root_uri: open::root_uri(&host, &config.root),
        proposed_timeout: config.session_timeout,
    };
    let limits = Limits::new(fellows.budgets.clone(), config.scan_yield_above);
    let shared = Arc::new(Shared {
        config,
        limits: Arc::new(limits),
        clock,
        ids,
        metrics: Arc::clone(&fellows.metrics),
        fellows,
        root: Arc::new(root),
        spool,
        watch: Watched::default(),
        state,
        progress,
    });
    Ok(Agent { shared, link })
}

/// The tasks beside the link; dropping them ends them, and what they run.
struct Parts {
    commands: Task<String>,
    _duties: Task<()>,
    _figures: Task<()>,
    _root: Task<()>,
    _watching: Task<()>,
}

impl Agent {
    /// The latest of how it goes; may be cloned.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Its name.
    #[must_use]
    pub fn agent_id(&self) -> &AgentId {
        &self.link.agent
    }

    /// Works until `shutdown` is done, or the server tells it to stop; then ends within 2 s. Where
    /// the root went away under it (its FUSE or NFS server died, say) and comes back as the same
    /// tree, the agent is begun anew on it: watches and descriptors lead to the dead one. That is a
    /// new instance, so the view knows that events were lost (R10).
    ///
    /// # Errors
    /// The server refuses this agent for good: another agent has its name, the root is another tree
    /// than the view's, or a newer process took over its spool.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), AgentError> {
        let mut shutdown = pin!(shutdown);
        let mut agent = self;
        loop {
            let shared = Arc::clone(&agent.shared);
            if agent.live(&mut shutdown).await? == Ended::ByWish {
                return Ok(());
            }
            tracing::info!("the root is there again: begun anew on it");
            let again = tokio::select! {
                again = anew(&shared) => again,
                () = &mut shutdown => return Ok(()),
            };
            agent = again?;
        }
    }

    /// One life on one root.
    async fn live(self, shutdown: impl Future<Output = ()> + Send) -> Result<Ended, AgentError> {
        let Self { shared, link } = self;
        tracing::info!(
            agent = %link.agent,
            view = %link.view,
            root = %shared.config.root.display(),
            servers = %link.servers,
            "agent starts"
        );
        let mut shutdown = pin!(shutdown);
        // Of the spool's disk and of the storage.
        let begun = async {
            root_watch::tell_that_it_is_there(&shared).await;
            Watching::start(&shared).await
        };
        let watching = tokio::select! {
            watching = begun => watching,
            () = &mut shutdown => {
                released(&shared, tokio::time::sleep(RELEASE_LIMIT)).await;
                return Ok(Ended::ByWish);
            }
        };
        let deps = LinkDeps {
            clock: Arc::clone(&shared.clock),
            ids: Arc::clone(&shared.ids),
            metrics: Arc::clone(&shared.metrics),
            reporter: Arc::clone(&shared) as Arc<dyn crate::link::Reporter>,
            news: Arc::clone(&shared.state.news),
            spool: shared.spool.clone(),
        };
        let (link, handle) = Link::new(link, deps)?;
        shared.state.linked(Arc::clone(&handle.exchange));
        let mut parts = start_parts(&shared, handle, watching);
        let mut cause = Ended::ByWish;
        let stop = async {
            tokio::select! {
                () = &mut shutdown => {}
                () = shared.state.root_anew.notified() => cause = Ended::RootAnew,
                why = &mut parts.commands => {
                    let why = why.unwrap_or_else(|error| error.to_string());
                    tracing::info!(why, "the server tells the agent to stop");
                }
            }
            // Ends scans in mid-directory and the watcher; what it saw goes out.
            drop(parts);
            drained(&shared.spool).await;
        };
        let ended = link.run(stop).await;
        // The next life opens it again.
        let patience = async {
            match cause {
                Ended::ByWish => tokio::time::sleep(RELEASE_LIMIT).await,
                Ended::RootAnew => shutdown.await,
            }
        };
        let is_released = released(&shared, patience).await;
        tracing::info!("agent ended");
        ended?;
        Ok(if is_released { cause } else { Ended::ByWish })
    }
}

/// Gives the spool back to its disk, and says that this life is over; false if that takes longer than
/// the patience.
async fn released(shared: &Arc<Shared>, patience: impl Future<Output = ()>) -> bool {
    let spool = shared.spool.clone();
    let release = tokio::task::spawn_blocking(move || spool.release());
    let is_released = tokio::select! {
        released = release => released.is_ok(),
        () = patience => false,
    };
    if !is_released {
        tracing::warn!("the spool is not given back yet: its disk does not answer");
    }
    shared.progress.send_modify(|progress| progress.link = LinkState::Stopped);
    is_released
}

/// The agent again, on a root that came back; waits for as long as it cannot be read.
async fn anew(shared: &Shared) -> Result<Agent, AgentError> {
    let deps = Deps { clock: Arc::clone(&shared.clock), ids: Arc::clone(&shared.ids) };
    loop {
        let (progress, fellows) = (shared.progress.clone(), shared.fellows.clone());
        let (config, deps) = (shared.config.clone(), deps.clone());
        match build_with(config, deps, fellows, progress, Patience::Waits(&|_| {})).await {
            Err(error @ AgentError::Root { .. }) => {
                tracing::warn!("not begun anew yet: {error}");
                tokio::time::sleep(ROOT_AGAIN).await;
            }
            other => return other,
        }
    }
}

fn start_parts(shared: &Arc<Shared>, handle: LinkHandle, watching: Watching) -> Parts {
    let LinkHandle { view, commands, reports, exchange } = handle;
    let (own, other) = (Arc::clone(&exchange), exchange);
    let desk = ReportDesk { shared: Arc::clone(shared), reports };
    let (audits, ordered) = mpsc::channel(AUDITS_WAITING);
    let duties = DutiesTask::new(desk.clone(), own, view.clone(), ordered);
    let commands = CommandsTask {
        shared: Arc::clone(shared),
        exchange: other,
        view: view.clone(),
        arriving: commands,
        audits,
        desk,
        slots: Slots::default(),
    };
    Parts {
        commands: kept(shared, commands),
        _duties: kept(shared, duties),
        _figures: kept(shared, Figures::new(Arc::clone(shared), view)),
        _root: kept(shared, RootWatch(Arc::clone(shared))),
        _watching: spawn("watching", watching.run()),
    }
}

fn kept<P: Part + 'static>(shared: &Arc<Shared>, part: P) -> Task<P::End> {
    spawn(P::NAME, keep(Arc::clone(shared), part))
}

/// Waits until the spool is empty, for as long as the end allows.
async fn drained(spool: &SharedSpool) {
    let wait = async {
        while spool.figures().batches > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(DRAIN_LIMIT, wait).await.is_err() {
        tracing::info!(batches = spool.figures().batches, "the rest stays in the spool");
    }
}

#[cfg(test)]
mod tests;
