//! The rules' speed: `cargo run --release -p fusion-core --example view_bench [directories [agents]]`.
//!
//! Listings of 250 rows into an empty view and again over it, and realtime upserts at random paths,
//! through `View::apply`, with changes kept and dropped; per second of processor time. Of several agents the
//! last one that came sends all upserts.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark for people")]

use fusion_core::change::Change;
use fusion_core::evidence::{ChildColumns, Evidence, Listing, ScanId, Source, Witness};
use fusion_core::id::{AgentId, LeaderEpoch, SessionId};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::{Leadership, View, ViewSettings};

const ROWS: u64 = 250;
/// Realtime rows that are brought near together, as the server does.
const AT_ONCE: usize = 128;
const SECOND: i64 = 1_000_000_000;

fn stat(kind: Kind, inode: u64, ctime: i64) -> Stat {
    let time = StorageTime::from_nanos(ctime);
    Stat {
        kind,
        size: 4096,
        mtime: time,
        ctime: time,
        inode,
        mode: 0o644,
        uid: 1,
        gid: 1,
        nlink: 1,
    }
}

fn main() {
    let directories: u64 = std::env::args().nth(1).map_or(8_000, |text| text.parse().unwrap());
    let agents: u64 = std::env::args().nth(2).map_or(1, |text| text.parse().unwrap());
    for keep in [false, true] {
        let mut view = View::new(ViewSettings::default());
        view.keep_changes(keep);
        println!("changes {}", if keep { "kept" } else { "dropped" });
        let by = leader(&mut view);
        let now = 1_000_000 * SECOND;
        top(&mut view, &by, directories, now);
        list(&mut view, &by, directories, now, "listed rows, new");
        list(&mut view, &by, directories, now + SECOND, "listed rows, known");
        let later = |seconds| now + seconds * SECOND;
        let by = last_of(&mut view, &by, agents, later(1));
        upsert(&mut view, &by, directories, later(2), false, "upserts, random, one by one");
        upsert(&mut view, &by, directories, later(3), true, "upserts, random, warmed");
        upsert(&mut view, &by, directories, later(4), false, "again, one by one");
        upsert(&mut view, &by, directories, later(5), true, "again, warmed");
        view.check_invariants().unwrap();
    }
}

fn leader(view: &mut View) -> Witness {
    let session = SessionId::new(uuid::Uuid::from_u64_pair(0, 1));
    let epoch = LeaderEpoch(1);
    view.set_leadership(Some(Leadership { session, epoch }));
    Witness { agent: AgentId::new("a").unwrap(), session, epoch }
}

/// So many agents tell of one file, one after the other; gives the last.
fn last_of(view: &mut View, by: &Witness, agents: u64, now: i64) -> Witness {
    let path = TreePath::new(b"/d00000000/seen-by-all".as_slice()).unwrap();
    let mut by = by.clone();
    for number in 0..agents {
        by.agent = AgentId::new(&format!("agent-of-host-{number}")).unwrap();
        let at = ServerTime::from_nanos(now + number as i64);
        let evidence = Evidence::Upsert {
            path: path.as_ref(),
            stat: stat(Kind::File, 999, 8 + number as i64),
            parent: Some(stat(Kind::Directory, 10, 5)),
            atomic: true,
            observed_at: at,
        };
        let _ = view.apply(&by, &evidence, at, &mut Vec::new());
    }
    by
}

fn listing<'a>(dir: &'a TreePath, dir_stat: Stat, rows: &'a ChildColumns, at: i64) -> Evidence<'a> {
    let started_at = ServerTime::from_nanos(at);
    Evidence::Listing(Listing {
        dir: dir.as_ref(),
        dir_stat,
        scan: ScanId(1),
        source: Source::Snapshot,
        started_at,
        finished_at: started_at,
        part: 0,
        last: true,
        complete: true,
        children: rows.as_children(),
    })
}

fn top(view: &mut View, by: &Witness, directories: u64, now: i64) {
    let mut rows = ChildColumns::default();
    for number in 0..directories {
        rows.push(format!("d{number:08}").as_bytes(), &stat(Kind::Directory, 10 + number, 5));
    }
    let (root, mut changes) = (TreePath::root(), Vec::new());
    let evidence = listing(&root, stat(Kind::Directory, 1, 5), &rows, now);
    let _ = view.apply(by, &evidence, ServerTime::from_nanos(now), &mut changes);
}

fn list(view: &mut View, by: &Witness, directories: u64, now: i64, what: &str) {
    let mut rows = ChildColumns::default();
    for number in 0..ROWS {
        rows.push(format!("file-{number:09}").as_bytes(), &stat(Kind::File, 1_000 + number, 7));
    }
    let dirs: Vec<TreePath> = (0..directories)
        .map(|n| TreePath::new(format!("/d{n:08}").into_bytes()).unwrap())
        .collect();
    let mut changes: Vec<Change> = Vec::new();
    let start = processor_time();
    for (number, dir) in (0..).zip(&dirs) {
        let evidence = listing(dir, stat(Kind::Directory, 10 + number, 5), &rows, now);
        let _ = view.apply(by, &evidence, ServerTime::from_nanos(now), &mut changes);
        changes.clear();
    }
    tell(what, directories * ROWS, start);
}

fn upsert(view: &mut View, by: &Witness, directories: u64, now: i64, warm: bool, what: &str) {
    let count = (directories * ROWS).min(1_000_000);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut rows = Vec::new();
    for number in 0..count {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (dir, file) = ((random >> 33) % directories, (random >> 20) % ROWS);
        let path = TreePath::new(format!("/d{dir:08}/file-{file:09}").into_bytes()).unwrap();
        rows.push((path, dir, file, number));
    }
    let mut changes = Vec::new();
    let start = processor_time();
    for rows in rows.chunks(AT_ONCE) {
        let batch: Vec<(Evidence<'_>, ServerTime)> = rows
            .iter()
            .map(|(path, dir, file, number)| {
                let at = ServerTime::from_nanos(now + *number as i64);
                let evidence = Evidence::Upsert {
                    path: path.as_ref(),
                    stat: stat(Kind::File, 1_000 + file, 8 + *number as i64),
                    parent: Some(stat(Kind::Directory, 10 + dir, 5)),
                    atomic: true,
                    observed_at: at,
                };
                (evidence, at)
            })
            .collect();
        if warm {
            view.warm(batch.iter().map(|(evidence, _)| evidence));
        }
        for (evidence, at) in &batch {
            let _ = view.apply(by, evidence, *at, &mut changes);
        }
        if changes.len() > 1000 {
            changes.clear();
        }
    }
    tell(what, count, start);
}

/// Seconds of processor time of this thread so far: machines are shared.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn tell(what: &str, count: u64, start: f64) {
    let seconds = processor_time() - start;
    println!("  {what}: {:.2} M/s ({count})", count as f64 / seconds / 1e6);
}
