//! A process: one agent for each tree, and what they have together.
//!
//! Owns the HTTP listener, the life of each agent over its failures, and when the process ends. Called
//! by `main`. Each agent has a session, a spool and threads of its own; together they have the rate and
//! the threads of scans, the watches, the metrics' registry, and no root that lies within another's. One
//! whose root is not there or hangs, whose spool is held, whom the server refuses, or that broke off, is
//! begun again after a while and takes nothing else with it; the process ends with an error when there
//! is no tree left that is served, which with one tree is at once. Must never: let one tree wait for
//! another's storage. Tested below, in `tests/cli.rs`, and with real binaries in fusion-tests.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::ViewName;
use prometheus::Histogram;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::Instrument as _;

use crate::agent::fellows::{Fellows, Roots, budgets};
use crate::agent::open::Patience;
use crate::agent::{self, Agent, AgentError, Deps};
use crate::clock::{HostClock, SharedClock};
use crate::config::{AgentConfig, ProcessConfig};
use crate::link::backoff::Backoff;
use crate::link::told::Told;
use crate::ops::http::{self, Shown, write_address_file};
use crate::ops::metrics::Exposition;
use crate::progress::{LinkState, Progress};
use crate::spawn::spawn;
use crate::spool;
use crate::watch::WatchPart;

/// A process, built and not yet running. Holds the HTTP listener.
pub struct Process {
    config: ProcessConfig,
    trees: Vec<Tree>,
    shown: Shown,
    http: Option<(TcpListener, SocketAddr)>,
}

/// A tree, and what outlives its agents.
struct Tree {
    config: AgentConfig,
    deps: Deps,
    fellows: Fellows,
    progress: watch::Sender<Progress>,
}

/// How a tree is.
#[derive(Debug)]
enum Served {
    /// Its agent runs.
    Yes,
    /// It does not; it is tried again.
    No(AgentError),
    /// It was told to stop.
    Ended,
}

/// Binds the HTTP listener; starts nothing.
///
/// # Errors
/// The listener cannot be bound.
pub async fn build(config: ProcessConfig, deps: Deps) -> Result<Process, AgentError> {
    let internal = |error: prometheus::Error| AgentError::Internal(error.to_string());
    let http = listen(config.http_listen).await?;
    let metrics = Exposition::new().map_err(internal)?;
    let count = NonZeroUsize::new(config.agents.len()).unwrap_or(NonZeroUsize::MIN);
    let (roots, parts) = (Roots::default(), WatchPart::of_trees(count));
    let budgets = config.agents.first().map(budgets);
    let spools: Vec<_> = config.agents.iter().map(|agent| agent.spool.clone()).collect();
    let trees = config.agents.iter().zip(parts).zip(budgets.into_iter().cycle());
    let trees = trees.map(|((agent, part), budgets)| {
        let (spools, roots) = (spools.clone(), roots.clone());
        let fellows = Fellows::one(agent, &metrics, budgets, part, spools, roots)?;
        let progress = watch::Sender::new(Progress::default());
        Ok(Tree { config: agent.clone(), deps: deps.clone(), fellows, progress })
    });
    let trees = trees.collect::<Result<Vec<_>, AgentError>>()?;
    let shown = |tree: &Tree| (tree.config.view.clone(), tree.progress.subscribe());
    let shown = Shown { metrics, trees: trees.iter().map(shown).collect() };
    Ok(Process { config, trees, shown, http })
}

impl Process {
    /// Works until `shutdown` is done, or the server told every agent to stop; then ends within 2 s.
    ///
    /// # Errors
    /// No tree can be served any more; at the start also: the roots of two trees touch, or the address
    /// file cannot be written.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), AgentError> {
        let Self { config, trees, shown, http } = self;
        make_spools(&config).await;
        let clock = trees.first().map(|tree| Arc::clone(&tree.deps.clock));
        let clock = clock.unwrap_or_else(|| Arc::new(HostClock));
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = mpsc::unbounded_channel();
        let views: Vec<_> = trees.iter().map(|tree| tree.config.view.clone()).collect();
        let keep = |(number, tree): (usize, Tree)| {
            let span = tracing::info_span!(target: "fusion", "tree", view = %tree.config.view);
            let tell = Teller { tell: tell.clone(), number };
            spawn("tree", tree.keep(tell, stopped.clone()).instrument(span))
        };
        let kept: Vec<_> = trees.into_iter().enumerate().map(keep).collect();
        drop(tell);
        let lag = shown.metrics.event_loop_lag.clone();
        let _lag = spawn("event loop lag", measure_lag(lag, Arc::clone(&clock)));
        let (listener, address) = http.unzip();
        let _http = listener.map(|listener| spawn("http", serve(listener, shown)));
        let served = views.iter().map(|_| None).collect();
        let known = views.iter().map(|_| Told::default()).collect();
        let mut watched = Watched { views, served, known, told, address, config, clock };
        let ended = tokio::select! {
            ended = watched.until_over() => ended,
            () = shutdown => Ok(()),
        };
        // Who waits for it may be gone.
        let _ = stop.send(true);
        for tree in kept {
            if let Err(error) = tree.await {
                tracing::error!("{error}");
            }
        }
        ended
    }
}

/// How the trees are, as they tell.
struct Watched {
    views: Vec<ViewName>,
    /// In their order; absent: not known yet.
    served: Vec<Option<Served>>,
    /// What was said of each.
    known: Vec<Told>,
    told: mpsc::UnboundedReceiver<(usize, Served)>,
    /// Where HTTP is served, until that was written down.
    address: Option<SocketAddr>,
    config: ProcessConfig,
    clock: SharedClock,
}

impl Watched {
    /// Waits until there is nothing left to do.
    async fn until_over(&mut self) -> Result<(), AgentError> {
        while let Some((number, served)) = self.told.recv().await {
            let is_starting = self.served.iter().any(Option::is_none);
            let served = match served {
                // A fault of the configuration, whichever of the two came first.
                Served::No(error @ AgentError::Nested { .. }) if is_starting => return Err(error),
                served => served,
            };
            self.say(number, &served);
            self.served[number] = Some(served);
            if self.served.iter().any(Option::is_none) {
                continue;
            }
            let is_served = |served: &Option<Served>| matches!(served, Some(Served::Yes));
            if !self.served.iter().any(is_served) {
                return self.none_is_served();
            }
            self.write_address()?;
        }
        Ok(())
    }

    fn say(&mut self, number: usize, served: &Served) {
        let (view, known) = (&self.views[number], &mut self.known[number]);
        match served {
            Served::No(error) if known.is_news(&error.to_string(), self.clock.monotonic()) => {
                tracing::error!(%view, "not served, and tried again: {error}");
            }
            Served::No(_) => {}
            Served::Yes => known.clear(),
            Served::Ended => tracing::info!(%view, "told to stop: not served any more"),
        }
    }

    fn none_is_served(&mut self) -> Result<(), AgentError> {
        let views = self.views.iter().cloned();
        let failed = views.zip(self.served.drain(..)).filter_map(|(view, served)| match served {
            Some(Served::No(error)) => Some((view, error)),
            _ => None,
        });
        let mut failed: Vec<_> = failed.collect();
        match (failed.len(), self.views.len()) {
            (0, _) => Ok(()),
            (1, 1) => Err(failed.remove(0).1),
            _ => Err(AgentError::Trees(failed)),
        }
    }

    /// Once every tree was tried: who waits for the file may believe that the spools are held.
    fn write_address(&mut self) -> Result<(), AgentError> {
        let (Some(address), Some(path)) = (self.address.take(), &self.config.address_file) else {
            return Ok(());
        };
        write_address_file(path, address)
            .map_err(|source| AgentError::AddressFile { path: path.clone(), source })
    }
}

/// Before a tree that failed is begun anew: if no other one is served the process ends instead, and begins nothing.
const JUDGED: Duration = Duration::from_millis(200);

/// Tells how a tree is.
struct Teller {
    tell: mpsc::UnboundedSender<(usize, Served)>,
    number: usize,
}

impl Teller {
    fn tell(&self, served: Served) {
        // Nobody listens any more when the process ends.
        let _ = self.tell.send((self.number, served));
    }
}

impl Tree {
    /// Has one agent after the other until `stopped`, or one was told to stop.
    async fn keep(self, tell: Teller, mut stopped: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        let (clock, ids) = (Arc::clone(&self.deps.clock), self.deps.ids.clone());
        loop {
            let failed = |error: AgentError| {
                self.trouble(&error);
                tell.tell(Served::No(error));
            };
            let built = tokio::select! {
                built = self.build(&failed) => built,
                () = is_set(&mut stopped) => return,
            };
            let ended = match built {
                Ok(agent) => {
                    backoff.healthy(clock.monotonic());
                    tell.tell(Served::Yes);
                    let mut stopped = stopped.clone();
                    let run = agent.run(async move { is_set(&mut stopped).await });
                    let ended = spawn("agent", run).await;
                    ended.unwrap_or_else(|error| Err(AgentError::Internal(error.to_string())))
                }
                Err(error) => Err(error),
            };
            let Err(error) = ended else { return tell.tell(Served::Ended) };
            failed(error);
            let wait = backoff.failed(clock.monotonic(), &*ids);
            tokio::select! {
                () = tokio::time::sleep(wait.max(JUDGED)) => {}
                () = is_set(&mut stopped) => return,
            }
        }
    }

    async fn build(&self, hung: &(dyn Fn(AgentError) + Sync)) -> Result<Agent, AgentError> {
        let (config, deps) = (self.config.clone(), self.deps.clone());
        let (fellows, progress) = (self.fellows.clone(), self.progress.clone());
        agent::build_with(config, deps, fellows, progress, Patience::Waits(hung)).await
    }

    /// As it is seen from outside.
    fn trouble(&self, error: &AgentError) {
        self.fellows.metrics.without_session();
        self.progress.send_modify(|progress| {
            progress.link = LinkState::Stopped;
            progress.trouble = Some(error.to_string());
        });
    }
}

/// Measures by how much timers are late: a process whose event loop is held up shows nowhere else.
async fn measure_lag(lag: Histogram, clock: SharedClock) {
    const EVERY: Duration = Duration::from_secs(1);
    loop {
        let due = clock.monotonic().plus(EVERY);
        tokio::time::sleep(EVERY).await;
        lag.observe(clock.monotonic().since(due).as_secs_f64());
    }
}

async fn is_set(stopped: &mut watch::Receiver<bool>) {
    // Whoever says so is gone: that says it too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Makes the spools of several trees before any is looked at, so that each tree leaves out all of them.
async fn make_spools(config: &ProcessConfig) {
    if config.agents.len() < 2 {
        return;
    }
    let spools: Vec<_> = config.agents.iter().map(|agent| agent.spool.clone()).collect();
    let make = tokio::task::spawn_blocking(move || {
        for dir in spools {
            // Whoever opens it says what is wrong.
            let _ = spool::make_dir(&dir);
        }
    });
    let _ = make.await;
}

async fn listen(
    address: Option<SocketAddr>,
) -> Result<Option<(TcpListener, SocketAddr)>, AgentError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| AgentError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, address)))
}

async fn serve(listener: TcpListener, shown: Shown) {
    if let Err(error) = http::serve(listener, shown).await {
        tracing::error!("http: {error}");
    }
}
