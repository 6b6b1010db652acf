//! A data directory as a server leaves it: one view with blocks and changes after them.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use fusion_core::change::Change;
use fusion_core::evidence::{ChildColumns, Evidence, Listing, ScanId, Source, Witness};
use fusion_core::id::{AgentId, CorrelationId, LeaderEpoch, SessionId, ViewName};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::checkpoint::BACKLOG_MAX;
use fusion_core::view::{Leadership, View, ViewSettings};
use fusion_store::codec::blocks;
use fusion_store::embedded::{BlocksSettings, LogSettings, Store, StoreOptions};
use fusion_store::{
    Actor, Blocks as _, ChangeLog as _, LogPoint, Origin, RecordHead, Space, State as _, ViewId,
    ViewRef,
};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

const SECOND: i64 = 1_000_000_000;
const NOW: i64 = 1_700_000_000 * SECOND;
pub(crate) const SERVER: Uuid = Uuid::from_u64_pair(1, 2);

pub(crate) fn options() -> StoreOptions {
    StoreOptions {
        new_server: SERVER,
        server: None,
        owner: "a test".to_owned(),
        // Small, so that there are several files to damage and to trim.
        log: LogSettings { segment_bytes: 4_000 },
        blocks: BlocksSettings { file_bytes: 4_000, slack_bytes: 1_000, files_max: 9 },
    }
}

pub(crate) fn id(number: u64) -> ViewId {
    ViewId(Uuid::from_u64_pair(3, number))
}

/// A view that is being written.
pub(crate) struct Writer<'a> {
    store: &'a Store,
    stored: ViewRef,
    pub(crate) view: View,
    end: LogPoint,
    now: i64,
    by: Witness,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(store: &'a Store, name: &str, number: u64) -> Self {
        let stored = ViewRef { id: id(number), name: ViewName::new(name).unwrap() };
        let record = format!(
            "{{\"v\":1,\"id\":\"{}\",\"created_at_ns\":{NOW},\"epoch\":1}}",
            stored.id.0.hyphenated()
        );
        store.state().put(Space::View, name.as_bytes(), record.as_bytes(), None).unwrap();
        let end = store.log().open(&stored).unwrap().end;
        let session = SessionId::new(Uuid::from_u64_pair(5, 6));
        let by = Witness { agent: AgentId::new("host-a").unwrap(), session, epoch: LeaderEpoch(1) };
        let mut view = View::new(ViewSettings::default());
        view.set_leadership(Some(Leadership { session, epoch: by.epoch }));
        Self { store, stored, view, end, now: NOW, by }
    }

    /// Lists a directory.
    pub(crate) fn list(&mut self, dir: &str, rows: &[(&[u8], Stat)]) {
        let mut columns = ChildColumns::default();
        rows.iter().for_each(|(name, stat)| columns.push(name, stat));
        let dir = TreePath::new(dir.as_bytes()).unwrap();
        let dir_stat = match self.view.reader().entry(dir.as_ref()) {
            Some(known) => known.stat,
            None => stat(Kind::Directory, 1, 0),
        };
        let now = self.tick();
        let listing = Listing {
            dir: dir.as_ref(),
            dir_stat,
            scan: ScanId(1),
            source: Source::Snapshot,
            started_at: now,
            finished_at: now,
            part: 0,
            last: true,
            complete: true,
            children: columns.as_children(),
        };
        self.apply(&Evidence::Listing(listing), Origin::Snapshot);
    }

    /// A file was written.
    pub(crate) fn write(&mut self, path: &str, size: u64) {
        let path = TreePath::new(path.as_bytes()).unwrap();
        let reader = self.view.reader();
        let (parent, _) = path.as_ref().split_last().unwrap();
        let parent = reader.entry(parent).unwrap().stat;
        let now = self.tick();
        let inode = reader.entry(path.as_ref()).map_or(1000 + size, |known| known.stat.inode);
        let mut stat = stat(Kind::File, inode, size);
        stat.ctime = StorageTime::from_nanos(self.now);
        self.apply(
            &Evidence::Upsert {
                path: path.as_ref(),
                stat,
                parent: Some(parent),
                atomic: true,
                observed_at: now,
            },
            Origin::Realtime,
        );
    }

    fn tick(&mut self) -> ServerTime {
        self.now += SECOND;
        ServerTime::from_nanos(self.now)
    }

    fn apply(&mut self, evidence: &Evidence<'_>, origin: Origin) {
        let (at, mut changes) = (ServerTime::from_nanos(self.now), Vec::<Change>::new());
        let _ = self.view.apply(&self.by, evidence, at, &mut changes);
        let head = RecordHead {
            actor: Some(Actor::Agent(self.by.agent.clone(), self.by.session)),
            correlation: Some(CorrelationId::new("chain-1").unwrap()),
            ..RecordHead::new(at, origin)
        };
        let ticket = self.store.log().append(self.stored.id, self.end, &head, &changes).unwrap();
        self.end = ticket.wait().unwrap();
    }

    pub(crate) fn checkpoint(&mut self) {
        let mut checkpoint = self.view.begin_checkpoint(BACKLOG_MAX).unwrap();
        let mut writer = self.store.blocks().begin(&self.stored, self.end).unwrap();
        blocks::write(&mut checkpoint, &mut *writer).unwrap();
        writer.put_named("server", golden("beside-v1.json").as_bytes()).unwrap();
        writer.commit().unwrap();
        assert!(self.view.end_checkpoint(checkpoint.stored().unwrap()));
    }
}

pub(crate) fn stat(kind: Kind, inode: u64, size: u64) -> Stat {
    let time = StorageTime::from_nanos(NOW - 1_000 * SECOND);
    Stat { kind, size, mtime: time, ctime: time, inode, mode: 0o644, uid: 7, gid: 8, nlink: 1 }
}

/// What is in the view `tree`, the root not counted.
pub(crate) const ENTRIES: u64 = 1 + 200 + 1 + 1;

/// A data directory with the view `tree`, and a session of it.
pub(crate) fn data_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &options()).unwrap();
    let mut writer = Writer::new(&store, "tree", 1);
    writer
        .list("/", &[(b"d", stat(Kind::Directory, 2, 0)), (b"odd\xff\n", stat(Kind::File, 3, 4))]);
    let names: Vec<_> = (0..200).map(|number| format!("file-{number:04}")).collect();
    let file = |n| stat(Kind::File, 10 + n, n);
    let rows: Vec<_> = (0..).zip(&names).map(|(n, name)| (name.as_bytes(), file(n))).collect();
    writer.list("/d", &rows);
    writer.checkpoint();
    for round in 0..40 {
        writer.write(&format!("/d/file-{:04}", round % 7), 500 + round);
    }
    writer.checkpoint();
    writer.write("/late", 1);
    let session = golden("session-v1.json").replace("projects", "tree");
    store.state().put(Space::Session, &[9; 16], session.as_bytes(), None).unwrap();
    drop(writer);
    dir
}

/// A value as a server stores it.
pub(crate) fn golden(name: &str) -> String {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"));
    std::fs::read_to_string(folder.join(name)).unwrap().trim_end().to_owned()
}

/// `fusion-server` with these arguments.
pub(crate) fn server(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusion-server"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("FUSION_SERVER__") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// `fusion-server store COMMAND --data-dir DIR ...`.
pub(crate) fn store(command: &str, dir: &Path, more: &[&str]) -> Output {
    let place = ["store", command, "--data-dir", dir.to_str().unwrap()];
    server(&[&place[..], more].concat()).output().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The lines of an export.
pub(crate) fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", err(output));
    out(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A copy of a directory that nobody writes.
pub(crate) fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .args(["-a", &format!("{}/.", from.display()), to.path().to_str().unwrap()])
        .status();
    assert!(copied.unwrap().success());
    to
}
