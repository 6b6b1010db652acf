//! The server is restarted again and again as a rolling update does it, by SIGTERM, while the tree changes,
//! somebody asks all the time, and sessions beat.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fusion_core::id::{SessionId, ViewName};
use fusion_core::path::TreePath;
use fusion_proto::client::{CallError, CallHook, connect};
use fusion_proto::convert::session::heartbeat::Heartbeat;
use fusion_proto::status::Refusal;
use futures_util::future::join_all;

use super::checks::{PATIENCE, new_session, recovered, session_of, until};
use super::churn::{Churn, Dice};
use super::raw::RawAgent;
use crate::pair::{Agent, World, counter, get};
use crate::process::now;

/// The timeout of sessions; the server tells agents to beat thrice in it.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Sessions that only beat do so more often.
const BEAT: Duration = Duration::from_secs(2);
/// A heartbeat or query that failed is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);
/// Readers pause between two questions.
const PAUSE: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(5);

const CONFIG: &str = r#"
shutdown_grace = "5s"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "15s"
"#;

/// How much is asked of the server meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Sessions of a view of their own that only beat.
    pub sessions: usize,
    /// Who list, search and ask for totals, one question after the other.
    pub readers: usize,
}

/// How the server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Listening {
    /// By itself: between two lives who connects is refused, and comes again.
    Itself,
    /// On sockets that are handed over to each life: who connects meanwhile waits, and no heartbeat fails.
    HandedOver,
}

/// So many restarts, each while all of that is under way. The server ends with code 0 within its grace. No session
/// is obsolete: all of the agents and all that only beat are those of the beginning, a heartbeat that failed
/// succeeds before the timeout, and readers see nothing but that the server is away. No evidence is lost and
/// nothing is listed anew: at the end view = disk.
///
/// # Panics
/// Something of this does not hold.
pub async fn restarts(seed: u64, rounds: u64, load: Load, listening: Listening) {
    let mut world = match listening {
        Listening::Itself => World::start_configured(CONFIG),
        Listening::HandedOver => World::start_activated(CONFIG),
    };
    println!("rolling: the view {} is served at {}", world.view(), world.url());
    let work = world.root().join("work");
    std::fs::create_dir(&work).expect("the tree");
    let agents = [world.start_ready_agent("a").await, world.start_agent("b", &[])];
    let sessions = [new_session(&world, "a", None).await, new_session(&world, "b", None).await];
    recovered(&world).await;
    let listed = agents.each_ref().map(snapshots);
    let load_runs = Running::begin(&world, load).await;
    let churn = Churn::begin(&work, seed);
    let mut dice = Dice::new(seed);
    let mut away = Vec::new();
    for round in 0..rounds {
        tokio::time::sleep(dice.millis(1_500)).await;
        // All begin in its first life.
        check_server(&world, if round == 0 { agents.len() + load.sessions } else { 0 });
        let began = now();
        end_server(&mut world).await;
        let ended = began.elapsed();
        world.start_server();
        serving(&world).await;
        away.push(began.elapsed());
        println!("rolling: round {round}: ended in {ended:.0?}, away for {:.0?}", began.elapsed());
        for agent in &agents {
            beats_on(agent).await;
        }
    }
    let operations = churn.end();
    recovered(&world).await;
    check_server(&world, 0);
    let (beats, reads) = load_runs.end();
    for ((agent, name), session) in agents.iter().zip(["a", "b"]).zip(sessions) {
        let now = session_of(&world, name).await.map(|(id, _)| id);
        assert_eq!(now, Some(session), "the session of {name}");
        check_agent(agent);
    }
    assert_eq!(agents.each_ref().map(snapshots), listed, "nothing is listed anew");
    away.sort_unstable();
    println!("rolling: {rounds} restarts, away for {:.0?} (median)", away[away.len() / 2]);
    println!("rolling: {operations} operations on the tree; view = disk");
    println!("rolling: heartbeats of {} sessions: {beats}", load.sessions);
    println!("rolling: queries of {} readers: {reads}", load.readers);
    assert!(beats.longest < TIMEOUT, "a session was silent for {:?}", beats.longest);
    match listening {
        Listening::Itself => {
            assert!(beats.failed + reads.failed > 0, "nobody was there when the server was away");
        }
        Listening::HandedOver => {
            assert_eq!(beats.failed, 0, "heartbeats failed");
            agents.iter().for_each(none_failed);
            // Of the time that it is away a good part is its start.
            assert!(reads.slowest > away[0] / 4, "nobody waited for the server to come back");
        }
    }
}

/// SIGTERM, and the end within the grace; blocks nobody else meanwhile.
async fn end_server(world: &mut World) {
    world.server().signal(rustix::process::Signal::TERM);
    let began = now();
    let status = loop {
        if let Some(status) = world.server().ended() {
            break status;
        }
        // The grace is the limit; beside it a busy machine.
        assert!(began.elapsed() < GRACE + PATIENCE, "the server does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(status.success(), "the server ended with {status}:\n{}", world.server().output());
}

async fn serving(world: &World) {
    until("the server answers", async || world.client().list_views().await.ok()).await;
}

/// What a life of the server counted: nothing is lost or obsolete, and so many sessions began.
fn check_server(world: &World, created: usize) {
    for name in [
        "fusion_obsolete_answers_total",
        "fusion_lost_batches_total",
        "fusion_view_panics_total",
        "fusion_sessions_ended_total",
        "fusion_view_remembered{what=\"losses\"}",
    ] {
        assert_eq!(counter(world.http(), name), 0.0, "{name}");
    }
    assert_eq!(counter(world.http(), "fusion_sessions_created_total"), created as f64);
}

const HEARTBEATS: &str = "fusion_agent_heartbeats_total{outcome=\"ok\"}";

/// How often an agent listed the whole tree as the leader.
fn snapshots(agent: &Agent) -> f64 {
    counter(&agent.http, "fusion_agent_scans_total{source=\"snapshot\"}")
}

/// What an agent counted: it lost nothing, and had no session but its first.
fn check_agent(agent: &Agent) {
    for name in [
        "fusion_agent_session_recoveries_total",
        "fusion_agent_kernel_overflows_total",
        "fusion_agent_spool_full_total",
        "fusion_agent_part_restarts_total",
    ] {
        assert_eq!(counter(&agent.http, name), 0.0, "{name} in\n{}", get(&agent.http, "/metrics"));
    }
}

/// No heartbeat of an agent failed. One answer tells of all: between two it may have beaten once more.
fn none_failed(agent: &Agent) {
    let metrics = get(&agent.http, "/metrics");
    let beats = metrics.lines().filter(|it| it.starts_with("fusion_agent_heartbeats_total{"));
    let failed: Vec<_> = beats.filter(|it| !it.contains("\"ok\"") && !it.ends_with(" 0")).collect();
    assert!(failed.is_empty(), "heartbeats of an agent failed: {failed:?}");
}

/// An agent beats again before its session would be over.
async fn beats_on(agent: &Agent) {
    let (last, began) = (counter(&agent.http, HEARTBEATS), now());
    until("a heartbeat", async || (counter(&agent.http, HEARTBEATS) > last).then_some(())).await;
    let took = began.elapsed();
    assert!(took < TIMEOUT, "no heartbeat for {took:?}");
}

/// What came of calls, one after the other.
#[derive(Debug, Default)]
struct Told {
    done: u64,
    failed: u64,
    /// How the first failed.
    why: Option<String>,
    /// The longest time between two that succeeded.
    longest: Duration,
    /// The longest that one of them took.
    slowest: Duration,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, failed, why, longest, slowest } = self;
        let times = format!("at most {longest:.1?} between answers, {slowest:.1?} for one");
        let why = why.as_ref().map(|why| format!(" (`{why}` first)")).unwrap_or_default();
        write!(f, "{done} answered, {failed} failed and tried again{why}, {times}")
    }
}

impl Told {
    /// Of all together.
    fn of(each: Vec<Self>) -> Self {
        each.into_iter().fold(Self::default(), |all, one| Self {
            done: all.done + one.done,
            failed: all.failed + one.failed,
            why: all.why.or(one.why),
            longest: all.longest.max(one.longest),
            slowest: all.slowest.max(one.slowest),
        })
    }

    /// Calls again and again, at this pace, until it is told to stop.
    async fn count(
        stopped: &AtomicBool,
        pace: Duration,
        mut call: impl AsyncFnMut() -> Result<(), CallError>,
    ) -> Self {
        let (mut told, mut last) = (Self::default(), now());
        while !stopped.load(Ordering::Relaxed) {
            let began = now();
            let pause = match call().await {
                Ok(()) => {
                    told.done += 1;
                    told.slowest = told.slowest.max(began.elapsed());
                    told.longest = told.longest.max(last.elapsed());
                    last = now();
                    pace
                }
                Err(error) => {
                    assert!(is_away(&error), "{error:?}");
                    told.failed += 1;
                    told.why.get_or_insert_with(|| error.to_string());
                    AGAIN.min(pace * 5)
                }
            };
            tokio::time::sleep(pause).await;
        }
        told.longest = told.longest.max(last.elapsed());
        told
    }
}

/// Whether an answer says no more than that the server is not there, or goes.
fn is_away(error: &CallError) -> bool {
    error.is_lost() || matches!(error, CallError::Refused(Refusal::ServerDraining { .. }))
}

/// The load, on a thread of its own: who restarts the server waits for it.
struct Running {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<(Told, Told)>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Running {
    async fn begin(world: &World, load: Load) -> Self {
        let beats = ViewName::new("beats").expect("a name");
        let begun = (0..load.sessions).map(async |number| {
            RawAgent::begin_in(world, &beats, &format!("beat-{number}")).await.session()
        });
        let sessions = join_all(begun).await;
        let (url, view) = (world.url(), world.view().clone());
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let run = async move || {
            let beats = join_all(sessions.iter().map(|session| beat(&url, *session, &stopped)));
            let reads = join_all((0..load.readers).map(|_| read(&url, &view, &stopped)));
            let (beats, reads) = tokio::join!(beats, reads);
            (Told::of(beats), Told::of(reads))
        };
        let thread = std::thread::Builder::new().name("load".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(run())
        });
        Self { stop, thread: Some(thread.expect("a thread")) }
    }

    /// What came of heartbeats and queries.
    fn end(mut self) -> (Told, Told) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(|thread| thread.join().expect("the load"));
        ended.expect("it ends once")
    }
}

/// A session that only beats. Agents on hosts of their own have connections of their own.
async fn beat(url: &str, session: SessionId, stopped: &AtomicBool) -> Told {
    let mut sessions = connect(url, CallHook::none()).expect("a URL").sessions;
    Told::count(stopped, BEAT, async || {
        let beat = Heartbeat {
            session,
            agent_time: None,
            delivered_through: None,
            status: None,
            reports: Vec::new(),
        };
        sessions.heartbeat(&beat).await.map(drop)
    })
    .await
}

/// Who asks one question after the other.
async fn read(url: &str, view: &ViewName, stopped: &AtomicBool) -> Told {
    let mut views = connect(url, CallHook::none()).expect("a URL").views;
    let (root, mut number) = (TreePath::root(), 0_u64);
    Told::count(stopped, PAUSE, async || {
        number += 1;
        if number.is_multiple_of(2) {
            views.totals(view, &root).await.map(drop)
        } else {
            views.list(view, &root, "").await.map(drop)
        }
    })
    .await
}
