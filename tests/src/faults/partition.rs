//! One of two agents is cut off by the network, which then heals.

use std::fs;
use std::time::Duration;

use super::checks::{new_session, recovered, session_of, sessions, until, until_true};
use super::churn::Churn;
use super::net::{FAR, NEAR, Net};
use crate::pair::{World, counter};

/// A timeout that is over soon; a listener that the far end reaches.
const CONFIG: &str = r#"
[listen.grpc]
address = "0.0.0.0:0"
allow_plaintext = true
[listen.http]
address = "127.0.0.1:0"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "3s"
"#;

/// The leader is on the far side of a wire that goes dead for longer than its timeout, while files
/// change on both sides. Before the timeout nobody is promoted; then the near one is; after the wire
/// heals the far one comes back as a follower, and what it saw alone is delivered.
///
/// # Panics
/// Something of this does not hold.
pub async fn of_the_leader(seed: u64) {
    let mut net = Net::make();
    net.enter();
    let world = World::start_reachable(CONFIG);
    let work = world.root().join("work");
    fs::create_dir(&work).expect("the tree");
    let port = world.url().rsplit_once(':').expect("a port").1.to_owned();
    let far = world
        .launch("far")
        .prefix(net.far())
        .server(&format!("http://{NEAR}:{port}"))
        .http(&format!("{FAR}:0"))
        .start();
    let first = new_session(&world, "far", None).await;
    let near = world.start_agent("near", &[]);
    new_session(&world, "near", None).await;
    recovered(&world).await;
    let view = world.client().view(world.view()).await.expect("the view");
    assert_eq!((view.leader_agent_id.as_str(), view.sessions), ("far", 2));

    let churn = Churn::begin(&work, seed);
    net.cut();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (still, _) = session_of(&world, "far").await.expect("half a timeout ends nothing");
    assert_eq!(still, first);
    until("the near one leads, alone", async || {
        let view = world.client().view(world.view()).await.ok()?;
        (view.leader_agent_id == "near" && view.sessions == 1).then_some(())
    })
    .await;
    let operations = churn.end();
    recovered(&world).await;
    let expired = "fusion_sessions_ended_total{state=\"expired\",view=\"tree\"}";
    assert_eq!(counter(world.http(), expired), 1.0);

    let churn = Churn::begin(&work, seed + 1);
    net.heal();
    assert_ne!(new_session(&world, "far", Some(first)).await, first);
    let operations = operations + churn.end();
    recovered(&world).await;
    let view = world.client().view(world.view()).await.expect("the view");
    assert_eq!((view.leader_agent_id.as_str(), view.leader_epoch), ("near", 2));
    assert_eq!(sessions(&world).await.len(), 2);
    until_true("the far one knows why", || {
        counter(&far.http, "fusion_agent_session_recoveries_total{cause=\"expired\"}") == 1.0
            && counter(&far.http, "fusion_agent_spool_batches") == 0.0
    })
    .await;
    assert_eq!(counter(&near.http, "fusion_agent_session_recoveries_total"), 0.0);
    println!("partition: seed {seed}, {operations} operations");
}
