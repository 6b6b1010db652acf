//! The table behind the disk: what happens between a rename and the reading of its events, step by
//! step. (`tests/tree/watch_random.rs` finds such steps by chance, one in some thousand runs.)

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Mutex;

use crossbeam_channel::Sender;
use inotify::Inotify;
use rustix::fd::AsFd as _;

use super::*;
use crate::clock::HostClock;
use crate::scan::{Cancel, Pulse, Root, RootOptions, Scan, ScanCounters, ScanOptions};
use crate::watch::WatchOptions;
use crate::watch::gate::Gate;
use crate::watch::kernel::Placing;
use crate::watch::places::Places;
use crate::watch::reader::{Batch, Message};

/// A watcher without threads: events are read when the test says so.
struct Stepped {
    folder: tempfile::TempDir,
    inotify: Inotify,
    messages: Sender<Message>,
    interpreter: Interpreter,
    told: Arc<Mutex<Vec<String>>>,
}

impl Stepped {
    fn new(directories: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for directory in directories {
            fs::create_dir_all(folder.path().join(directory)).unwrap();
        }
        let root = Arc::new(Root::open(folder.path(), RootOptions::default()).unwrap());
        let inotify = Inotify::init().unwrap();
        let kernel = || rustix::io::dup(&inotify).unwrap();
        let clock = Arc::new(HostClock);
        let (messages, inbox) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared {
            wall_ahead: 0,
            places: Places::new(
                Placing::Inotify { watches: inotify.watches(), instance: kernel() },
                usize::MAX,
                None,
            ),
            gate: Gate::new(kernel(), crate::clock::AgentClock::monotonic(&*clock)),
            counters: super::super::counters::Counters::default(),
            cancel: Cancel::new(),
            pulse: Pulse::default(),
            place: Mutex::default(),
            turn: DiscoveryTurn::default(),
            messages: messages.clone(),
            stop_reader: Arc::new(tokio::sync::Notify::new()),
            root,
            options: WatchOptions::default(),
            clock,
        });
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink_told = Arc::clone(&told);
        let sink = move |batch: Vec<WatchEvidence>| {
            let listed = batch.iter().filter_map(|evidence| match evidence {
                WatchEvidence::Listing(listed) => Some(listed.path.to_string()),
                _ => None,
            });
            sink_told.lock().unwrap().extend(listed);
            ControlFlow::Continue(())
        };
        let interpreter = Interpreter::new(shared, inbox, messages.clone(), Box::new(sink));
        let mut stepped = Self { folder, inotify, messages, interpreter, told };
        stepped.place_all();
        // As after a listing: what comes later raises an event.
        let nodes: Vec<NodeId> = directories.iter().filter_map(|path| stepped.node(path)).collect();
        for node in nodes {
            stepped.shared().places.lock().table.set_content(node, Content::Listed);
        }
        stepped
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.interpreter.shared)
    }

    fn place_all(&mut self) {
        let shared = self.shared();
        let scan = Scan {
            root: &shared.root,
            options: &ScanOptions::default(),
            clock: &*shared.clock,
            cancel: &shared.cancel,
            counters: &ScanCounters::default(),
            pace: &Unlimited,
            placer: Some(&*shared),
            then: None,
        };
        let nothing = |_: Found| ControlFlow::Continue(());
        assert!(scan.place_watches(PathRef::ROOT, &nothing).complete);
    }

    fn node(&self, path: &str) -> Option<NodeId> {
        let path = TreePath::new(format!("/{path}").into_bytes()).unwrap();
        self.shared().places.lock().table.find(path.as_ref())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn job(&self, parent: &str, name: &str, is_displaced: bool) -> Job {
        let path = TreePath::new(format!("/{parent}/{name}").into_bytes()).unwrap();
        Job {
            parent: Some((self.node(parent).unwrap(), name.as_bytes().into())),
            path,
            is_displaced,
        }
    }

    /// Reads what the kernel has, and does all that follows.
    fn read(&mut self) {
        let shared = self.shared();
        let now = shared.clock.monotonic();
        let (events, names) = (Vec::new(), Vec::new());
        let mut batch = Batch { events, names, since: now, through: now, lost_since: None };
        let mut buffer = [0; 4096];
        while let Ok(events) = self.inotify.read_events(&mut buffer) {
            events.for_each(|event| batch.push_inotify(&event));
        }
        shared.gate.add_queued(batch.events.len());
        self.messages.send(Message::Batch(batch)).unwrap();
        let is_idle = |it: &Interpreter| {
            let (pending, moves) = (it.pending.oldest(), it.moves.oldest());
            pending.is_none() && moves.is_none() && it.discovery.is_empty() && it.inbox.is_empty()
        };
        while !is_idle(&self.interpreter) {
            assert!(self.interpreter.round());
        }
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.lock().unwrap())
    }

    /// Whether what stands at a path is watched, at that path.
    fn is_watched(&self, path: &str) -> bool {
        let Some(node) = self.node(path) else { return false };
        let watched = self.shared().places.lock().table.watched_at(node);
        watched.map(|it| it.id.inode) == Some(fs::metadata(self.at(path)).unwrap().ino())
    }
}

#[test]
fn a_watch_goes_with_its_directory_if_the_table_has_what_is_above_it_elsewhere() {
    let mut tree = Stepped::new(&["p/q", "o", "o/c"]);
    let shared = tree.shared();
    // The scan that is to place it has not come by yet.
    let node = tree.node("o/c").unwrap();
    shared.places.lock().drop_watch(node);
    tree.rename("p", "away");
    tree.read();
    tree.rename("o", "p");
    let path = TreePath::new(&b"/p/c"[..]).unwrap();
    let reached = shared.root.reach(path.as_ref()).unwrap();
    shared.place(path.as_ref(), reached.fd.as_fd(), reached.id, &reached.stat);
    tree.read();
    for path in ["p", "p/c", "away", "away/q"] {
        assert!(tree.is_watched(path), "{path}");
    }
}

#[test]
fn a_tree_that_was_told_of_as_gone_is_listed_whole_where_it_turns_up() {
    let mut tree = Stepped::new(&["t/o/y/z", "d"]);
    tree.rename("t/o", "d/n");
    // Both are listed before the rename is read, the second not to its end.
    let path = TreePath::new(&b"/t"[..]).unwrap();
    tree.interpreter.list(Job { parent: None, path, is_displaced: true });
    let job = tree.job("d", "n", false);
    tree.interpreter.list(job);
    tree.interpreter.outlet.flush();
    assert_eq!(tree.told(), ["/t", "/d/n"]);
    tree.read();
    let told = tree.told();
    for path in ["/d/n", "/d/n/y", "/d/n/y/z"] {
        assert!(told.iter().any(|listed| listed == path), "{path} is not in {told:?}");
    }
    assert!(tree.is_watched("d/n/y/z"));
}

#[test]
fn what_is_listed_is_a_child_of_what_stood_above_it() {
    let mut tree = Stepped::new(&["p/c/of-p", "o/c/of-o"]);
    tree.rename("p", "away");
    tree.rename("o", "p");
    let precedence = tree.shared().options.precedence.clone();
    assert!(!precedence.is_behind(Rank::Asked));
    // Queued when `p` was the other one.
    let job = tree.job("p", "c", true);
    let since = tree.interpreter.through;
    tree.interpreter.begin_discovery(job, since);
    assert!(precedence.is_behind(Rank::Asked), "scans give way to it");
    tree.interpreter.discover(Duration::from_secs(1));
    assert!(!precedence.is_behind(Rank::Snapshot));
    tree.interpreter.outlet.flush();
    assert!(tree.told().is_empty(), "its path leads to another");
    tree.read();
    let told = tree.told();
    assert!(told.iter().any(|listed| listed == "/away/c/of-p"), "{told:?}");
}

#[test]
fn what_another_host_made_is_watched_and_read_though_no_event_tells_of_it() {
    let mut tree = Stepped::new(&["in"]);
    for (made, listed) in [
        ("in/run/deep", &["/in/run", "/in/run/deep"][..]),
        // Its own directory is watched and listed by now: what is below is found all the same.
        ("in/run/deep/more", &["/in/run", "/in/run/deep", "/in/run/deep/more"]),
    ] {
        fs::create_dir_all(tree.at(made)).unwrap();
        // Another host raises no event here.
        let mut buffer = [0; 4096];
        while let Ok(events) = tree.inotify.read_events(&mut buffer) {
            events.for_each(drop);
        }
        tree.read();
        assert!(tree.told().is_empty() && !tree.is_watched(made));
        let (read, mut answer) = tokio::sync::oneshot::channel();
        let path = TreePath::new(&b"/in/run"[..]).unwrap();
        tree.messages.send(Message::Made(path, read)).unwrap();
        assert!(answer.try_recv().is_err());
        tree.read();
        assert_eq!(tree.told(), listed);
        assert!(tree.is_watched(made));
        assert_eq!(answer.try_recv(), Ok(()));
    }
}

/// What was found below a short path stands below a long one by now, where it can be no path of a view.
#[test]
fn a_directory_whose_path_became_too_long_is_counted() {
    let deep = [vec!["d".repeat(255); 15].join("/"), "e".repeat(200)].join("/");
    let mut stepped = Stepped::new(&[&deep]);
    let name: Arc<[u8]> = "n".repeat(100).as_bytes().into();
    let path = TreePath::new([b"/", &*name].concat()).unwrap();
    let parent = Some((stepped.node(&deep).unwrap(), name));
    let job = Job { parent, path, is_displaced: true };
    let now = stepped.shared().clock.monotonic();
    stepped.interpreter.begin_discovery(job, now);
    stepped.read();
    assert!(stepped.told().is_empty());
    let counted = stepped.shared().counters.failed_looks.read();
    assert_eq!(counted[FailedLook::Name as usize], 1, "{counted:?}");
}
