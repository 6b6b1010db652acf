//! A view with something in every table, made by hand: no rule has a say in it.

use std::time::Duration;

use fusion_core::change::{
    Cause, HeldUpsert, Loss, LossCause, PartsSoFar, RootAway, RootDoubt, RunningScan, Tombstone,
    TrashId, Waiting,
};
use fusion_core::evidence::{ScanId, Source};
use fusion_core::id::{AgentId, Revision};
use fusion_core::path::PathRef;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::checkpoint::load::Loading;
use fusion_core::view::checkpoint::{
    BlockId, BlockImage, Confirmed, Detached, DirMeta, Flags, Frame, HeadImage, ImageContent,
    Owner, PageImage, Row, TreeFrame,
};
use fusion_core::view::{Totals, TrashRecord, Version, View, ViewSettings};

use crate::codec::blocks::TABLE_VERSION;
use crate::sample::{path, witness};

const NOW: i64 = 1_700_000_000_000_000_000;

pub(super) fn time(seconds: i64) -> ServerTime {
    ServerTime::from_nanos(NOW + seconds * 1_000_000_000)
}

fn storage(seconds: i64) -> StorageTime {
    StorageTime::from_nanos(NOW + seconds * 1_000_000_000)
}

fn version(inode: u64) -> Version {
    Version { inode, ctime: storage(-50) }
}

fn id(slot: u64, generation: u64) -> BlockId {
    BlockId::from_u64(generation << 32 | slot)
}

fn row(kind: Kind, inode: u64, size: u64, flags: u32) -> Row {
    let (mtime, ctime) = (NOW - 7, NOW - 7 + inode as i64 % 3);
    let bits = 1 | (kind as u32) << 24 | flags << 27;
    Row { size, mtime, ctime, inode, owner: 1 + inode as u32 % 2, bits }
}

/// The anchor, the root with two files and a directory, that directory with many files, and a
/// directory in the trash.
pub(super) fn images() -> Vec<BlockImage> {
    vec![anchor(), root(), wide(), trashed()]
}

fn image(slot: u32, head: HeadImage, pages: Vec<PageImage>) -> BlockImage {
    BlockImage { slot, number: 3, content: ImageContent::Whole(head, pages) }
}

fn head(generation: u32, parent: Option<BlockId>, name: &[u8], inode: u64) -> HeadImage {
    HeadImage {
        generation,
        parent,
        name: name.into(),
        totals: Totals { last_change: Some(time(-1)), ..Totals::default() },
        newest_stale: false,
        inode,
        meta: DirMeta::default(),
    }
}

fn page(names: &[(String, Row)], seen: Version) -> PageImage {
    let mut page = PageImage { seen, ..PageImage::default() };
    for (name, row) in names {
        page.names.extend_from_slice(name.as_bytes());
        page.ends.push(page.names.len() as u16);
        page.rows.push(*row);
    }
    page
}

fn anchor() -> BlockImage {
    let mut head = head(0, None, b"", 0);
    head.totals.directories = 2;
    (head.totals.files, head.totals.bytes, head.totals.suspects) = (702, 300 + 700 * 9, 1);
    head.totals.newest_mtime = Some(StorageTime::from_nanos(NOW - 7));
    let mut page = page(&[(String::new(), row(Kind::Directory, 10, 4096, 0))], version(1));
    page.links.push((0, id(1, 0)));
    image(0, head, vec![page])
}

fn root() -> BlockImage {
    let mut head = head(0, Some(BlockId::ANCHOR), b"", 10);
    head.totals.directories = 1;
    (head.totals.files, head.totals.bytes, head.totals.suspects) = (702, 300 + 700 * 9, 1);
    head.totals.newest_mtime = Some(StorageTime::from_nanos(NOW - 7));
    head.newest_stale = true;
    head.meta = DirMeta {
        listed_at: Some(time(-30)),
        listed_in: Some(version(10)),
        complete: true,
        settled: true,
    };
    let rows = [
        ("a".to_owned(), row(Kind::File, 20, 100, 1)),
        ("d".to_owned(), row(Kind::Directory, 11, 4096, 0)),
        ("\u{fc}".to_owned(), row(Kind::File, 22, 200, 4)),
    ];
    let mut page = page(&rows, version(10));
    page.links.push((1, id(2, 5)));
    page.seen_in.push((2, version(9)));
    image(1, head, vec![page])
}

fn wide() -> BlockImage {
    let mut head = head(5, Some(id(1, 0)), b"d", 11);
    (head.totals.files, head.totals.bytes) = (700, 700 * 9);
    head.totals.newest_mtime = Some(StorageTime::from_nanos(NOW - 7));
    head.meta.listed_in = Some(version(77));
    let rows: Vec<_> =
        (0..700).map(|n| (format!("file-{n:04}"), row(Kind::File, 1000 + n, 9, 0))).collect();
    let pages = rows.chunks(400).map(|rows| page(rows, version(77))).collect();
    image(2, head, pages)
}

fn trashed() -> BlockImage {
    let mut head = head(1, None, b"gone", 30);
    head.totals.others = 1;
    head.totals.newest_mtime = Some(StorageTime::from_nanos(NOW - 7));
    image(4, head, vec![page(&[("link".to_owned(), row(Kind::Symlink, 31, 4, 0))], version(30))])
}

/// The head of the root as a later checkpoint has it.
pub(super) fn later_head() -> BlockImage {
    let ImageContent::Whole(mut head, _) = root().content else { panic!("it has rows") };
    head.totals.last_change = Some(time(0));
    BlockImage { slot: 1, number: 4, content: ImageContent::Head(head) }
}

pub(super) fn owners() -> Vec<Owner> {
    let owner = |mode, uid| Owner { mode, uid, gid: 100, nlink_high: 0 };
    vec![owner(0o644, 1000), owner(0o755, 0)]
}

pub(super) fn frame() -> Frame {
    frame_of(TABLE_VERSION)
}

fn frame_of(format: u16) -> Frame {
    let by = witness();
    let scan = RunningScan {
        session: by.session,
        agent: by.agent.clone(),
        scan: ScanId(9),
        source: Source::Audit,
        path: path("/d"),
        started_at: time(-20),
        deep: true,
        doubtful: false,
    };
    let (agent, cause) = (by.agent.clone(), LossCause::Overflow);
    let mut doubts = vec![RootDoubt { agent: agent.clone(), since: time(-7), confirmed: true }];
    let mut operated = Vec::new();
    if format > 1 {
        let agent = AgentId::new("z-agent").unwrap();
        doubts.push(RootDoubt { agent, since: time(-6), confirmed: false });
        operated.push(uuid::Uuid::from_u64_pair(5, 6));
    }
    Frame {
        revision: Revision(4711),
        time: time(0),
        tree: TreeFrame { number: 4, used: 6, live: 4, floor: 9 },
        to_free: Vec::new(),
        agents: vec![by.agent.clone()],
        scans: vec![scan],
        losses: vec![Loss { agent, cause, since: time(-99), over_at: None }],
        away: vec![(by.agent.clone(), RootAway { since: time(-9), until: Some(time(-8)) })],
        doubts,
        operated,
        accepted: true,
        last_snapshot: Some(time(-500)),
        last_whole_began: Some(time(-400)),
        last_audit: None,
        audits: 3,
        reset_at: Some(time(-1000)),
        held_next: 12,
        sweep_at: Some(time(60)),
        turn_at: Some(time(61)),
        least_behind: Some(-3),
    }
}

fn stat(kind: Kind, inode: u64) -> Stat {
    Stat {
        kind,
        size: 77,
        mtime: storage(-70),
        ctime: storage(-60),
        inode,
        mode: 0o750,
        uid: 1,
        gid: 2,
        nlink: 3,
    }
}

fn put_tables(loading: &mut Loading) {
    let at = |text: &'static str| PathRef::new(text.as_bytes()).unwrap();
    let tomb = |seconds| Tombstone { deleted_at: time(seconds), seen_in: None, since: time(0) };
    loading.tombstone(PathRef::ROOT, b"x", tomb(-5)).unwrap();
    let seen = Tombstone { seen_in: Some(version(11)), ..tomb(-6) };
    loading.tombstone(at("/d"), b"y", seen).unwrap();
    loading.tombstone(at("/d"), b"z", tomb(-4)).unwrap();
    let weight = Totals { others: 1, directories: 1, ..Totals::default() };
    let record = TrashRecord {
        id: TrashId(4000),
        path: path("/gone"),
        stat: stat(Kind::Directory, 30),
        deleted_at: time(-80),
        at: time(-79),
        cause: Cause::Audit,
        by: Some(witness()),
        blind: true,
        weight,
    };
    let gone = Detached::from_image(record.stat, Flags::BLIND, Some(version(10)), Some(id(4, 1)));
    loading.trash(record, gone).unwrap();
    let waiting = Waiting { due: time(1), floor: time(2), level: 1 };
    loading.relist(at("/d"), waiting);
    loading.probe(at("/d/q"), Waiting { level: 0, ..waiting });
    loading.suspect(at("/a"), time(20));
    loading.unreadable(at("/d"), 13);
    loading.parts(
        at("/d"),
        PartsSoFar {
            session: witness().session,
            scan: ScanId(9),
            started_at: time(-20),
            next: 2,
            last_name: b"file-0100".as_slice().into(),
            settled: true,
            complete: true,
            whole_before: false,
        },
    );
    let row = HeldUpsert {
        path: path("/d/new/f"),
        stat: stat(Kind::File, 40),
        parent: stat(Kind::Directory, 41),
        atomic: true,
        moved_in: false,
        observed_at: time(-3),
        by: witness(),
    };
    loading.held(11, row);
    (0..40).for_each(|number| loading.clock(i64::from(number > 30) - 2));
    for (name, seconds, young) in [(7, -2, true), (1 << 60, -3, true), (9, -700, false)] {
        let row = Confirmed { dir: id(2, 5).as_u64(), name, at: time(seconds), agent: 0 };
        loading.confirmed(young, &row);
    }
}

pub(super) fn settings() -> ViewSettings {
    ViewSettings { hot_threshold: Duration::from_secs(30), ..ViewSettings::default() }
}

/// The view of all that.
pub(super) fn view() -> View {
    view_of(TABLE_VERSION)
}

pub(super) fn view_of(format: u16) -> View {
    let mut loading = Loading::new(settings(), frame_of(format), &owners()).unwrap();
    put_tables(&mut loading);
    for image in images().into_iter().chain([later_head()]) {
        loading.blocks().put(image).unwrap();
    }
    let view = loading.finish().unwrap();
    view.check_invariants().unwrap();
    view
}
