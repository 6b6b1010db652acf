//! Rows on a tree that is watched: an audit of files that are silent, a pair that has nothing to do, and files that
//! are made faster than anybody looks.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::bursts::peak_memory;
use crate::pair::{Agent, World, get};
use crate::process::now;

use super::cost::of;
use super::{Line, Options, median, snapshot};

/// For so many times the span of a load the pair is left alone before it is idle: what is young is looked at again
/// until then, for a minute.
const QUIET: u32 = 12;
/// Directories that files are made in, and threads that make them.
const DIRECTORIES: usize = 100;
const THREADS: usize = 2;
/// Files a second of the goal.
const GOAL: f64 = 150_000.0;
const LIMIT: Duration = Duration::from_secs(300);
/// In memory, so that no disk is measured.
const MEMORY: &str = "/dev/shm";

/// A tree of files that nobody touches, and the pair that has seen it.
pub(super) struct Silent {
    _folder: tempfile::TempDir,
    world: World,
    agent: Agent,
    /// Seconds of the first scan.
    scanned: f64,
    files: u64,
}

impl Silent {
    /// Starts the pair on files in memory and waits until they are old.
    pub(super) async fn begin(options: &Options) -> Result<Self> {
        let folder = tempfile::tempdir_in(MEMORY)?;
        snapshot::make(folder.path(), options.files)?;
        let world = World::start_on(folder.path(), &[]);
        let started = now();
        let agent = world.start_ready_agent("bench").await;
        let scanned = started.elapsed().as_secs_f64();
        tokio::time::sleep(options.span() * QUIET).await;
        Ok(Self { _folder: folder, world, agent, scanned, files: options.files })
    }

    /// Percent of a processor that both take while nothing happens.
    pub(super) async fn idle(&mut self, options: &Options) -> Result<Line> {
        let processes = [self.world.server().id(), self.agent.process.id()];
        let used = || processes.map(|id| of(&id.to_string()));
        let (began, before) = (now(), used());
        tokio::time::sleep(options.span()).await;
        let (after, span) = (used(), began.elapsed().as_secs_f64());
        let percent = |at: usize| (after[at] - before[at]) / span * 100.0;
        Ok(Line {
            row: 11,
            what: "idle: server and agent, of a processor",
            ours: percent(0) + percent(1),
            yardstick: "goal",
            theirs: 0.2,
            unit: "%",
            note: format!(
                "{} files, {span:.0} s; server {:.2} %, agent {:.2} %",
                self.files,
                percent(0),
                percent(1)
            ),
        })
    }

    /// An audit of all, beside the first scan.
    pub(super) fn audit(&self, options: &Options) -> Result<Line> {
        let mut took = Vec::new();
        for _ in 0..options.rounds {
            let began = now();
            let done = self.world.fusionctl(&["audit"]);
            ensure!(done.status.success(), "{}", crate::pair::text(&done));
            took.push(began.elapsed().as_secs_f64());
        }
        Ok(Line {
            row: 18,
            what: "audit of silent files, by a command",
            ours: median(took),
            yardstick: "first scan of them",
            theirs: self.scanned,
            unit: "s",
            note: format!("{} files, goal ≤ 0.33", self.files),
        })
    }
}

/// Files made and closed as fast as some threads can: how many a second, and how soon all are in the view.
pub(super) async fn live(options: &Options) -> Result<Line> {
    let folder = tempfile::tempdir_in(MEMORY)?;
    for directory in 0..DIRECTORIES {
        fs::create_dir(folder.path().join(format!("d{directory}")))?;
    }
    let world = World::start_on(folder.path(), &[]);
    let agent = world.start_ready_agent("bench").await;
    let stop = Arc::<AtomicBool>::default();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (root, stop) = (folder.path().to_owned(), Arc::clone(&stop));
            std::thread::Builder::new()
                .name(format!("files {thread}"))
                .spawn(move || make(&root, thread, &stop))
        })
        .collect::<Result<_, _>>()?;
    let began = now();
    tokio::time::sleep(options.span()).await;
    stop.store(true, Ordering::Relaxed);
    let mut made = 0;
    for thread in threads {
        made += thread.join().map_err(|_| anyhow!("a thread that made files panicked"))??;
    }
    let rate = made as f64 / began.elapsed().as_secs_f64();
    let ended = now();
    let mut client = world.client();
    loop {
        let view = client.view(world.view()).await?;
        if view.totals.files == made && view.freshness.is_ready() {
            break;
        }
        let reasons = &view.freshness.reasons;
        ensure!(
            ended.elapsed() < LIMIT,
            "{} of {made} files, {reasons:?}: {}",
            view.totals.files,
            overflows(&agent)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let level = ended.elapsed().as_secs_f64();
    Ok(Line {
        row: 19,
        what: "files made and closed a second, all seen",
        ours: rate,
        yardstick: "goal",
        theirs: GOAL,
        unit: "files/s",
        note: format!(
            "{made} files; level {level:.2} s after the last (goal 5 s); agent's peak {:.0} MB; {}",
            peak_memory(&agent) as f64 / 1e6,
            overflows(&agent)
        ),
    })
}

/// What the agent says of events that were lost.
fn overflows(agent: &Agent) -> String {
    let metrics = get(&agent.http, "/metrics");
    let lines = metrics.lines().filter(|line| !line.starts_with('#') && line.contains("overflow"));
    lines.collect::<Vec<_>>().join(", ")
}

/// How many were made before it was told to stop.
fn make(root: &Path, thread: usize, stop: &AtomicBool) -> Result<u64> {
    let directories: Vec<PathBuf> =
        (0..DIRECTORIES).map(|directory| root.join(format!("d{directory}"))).collect();
    let mut made = 0;
    for directory in directories.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let file = directory.join(format!("{thread}-{made}"));
        fs::File::create(&file).with_context(|| format!("make {}", file.display()))?;
        made += 1;
    }
    Ok(made)
}
