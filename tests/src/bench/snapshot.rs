//! Row 1: the first scan of a tree, from the start of the agent to READY, beside `find -printf`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::pair::World;
use crate::process::now;

use super::{Line, Options, median};

/// Files in a directory of the generated tree.
const PER_DIRECTORY: u64 = 250;
const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn row(options: &Options) -> Result<Line> {
    let folder = tempfile::tempdir()?;
    let root = options.tree.as_deref().unwrap_or(folder.path());
    if options.tree.is_none() {
        make(root, options.files)?;
    }
    let files = count(root)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        theirs.push(find(root)?);
        ours.push(scan(root, files)?);
    }
    Ok(Line {
        row: 1,
        what: "first scan until READY",
        ours: median(ours),
        yardstick: "find -printf",
        theirs: median(theirs),
        unit: "s",
        note: format!("{files} files, goal ≤ 0.60"),
    })
}

pub(super) fn make(root: &Path, files: u64) -> Result<()> {
    for directory in 0..files.div_ceil(PER_DIRECTORY) {
        let folder = root.join(format!("group{}/dir{directory}", directory % 64));
        fs::create_dir_all(&folder)?;
        for file in 0..PER_DIRECTORY.min(files - directory * PER_DIRECTORY) {
            fs::File::create(folder.join(format!("file{directory:06}-{file:03}")))
                .with_context(|| format!("make {}", folder.display()))?;
        }
    }
    Ok(())
}

/// Regular files, as `find` counts them; warms the tree as well.
fn count(root: &Path) -> Result<u64> {
    let told = Command::new("find").arg(root).args(["-type", "f", "-printf", "x"]).output()?;
    ensure!(told.status.success(), "find failed");
    Ok(told.stdout.len() as u64)
}

fn find(root: &Path) -> Result<f64> {
    let started = now();
    let done = Command::new("find")
        .arg(root)
        .args(["-printf", "%p %s %T@\n"])
        .stdout(Stdio::null())
        .status()?;
    ensure!(done.success(), "find failed");
    Ok(started.elapsed().as_secs_f64())
}

fn scan(root: &Path, files: u64) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let world = World::start_on(root, &[]);
    runtime.block_on(async {
        let started = now();
        let _agent = world.start_agent("bench", &[]);
        let mut client = world.client();
        let took = loop {
            let is_ready = client.view(world.view()).await.is_ok_and(|it| it.freshness.is_ready());
            let took = started.elapsed();
            if is_ready {
                break took.as_secs_f64();
            }
            ensure!(took < LIMIT, "not READY after {took:?}");
            // Who asks all the time measures himself: the server has the same two cores.
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let totals = client.view(world.view()).await?.totals;
        ensure!(totals.files == files, "{} files in the view, {files} on disk", totals.files);
        Ok(took)
    })
}
