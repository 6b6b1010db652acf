//! Rows 6 and 8: totals of any directory, and finding by a glob, on a view that is filled out of nothing,
//! beside `du` and `find` on a tenth of it on the disk; and how quickly the command line answers.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fusion_proto::pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::binaries;
use crate::pair::World;
use crate::process::now;

use super::load::{self, LoadSession, PER_DIRECTORY};
use super::{Line, Options, median, part, queries, raw, snapshot};

/// Starts of the command line in a round.
const STARTS: usize = 20;

/// A filled view, and a tenth of it on the disk.
pub(super) struct Filled {
    world: World,
    channel: Channel,
    entries: u64,
    directories: u64,
    tenth: TempDir,
    _session: LoadSession,
}

impl Filled {
    pub(super) async fn begin(options: &Options) -> Result<Self> {
        let world = World::start();
        let session = LoadSession::begin(&world.url(), "load").await?;
        load::fill(&session, options.resident).await?;
        let channel = fusion_proto::client::lazy_channel(&world.url()).context("our address")?;
        let directories = options.resident.div_ceil(PER_DIRECTORY);
        let tenth = tempfile::tempdir()?;
        snapshot::make(tenth.path(), options.resident / 10)?;
        let entries = directories * (PER_DIRECTORY + 1);
        Ok(Self { world, channel, entries, directories, tenth, _session: session })
    }

    /// Row 6: totals of any directory, one call after the other.
    pub(super) async fn totals(&self, options: &Options) -> Result<Line> {
        let mut views = ViewServiceClient::new(self.channel.clone());
        let (mut ours, mut empty, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            theirs.push(command(Command::new("du").arg("-s").arg(self.tenth.path()))? * 1e3);
            let (mut calls, mut empties, began) = (Vec::new(), Vec::new(), now());
            while began.elapsed() < options.span() {
                let number = calls.len() as u64;
                let root = number.is_multiple_of(16);
                let path = if root { "/".to_owned() } else { self.directory(number) };
                let asked = now();
                let request = pb::GetStatsRequest { view: "load".into(), path, read_class: 0 };
                let totals = views.get_stats(request).await?.into_inner().totals;
                calls.push(asked.elapsed());
                let files = if root { self.directories * PER_DIRECTORY } else { PER_DIRECTORY };
                ensure!(totals.is_some_and(|totals| totals.files == files), "other totals");
                let asked = now();
                queries::empty(self.channel.clone(), number).await?;
                empties.push(asked.elapsed());
            }
            calls.sort_unstable();
            empties.sort_unstable();
            ours.push(part(&calls, 99));
            empty.push(part(&empties, 99));
        }
        Ok(Line {
            row: 6,
            what: "totals of any directory, p99",
            ours: median(ours),
            yardstick: "du -s of a tenth",
            theirs: median(theirs),
            unit: "ms",
            note: format!("empty call p99 {:.3} ms; goal ≤ 0.2 ms", median(empty)),
        })
    }

    /// Row 8: a glob with a literal in it that few names match; the time to the first of them; and all rows.
    pub(super) async fn find(&self, options: &Options) -> Result<Vec<Line>> {
        let name = load::child(123);
        // With its dash: names of directories have none.
        let rare = format!("*{}", name.trim_start_matches("file"));
        let (mut scans, mut firsts, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let (mut globbed, mut printed) = (Vec::new(), Vec::new());
        let on_disk = options.resident / 10;
        for _ in 0..options.rounds {
            let mut find = Command::new("find");
            let took = command(find.arg(self.tenth.path()).args(["-name", "*-123"]))?;
            globbed.push(on_disk as f64 / took);
            let mut find = Command::new("find");
            printed.push(on_disk as f64 / command(find.arg(self.tenth.path()).arg("-print"))?);
            let (first, whole) = self.search(&rare, self.directories).await?;
            scans.push(self.entries as f64 / whole.as_secs_f64());
            firsts.push(first.as_secs_f64() * 1e3);
            let (_, whole) = self.search("", self.entries).await?;
            rows.push(self.entries as f64 / whole.as_secs_f64());
        }
        let line = |what, ours, yardstick, theirs, unit, note: &str| Line {
            row: 8,
            what,
            ours: median(ours),
            yardstick,
            theirs: median(theirs),
            unit,
            note: note.to_owned(),
        };
        let of_find = beside(self.tenth.path(), on_disk)?;
        let note = format!("{} entries; {of_find}goal ≥ 60 M/s", self.entries);
        let took = globbed.iter().map(|rate| on_disk as f64 / rate * 1e3).collect();
        Ok(vec![
            line("found by a glob: looked at", scans, "find -name, a tenth", globbed, "/s", &note),
            line("its first result", firsts, "all of find -name", took, "ms", "goal ≤ 5 ms"),
            line(
                "all entries as rows",
                rows,
                "find -print, a tenth",
                printed,
                "/s",
                "goal ≥ 5 M/s",
            ),
        ])
    }

    /// The command line, from its start to the first byte that it prints.
    pub(super) fn command_line(&self, options: &Options) -> Result<Line> {
        let ctl = || {
            let mut command = Command::new(binaries::path("fusionctl"));
            let path = self.directory(1);
            command.args(["--server", &self.world.url(), "stat", "--view", "load", &path]);
            first_byte(&mut command)
        };
        let stat = || first_byte(Command::new("stat").arg(self.tenth.path()));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..STARTS * options.rounds {
            theirs.push(stat()?);
            ours.push(ctl()?);
        }
        ours.sort_unstable();
        theirs.sort_unstable();
        Ok(Line {
            row: 13,
            what: "fusionctl stat until its first byte, p50",
            ours: part(&ours, 50),
            yardstick: "stat",
            theirs: part(&theirs, 50),
            unit: "ms",
            note: format!("p99 {:.2} ms; goal ≤ 15 ms", part(&ours, 99)),
        })
    }

    /// Searches all; when the first entry came, and when all had.
    async fn search(&self, glob: &str, expected: u64) -> Result<(Duration, Duration)> {
        let request = pb::FindEntriesRequest {
            view: "load".into(),
            path: "/".into(),
            name_glob: glob.to_owned(),
            ..Default::default()
        };
        let began = now();
        let mut found = raw::find(self.channel.clone(), &request).await?;
        let (mut first, mut count) = (None, 0);
        while let Some(entries) = found.message().await? {
            if entries > 0 {
                first.get_or_insert(began.elapsed());
            }
            count += entries;
        }
        let whole = began.elapsed();
        ensure!(count == expected, "{count} entries found, {expected} are there");
        Ok((first.context("an entry")?, whole))
    }

    fn directory(&self, number: u64) -> String {
        load::directory(number.wrapping_mul(7_919) % self.directories)
    }
}

/// Runs a command without showing what it prints; the seconds that it took.
fn command(command: &mut Command) -> Result<f64> {
    let began = now();
    let done = command.stdout(Stdio::null()).status()?;
    let took = began.elapsed();
    ensure!(done.success(), "{command:?} failed");
    Ok(took.as_secs_f64())
}

/// How long a command takes until it prints something.
fn first_byte(command: &mut Command) -> Result<Duration> {
    let began = now();
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().context("its output")?;
    let mut byte = [0];
    let read = out.read_exact(&mut byte);
    let took = began.elapsed();
    drop(out);
    // Who cannot print the rest any more may say so by its status.
    child.wait()?;
    read.with_context(|| format!("{command:?} printed nothing"))?;
    Ok(took)
}

/// What `fdfind` needs for the same glob, if this machine has it.
fn beside(root: &Path, entries: u64) -> Result<String> {
    let mut fd = Command::new("fdfind");
    fd.args(["--unrestricted", "--glob", "*-123"]).arg(root);
    match fd.stdout(Stdio::null()).status() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(format!("fdfind {:.0} /s; ", entries as f64 / command(&mut fd)?)),
    }
}
