//! Two agents with one id.

use std::fs;
use std::time::Duration;

use super::checks::{leads_alone, new_session, recovered, session_of};
use crate::pair::{World, counter};

const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "2s"
"#;

/// A second process with the id of a live one and another spool waits for the rest of the other's
/// timeout, finds it alive, and stops with a clear error. The live one notices nothing. When the
/// live one has died without a word, the same process would be let in after its timeout.
///
/// # Panics
/// Something of this does not hold.
pub async fn with_one_id() {
    let world = World::start_configured(CONFIG);
    fs::write(world.root().join("a"), "a").expect("a file");
    let mut live = world.start_ready_agent("one").await;
    let (session, _) = session_of(&world, "one").await.expect("its session");
    let epoch = leads_alone(&world, &live, "one").await;
    let again = || world.launch("twin").id("one").spool(&world.path("twin.spool"));

    let mut twin = again().start_doomed();
    let status = twin.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(1), "{}", twin.output());
    let (same, _) = session_of(&world, "one").await.expect("its session");
    assert_eq!(same, session, "the live one is not disturbed");
    for name in ["fusion_agent_session_recoveries_total", "fusion_agent_reconnects_total"] {
        assert_eq!(counter(&live.http, name), 0.0, "{name}");
    }
    let refused = "fusion_rpc_requests_total{code=\"ALREADY_EXISTS\",\
                   method=\"fusion.v1.SessionService/CreateSession\"}";
    assert_eq!(counter(world.http(), refused), 2.0, "at once, and after the rest of the timeout");
    assert_eq!(leads_alone(&world, &live, "one").await, epoch);
    fs::write(world.root().join("b"), "b").expect("a file");
    recovered(&world).await;

    live.process.kill();
    let twin = again().start();
    assert_ne!(new_session(&world, "one", Some(session)).await, session);
    recovered(&world).await;
    assert!(leads_alone(&world, &twin, "one").await > epoch);
    assert_eq!(counter(world.http(), refused), 3.0);
    let expired = "fusion_sessions_ended_total{state=\"expired\",view=\"tree\"}";
    assert_eq!(counter(world.http(), expired), 1.0);
}
