//! A storm (docs/storms.md) in short. `fusion-tests soak cluster` runs the long ones.

use std::collections::BTreeSet;

use fusion_tests::nats;
use fusion_tests::storms::engines::StateOn;
use fusion_tests::storms::lan;
use fusion_tests::storms::plan::Schedule;
use fusion_tests::storms::{self, Story};

#[tokio::test]
async fn the_owner_is_killed_stopped_and_upgraded() {
    let test = "the_owner_is_killed_stopped_and_upgraded";
    if !nats::is_there(test) || !lan::is_possible(test) {
        return;
    }
    let schedule = Schedule::short(1, StateOn::Nats);
    let Story { faults, claims, .. } = storms::run(&schedule).await;
    assert_eq!(faults.len(), schedule.steps.len(), "all of them were done");
    let epochs: BTreeSet<_> = claims.iter().map(|(_, owner)| owner.epoch).collect();
    assert!(epochs.len() > schedule.steps.len(), "each of them had another owner: {claims:?}");
}
