use crate::change::Change;
use crate::evidence::{ChildColumns, Evidence, Listing, ScanId, Source, Witness};
use crate::id::{AgentId, LeaderEpoch, SessionId};
use crate::path::PathRef;
use crate::stat::{Kind, Stat};
use crate::time::{ServerTime, StorageTime};
use crate::view::tree::LOOKED_AT;
use crate::view::{Leadership, Verdict, View, ViewSettings};

/// A directory with many directories in it.
const MANY: usize = 6_000;
/// Rows of a part.
const ROWS: usize = 100;

fn server(seconds: i64) -> ServerTime {
    ServerTime::from_nanos(seconds * 1_000_000_000)
}

fn stat(inode: u64, ctime: i64) -> Stat {
    Stat {
        kind: Kind::Directory,
        size: 1,
        mtime: StorageTime::from_nanos(ctime),
        ctime: StorageTime::from_nanos(ctime * 1_000_000_000),
        inode,
        mode: 0o755,
        uid: 1,
        gid: 1,
        nlink: 2,
    }
}

struct World {
    view: View,
    by: Witness,
    changes: Vec<Change>,
}

impl World {
    fn new() -> Self {
        let by = Witness {
            agent: AgentId::new("a").unwrap(),
            session: SessionId::new(uuid::Uuid::from_u128(1)),
            epoch: LeaderEpoch(1),
        };
        let mut view = View::new(ViewSettings::default());
        view.set_leadership(Some(Leadership { session: by.session, epoch: by.epoch }));
        Self { view, by, changes: Vec::new() }
    }

    /// A listing of the root in parts, begun then, that comes at a time: of a version of the root, and
    /// with this ctime of each directory in it. How many entries were looked at, at most in a part.
    fn list(&mut self, scan: u64, began: i64, now: i64, version: i64, ctime: i64) -> u64 {
        let names: Vec<String> = (0..MANY).map(|number| format!("dir-{number:05}")).collect();
        let parts = MANY.div_ceil(ROWS);
        let mut most = 0;
        for (part, names) in names.chunks(ROWS).enumerate() {
            let mut columns = ChildColumns::default();
            for (row, name) in names.iter().enumerate() {
                columns.push(name.as_bytes(), &stat((10 + part * ROWS + row) as u64, ctime));
            }
            let listing = Listing {
                dir: PathRef::ROOT,
                dir_stat: stat(1, version),
                scan: ScanId(scan),
                source: Source::Audit,
                started_at: server(began),
                finished_at: server(began),
                part: part as u32,
                last: part + 1 == parts,
                complete: true,
                children: columns.as_children(),
            };
            let before = LOOKED_AT.get();
            let evidence = Evidence::Listing(listing);
            let verdict = self.view.apply(&self.by, &evidence, server(now), &mut self.changes);
            assert!(!matches!(verdict, Verdict::Rejected(_)), "{verdict:?}");
            most = most.max(LOOKED_AT.get() - before);
        }
        most
    }
}

/// Whatever a part of a large directory is worth, it costs what it covers, and not the directory.
#[test]
fn a_part_of_a_large_directory_costs_no_more_than_it_covers() {
    let mut world = World::new();
    world.list(1, 1_000, 1_000, 500, 400);
    assert_eq!(world.view.reader().totals(PathRef::ROOT).unwrap().directories, MANY as u64);
    // It has come late, by more than `cache_horizon`, and what it shows has never been listed.
    let late = world.list(2, 1_100, 2_000, 500, 401);
    // It is of an older version: nothing is added or removed.
    let stale = world.list(3, 1_050, 2_001, 450, 402);
    for (what, most) in [("late", late), ("stale", stale)] {
        assert!(most > 0 && most < 20 * ROWS as u64, "{what}: {most} entries for a part");
    }
    let ctime = |view: &View| {
        let entry = view.reader().entry(PathRef::new(b"/dir-00150").unwrap()).unwrap();
        entry.stat.ctime.as_nanos() / 1_000_000_000
    };
    assert_eq!(ctime(&world.view), 402, "what is newer in it is taken");
}

#[test]
fn a_span_has_all_names_and_none_before() {
    let names = |names: &[&str]| {
        let mut columns = ChildColumns::default();
        names.iter().for_each(|name| columns.push(name.as_bytes(), &stat(1, 1)));
        columns
    };
    assert!(super::Span::of(&names(&[]).as_children()).is_none());
    let columns = names(&["\u{1}", "a", "b"]);
    let span = super::Span::of(&columns.as_children()).unwrap();
    let range = span.range();
    assert!(range.after < Some(b"\x01") && range.through == Some(b"b"));
    let columns = names(&["ab"]);
    let span = super::Span::of(&columns.as_children()).unwrap();
    let longest = [b"aa".as_slice(), &[255; 253]].concat();
    assert!(span.range().after > Some(&longest) && span.range().after < Some(b"ab"));
}
