//! Views to take checkpoints of, and evidence for them.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use fusion_core::change::Change;
use fusion_core::evidence::{ChildColumns, Evidence, Listing, ScanId, Source, Witness};
use fusion_core::id::{AgentId, LeaderEpoch, SessionId};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::{Leadership, View, ViewSettings};

const SECOND: i64 = 1_000_000_000;
const NOW: i64 = 1_790_000_000 * SECOND;
/// Directories of the second level in one of the first.
const GROUP: u64 = 200;

/// Seconds of processor time of this thread so far: machines are shared.
pub(crate) fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// One directory.
struct Dir {
    path: TreePath,
    stat: Stat,
    rows: Vec<(Vec<u8>, Stat)>,
}

/// Directories before what is in them.
pub(crate) struct Feed {
    dirs: Vec<Dir>,
    by: Witness,
    random: u64,
    now: i64,
}

fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

impl Feed {
    fn new(dirs: Vec<Dir>) -> Self {
        let session = SessionId::new(uuid::Uuid::from_u64_pair(0, 1));
        let by = Witness { agent: AgentId::new("a").unwrap(), session, epoch: LeaderEpoch(1) };
        Self { dirs, by, random: 0x9E37_79B9_7F4A_7C15, now: NOW }
    }

    /// Files with names of 14 bytes, sizes over many magnitudes, times to the nanosecond; two of three
    /// were never changed but by writing them.
    pub(crate) fn made(entries: u64, rows: u64) -> Self {
        let mut random = 88_172_645_463_325_252;
        let stat = |kind, inode, random: &mut u64| {
            let mtime = NOW - (next(random) % (365 * 86_400 * SECOND as u64)) as i64;
            let later =
                if next(random).is_multiple_of(3) { (next(random) >> 20) as i64 } else { 0 };
            let size = next(random) >> (20 + next(random) % 43);
            let (mtime, ctime) =
                (StorageTime::from_nanos(mtime), StorageTime::from_nanos(mtime + later % SECOND));
            let uid = 1000 + (inode / 5000 % 7) as u32;
            Stat { kind, size, mtime, ctime, inode, mode: 0o644, uid, gid: 100, nlink: 1 }
        };
        let directories = entries / rows;
        let path = |text: String| TreePath::new(text.into_bytes()).unwrap();
        let mut dirs = Vec::new();
        let mut top = Vec::new();
        for group in 0..directories.div_ceil(GROUP) {
            let name = format!("group-{group:07}");
            let own = stat(Kind::Directory, 2 + group, &mut random);
            top.push((name.clone().into_bytes(), own));
            let mut inside = Vec::new();
            let mut below = Vec::new();
            for dir in group * GROUP..((group + 1) * GROUP).min(directories) {
                let own = stat(Kind::Directory, 1_000_000_000 + dir, &mut random);
                let dir_name = format!("dir-{dir:09}");
                inside.push((dir_name.clone().into_bytes(), own));
                let files = (0..rows).map(|file| {
                    let number = dir * rows + file;
                    let name = format!("file-{number:09}").into_bytes();
                    (name, stat(Kind::File, 2_000_000_000 + number, &mut random))
                });
                let rows = files.collect();
                below.push(Dir { path: path(format!("/{name}/{dir_name}")), stat: own, rows });
            }
            dirs.push(Dir { path: path(format!("/{name}")), stat: own, rows: inside });
            dirs.append(&mut below);
        }
        let own = stat(Kind::Directory, 1, &mut random);
        dirs.insert(0, Dir { path: TreePath::root(), stat: own, rows: top });
        Self::new(dirs)
    }

    /// The entries of a real directory.
    pub(crate) fn real(root: &str) -> Self {
        let mut dirs = Vec::new();
        let mut todo = vec![(root.into(), TreePath::root())];
        while let Some((place, path)) = todo.pop() {
            let place: std::path::PathBuf = place;
            let (Ok(own), Ok(list)) = (place.symlink_metadata(), place.read_dir()) else {
                continue;
            };
            let mut rows: Vec<(Vec<u8>, Stat)> = list
                .filter_map(|entry| {
                    let entry = entry.ok()?;
                    Some((entry.file_name().as_bytes().to_vec(), stat(&entry.metadata().ok()?)))
                })
                .collect();
            rows.sort_by(|left, right| left.0.cmp(&right.0));
            for (name, stat) in &rows {
                if stat.kind == Kind::Directory
                    && let Ok(path) = path.join(name)
                {
                    todo.push((place.join(std::ffi::OsStr::from_bytes(name)), path));
                }
            }
            dirs.push(Dir { path, stat: stat(&own), rows });
        }
        Self::new(dirs)
    }

    pub(crate) fn entries(&self) -> u64 {
        self.dirs.iter().map(|dir| dir.rows.len() as u64).sum()
    }

    /// Bytes of all entries as the view packs them: 44 and the name.
    pub(crate) fn packed(&self) -> u64 {
        let row = |row: &(Vec<u8>, Stat)| 44 + row.0.len() as u64;
        self.dirs.iter().flat_map(|dir| &dir.rows).map(row).sum()
    }

    /// The view, by a listing of every directory.
    pub(crate) fn view(&self) -> View {
        let mut view = View::new(ViewSettings::default());
        view.keep_changes(false);
        self.fill(&mut view, &mut Vec::clear);
        view
    }

    /// Lists every directory to a view; `take` gets the changes of each, and leaves none.
    pub(crate) fn fill(&self, view: &mut View, take: &mut dyn FnMut(&mut Vec<Change>)) {
        let leadership = Leadership { session: self.by.session, epoch: self.by.epoch };
        view.set_leadership(Some(leadership));
        let (now, mut changes) = (ServerTime::from_nanos(NOW), Vec::<Change>::new());
        for dir in &self.dirs {
            let mut rows = ChildColumns::default();
            dir.rows.iter().for_each(|(name, stat)| rows.push(name, stat));
            let evidence = Evidence::Listing(Listing {
                dir: dir.path.as_ref(),
                dir_stat: dir.stat,
                scan: ScanId(1),
                source: Source::Snapshot,
                started_at: now,
                finished_at: now,
                part: 0,
                last: true,
                complete: true,
                children: rows.as_children(),
            });
            let _ = view.apply(&self.by, &evidence, now, &mut changes);
            take(&mut changes);
        }
    }

    /// So many files at random are written; seconds of processor time.
    pub(crate) fn upsert(&mut self, view: &mut View, count: u64) -> f64 {
        self.upsert_into(view, count, &mut Vec::new())
    }

    /// The same, and the changes.
    pub(crate) fn upsert_into(
        &mut self,
        view: &mut View,
        count: u64,
        changes: &mut Vec<Change>,
    ) -> f64 {
        let mut rows = Vec::new();
        while (rows.len() as u64) < count {
            let dir = (next(&mut self.random) >> 8) as usize % self.dirs.len();
            let dir = &self.dirs[dir];
            if dir.rows.is_empty() {
                continue;
            }
            let row = (next(&mut self.random) >> 8) as usize % dir.rows.len();
            let (name, stat) = &dir.rows[row];
            if stat.kind == Kind::File {
                rows.push((dir.path.join(name).unwrap(), *stat, dir.stat));
            }
        }
        let start = processor_time();
        for (path, mut stat, parent) in rows {
            self.now += 1000;
            let at = ServerTime::from_nanos(self.now);
            stat.ctime = StorageTime::from_nanos(self.now);
            stat.mtime = stat.ctime;
            let evidence = Evidence::Upsert {
                path: path.as_ref(),
                stat,
                parent: Some(parent),
                atomic: true,
                observed_at: at,
            };
            let _ = view.apply(&self.by, &evidence, at, changes);
        }
        processor_time() - start
    }
}

fn stat(of: &std::fs::Metadata) -> Stat {
    let kind = match of.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => Kind::Symlink,
        _ => Kind::Other,
    };
    Stat {
        kind,
        size: of.size(),
        mtime: StorageTime::from_nanos(of.mtime() * SECOND + of.mtime_nsec()),
        ctime: StorageTime::from_nanos(of.ctime() * SECOND + of.ctime_nsec()),
        inode: of.ino(),
        mode: of.mode() & 0o7777,
        uid: of.uid(),
        gid: of.gid(),
        nlink: of.nlink() as u32,
    }
}
