//! A tree with a watcher on it, and the copy that its evidence makes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_client::clock::{AgentClock as _, HostClock};
use agent_client::scan::{
    Cancel, Found, Placer, Root, RootOptions, Scan, ScanCounters, ScanOptions, ScanReport,
    Unlimited,
};
use agent_client::watch::{WatchEvidence, WatchMethod, WatchOptions, Watcher};
use fusion_core::path::PathRef;
use tempfile::TempDir;

use crate::disk::{Tree, walk};

/// How long a watcher may take to be level with the disk, after a burst and on a busy machine. It is
/// milliseconds otherwise; `examples/watch_latency.rs` measures.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Set where all is watched by fanotify.
pub(crate) const METHOD: &str = "FUSION_TEST_FANOTIFY";
/// Where the folders are made.
pub(crate) const FOLDER: &str = "FUSION_TEST_FOLDER";

/// Scans with these options; gives what was found.
pub(crate) fn scan_with(
    root: &Root,
    options: &ScanOptions,
    placer: Option<&dyn Placer>,
) -> (Vec<Found>, ScanReport) {
    let found = Mutex::new(Vec::new());
    let sink = |item| {
        found.lock().unwrap().push(item);
        ControlFlow::Continue(())
    };
    let counters = ScanCounters::default();
    let cancel = Cancel::new();
    let scan = Scan {
        root,
        options,
        clock: &HostClock,
        cancel: &cancel,
        counters: &counters,
        pace: &Unlimited,
        placer,
        then: None,
    };
    let report = scan.subtree(PathRef::ROOT, &sink);
    (found.into_inner().unwrap(), report)
}

/// Open options that keep every directory in one part, as the copy wants it.
pub(crate) fn in_one_part() -> ScanOptions {
    ScanOptions { max_rows: 1_000_000.try_into().unwrap(), ..ScanOptions::default() }
}

/// A folder whose `tree` is watched, and whose other content is not.
pub(crate) struct Watched {
    folder: TempDir,
    pub(crate) root: PathBuf,
    watcher: Option<Watcher>,
    evidence: Receiver<Vec<WatchEvidence>>,
    pub(crate) copy: Tree,
    /// All evidence since the start or the last [`Watched::forget`].
    pub(crate) told: Vec<WatchEvidence>,
}

impl Watched {
    /// Makes a tree, lets `fill` fill it, then watches it, as a leader does: in one pass.
    pub(crate) fn new(fill: impl FnOnce(&Path)) -> Self {
        Self::with(WatchOptions::default(), fill)
    }

    pub(crate) fn with(options: WatchOptions, fill: impl FnOnce(&Path)) -> Self {
        Self::excluding(options, &[], fill)
    }

    pub(crate) fn excluding(
        options: WatchOptions,
        excluded: &[&str],
        fill: impl FnOnce(&Path),
    ) -> Self {
        let folder = folder();
        let path = folder.path().join("tree");
        std::fs::create_dir(&path).unwrap();
        std::fs::create_dir(folder.path().join("outside")).unwrap();
        fill(&path);
        let root = Arc::new(Root::open(&path, RootOptions::default()).unwrap());
        let excluded: Vec<String> = excluded.iter().map(|&it| it.to_owned()).collect();
        root.exclude(&excluded).unwrap();
        let (sender, evidence) = channel();
        let sink = move |batch| match sender.send(batch) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let asked = std::env::var_os(METHOD).map(|_| WatchMethod::Fanotify);
        let method = options.method.or(asked);
        let options = WatchOptions { max_rows: 1_000_000.try_into().unwrap(), method, ..options };
        let clock = Arc::new(HostClock);
        let watcher = Watcher::start(Arc::clone(&root), options, clock, Box::new(sink)).unwrap();
        let (found, report) = scan_with(&root, &in_one_part(), Some(watcher.handle()));
        assert!(report.complete, "{report:?}");
        let mut copy = Tree::default();
        for item in found {
            if let Found::Listed(listed) = item {
                copy.list(&listed);
            }
        }
        let told = Vec::new();
        Self { folder, root: path, watcher: Some(watcher), evidence, copy, told }
    }

    pub(crate) fn watcher(&self) -> &Watcher {
        self.watcher.as_ref().unwrap()
    }

    /// A place beside the tree, on the same file system.
    pub(crate) fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Takes in what was told so far.
    pub(crate) fn drain(&mut self) {
        while let Ok(batch) = self.evidence.try_recv() {
            for evidence in batch {
                self.copy.apply(&evidence);
                self.told.push(evidence);
            }
        }
    }

    /// Waits until the copy equals the disk.
    pub(crate) fn level(&mut self, what: &str) {
        let mut differences = Vec::new();
        let root = self.root.clone();
        let is_level = self.eventually(|watched| {
            differences = watched.copy.differences(&walk(&root));
            differences.is_empty()
        });
        if !is_level {
            let count = differences.len();
            differences.truncate(10);
            let counts = self.watcher().handle().counts();
            let said = self.said();
            let said = said[said.len().saturating_sub(40)..].join("\n");
            panic!("{what}: {count} differences\n{}\n{counts:#?}\n{said}", differences.join("\n"));
        }
    }

    /// Repeats a question, taking in evidence, until the answer is yes or patience ends.
    pub(crate) fn eventually(&mut self, mut question: impl FnMut(&mut Self) -> bool) -> bool {
        let end = HostClock.monotonic().plus(PATIENCE);
        loop {
            if let Ok(batch) = self.evidence.recv_timeout(Duration::from_millis(5)) {
                for evidence in batch {
                    self.copy.apply(&evidence);
                    self.told.push(evidence);
                }
            }
            self.drain();
            if question(self) {
                return true;
            }
            if HostClock.monotonic() > end {
                return false;
            }
        }
    }

    /// Waits until everything that happened so far has been told.
    pub(crate) fn settle(&mut self) {
        let now = HostClock.monotonic();
        let settled = |watched: &mut Self| watched.watcher().handle().seen_through() >= now;
        assert!(self.eventually(settled), "not settled");
        self.drain();
    }

    /// Levels, and forgets what was told.
    pub(crate) fn forget(&mut self) {
        self.level("before");
        self.settle();
        self.told.clear();
    }

    /// The paths of all evidence told, with its kind.
    pub(crate) fn said(&self) -> Vec<String> {
        self.told.iter().map(say).collect()
    }

    pub(crate) fn stop(&mut self) {
        self.watcher.take().unwrap().stop();
    }
}

/// Evidence in a few words.
pub(crate) fn say(evidence: &WatchEvidence) -> String {
    match evidence {
        WatchEvidence::Upsert { path, atomic: true, .. } => format!("upsert {path}"),
        WatchEvidence::Upsert { path, .. } => format!("open {path}"),
        WatchEvidence::Remove { path, .. } => format!("remove {path}"),
        WatchEvidence::Rename { from, to, .. } => format!("rename {from} {to}"),
        WatchEvidence::Listing(listed) => format!("list {}", listed.path),
        WatchEvidence::Unreadable(unreadable) => format!("unreadable {}", unreadable.dir),
        WatchEvidence::LeftOut(left_out) => format!("left out {}", left_out.dir),
        WatchEvidence::Overflow { .. } => "overflow".into(),
        WatchEvidence::RootGone { .. } => "root gone".into(),
    }
}

/// A folder in `FUSION_TEST_FOLDER`, else in memory where that can be had: repeated creating and
/// deleting wears some disks down.
pub(crate) fn folder() -> TempDir {
    let parent = std::env::var(FOLDER).unwrap_or_else(|_| "/dev/shm".into());
    tempfile::tempdir_in(parent).or_else(|_| tempfile::tempdir()).unwrap()
}
