//! A view under evidence that applies, with its changes.

use crate::change::Change;
use crate::evidence::{ChildColumns, Evidence, Listing, ScanId, Source, Witness};
use crate::id::{AgentId, LeaderEpoch, Revision, SessionId};
use crate::path::TreePath;
use crate::stat::{Kind, Stat};
use crate::time::{ServerTime, StorageTime};
use crate::view::checkpoint::kept::{Kept, Taking};
use crate::view::tree::BlockId;
use crate::view::{Leadership, Verdict, View, ViewSettings};

const SECOND: i64 = 1_000_000_000;

pub(super) struct Rig {
    pub(super) view: View,
    changes: Vec<Change>,
    by: Witness,
    now: i64,
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn stat(kind: Kind, name: &str, ctime: i64) -> Stat {
    let inode = name.bytes().fold(7, |hash: u64, byte| hash * 31 + u64::from(byte));
    let time = StorageTime::from_nanos(ctime * SECOND);
    Stat { kind, size: 100, mtime: time, ctime: time, inode, mode: 0o644, uid: 1, gid: 2, nlink: 1 }
}

impl Rig {
    /// Directories `/d0`… with files `f0`… in each.
    pub(super) fn with(directories: u32, files: u32) -> Self {
        let session = SessionId::new(uuid::Uuid::from_u64_pair(0, 1));
        let by = Witness { agent: AgentId::new("a").unwrap(), session, epoch: LeaderEpoch(1) };
        let view = View::new(ViewSettings::default());
        let mut rig = Self { view, changes: Vec::new(), by, now: 1_000_000 * SECOND };
        rig.lead();
        let mut rows = ChildColumns::default();
        let mut names: Vec<String> = (0..directories).map(|number| format!("d{number}")).collect();
        names.sort();
        for name in &names {
            rows.push(name.as_bytes(), &stat(Kind::Directory, &format!("/{name}"), 1));
        }
        rig.listing("/", &rows, 1);
        names.iter().for_each(|name| rig.list(&format!("/{name}"), files, 2));
        rig
    }

    /// What changed after a revision.
    pub(super) fn changes_after(&self, revision: Revision) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.revision > revision)
    }

    fn lead(&mut self) {
        let leadership = Leadership { session: self.by.session, epoch: self.by.epoch };
        self.view.set_leadership(Some(leadership));
    }

    fn apply(&mut self, evidence: &Evidence<'_>) {
        self.now += SECOND;
        let now = ServerTime::from_nanos(self.now);
        let verdict = self.view.apply(&self.by, evidence, now, &mut self.changes);
        assert_eq!(verdict, Verdict::Applied, "{evidence:?}");
    }

    fn listing(&mut self, dir: &str, rows: &ChildColumns, ctime: i64) {
        let (dir_path, time) = (path(dir), ServerTime::from_nanos(self.now));
        self.apply(&Evidence::Listing(Listing {
            dir: dir_path.as_ref(),
            dir_stat: stat(Kind::Directory, dir, ctime),
            scan: ScanId(1),
            source: Source::Snapshot,
            started_at: time,
            finished_at: time,
            part: 0,
            last: true,
            complete: true,
            children: rows.as_children(),
        }));
    }

    /// Lists a directory with so many files.
    pub(super) fn list(&mut self, dir: &str, files: u32, ctime: i64) {
        let mut names: Vec<String> = (0..files).map(|number| format!("f{number}")).collect();
        names.sort();
        let mut rows = ChildColumns::default();
        for name in names {
            rows.push(name.as_bytes(), &stat(Kind::File, &format!("{dir}/{name}"), ctime));
        }
        self.listing(dir, &rows, ctime);
    }

    fn parent(&self, at: &str) -> Option<Stat> {
        let at = path(at);
        let (parent, _) = at.as_ref().split_last().unwrap();
        self.view.reader().entry(parent).map(|entry| entry.stat)
    }

    pub(super) fn upsert(&mut self, at: &str, ctime: i64) {
        let (at_path, parent) = (path(at), self.parent(at));
        self.apply(&Evidence::Upsert {
            path: at_path.as_ref(),
            stat: stat(Kind::File, at, ctime),
            parent,
            atomic: true,
            observed_at: ServerTime::from_nanos(self.now),
        });
    }

    pub(super) fn remove(&mut self, at: &str) {
        let at_path = path(at);
        let observed_at = ServerTime::from_nanos(self.now);
        self.apply(&Evidence::Remove { path: at_path.as_ref(), parent: None, observed_at });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        let (from_path, to_path) = (path(from), path(to));
        let stat = self.view.reader().entry(from_path.as_ref()).unwrap().stat;
        self.apply(&Evidence::Rename {
            from: from_path.as_ref(),
            to: to_path.as_ref(),
            stat,
            from_parent: self.parent(from),
            to_parent: self.parent(to),
            observed_at: ServerTime::from_nanos(self.now),
        });
        assert!(self.view.reader().entry(to_path.as_ref()).is_some());
    }

    pub(super) fn restore_first(&mut self) {
        let id = self.view.trash(None).next().unwrap().id;
        let now = ServerTime::from_nanos(self.now);
        self.view.restore(id, now, &mut self.changes).unwrap();
    }

    pub(super) fn purge_first(&mut self) {
        let id = self.view.trash(None).next().unwrap().id;
        let now = ServerTime::from_nanos(self.now);
        self.view.purge(id, now, &mut self.changes).unwrap();
    }

    pub(super) fn reset(&mut self) {
        self.view.reset(ServerTime::from_nanos(self.now), &mut self.changes);
    }

    pub(super) fn tick(&mut self) {
        self.view.tick(ServerTime::from_nanos(self.now), &mut self.changes);
    }

    pub(super) fn block(&self, dir: &str) -> BlockId {
        self.view.state.tree.share().dir(path(dir).as_ref()).unwrap()
    }

    pub(super) fn begin(&mut self) -> Taking {
        Taking::begin(&mut self.view, usize::MAX).unwrap()
    }

    pub(super) fn keep(&mut self, kept: &mut Kept) {
        self.begin().keep(kept, &mut self.view).unwrap();
    }

    /// What was kept and the changes after it give the view.
    pub(super) fn check(&self, kept: &Kept) {
        let view = kept.restart(ViewSettings::default(), &self.changes).unwrap();
        view.check_invariants().unwrap();
        assert_eq!(view.dump(), self.view.dump());
    }

    /// The rig after a restart.
    pub(super) fn restarted(&self, kept: &Kept) -> Self {
        let view = kept.restart(ViewSettings::default(), &self.changes).unwrap();
        let changes = self.changes.clone();
        let mut rig = Self { view, changes, by: self.by.clone(), now: self.now };
        rig.lead();
        rig
    }
}
