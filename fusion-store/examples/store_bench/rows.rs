//! Changes as a busy tree makes them: upserts at random paths, and listings of 250 rows.

use fusion_core::change::{Cause, Change, ChangeKind, Facts, Listed, ListedOutcome};
use fusion_core::evidence::{ChildColumns, Witness};
use fusion_core::id::{AgentId, LeaderEpoch, Revision, SessionId};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::Version;
use fusion_store::LogPoint;

const NOW: i64 = 1_700_000_000_000_000_000;
const DIRECTORIES: u64 = 40_000;
const ROWS: u64 = 250;

/// Pseudo-random numbers, the same every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

fn witness() -> Witness {
    let session = SessionId::new(uuid::Uuid::from_u64_pair(1, 2));
    Witness { agent: AgentId::new("host-0123-abcd").unwrap(), session, epoch: LeaderEpoch(3) }
}

fn change(revision: u64, cause: Cause, at: i64, kind: ChangeKind) -> Change {
    let at = ServerTime::from_nanos(at);
    Change { revision: Revision(revision), at, cause, by: Some(witness()), kind }
}

fn file(random: &mut Random, inode: u64, age: i64) -> Stat {
    let time = StorageTime::from_nanos(NOW - age);
    let size = 1 << random.below(24);
    Stat {
        kind: Kind::File,
        size: random.below(size),
        mtime: time,
        ctime: time,
        inode,
        mode: if random.below(16) == 0 { 0o755 } else { 0o644 },
        uid: 1000 + random.below(4) as u32,
        gid: 1000,
        nlink: 1,
    }
}

/// Files written anew, each somewhere else.
pub(crate) fn upserts(random: &mut Random, after: LogPoint, count: u64) -> Vec<Change> {
    let at = NOW + after.record as i64 * 1_000_000;
    let upsert = |number: u64| {
        let (dir, row) = (random.below(DIRECTORIES), random.below(ROWS));
        let text = format!("/share/d{dir:06}/file-{row:04}.dat");
        let inode = 10_000_000 + dir * 300 + row;
        let age = random.below(90_000_000_000_000_000) as i64;
        let before = file(random, inode, age);
        let time = StorageTime::from_nanos(at - 3_000_000 + number as i64 * 1_000);
        let after_stat =
            Stat { size: before.size + random.below(4096), mtime: time, ctime: time, ..before };
        let seen = StorageTime::from_nanos(NOW - (dir * 1_000_003) as i64);
        let facts = Facts {
            seen_in: Some(Version { inode: 9_000_000 + dir, ctime: seen }),
            confirmed_at: Some(ServerTime::from_nanos(at - 2_000_000 + number as i64 * 1_000)),
            suspect_until: None,
            blind: false,
            sample: Some(time),
        };
        let path = TreePath::new(text.into_bytes()).unwrap();
        let kind = ChangeKind::Modified { path, before, after: after_stat, facts };
        change(after.revision.0 + number + 1, Cause::Realtime, at, kind)
    };
    (0..count).map(upsert).collect()
}

/// Directories of 250 files that were not known, as many as make up so many rows.
pub(crate) fn listings(random: &mut Random, after: LogPoint, rows: u64) -> Vec<Change> {
    let at = NOW + after.record as i64 * 1_000_000;
    let mut next = after.revision.0 + 1;
    (0..rows.div_ceil(ROWS))
        .map(|number| {
            let dir = after.record * 4 + number;
            let mut columns = ChildColumns::default();
            for row in 0..ROWS.min(rows) {
                let age = random.below(90_000_000_000_000_000) as i64;
                let name = format!("file-{row:04}.dat");
                columns.push(name.as_bytes(), &file(random, 10_000_000 + dir * 300 + row, age));
            }
            let listed = Listed {
                dir: TreePath::new(format!("/share/d{dir:06}").into_bytes()).unwrap(),
                version: Version { inode: 9_000_000 + dir, ctime: StorageTime::from_nanos(NOW) },
                started_at: ServerTime::from_nanos(at - 5_000_000),
                after: None,
                through: None,
                flags: vec![0; columns.len()],
                rows: columns,
                before: Vec::new(),
                sees: true,
                unseen: Vec::new(),
                open: Vec::new(),
                suspect_until: ServerTime::from_nanos(at + 30_000_000_000),
                outcome: Some(ListedOutcome { complete: true, settled: true, behind: false }),
            };
            let change = change(next, Cause::Baseline, at, ChangeKind::Listed(Box::new(listed)));
            next = change.last_revision().0 + 1;
            change
        })
        .collect()
}
