//! State in Redis, on a real one: the conformance suite, and what an engine can do to a server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test: what fails is told by the panic")]

#[path = "engines/faults.rs"]
mod faults;

use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_store::conformance::{self, Anew};
use fusion_store::engines::redis::RedisState;
use fusion_store::engines::started::StartedRedis;
use fusion_store::engines::{EngineSettings, TlsFiles, Whose};
use fusion_store::{Space, State, StoreError, Survives};
use uuid::Uuid;

const NOW: ServerTime = ServerTime::from_nanos(1);

fn whose(number: u128) -> Whose {
    Whose { server: Uuid::from_u128(number), state: None, new_state: Uuid::from_u128(100 + number) }
}

fn open(settings: &EngineSettings) -> RedisState {
    RedisState::open(settings, whose(1)).unwrap()
}

#[test]
fn it_conforms() {
    let Some(engine) = StartedRedis::start() else { return };
    let mut number = 0;
    conformance::state(&mut || {
        number += 1;
        let settings = engine.settings(&format!("conformance-{number}:"));
        Box::new(Anew::new(move || open(&settings)))
    });
}

#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed_and_it_goes_on_by_itself() {
    let Some(mut engine) = StartedRedis::start() else { return };
    let state = open(&engine.settings("fusion:"));
    let mut writing = faults::Writing::begin(&state);
    writing.while_it_happens(&state, || {
        engine.kill();
        engine.go_on();
    });
    assert_eq!(state.guarantee().survives, Survives::Power, "{}", state.guarantee());
}

#[test]
fn a_stopped_one_is_an_error_in_time_and_what_was_given_up_does_not_come_after_what_followed() {
    let Some(engine) = StartedRedis::start() else { return };
    let settings =
        EngineSettings { timeout: Duration::from_millis(500), ..engine.settings("fusion:") };
    let state = open(&settings);
    for _ in 0..5 {
        faults::given_up_stays_behind(&state, || engine.signal("STOP"), || engine.signal("CONT"));
    }
}

#[test]
fn what_is_sent_over_a_connection_that_was_given_up_does_nothing() {
    let Some(engine) = StartedRedis::start() else { return };
    let earlier = open(&engine.settings("fusion:"));
    earlier.put(Space::Job, b"k", b"before", None).unwrap();
    // The same server, over another connection: the one before it counts as given up.
    let later = open(&engine.settings("fusion:"));
    let refused = earlier.put(Space::Job, b"k", b"too late", None).unwrap_err();
    assert!(refused.to_string().contains("has taken over"), "{refused}");
    assert_eq!(later.get(Space::Job, b"k", NOW).ok().flatten().unwrap().value, b"before");
}

#[test]
fn one_that_is_slow_is_an_error_in_time_and_no_more_after_it() {
    let Some(engine) = StartedRedis::start_with(&["enable-debug-command yes"]) else { return };
    let settings =
        EngineSettings { timeout: Duration::from_millis(300), ..engine.settings("fusion:") };
    let state = open(&settings);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| engine.command(&["DEBUG", "SLEEP", "2"]));
        let late = faults::until(|| state.put(Space::Job, b"k", b"1", None).err());
        assert!(late.is_of_the_engine(), "{late}");
        slow.join().unwrap();
    });
    faults::until(|| state.put(Space::Job, b"k", b"2", None).ok());
}

#[test]
fn one_that_was_emptied_is_not_gone_on_with() {
    let Some(mut engine) = StartedRedis::start() else { return };
    let settings = engine.settings("fusion:");
    let state = open(&settings);
    state.put(Space::Job, b"k", b"1", None).unwrap();
    engine.command(&["SET", "of another", "1"]);
    assert_eq!(engine.command(&["FLUSHALL"]), "OK");
    let is_other = |error: &StoreError| matches!(error, StoreError::OtherState { .. });
    // Found out by the next call of any kind, without a new connection, and again over a new one.
    for _ in 0..2 {
        let calls = [
            state.get(Space::Job, b"k", NOW).map(drop),
            state.put(Space::Job, b"k", b"2", None).map(drop),
            state.scan(Space::Job, b"", None, 9, NOW).map(drop),
            state.expire(NOW, 9).map(drop),
            state.delete(Space::Job, b"k").map(drop),
        ];
        for called in calls {
            assert!(is_other(&called.clone().unwrap_err()), "{called:?}");
        }
        engine.kill();
        engine.go_on();
    }
    assert_eq!(engine.command(&["DBSIZE"]), "0", "nothing was written");
    let wanted = Whose { state: Some(state.id()), ..whose(1) };
    let refused = RedisState::open(&settings, wanted).unwrap_err();
    assert!(is_other(&refused) && refused.to_string().contains("no state of Fusion"), "{refused}");
    // Whoever has no state yet begins one, and that is another one.
    let begun = RedisState::open(&settings, whose(2)).unwrap();
    assert_ne!(begun.id(), state.id());
    assert!(is_other(&state.get(Space::Job, b"k", NOW).unwrap_err()));
}

#[test]
fn versions_go_on_when_all_values_went() {
    let Some(engine) = StartedRedis::start() else { return };
    let state = open(&engine.settings("fusion:"));
    let before = state.put(Space::Job, b"k", b"1", Some(ServerTime::from_nanos(5))).unwrap();
    assert_eq!(state.expire(ServerTime::from_nanos(5), 9).unwrap(), 1);
    let names = engine.command(&["KEYS", "fusion:job*"]);
    assert_eq!(names, "", "nothing is left behind");
    assert!(state.put(Space::Job, b"k", b"1", None).unwrap() > before);
}

#[test]
fn what_is_stored_can_be_read_by_people() {
    let Some(engine) = StartedRedis::start() else { return };
    let state = open(&engine.settings("site-a:"));
    state.put(Space::View, b"home", br#"{"v":1}"#, None).unwrap();
    let told = engine.command(&["HGET", "site-a:view", "home"]);
    assert_eq!(told, r#"{"v":1}"#);
    let other = open(&engine.settings("site-b:"));
    assert_eq!(other.get(Space::View, b"home", NOW).unwrap(), None);
}

#[test]
fn a_format_of_the_future_is_refused() {
    let Some(engine) = StartedRedis::start() else { return };
    let settings = engine.settings("fusion:");
    drop(open(&settings));
    assert_eq!(engine.command(&["GET", "fusion:format"]), "1");
    engine.command(&["SET", "fusion:format", "7"]);
    let refused = RedisState::open(&settings, whose(1)).unwrap_err();
    assert!(matches!(refused, StoreError::FutureFormat { found: 7, known: 1, .. }), "{refused}");
}

#[test]
fn what_an_engine_is_set_up_to_lose_is_said_and_one_that_drops_keys_is_refused() {
    let cases: [(&[&str], Survives, &str); 4] = [
        (&["appendonly yes", "appendfsync everysec"], Survives::Processes, "everysec"),
        (&["appendonly yes", "appendfsync no"], Survives::Processes, "appendfsync is no"),
        (&["appendonly no"], Survives::Server, "no append-only file"),
        (
            &["appendonly yes", "appendfsync always", "rename-command CONFIG \"\""],
            Survives::Unknown,
            "does not tell",
        ),
    ];
    for (lines, survives, says) in cases {
        let Some(engine) = StartedRedis::start_with(lines) else { return };
        let told = open(&engine.settings("fusion:")).guarantee();
        assert_eq!(told.survives, survives);
        assert!(told.to_string().contains(says) && told.engine.starts_with("Redis 7"), "{told}");
    }
    let lines = ["maxmemory 100mb", "maxmemory-policy allkeys-lru"];
    let Some(engine) = StartedRedis::start_with(&lines) else { return };
    let refused = RedisState::open(&engine.settings("fusion:"), whose(1)).unwrap_err().to_string();
    assert!(refused.contains("allkeys-lru") && refused.contains("noeviction"), "{refused}");
    let wrong = EngineSettings { password: None, ..engine.settings("fusion:") };
    let refused = RedisState::open(&wrong, whose(1)).unwrap_err().to_string();
    assert!(refused.to_lowercase().contains("auth") && refused.contains("127.0.0.1"), "{refused}");
}

#[test]
fn tls_shows_the_right_name_or_nothing_is_sent() {
    let files = faults::Certificates::new();
    let lines = [
        "tls-port %n",
        "port 0",
        "tls-cert-file %p/crt",
        "tls-key-file %p/key",
        "tls-auth-clients no",
    ];
    let put = [("crt", files.certificate("localhost")), ("key", files.key())];
    let Some(engine) = StartedRedis::start_with_files(&lines, &put) else { return };
    let tls = Some(TlsFiles { ca: files.ca(), own: None });
    let at = |host: &str| {
        let url = format!("rediss://{host}:{}/0", engine.port());
        EngineSettings { url, tls: tls.clone(), ..engine.settings("fusion:") }
    };
    let state = open(&at("localhost"));
    state.put(Space::Job, b"k", b"1", None).unwrap();
    let wrong_name = RedisState::open(&at("127.0.0.1"), whose(2)).unwrap_err().to_string();
    assert!(wrong_name.contains("certificate"), "{wrong_name}");
    let stranger = faults::Certificates::new();
    let wrong_ca = Some(TlsFiles { ca: stranger.ca(), own: None });
    let wrong_ca = RedisState::open(&EngineSettings { tls: wrong_ca, ..at("localhost") }, whose(2));
    assert!(wrong_ca.unwrap_err().to_string().contains("certificate"));
    assert!(RedisState::open(&engine.settings("fusion:"), whose(2)).is_err(), "no plaintext");
}
