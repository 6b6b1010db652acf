//! Storms in short: a schedule that is known to hold. `fusion-tests soak cluster` runs random ones; docs/storms.md says
//! what was seen, and what does not hold yet.

use fusion_tests::nats;
use fusion_tests::storms::engines::StateOn;
use fusion_tests::storms::plan::{Fault, Schedule};
use fusion_tests::storms::run;

/// Runs these faults, one after the other, on a state.
async fn storm(test: &str, seed: u64, state: StateOn, faults: &[Fault]) {
    if nats::is_there(test) {
        run(&Schedule::of_faults(seed, state, faults)).await;
    }
}

#[tokio::test]
async fn servers_and_engines_die() {
    let faults = [Fault::KillNatsLeader, Fault::KillTwo, Fault::KillNats];
    storm("servers_and_engines_die", 2, StateOn::Redis, &faults).await;
}
