//! Storms in short: schedules that have each fault once over the forms of the state, as far as two minutes allow.
//! `fusion-tests soak cluster` runs as many random ones as are wanted; see docs/storms.md.

use fusion_tests::nats;
use fusion_tests::storms::engines::StateOn;
use fusion_tests::storms::lan::Way;
use fusion_tests::storms::plan::{Fault, Schedule};
use fusion_tests::storms::run;

/// Runs these faults, one after the other, on a state.
async fn storm(test: &str, seed: u64, state: StateOn, faults: &[Fault]) {
    if nats::is_there(test) {
        run(&Schedule::of_faults(seed, state, faults)).await;
    }
}

#[tokio::test]
async fn servers_die_and_wake_up() {
    let faults = [Fault::KillOwner, Fault::Zombie, Fault::KillFollower];
    storm("servers_die_and_wake_up", 1, StateOn::Postgres, &faults).await;
}

#[tokio::test]
async fn engines_die_and_are_cut_off() {
    let faults = [Fault::KillNatsLeader, Fault::CutEngines(Way::Both), Fault::StateRestarted];
    storm("engines_die_and_are_cut_off", 2, StateOn::Redis, &faults).await;
}
