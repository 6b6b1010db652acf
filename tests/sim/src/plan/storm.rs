//! The schedule of a storm: a large tree whose first snapshot runs while all of it changes.

use crate::dice::{Dice, Tag};
use crate::name::{Name, Path};
use crate::schedule::{Action, HostPlan, Op, Schedule};
use crate::settings::Settings;
use crate::storage::{BEGIN, MS, SEC, Time};

/// Time that the leader needs for one directory, as `World::pace` draws it: twice up to 20 ms.
const PER_DIRECTORY: Time = 20 * MS;

/// A tree of so many directories; while it is scanned for the first time, a file is made in each.
/// `others`: by three hosts, of which one has no agent and all have caches; else by the leader's own
/// host on local storage, so that everything has to be known without another look.
pub(crate) fn storm(directories: usize, others: bool, seed: u64) -> Schedule {
    let mut chance = Dice::new(seed).stream(Tag::Plan, 2, 0);
    let tree = tree(directories);
    let mut ops: Vec<Op> = Vec::with_capacity(tree.len() * 3);
    let mut add = |at: Time, host: usize, action: Action| {
        ops.push(Op { id: ops.len() as u64, at, host, reuse: false, action });
    };
    for (number, path) in tree.iter().enumerate() {
        add(BEGIN + number as Time * MS / 10, 0, Action::Mkdir(path.clone()));
    }
    let start = BEGIN + tree.len() as Time * MS / 10 + 70 * SEC;
    let end = start + (tree.len() as Time + 100) * PER_DIRECTORY;
    for path in &tree {
        let at = chance.between(start, end);
        let host = if others { chance.index(3) } else { 0 };
        let file = path.join(Name(11));
        add(at, host, Action::Create(file.clone()));
        add(at + chance.between(0, 2 * SEC), host, Action::Close(file));
    }
    ops.sort_by_key(|op| op.at);
    let lag = if others { 58 * SEC } else { 0 };
    let host = |agent| HostPlan { agent, lag, wall: 0, error: 0 };
    Schedule {
        seed,
        settings: Settings { hosts: 3, coarse: false, skew: false, late: false, crashes: false },
        hosts: vec![host(true), host(others), host(false)],
        seen: false,
        spools_discovery: false,
        ops,
        faults: Vec::new(),
        start,
        end: end + 3 * SEC,
        late_by: 0,
        deep_one_in: 1,
        part_rows: 100,
        held_max: 100_000,
        storage_offset: 0,
        rename_touches: true,
        audit_every: end - start,
        duplicates: false,
        delays: true,
        scan_pace: 20 * MS,
        scan_lag: 20 * MS,
        check_percent: 0,
        batch_rows: 1000,
    }
}

/// So many directories, breadth first, ten in each.
fn tree(directories: usize) -> Vec<Path> {
    let mut tree = vec![Path::root().join(crate::name::KEEP)];
    let mut parent = 0;
    while tree.len() < directories {
        let above = tree[parent].clone();
        let left = directories - tree.len();
        tree.extend((0..10).take(left).map(|name| above.join(Name(name))));
        parent += 1;
    }
    tree
}
