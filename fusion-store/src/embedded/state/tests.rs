use std::path::Path;

use super::*;
use crate::conformance::{self, Reopen};
use crate::disk::simulated::{Faults, SimulatedDisk};

const PATH: &str = "/data/state";

struct Subject {
    disk: SimulatedDisk,
    state: Option<EmbeddedState>,
}

fn disk() -> SimulatedDisk {
    let disk = SimulatedDisk::default();
    disk.make_dir(Path::new("/data")).unwrap();
    disk
}

fn open(disk: &SimulatedDisk) -> Result<EmbeddedState, StoreError> {
    EmbeddedState::open(Arc::new(disk.clone()), PathBuf::from(PATH))
}

impl Reopen<dyn State> for Subject {
    fn port(&self) -> &(dyn State + 'static) {
        self.state.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.state = None;
        self.state = Some(open(&self.disk).unwrap());
    }
}

#[test]
fn it_conforms() {
    conformance::state(&mut || {
        let disk = disk();
        let state = Some(open(&disk).unwrap());
        Box::new(Subject { disk, state })
    });
}

const NOW: ServerTime = ServerTime::from_nanos(0);

/// Puts numbers under three keys in turn; what was the last one that was acknowledged.
fn script(disk: &SimulatedDisk) -> u64 {
    let mut acknowledged = 0;
    let mut play = || -> Result<(), StoreError> {
        for _ in 0..2 {
            let state = open(disk)?;
            for _ in 0..6 {
                let number = acknowledged + 1;
                let value = vec![number as u8; 300];
                state.put(Space::Job, &[(number % 3) as u8], &value, None)?;
                acknowledged = number;
            }
        }
        Ok(())
    };
    drop(play());
    acknowledged
}

/// Of each key the last number, or the one that was being put.
fn check(disk: &SimulatedDisk, acknowledged: u64, what: &str) {
    let state = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    for key in 0..3_u64 {
        let found = state.get(Space::Job, &[key as u8], NOW).unwrap();
        let found = found.map_or(0, |item| {
            assert_eq!(item.value, [item.value[0]; 300], "{what}: half a value");
            u64::from(item.value[0])
        });
        let last = (1..=acknowledged).rev().find(|number| number % 3 == key).unwrap_or(0);
        let put_next = found == acknowledged + 1 && found % 3 == key;
        assert!(found == last || put_next, "{what}: {found} instead of {last}");
    }
    state.put(Space::Job, b"more", b"", None).unwrap();
}

#[test]
fn a_crash_at_any_write_loses_nothing_that_was_acknowledged() {
    let whole = disk();
    assert_eq!(script(&whole), 12);
    check(&whole, 12, "no crash");
    for stop in 1..=whole.operations() {
        let disk = disk();
        disk.set_faults(Faults { stop_at: Some(stop), ..Faults::default() });
        let acknowledged = script(&disk);
        for seed in 0..3 {
            let restarted = disk.restart(seed * 1000 + stop);
            check(&restarted, acknowledged, &format!("stop {stop}, seed {seed}"));
        }
    }
}

#[test]
fn it_recovers_when_the_disk_does() {
    let full = Faults { capacity: Some(0), ..Faults::default() };
    let failing = Faults { syncs_fail: true, ..Faults::default() };
    let read_only = Faults { read_only: true, ..Faults::default() };
    for faults in [full, failing, read_only] {
        let disk = disk();
        let state = open(&disk).unwrap();
        state.put(Space::Job, b"a", b"1", None).unwrap();
        disk.set_faults(faults);
        for _ in 0..3 {
            let refused = state.put(Space::Job, b"a", &[2; 100_000], None).unwrap_err();
            assert!(refused.is_of_the_disk(), "{refused}");
        }
        disk.set_faults(Faults::default());
        assert_eq!(state.get(Space::Job, b"a", NOW).unwrap().unwrap().value, b"1");
        state.put(Space::Job, b"a", b"3", None).unwrap();
        let restarted = open(&disk.restart(1)).unwrap();
        assert_eq!(restarted.get(Space::Job, b"a", NOW).unwrap().unwrap().value, b"3");
    }
}

#[test]
fn a_file_of_the_future_is_refused() {
    let disk = disk();
    let state = open(&disk).unwrap();
    state
        .with(|database| {
            let transaction = database.begin_write()?;
            transaction.open_table(META)?.insert(FORMAT, STATE_VERSION + 1)?;
            Ok(transaction.commit()?)
        })
        .unwrap();
    drop(state);
    let refused = open(&disk);
    assert!(matches!(refused, Err(StoreError::FutureFormat { found: 2, known: 1, .. })));
}

#[test]
fn compacting_changes_nothing() {
    let disk = disk();
    let state = open(&disk).unwrap();
    for number in 0..100_u8 {
        state.put(Space::Audit, &[number], &[number; 50_000], None).unwrap();
    }
    for number in 1..100_u8 {
        state.delete(Space::Audit, &[number]).unwrap();
    }
    let before = disk.files()[0].1;
    state.compact().unwrap();
    assert!(disk.files()[0].1 < before / 2, "{before} {}", disk.files()[0].1);
    assert_eq!(state.get(Space::Audit, &[0], NOW).unwrap().unwrap().value, [0; 50_000]);
}

#[test]
fn damage_is_told_and_a_file_that_was_emptied_is_no_new_one() {
    let whole = disk();
    assert_eq!(script(&whole), 12);
    let length = whole.files()[0].1;
    let path = Path::new(PATH);
    for cut in [0, 1, 100, 4_096, length / 2] {
        let damaged = whole.restart(0);
        let file = damaged.open(path, Access::Write).unwrap();
        file.set_length(cut as u64).unwrap();
        let refused = open(&damaged);
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{cut}: {refused:?}");
    }
    let read = |disk: &SimulatedDisk| open(disk)?.scan(Space::Job, b"", None, 100, NOW);
    let items = read(&whole).unwrap().items;
    assert_eq!(items.len(), 3);
    let mut told = 0;
    for at in (0..320).chain((320..length).step_by(173)) {
        let damaged = whole.restart(0);
        damaged.damage(path, at, 0x10);
        match read(&damaged) {
            Ok(page) => assert_eq!(page.items, items, "byte {at}"),
            Err(StoreError::Corrupt { .. } | StoreError::FutureFormat { .. }) => told += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(told > 10, "{told}");
}

/// Writers that come again and again while others write for them: every answer is the one to their
/// own write, also while the disk fails now and then.
#[test]
fn many_writers_get_each_the_answer_to_its_own_write() {
    const WRITERS: u64 = 16;
    const EACH: u64 = 25;
    let disk = disk();
    let state = open(&disk).unwrap();
    let put = |writer: u64| {
        let key = writer.to_le_bytes();
        let (mut last, mut refused) = (0, 0);
        for number in 1..=EACH {
            if writer == 0 && number % 5 == 0 {
                disk.set_faults(Faults { syncs_fail: number % 10 == 0, ..Faults::default() });
            }
            match state.put(Space::Job, &key, &number.to_le_bytes(), None) {
                Ok(_) => last = number,
                Err(error) => {
                    assert!(error.is_of_the_disk(), "{error}");
                    refused += 1;
                }
            }
            if let Some(item) = state.get(Space::Job, &key, NOW).ok().flatten() {
                let found = u64::from_le_bytes(*item.value.first_chunk().unwrap());
                assert!((last..=number).contains(&found), "{found} of {last}");
            }
        }
        (key, last, refused)
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let put = &put;
        let all: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || put(writer))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    disk.set_faults(Faults::default());
    for (key, last, _) in &outcomes {
        let found = state.get(Space::Job, key, NOW).unwrap().unwrap().value;
        assert!(u64::from_le_bytes(*found.first_chunk().unwrap()) >= *last);
    }
    assert!(outcomes.iter().any(|(_, _, refused)| *refused > 0), "the disk failed");
}
