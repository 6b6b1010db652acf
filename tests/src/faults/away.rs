//! The server cannot be reached for longer than the timeout while many files are made.

use std::fs;

use super::checks::{leads_alone, new_session, recovered, until, until_true};
use super::proxy::Proxy;
use crate::pair::{World, counter, metric};
use crate::process::now;

const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "2s"
"#;

/// So many files are made in hundred directories meanwhile; they are in the agent's spool, and then
/// in the view. The agent leads again.
///
/// # Panics
/// Something of this does not hold.
pub async fn while_files_are_made(files: u64) {
    let world = World::start_configured(CONFIG);
    for number in 0..100 {
        fs::create_dir(world.root().join(format!("d{number}"))).expect("a directory");
    }
    let proxy = Proxy::to(&world.url());
    let agent = world.launch("one").server(proxy.url()).start();
    let first = new_session(&world, "one", None).await;
    recovered(&world).await;
    let epoch = leads_alone(&world, &agent, "one").await;

    let began = now();
    proxy.block();
    for number in 0..files {
        let path = world.root().join(format!("d{}/f{number}", number % 100));
        fs::write(path, number.to_string()).expect("a file");
    }
    println!("away: {files} files made in {:?}", began.elapsed());
    until("the session expires", async || {
        let view = world.client().view(world.view()).await.ok()?;
        assert_eq!(view.totals.files, 0, "the way is blocked");
        (view.sessions == 0).then_some(())
    })
    .await;
    let view = world.client().view(world.view()).await.expect("the view");
    assert!(!view.freshness.is_ready(), "{:?}", view.freshness);
    until_true("all of them are in the spool", || {
        metric(&agent.http, "fusion_agent_event_queue") == 0.0
    })
    .await;
    let held = metric(&agent.http, "fusion_agent_spool_batches");
    assert!(held > 0.0, "{held}");

    let began = now();
    proxy.open();
    assert_ne!(new_session(&world, "one", Some(first)).await, first);
    recovered(&world).await;
    println!("away: recovered after {:?}; the spool held {held} batches", began.elapsed());
    assert!(leads_alone(&world, &agent, "one").await > epoch);
    let expired = "fusion_agent_session_recoveries_total{cause=\"expired\"}";
    assert_eq!(counter(&agent.http, expired), 1.0);
    assert_eq!(counter(&agent.http, "fusion_agent_spool_full_total"), 0.0);
    until_true("the spool is empty", || metric(&agent.http, "fusion_agent_spool_batches") == 0.0)
        .await;
}
