//! Bad evidence that no text case can say: columns that do not fit, paths of the greatest length, a
//! million children. Rejected or handled, counted, never a panic.

#![allow(clippy::unwrap_used, reason = "a test")]

use fusion_core::change::Change;
use fusion_core::evidence::{ChildColumns, Evidence, Listing, RootState, ScanId, Source, Witness};
use fusion_core::id::{AgentId, LeaderEpoch, SessionId};
use fusion_core::path::{PATH_MAX, PathRef, TreePath};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::{AgentReport, EvidenceKind, Reject, Verdict, View, ViewSettings};

/// A view, one agent, and the time.
struct World {
    view: View,
    by: Witness,
    now: i64,
    changes: Vec<Change>,
}

impl World {
    fn new() -> Self {
        let by = Witness {
            agent: AgentId::new("a").unwrap(),
            session: SessionId::new(uuid::Uuid::from_u64_pair(0, 1)),
            epoch: LeaderEpoch(0),
        };
        let view = View::new(ViewSettings::default());
        Self { view, by, now: 1_000, changes: Vec::new() }
    }

    /// A listing of DISCOVERY, a second later than the one before.
    fn list(&mut self, dir: &TreePath, inode: u64, rows: &ChildColumns) -> Verdict {
        self.now += 1;
        let at = ServerTime::from_nanos(self.now * 1_000_000_000);
        let listing = Listing {
            dir: dir.as_ref(),
            dir_stat: stat(Kind::Directory, inode, self.now),
            scan: ScanId(1),
            source: Source::Discovery,
            started_at: at,
            finished_at: at,
            part: 0,
            last: true,
            complete: true,
            children: rows.as_children(),
        };
        self.changes.clear();
        let evidence = Evidence::Listing(listing);
        let verdict = self.view.apply(&self.by, &evidence, at, &mut self.changes);
        if rows.names.len() < 10_000 {
            self.view.check_invariants().unwrap();
        }
        verdict
    }

    fn entries(&self) -> u64 {
        let totals = self.view.reader().totals(PathRef::ROOT).unwrap();
        totals.files + totals.directories
    }
}

fn stat(kind: Kind, inode: u64, ctime: i64) -> Stat {
    let time = StorageTime::from_nanos(ctime * 1_000_000_000);
    Stat { kind, size: 1, mtime: time, ctime: time, inode, mode: 0, uid: 0, gid: 0, nlink: 1 }
}

fn rows(names: &[&[u8]], kind: Kind) -> ChildColumns {
    let mut columns = ChildColumns::default();
    for (number, name) in names.iter().enumerate() {
        columns.push(name, &stat(kind, 100 + number as u64, 5));
    }
    columns
}

#[test]
fn columns_that_do_not_fit_are_refused() {
    let spoil: [fn(&mut ChildColumns); 14] = [
        |columns| columns.names.push(b'x'),
        |columns| columns.names.truncate(1),
        |columns| columns.name_lengths.push(1),
        |columns| columns.name_lengths[0] = u32::MAX,
        |columns| columns.kinds.truncate(1),
        |columns| columns.kinds[1] = 0,
        |columns| columns.kinds[1] = 200,
        |columns| columns.sizes.truncate(1),
        |columns| columns.mtimes.truncate(1),
        |columns| columns.ctimes.push(1),
        |columns| columns.inodes.truncate(1),
        |columns| columns.modes.truncate(1),
        |columns| columns.uids.truncate(1),
        |columns| columns.nlinks.truncate(1),
    ];
    let mut world = World::new();
    for (number, spoil) in spoil.into_iter().enumerate() {
        let mut columns = rows(&[b"a", b"b"], Kind::File);
        spoil(&mut columns);
        let verdict = world.list(&TreePath::root(), 2, &columns);
        assert_eq!(verdict, Verdict::Rejected(Reject::Malformed), "{number}");
        assert!(world.changes.is_empty());
    }
    let refused = Verdict::Rejected(Reject::Malformed);
    assert_eq!(world.view.counts().get(EvidenceKind::Listing, refused), 14);
    let long = [b'n'; 256];
    assert_eq!(world.list(&TreePath::root(), 2, &rows(&[&long], Kind::File)), refused);
    assert_eq!(
        world.list(&TreePath::root(), 2, &rows(&[&long[1..]], Kind::File)),
        Verdict::Applied
    );
}

#[test]
fn paths_of_the_greatest_length() {
    let mut world = World::new();
    let name = [b'd'; 255];
    let mut dir = TreePath::root();
    let mut inode = 2;
    // Fifteen directories of 256 bytes each, and one that leaves room for a name of nine bytes.
    while dir.as_bytes().len() + 1 + name.len() < PATH_MAX - 10 {
        assert_eq!(world.list(&dir, inode, &rows(&[&name], Kind::Directory)), Verdict::Applied);
        (dir, inode) = (dir.join(&name).unwrap(), 100);
    }
    let last = &name[..PATH_MAX - 10 - dir.as_bytes().len() - 1];
    assert_eq!(world.list(&dir, inode, &rows(&[last], Kind::Directory)), Verdict::Applied);
    dir = dir.join(last).unwrap();
    assert_eq!(dir.as_bytes().len(), PATH_MAX - 10);

    let before = world.entries();
    let names: [&[u8]; 2] = [b"123456789", b"1234567890"];
    assert_eq!(world.list(&dir, inode, &rows(&names, Kind::File)), Verdict::Applied);
    assert_eq!(world.entries(), before + 1, "nobody could ask for the longer one");
    assert_eq!(world.view.counts().too_long_rows, 1);
    assert_eq!(world.list(&dir, inode, &rows(&[], Kind::File)), Verdict::Applied);
    assert_eq!(world.entries(), before);
}

#[test]
fn a_million_children_in_one_directory() {
    let mut columns = ChildColumns::default();
    for number in 0..1_000_000_u64 {
        columns.push(format!("{number:07}").as_bytes(), &stat(Kind::File, 100 + number, 5));
    }
    let mut world = World::new();
    assert_eq!(world.list(&TreePath::root(), 2, &columns), Verdict::Applied);
    assert_eq!(world.entries(), 1_000_000);
    assert_eq!(world.list(&TreePath::root(), 2, &columns), Verdict::Unchanged);
    assert_eq!(
        world.list(&TreePath::root(), 2, &rows(&[b"0500000"], Kind::File)),
        Verdict::Applied
    );
    assert_eq!(world.entries(), 1);
    assert_eq!(world.view.figures().trash, 999_999);
}

/// What is not durable yet is one loss however often it is noted: each heartbeat would double it else.
#[test]
fn an_agent_that_cannot_make_up_its_mind_whether_it_watches_has_one_loss() {
    let mut world = World::new();
    let agent = world.by.agent.clone();
    let at = |second: i64| ServerTime::from_nanos(second * 1_000_000_000);
    world.view.lose(&agent, false, at(1));
    for second in 2..100 {
        let report = AgentReport {
            delivered_through: None,
            realtime_ready: second % 2 == 0,
            unwatched_directories: 0,
            root: RootState::Available,
        };
        world.view.hear(&agent, &report, at(second));
    }
    world.view.tick(at(100), &mut world.changes);
    let reasons = world.view.status(at(100)).reasons;
    let losses = reasons.iter().filter(|reason| reason.contains("were lost")).count();
    assert_eq!(losses, 1, "{reasons:?}");
}
