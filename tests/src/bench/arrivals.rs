//! How many agents come back that all became obsolete in one moment: `fusion-tests bench arrivals`.
//!
//! Each agent is a real link of `agent-client` (its heartbeat, its two lanes, its spool, its recovery)
//! without a tree. They have sessions, then all of these are lost at once, and the time is taken at
//! which each has a new one. A stampede would be a first bar as high as all agents together.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_client::agent::spooler::SharedSpool;
use agent_client::clock::{HostClock, SharedClock};
use agent_client::config::ServerUrls;
use agent_client::ids::{RandomIds, SharedIds};
use agent_client::link::{
    AgentStatus, ClientInfo, Link, LinkConfig, LinkDeps, LinkError, LinkView, Reporter, RootKnown,
};
use agent_client::ops::metrics::{Exposition, Metrics};
use agent_client::scan::Exclusion;
use agent_client::spawn::{Task, spawn};
use anyhow::{Context as _, Result, anyhow, bail};
use fusion_core::evidence::{RootIdentity, RootState};
use fusion_core::id::{AgentId, InstanceId, SessionId};
use fusion_core::time::Monotonic;
use fusion_proto::client::ClientTls;
use fusion_proto::client::{CallHook, connect};
use fusion_proto::convert::session::EvictSession;
use futures_util::future::BoxFuture;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::sync::watch;
use uuid::Uuid;

use crate::pair::World;
use crate::process::now;

/// Width of a bar of the histogram.
const BAR: Duration = Duration::from_millis(100);
/// How long all of them may take to come, before and after the loss.
const PATIENCE: Duration = Duration::from_secs(120);
/// The view's timeout (as [`World::start_impatient`] has it), and what must pass beside it.
const SILENCE: Duration = Duration::from_secs(8);

/// How the sessions are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Loss {
    /// kill -9 of the server, and a new one without its data at once.
    Restart,
    /// SIGSTOP of the server past all timeouts, then SIGCONT.
    Pause,
    /// An administrator evicts them, as fast as the calls go.
    Evict,
}

/// What to lose.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Agents.
    #[arg(long, default_value = "1000")]
    agents: NonZeroUsize,
    /// How their sessions are lost; all kinds, one after the other, unless given.
    #[arg(long, value_enum)]
    by: Vec<Loss>,
}

/// Measures and prints.
///
/// # Errors
/// Something could not be started, or not all of them came back.
pub fn run(options: &Options) -> Result<()> {
    let all = [Loss::Restart, Loss::Pause, Loss::Evict];
    let losses = if options.by.is_empty() { &all[..] } else { &options.by };
    allow_files(options.agents.get() as u64 * 4 + 1_000)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for &loss in losses {
        println!("{} agents lose their sessions at once: {loss:?}", options.agents);
        print!("{}", shown(&runtime.block_on(lose(options.agents.get(), loss))?));
    }
    Ok(())
}

/// Each agent has three connections and a few files.
fn allow_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), ..limit };
        setrlimit(Resource::Nofile, raised)
            .with_context(|| format!("{needed} open files are needed: raise `ulimit -Hn`"))?;
    }
    Ok(())
}

/// After how long each agent had a new session, shortest first.
async fn lose(agents: usize, loss: Loss) -> Result<Vec<Duration>> {
    let mut world = World::start_impatient();
    let folder = tempfile::tempdir()?;
    let metrics = Arc::new(Metrics::new(&Exposition::new()?, world.view())?);
    let mut light = Vec::new();
    for number in 0..agents {
        let name = format!("agent-{number}");
        light.push(Light::start(&world, &folder.path().join(&name), &name, &metrics)?);
    }
    for one in &mut light {
        one.session_after(None).await?;
    }
    // Healthy for a while, so that the loss is the first trouble of each.
    tokio::time::sleep(SILENCE.saturating_mul(4)).await;
    let before = light.iter().map(Light::session).collect::<Result<Vec<_>>>()?;
    let lost = match loss {
        Loss::Restart => {
            world.kill_server();
            std::fs::remove_dir_all(world.path("server"))?;
            world.start_server();
            now()
        }
        Loss::Pause => {
            world.server().signal(Signal::STOP);
            tokio::time::sleep(SILENCE).await;
            world.server().signal(Signal::CONT);
            now()
        }
        Loss::Evict => evict(&world, &before).await?,
    };
    let back = light.iter_mut().zip(before).map(async |(one, before)| {
        let back = one.session_after(Some(before)).await?;
        Ok::<_, anyhow::Error>(back.saturating_duration_since(lost))
    });
    let mut back = futures_util::future::try_join_all(back).await?;
    back.sort_unstable();
    Ok(back)
}

/// Evicts all of them; when that began.
async fn evict(world: &World, sessions: &[SessionId]) -> Result<Instant> {
    let client = connect(&world.url(), CallHook::none())?;
    let began = now();
    let calls = sessions.iter().map(|&session| {
        let mut admin = client.admin.clone();
        async move { admin.evict(&EvictSession { session, allow_missing: false }).await }
    });
    futures_util::future::try_join_all(calls).await?;
    Ok(began)
}

/// The histogram, and what it comes to.
fn shown(back: &[Duration]) -> String {
    let bar = |at: &Duration| usize::try_from(at.as_millis() / BAR.as_millis()).unwrap_or(0);
    let mut bars = vec![0_usize; back.last().map_or(0, |last| bar(last) + 1)];
    for at in back {
        bars[bar(at)] += 1;
    }
    let highest = bars.iter().copied().max().unwrap_or(0);
    let mut text = String::new();
    for (number, count) in bars.iter().enumerate() {
        let length = (count * 60).div_ceil(highest.max(1));
        let _ = writeln!(text, "{:>5.1} s {count:>5} {}", number as f64 / 10.0, "#".repeat(length));
    }
    let at = |share: usize| back.get(back.len() * share / 100).or(back.last());
    let (middle, last) =
        (at(50).copied().unwrap_or_default(), at(100).copied().unwrap_or_default());
    let _ = writeln!(
        text,
        "all {} back after {:.2} s, half of them after {:.2} s; at most {highest} in 100 ms",
        back.len(),
        last.as_secs_f64(),
        middle.as_secs_f64(),
    );
    text
}

/// A link and nothing behind it.
struct Light {
    view: watch::Receiver<LinkView>,
    /// When each session began, as soon as the link says so.
    begun: watch::Receiver<Option<(SessionId, Instant)>>,
    _noting: Task<()>,
    _link: Task<Result<(), LinkError>>,
}

impl Light {
    fn start(world: &World, spool: &Path, name: &str, metrics: &Arc<Metrics>) -> Result<Self> {
        let clock: SharedClock = Arc::new(HostClock);
        let ids: SharedIds = Arc::new(RandomIds);
        let config = LinkConfig {
            servers: ServerUrls::new(&world.url()).map_err(|why| anyhow!("our own URL {why}"))?,
            tls: ClientTls::default(),
            token_file: None,
            view: world.view().clone(),
            agent: AgentId::new(name)?,
            instance: InstanceId::new(Uuid::new_v4()),
            client: ClientInfo::default(),
            root_uri: "file://light/".to_owned(),
            proposed_timeout: None,
        };
        let deps = LinkDeps {
            spool: SharedSpool::alone(spool, Arc::clone(&clock), Arc::clone(&ids))?,
            clock,
            ids,
            metrics: Arc::clone(metrics),
            reporter: Arc::new(Idle),
            news: Arc::default(),
        };
        let (link, handle) = Link::new(config, deps)?;
        let mut view = handle.view.clone();
        let (note, begun) = watch::channel(None);
        let noting = async move {
            loop {
                let standing = view.borrow_and_update().standing.as_ref().map(|one| one.session);
                note.send_if_modified(|noted| {
                    let news =
                        standing.filter(|one| noted.is_none_or(|(before, _)| before != *one));
                    *noted = news.map(|session| (session, now())).or(*noted);
                    news.is_some()
                });
                if view.changed().await.is_err() {
                    return;
                }
            }
        };
        Ok(Self {
            view: handle.view,
            begun,
            _noting: spawn("noting", noting),
            _link: spawn("link", link.run(std::future::pending())),
        })
    }

    fn session(&self) -> Result<SessionId> {
        let standing = self.view.borrow().standing.as_ref().map(|one| one.session);
        standing.context("an agent has lost its session before it was to")
    }

    /// When it had a session that is not the one before.
    async fn session_after(&mut self, before: Option<SessionId>) -> Result<Instant> {
        let is_new = |noted: &Option<(SessionId, Instant)>| {
            noted.is_some_and(|(session, _)| Some(session) != before)
        };
        match tokio::time::timeout(PATIENCE, self.begun.wait_for(is_new)).await {
            Ok(noted) => Ok((*noted?).context("a session was noted")?.1),
            Err(_) => bail!("an agent has no session after {PATIENCE:?}"),
        }
    }
}

/// An agent with nothing to tell.
struct Idle;

impl Reporter for Idle {
    fn status(&self) -> AgentStatus {
        AgentStatus {
            realtime_ready: false,
            watched_directories: 0,
            watch_limit: None,
            unwatched_directories: 0,
            queue_depth: 0,
            spool_bytes: 0,
            oldest_unacknowledged: None,
            root_state: RootState::Available,
            errors: Vec::new(),
            scan: None,
            file_stats: 0,
            left_out: Vec::new(),
        }
    }

    fn root_identity(&self) -> BoxFuture<'_, RootKnown> {
        let identity = RootIdentity::default();
        Box::pin(std::future::ready(RootKnown { identity, is_now: true }))
    }

    fn exclude(&self, _: &[String]) -> Result<(), String> {
        Ok(())
    }

    fn exclusion(&self) -> Arc<Exclusion> {
        Arc::default()
    }

    fn delivered_through(&self) -> Option<Monotonic> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_holds_a_tenth_of_a_second() {
        let back = [0, 99, 100, 250].map(Duration::from_millis);
        let text = shown(&back);
        let bars: Vec<&str> = text.lines().filter(|line| line.contains('#')).collect();
        assert_eq!(bars.len(), 3, "{text}");
        assert!(bars[0].contains("    2 "), "{text}");
        assert!(text.ends_with("at most 2 in 100 ms\n"), "{text}");
    }
}
