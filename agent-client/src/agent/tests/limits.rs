//! The limits of scans that an operator sets, and what is told of them.

use std::num::NonZeroU32;

use super::*;

fn four_hundred_files(root: &Path) {
    for number in 0..400 {
        let directory = root.join(format!("d{}", number % 4));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::File::create(directory.join(format!("f{number}"))).unwrap();
    }
}

fn span(span: Option<&prost_types::Duration>) -> Duration {
    let span = span.expect("a span");
    Duration::new(span.seconds.try_into().unwrap(), span.nanos.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_keeps_the_rate_and_the_heartbeat_says_that_it_waits() {
    let began = Instant::now();
    let rig = Rig::configured(
        four_hundred_files,
        |script| script.beats_fast = true,
        |config| config.scan_rate = NonZeroU32::new(500),
    )
    .await;
    rig.until("a snapshot", |script| finished(script).len() == 1).await;
    let took = began.elapsed();
    rig.until("the wait in the metrics", |_| {
        let paused = rig.shared.metrics.scan_paused.with_label_values(&["rate"]).get();
        paused > 0.5
    })
    .await;
    let fake = rig.end().await;
    let script = fake.script();
    assert!(
        took >= Duration::from_millis(690),
        "400 at 500 a second after a burst of 50: {took:?}"
    );
    let told = script.heartbeats.iter().filter_map(|beat| beat.status.as_ref()?.scan.as_ref());
    let told: Vec<_> = told.collect();
    let waited = told.iter().any(|scan| span(scan.paused.as_ref()) > Duration::from_millis(500));
    assert!(waited, "{told:?}");
    let measured = told.iter().any(|scan| span(scan.call_latency.as_ref()) > Duration::ZERO);
    assert!(measured, "{told:?}");
}
