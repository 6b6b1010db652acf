//! A server whose state is in an engine outside of it, with the real binaries: it dies and goes on in the same
//! sessions, the engine dies and comes back, is away at the start, or is another one.
//!
//! An engine that is not on this machine is said to be so on a line; see `fusion_store::engines::started`.

use std::fs;
use std::process::Command;
use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_store::engines::postgres::PostgresState;
use fusion_store::engines::started::{PASSWORD, StartedPostgres, StartedRedis};
use fusion_store::engines::{EngineSettings, Whose};
use fusion_store::{Space, State as _};
use fusion_tests::faults::proxy::Proxy;
use fusion_tests::pair::{READY, World, text};
use fusion_tests::{binaries, compare, nats};
use uuid::Uuid;

const SETTINGS: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "6s"
"#;

/// An engine, whichever it is.
trait Engine {
    fn kill(&mut self);
    fn go_on(&mut self);
    /// What the configuration says of it.
    fn sections(&self) -> String;
    /// As people read it in errors.
    fn place(&self) -> String;
    /// It has the logs as well: while it is away no evidence is taken.
    fn has_the_logs(&self) -> bool {
        false
    }
}

impl Engine for StartedPostgres {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn go_on(&mut self) {
        Self::go_on(self);
    }

    fn sections(&self) -> String {
        state("postgres", &self.settings("fusion").url)
    }

    fn place(&self) -> String {
        format!("PostgreSQL at 127.0.0.1:{}/fusion", self.port())
    }
}

impl Engine for StartedRedis {
    fn kill(&mut self) {
        Self::kill(self);
    }

    fn go_on(&mut self) {
        Self::go_on(self);
    }

    fn sections(&self) -> String {
        state("redis", &self.settings("").url)
    }

    fn place(&self) -> String {
        format!("Redis at 127.0.0.1:{}/0", self.port())
    }
}

impl Engine for nats::Nats {
    fn kill(&mut self) {
        self.nodes[0].kill();
    }

    fn go_on(&mut self) {
        self.nodes[0].start();
        self.wait_until_well();
    }

    fn sections(&self) -> String {
        let log = format!("engine = \"nats\"\nservers = {:?}\nsync = \"always\"", self.urls());
        format!("[state]\nengine = \"nats\"\n[change_log]\n{log}\ntimeout = \"2s\"\n")
    }

    fn place(&self) -> String {
        format!("NATS at {}", self.urls()[0])
    }

    fn has_the_logs(&self) -> bool {
        true
    }
}

fn state(engine: &str, url: &str) -> String {
    let how = format!("password = \"{PASSWORD}\"\ntimeout = \"2s\"");
    format!("[state]\nengine = \"{engine}\"\nurl = \"{url}\"\n{how}\n")
}

fn world(engine: &dyn Engine) -> World {
    World::start_configured(&format!("{}{SETTINGS}", engine.sections()))
}

fn sessions(world: &World) -> Vec<String> {
    let mut ids: Vec<_> =
        world.json(&["sessions"]).iter().map(|it| it["session_id"].to_string()).collect();
    ids.sort();
    ids
}

/// A start of the server that does not come up; what it said.
fn refused(world: &World) -> String {
    let mut command = Command::new("timeout");
    command.arg("60").arg(binaries::path("fusion-server"));
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(world.path("server")).arg("--config").arg(world.path("server.toml"));
    let ended = command.output().unwrap();
    assert!(!ended.status.success() && ended.status.code() != Some(124), "{}", text(&ended));
    assert!(!text(&ended).contains(PASSWORD), "{}", text(&ended));
    text(&ended)
}

async fn lives_and_dies(engine: &mut dyn Engine) {
    let mut world = world(engine);
    fs::write(world.root().join("f"), "x").unwrap();
    let leader = world.start_ready_agent("leader").await;
    let _follower = world.start_agent("follower", &[]);
    let limit = compare::clock();
    while sessions(&world).len() < 2 {
        assert!(limit.elapsed() < READY, "the follower has no session");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.fusionctl(&["jobs", "run", "scan", "/"]).status.code(), Some(0));
    let (had, jobs) = (sessions(&world), world.json(&["jobs", "list"]));
    let status = world.json(&["status"]).remove(0);
    let (kind, at) =
        engine.place().split_once(" at ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let told = status["state"]["engine"].as_str().unwrap().to_owned();
    assert!(told.starts_with(&kind) && told.ends_with(&at), "{told}");
    assert_eq!(status["state"]["survives"], "power");

    world.kill_server();
    world.start_server();
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    assert_eq!(sessions(&world), had, "the same sessions");
    assert_eq!(world.json(&["jobs", "list"])[0]["job_id"], jobs[0]["job_id"], "the same jobs");
    assert!(!leader.process.output().contains("obsolete"), "{}", leader.process.output());

    while_the_engine_is_away(engine, &mut world, &had).await;

    world.kill_server();
    engine.kill();
    let said = refused(&world);
    assert!(said.contains(&engine.place()) && said.contains("see that it runs"), "{said}");
    engine.go_on();
    world.start_server();
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    fs::write(world.root().join("g"), "y").unwrap();
    world.settle().await;
    let _ = world.server().terminate(Duration::from_secs(30));
}

async fn while_the_engine_is_away(engine: &mut dyn Engine, world: &mut World, had: &[String]) {
    engine.kill();
    // Longer than a session may be silent: its heartbeats are answered from memory.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(sessions(world), had, "heartbeats go on");
    fs::write(world.root().join("while-away"), "1").unwrap();
    if !engine.has_the_logs() {
        world.settle().await;
    }
    let run = world.fusionctl(&["jobs", "run", "scan", "/"]);
    assert!(!run.status.success() && text(&run).contains("store"), "{}", text(&run));
    engine.go_on();
    let limit = compare::clock();
    while !world.fusionctl(&["jobs", "run", "scan", "/"]).status.success() {
        assert!(limit.elapsed() < READY, "{}", world.server().output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(sessions(world), had, "by itself");
}

#[tokio::test]
async fn a_server_on_postgresql_outlives_itself_and_its_engine() {
    let Some(mut engine) = StartedPostgres::start() else { return };
    lives_and_dies(&mut engine).await;
    let audit = engine.sql("fusion", "SELECT DISTINCT method FROM fusion_audit ORDER BY 1");
    assert!(audit.contains("CreateJob"), "{audit}");
    let jobs = engine
        .sql("fusion", "SELECT state, kinds, views FROM fusion_jobs WHERE origin = 'request'");
    assert!(jobs.contains("completed|scan|tree"), "{jobs}");
    let sessions = engine.sql("fusion", "SELECT agent, state FROM fusion_sessions ORDER BY agent");
    assert_eq!(sessions, "follower|active\nleader|active");
}

#[tokio::test]
async fn a_server_on_redis_outlives_itself_and_its_engine() {
    let Some(mut engine) = StartedRedis::start() else { return };
    lives_and_dies(&mut engine).await;
}

#[tokio::test]
async fn a_server_on_nats_alone_outlives_itself_and_its_engine() {
    if !nats::is_there("a_server_on_nats_alone_outlives_itself_and_its_engine") {
        return;
    }
    let options = nats::Options { sync_always: true, ..nats::Options::default() };
    lives_and_dies(&mut nats::Nats::one(&options)).await;
}

/// Every message to and from it takes 300 ms, so that logging in takes longer than a call may.
#[test]
fn postgresql_is_reached_over_a_long_way() {
    let Some(engine) = StartedPostgres::start() else { return };
    let near = engine.settings("fusion");
    let way = Proxy::at("127.0.0.1:0", &[format!("127.0.0.1:{}", engine.port())]);
    way.slow_each(Duration::from_millis(300));
    let far = way.url().trim_start_matches("http://").to_owned();
    let url = near.url.replace(&format!("127.0.0.1:{}", engine.port()), &far);
    assert_ne!(url, near.url);
    let timeout = Duration::from_secs(2);
    let whose = |server| Whose {
        server: Uuid::from_u128(server),
        state: None,
        new_state: Uuid::from_u128(9),
    };
    let state = PostgresState::open(&EngineSettings { url, timeout, ..near }, whose(1)).unwrap();
    state.put(Space::Job, b"k", b"before", None).unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'fusion-server%'";
    assert_ne!(engine.sql("fusion", end), "0");
    let began = compare::clock();
    while let Err(error) = state.put(Space::Job, b"k", b"after", None) {
        assert!(began.elapsed() < Duration::from_secs(30), "{error}");
    }
    let put = state.get(Space::Job, b"k", ServerTime::from_nanos(1)).unwrap();
    assert_eq!(put.unwrap().value, b"after");
}

#[test]
fn a_directory_goes_by_one_state() {
    let Some(engine) = StartedRedis::start() else { return };
    let mut world = world(&engine);
    world.kill_server();
    let config = fs::read_to_string(world.path("server.toml")).unwrap();
    fs::write(world.path("server.toml"), SETTINGS).unwrap();
    let said = refused(&world);
    assert!(said.contains("goes by the state") && said.contains("outside"), "{said}");
    fs::write(world.path("server.toml"), &config).unwrap();
    engine.command(&["FLUSHALL"]);
    let said = refused(&world);
    assert!(said.contains("no state of Fusion") && said.contains(&engine.place()), "{said}");

    let mut embedded = World::start_configured(SETTINGS);
    assert!(embedded.fusionctl(&["status"]).status.success());
    let agent = embedded.start_agent("a", &[]);
    let limit = compare::clock();
    while sessions(&embedded).is_empty() {
        assert!(limit.elapsed() < READY, "{}", agent.process.output());
        std::thread::sleep(Duration::from_millis(50));
    }
    embedded.kill_server();
    fs::write(embedded.path("server.toml"), &config).unwrap();
    let said = refused(&embedded);
    assert!(said.contains("has its state in itself"), "{said}");
}
