//! Group commit: nothing is acknowledged before its sync, and what comes during one has the next one together.

use super::*;

#[test]
fn what_is_appended_during_a_sync_has_the_next_one_together() {
    let (disk, view) = (SimulatedDisk::default(), sample::view(1));
    let directory = PathBuf::from("/data/log");
    let log = EmbeddedLog::new(Arc::new(disk.clone()), directory, LogSettings::default()).unwrap();
    log.open(&view).unwrap();
    disk.set_faults(Faults { syncs_hang: true, ..Faults::default() });
    let mut tickets = vec![append(&log, LogPoint::default())];
    wait_until_it_hangs(&disk);
    for _ in 0..20 {
        tickets.push(append(&log, tickets.last().unwrap().point()));
    }
    assert_eq!(log.status(view.id).unwrap().durable, LogPoint::default());
    let (before, end) = (disk.syncs(), tickets.last().unwrap().point());
    disk.set_faults(Faults::default());
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    assert_eq!(log.status(view.id).unwrap().durable, end);
    assert_eq!(
        disk.syncs() - before,
        2,
        "that of the first batch, and one for the twenty after it"
    );
}
