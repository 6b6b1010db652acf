//! The wall clock of an agent's host is two hours off, and jumps.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::checks::{leads_alone, new_session, recovered, session_of};
use super::churn::{Churn, Dice};
use crate::pair::{World, counter};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "3s"
"#;

/// Two agents look at one tree; the clock of the leader is two hours ahead, then jumps by hours to
/// and fro while files change. The view is equal at every stop, no session ends, and it is dated by
/// the server: nothing in it is newer than now.
///
/// # Panics
/// Something of this does not hold, or Debian's faketime is not there.
pub async fn off_and_jumping(seed: u64, jumps: u64) {
    assert!(PathBuf::from(LIBRARY).exists(), "{LIBRARY}: .ci/install has it");
    let mut dice = Dice::new(seed);
    let world = World::start_configured(CONFIG);
    let work = world.root().join("work");
    fs::create_dir(&work).expect("the tree");
    let offset = world.path("offset");
    fs::write(&offset, "+2h").expect("the offset");
    let off = world
        .launch("off")
        .env("LD_PRELOAD", LIBRARY)
        .env("FAKETIME_TIMESTAMP_FILE", offset.as_os_str())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start();
    let first = new_session(&world, "off", None).await;
    recovered(&world).await;
    leads_alone(&world, &off, "off").await;
    is_two_hours_ahead(&world);
    let right = world.start_agent("right", &[]);
    let second = new_session(&world, "right", None).await;

    for jump in 0..jumps {
        let hours = dice.below(49).cast_signed() - 24;
        println!("clock: seed {seed}, jump {jump}: {hours:+} h");
        let churn = Churn::begin(&work, dice.draw());
        fs::write(&offset, format!("{hours:+}h")).expect("the offset");
        tokio::time::sleep(dice.millis(1_000) + Duration::from_millis(200)).await;
        assert!(churn.end() > 0);
        recovered(&world).await;
        is_dated_by_the_server(&world).await;
    }
    for (name, agent, session) in [("off", &off, first), ("right", &right, second)] {
        let (same, info) = session_of(&world, name).await.expect("its session");
        assert_eq!(same, session, "{name} kept its session");
        let troubles = info.status.expect("a status").errors;
        assert!(troubles.is_empty(), "{troubles:?}");
        assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
    }
    assert_eq!(counter(world.http(), "fusion_sessions_ended_total"), 0.0);
}

/// The agent's own record, which its wall clock dates, shows that the fault is one.
fn is_two_hours_ahead(world: &World) {
    let record = fs::read_to_string(world.path("off.spool/spool.lock")).expect("the record");
    let since = record.lines().find_map(|line| line.strip_prefix("since = ")).expect("a date");
    let date = |at: &str| {
        let done = std::process::Command::new("date").args(["-u", "-d", at, "+%s"]).output();
        let text = String::from_utf8(done.expect("date can be run").stdout).expect("a number");
        text.trim().parse::<i64>().expect("seconds")
    };
    let ahead = date(since.trim_matches('"')) - date("now");
    assert!((7_100..=7_200).contains(&ahead), "{ahead} s ahead: {record}");
}

/// Revisions, horizon and the last audit are in the server's time.
async fn is_dated_by_the_server(world: &World) {
    let view = world.client().view(world.view()).await.expect("the view");
    let now = crate::process::wall_clock_nanos();
    let second = 1_000_000_000;
    for time in [view.freshness.horizon, view.freshness.last_audit, view.freshness.last_snapshot] {
        let Some(time) = time else { continue };
        let age = now - time.as_nanos();
        assert!((-second..600 * second).contains(&age), "{age} ns old: {:?}", view.freshness);
    }
    let quiet = view.freshness.quiet_for.unwrap_or_default();
    assert!(quiet < Duration::from_secs(600), "{quiet:?}");
}
