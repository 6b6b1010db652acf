//! A leader leaves: its follower leads within moments, by a notice and not by its next heartbeat.

use std::fs;
use std::time::Duration;

use super::checks::{new_session, recovered, until, until_true, watching};
use crate::pair::{World, counter, metric};
use crate::process::now;

/// Heartbeats come every 20 s: none of them can tell of a promotion in time.
const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "60s"
"#;

/// How soon a promoted agent must have begun to work as a leader.
pub const SOON: Duration = Duration::from_millis(100);

/// Agents leave one after the other, each with a goodbye; the next one leads each time. Gives how long
/// after the server had promoted it each had listed its (small) tree as the leader, sorted.
///
/// # Panics
/// An agent was not promoted, or only by a heartbeat.
pub async fn by_notice(rounds: u64) -> Vec<Duration> {
    let world = World::start_configured(CONFIG);
    fs::create_dir(world.root().join("work")).expect("the tree");
    let mut leader = world.start_agent("agent0", &[]);
    new_session(&world, "agent0", None).await;
    let mut took = Vec::new();
    for round in 1..=rounds {
        let name = format!("agent{round}");
        let follower = world.start_agent(&name, &[]);
        new_session(&world, &name, None).await;
        watching(&world, &name).await;
        recovered(&world).await;
        until_true("the follower's streams, which bring the notice", || {
            metric(world.http(), "fusion_push_streams") == 4.0
        })
        .await;

        leader.process.signal(rustix::process::Signal::TERM);
        until("the server promotes it", async || {
            let view = world.client().view(world.view()).await.ok()?;
            (view.leader_agent_id == name).then_some(())
        })
        .await;
        let promoted = now();
        let listed = "fusion_agent_scans_total{outcome=\"complete\",source=\"snapshot\"}";
        until("it has listed the tree", async || {
            (counter(&follower.http, listed) == 1.0).then_some(())
        })
        .await;
        took.push(promoted.elapsed());
        leader = follower;
        recovered(&world).await;
        let beats = counter(&leader.http, "fusion_agent_heartbeats_total");
        assert!(beats <= 10.0, "{beats} heartbeats: news, not the clock, made them");
    }
    assert_eq!(counter(world.http(), "fusion_leader_changes_total"), (rounds + 1) as f64);
    took.sort_unstable();
    println!("promote: listed after {took:?}");
    took
}
