//! State in PostgreSQL, on a real one: the conformance suite, and what an engine can do to a server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test: what fails is told by the panic")]

#[path = "engines/faults.rs"]
mod faults;

use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_store::conformance::{self, Anew};
use fusion_store::engines::postgres::PostgresState;
use fusion_store::engines::started::StartedPostgres;
use fusion_store::engines::{EngineSettings, TlsFiles, Whose};
use fusion_store::{Put, Space, State, StoreError, Survives};
use uuid::Uuid;

const NOW: ServerTime = ServerTime::from_nanos(1);
const DUMP: &str = include_str!("golden/postgres-1.sql");

fn whose(number: u128) -> Whose {
    Whose { server: Uuid::from_u128(number), state: None, new_state: Uuid::from_u128(100 + number) }
}

fn open(settings: &EngineSettings) -> PostgresState {
    PostgresState::open(settings, whose(1)).unwrap()
}

#[test]
fn it_conforms() {
    let Some(engine) = StartedPostgres::start() else { return };
    let mut number = 0;
    conformance::state(&mut || {
        number += 1;
        let database = format!("conformance_{number}");
        engine.sql("postgres", &format!("CREATE DATABASE {database}"));
        let settings = engine.settings(&database);
        Box::new(Anew::new(move || open(&settings)))
    });
}

#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed_and_it_goes_on_by_itself() {
    let Some(mut engine) = StartedPostgres::start() else { return };
    let state = open(&engine.settings("fusion"));
    let mut writing = faults::Writing::begin(&state);
    writing.while_it_happens(&state, || {
        engine.kill();
        engine.go_on();
    });
    assert_eq!(state.guarantee().survives, Survives::Power, "{}", state.guarantee());
}

#[test]
fn a_stopped_one_is_an_error_in_time_and_what_was_given_up_does_not_come_after_what_followed() {
    let Some(engine) = StartedPostgres::start() else { return };
    let settings =
        EngineSettings { timeout: Duration::from_millis(700), ..engine.settings("fusion") };
    let state = open(&settings);
    for _ in 0..5 {
        faults::given_up_stays_behind(&state, || engine.signal("STOP"), || engine.signal("CONT"));
    }
}

#[test]
fn nothing_is_written_while_what_was_given_up_may_still_happen() {
    let Some(engine) = StartedPostgres::start() else { return };
    let settings =
        EngineSettings { timeout: Duration::from_millis(700), ..engine.settings("fusion") };
    let state = open(&settings);
    state.put(Space::Job, b"k", b"before", None).unwrap();
    let serving = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'fusion-server%'";
    let serving = engine.sql("fusion", serving);
    let signal = |name: &str| {
        let done = std::process::Command::new("kill").args([name, &serving]).status().unwrap();
        assert!(done.success(), "one process serves the one connection: {serving}");
    };
    signal("-STOP");
    state.put(Space::Job, b"k", b"given up", None).unwrap_err();
    // The rest of the database is well, and what was given up lies in the socket of the stopped process.
    let early = state.put(Space::Job, b"k", b"after", None);
    signal("-CONT");
    assert!(early.is_err(), "written before what was given up had ended");
    faults::until(|| state.put(Space::Job, b"k", b"after", None).ok());
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(state.get(Space::Job, b"k", NOW).unwrap().unwrap().value, b"after");
}

#[test]
fn a_row_that_another_holds_is_an_error_in_time() {
    let Some(engine) = StartedPostgres::start() else { return };
    let settings =
        EngineSettings { timeout: Duration::from_millis(500), ..engine.settings("fusion") };
    let state = open(&settings);
    state.put(Space::Job, b"k", b"1", None).unwrap();
    std::thread::scope(|scope| {
        let hold = "BEGIN; LOCK TABLE fusion_state IN EXCLUSIVE MODE; SELECT pg_sleep(3)";
        let holding = scope.spawn(|| engine.sql("fusion", hold));
        while !engine.sql("fusion", "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' AND relation = 'fusion_state'::regclass").starts_with('1') {}
        let late = state.put(Space::Job, b"k", b"2", None).unwrap_err();
        assert!(late.is_of_the_engine(), "{late}");
        assert_eq!(state.get(Space::Job, b"k", NOW).unwrap().unwrap().value, b"1", "reads go on");
        holding.join().unwrap();
    });
    state.put(Space::Job, b"k", b"3", None).unwrap();
}

#[test]
fn more_callers_than_connections_wait_for_one() {
    let Some(engine) = StartedPostgres::start() else { return };
    let settings = EngineSettings { connections: 2, ..engine.settings("fusion") };
    let state = open(&settings);
    std::thread::scope(|scope| {
        for number in 0..16_u8 {
            let state = &state;
            scope.spawn(move || {
                for _ in 0..20 {
                    state.put(Space::Job, &[number], b"v", None).unwrap();
                }
            });
        }
        let count =
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'fusion-server%'";
        assert!(engine.sql("fusion", count).parse::<u32>().unwrap() <= 2);
    });
    let large: Vec<Put> = (0..3_000_u32)
        .map(|number| Put {
            space: Space::Session,
            key: number.to_be_bytes().to_vec(),
            value: vec![7; 9_000],
            expires_at: None,
        })
        .collect();
    state.put_all(&large).unwrap();
    assert_eq!(state.scan(Space::Session, b"", None, 4_000, NOW).unwrap().items.len(), 3_000);
}

#[test]
fn servers_that_begin_together_in_an_empty_database_have_one_state() {
    let Some(engine) = StartedPostgres::start() else { return };
    for round in 0..8 {
        let database = format!("empty_{round}");
        engine.sql("postgres", &format!("CREATE DATABASE {database}"));
        let settings = &engine.settings(&database);
        std::thread::scope(|scope| {
            let open = |number| PostgresState::open(settings, whose(number)).unwrap().id();
            let opened: Vec<_> = (1..4).map(|number| scope.spawn(move || open(number))).collect();
            let ids: Vec<_> = opened.into_iter().map(|one| one.join().unwrap()).collect();
            assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        });
    }
}

#[test]
fn a_dump_of_schema_1_is_migrated_once_and_a_schema_of_the_future_is_refused() {
    let Some(engine) = StartedPostgres::start() else { return };
    engine.sql("fusion", DUMP);
    let settings = engine.settings("fusion");
    std::thread::scope(|scope| {
        let together = |number| {
            let settings = &settings;
            scope
                .spawn(move || PostgresState::open(settings, whose(number)).map(|state| state.id()))
        };
        let opened: Vec<_> = (1..5).map(together).collect();
        let golden = Uuid::from_u128(0x1234);
        for one in opened {
            assert_eq!(one.join().unwrap().unwrap(), golden, "the state of the dump");
        }
    });
    assert_eq!(engine.sql("fusion", "SELECT version FROM fusion_migrations ORDER BY 1"), "1\n2");
    let state = open(&settings);
    let item = state.get(Space::View, b"projects", NOW).unwrap().unwrap();
    assert!(item.value.starts_with(b"{\"v\":1,") && item.version.0 == 3, "{item:?}");
    assert_eq!(
        state.get(Space::Idempotency, b"p\0m\0k\0x", NOW).unwrap().unwrap().value,
        [0, 255, 1]
    );
    assert!(state.put(Space::Job, b"new", b"{}", None).unwrap().0 > 9, "versions go on");
    let views = "SELECT name, leader_epoch, version FROM fusion_views";
    assert_eq!(engine.sql("fusion", views), "projects|7|3");
    drop(state);
    engine.sql("fusion", "INSERT INTO fusion_migrations (version) VALUES (99)");
    let refused = PostgresState::open(&settings, whose(1)).unwrap_err();
    assert!(matches!(refused, StoreError::FutureFormat { found: 99, known: 2, .. }), "{refused}");
}

#[test]
fn people_read_columns_and_programs_the_same_bytes() {
    let Some(engine) = StartedPostgres::start() else { return };
    let state = open(&engine.settings("fusion"));
    let job = br#"{"v":3,"id":"0190","origin":"refresh","principal":"alice","correlation":"c","retry_of":null,"priority":5,"state":"running","version":4,"created_at_ns":10000000000,"started_at_ns":null,"updated_at_ns":13000000000,"progressed_at_ns":null,"ended_at_ns":null,"why":"","progress":40,"steps":[{"id":"one","kind":"scan","view":"home"}]}"#;
    state.put(Space::Job, b"1", job, None).unwrap();
    state.put(Space::Job, b"2", b"no \xff JSON", Some(ServerTime::from_nanos(5))).unwrap();
    assert_eq!(state.get(Space::Job, b"1", NOW).unwrap().unwrap().value, job);
    let asked = "SET timezone = 'UTC'; SELECT state, progress, principal, views, kinds, created_at, started_at FROM fusion_jobs ORDER BY version";
    let told = engine.sql("fusion", asked);
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "running|40|alice|home|scan|1970-01-01 00:00:10+00|NULL",
            "NULL|NULL|NULL|NULL|NULL|NULL|NULL"
        ]
    );
    let audit = br#"{"v":1,"id":"a","time_ns":10000000000,"asked_at_ns":1,"principal":"bob","method":"EndSession","view":"home","path":"","target":"s","version":2,"correlation":"","key_digest":"","resumed":false,"code":"OK","reason":"","changes":[]}"#;
    state.put(Space::Audit, &[0, 255, 3], audit, None).unwrap();
    let told = engine.sql("fusion", "SELECT principal, method, view, code FROM fusion_audit");
    assert_eq!(told, "bob|EndSession|home|OK");
    assert_eq!(engine.sql("fusion", "SELECT count(*) FROM fusion_sessions"), "0");
}

#[test]
fn another_database_in_its_place_is_not_gone_on_with() {
    let Some(mut engine) = StartedPostgres::start() else { return };
    let settings = engine.settings("fusion");
    let state = open(&settings);
    state.put(Space::Job, b"k", b"1", None).unwrap();
    engine.sql(
        "fusion",
        "ALTER TABLE fusion_store RENAME TO away; ALTER TABLE fusion_state RENAME TO away_too",
    );
    engine.kill();
    engine.go_on();
    let seen = faults::until(|| {
        state
            .get(Space::Job, b"k", NOW)
            .err()
            .filter(|error| matches!(error, StoreError::OtherState { .. }))
    });
    assert!(seen.to_string().contains("no state of Fusion"), "{seen}");
    let wanted = Whose { state: Some(state.id()), ..whose(1) };
    let refused = PostgresState::open(&engine.settings("postgres"), wanted).unwrap_err();
    assert!(matches!(refused, StoreError::OtherState { .. }), "{refused}");
    assert_eq!(
        engine.sql("postgres", "SELECT to_regclass('fusion_migrations')"),
        "NULL",
        "untouched"
    );
    engine.sql(
        "fusion",
        "ALTER TABLE away RENAME TO fusion_store; ALTER TABLE away_too RENAME TO fusion_state",
    );
    assert_eq!(state.get(Space::Job, b"k", NOW).unwrap().unwrap().value, b"1", "by itself");
}

#[test]
fn tls_shows_the_right_name_or_nothing_is_sent() {
    let Some(mut engine) = StartedPostgres::start() else { return };
    let files = faults::Certificates::new();
    engine.put_file("server.crt", &files.certificate("localhost"));
    engine.put_file("server.key", &files.key());
    engine.configure(&[("ssl", "on")]);
    engine.put_file("pg_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256\n");
    engine.kill();
    engine.go_on();
    let tls = Some(TlsFiles { ca: files.ca(), own: None });
    let plain = engine.settings("fusion");
    let at = |host: &str| {
        let url = plain.url.replace("127.0.0.1", host) + "?sslmode=verify-full";
        EngineSettings { url, tls: tls.clone(), ..plain.clone() }
    };
    let state = open(&at("localhost"));
    state.put(Space::Job, b"k", b"1", None).unwrap();
    let wrong_name = PostgresState::open(&at("127.0.0.1"), whose(2)).unwrap_err().to_string();
    assert!(wrong_name.contains("certificate"), "{wrong_name}");
    let stranger = faults::Certificates::new();
    let wrong_ca = Some(TlsFiles { ca: stranger.ca(), own: None });
    let wrong_ca =
        PostgresState::open(&EngineSettings { tls: wrong_ca, ..at("localhost") }, whose(2));
    assert!(wrong_ca.unwrap_err().to_string().contains("certificate"));
    let refused = PostgresState::open(&plain, whose(2)).unwrap_err().to_string();
    assert!(refused.contains("no encryption"), "{refused}");
}

#[test]
fn what_an_engine_is_set_up_to_lose_is_said_and_a_wrong_password_is_named() {
    let Some(engine) =
        StartedPostgres::start_with(&[("fsync", "off"), ("synchronous_commit", "off")])
    else {
        return;
    };
    let settings = engine.settings("fusion");
    let state = open(&settings);
    let told = state.guarantee();
    assert_eq!(told.survives, Survives::Processes);
    assert!(
        told.to_string().contains("fsync is off") && told.engine.starts_with("PostgreSQL 15"),
        "{told}"
    );
    let wrong = EngineSettings { password: None, ..settings };
    let refused = PostgresState::open(&wrong, whose(2)).unwrap_err().to_string();
    assert!(refused.contains("password") && refused.contains("127.0.0.1"), "{refused}");
}
