//! Thousands of schedules over all settings, and a storm, on every run of the tests.

use fusion_sim::{Settings, run, storm};

/// 50 for each of the 48 settings.
const SCHEDULES: u64 = 2_400;

#[test]
fn every_schedule_converges() {
    let report = run(&Settings::all(), 0..SCHEDULES);
    println!("{report}");
    assert_eq!(report.schedules, SCHEDULES);
    assert!(report.failures.is_empty(), "replay with `fusion-sim run --seed …`:\n{report}");
    // How far a rule may get worse before somebody has to look: see the mutants in
    // docs/simulator.md. The figures of these seeds are the same on every machine.
    let of = |part: u64| part as f64 / SCHEDULES as f64;
    assert!(of(report.missed_names) <= 0.001, "names wrong after one audit\n{report}");
    assert!(of(report.killed) <= 0.0015, "confirmed entries went too soon\n{report}");
    assert!(of(report.invented) <= 0.36, "entries came too late\n{report}");
    assert!(of(report.converged_before) >= 0.75, "{report}");
    assert!(of(report.converged_after_one) >= 0.99, "{report}");
}

#[test]
fn the_same_seeds_give_the_same_figures() {
    let settings = Settings::all();
    assert_eq!(run(&settings, 9_000..9_048), run(&settings, 9_000..9_048));
}

#[test]
fn a_first_snapshot_of_a_tree_under_writing_is_no_storm() {
    for others in [false, true] {
        let report = storm(5_000, others, 1);
        println!("{report}");
        assert!(report.failures.is_empty(), "{report}");
        assert!(report.ordered <= report.operations, "{report}");
        assert!(others || report.converged_before == 1, "{report}");
    }
}
