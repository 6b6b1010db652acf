//! How much a scan costs beside the bare system calls: `bare_walk DIR [THREADS] [ROUNDS]`.
//!
//! The yardstick does what any scan must (open, getdents64, one statx a name) relative to open
//! directories, on threads that take from one stack, and keeps nothing but a sum. It runs in turns
//! with our own scan of the same tree; printed are the medians and their ratios, by the wall clock
//! and by processor time, which means more on a machine that does other things.

use std::ffi::CString;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_client::clock::{AgentClock as _, HostClock};
use agent_client::scan::{
    Cancel, Found, Root, RootOptions, Scan, ScanCounters, ScanOptions, Unlimited,
};
use fusion_core::path::PathRef;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

const READ: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(directory) = arguments.first() else {
        let _ = writeln!(io::stderr(), "usage: bare_walk DIR [THREADS] [ROUNDS]");
        return ExitCode::from(2);
    };
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<NonZeroUsize>().ok());
    let threads = number(1).unwrap_or_else(|| ScanOptions::default().workers);
    let rounds = number(2).map_or(5, NonZeroUsize::get);
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..=rounds {
        let walked = Walk::of(Path::new(directory), threads.get());
        let scanned = scan(Path::new(directory), threads);
        match (walked, scanned) {
            (Ok(walked), Some(scanned)) if walked.0 == scanned.0 => {
                bare.push(walked.1);
                ours.push(scanned.1);
            }
            other => {
                let _ = writeln!(io::stderr(), "the two do not agree: {other:?}");
                return ExitCode::FAILURE;
            }
        }
    }
    // The first round only warms the caches.
    show("wall clock", threads, &bare[1..], &ours[1..], |took| took.wall);
    show("processor", threads, &bare[1..], &ours[1..], |took| took.processor);
    ExitCode::SUCCESS
}

fn show(
    what: &str,
    threads: NonZeroUsize,
    bare: &[Took],
    ours: &[Took],
    of: impl Fn(&Took) -> Duration,
) {
    let median = |all: &[Took]| {
        let mut times: Vec<Duration> = all.iter().map(&of).collect();
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let (bare, ours) = (median(bare), median(ours));
    let ratio = ours / bare;
    let _ = writeln!(
        io::stdout(),
        "{what}: {threads} threads, bare {bare:.3} s, scan {ours:.3} s, ratio {ratio:.2}"
    );
}

/// What a walk took.
#[derive(Debug, Clone, Copy)]
struct Took {
    wall: Duration,
    processor: Duration,
}

/// Does something, and takes its time.
fn timed<T>(body: impl FnOnce() -> T) -> (T, Took) {
    let processor = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let (wall_before, processor_before) = (HostClock.monotonic(), processor());
    let done = body();
    let wall = HostClock.monotonic().since(wall_before);
    (done, Took { wall, processor: processor() - processor_before })
}

fn scan(directory: &Path, workers: NonZeroUsize) -> Option<(u64, Took)> {
    let root = Root::open(directory, RootOptions::default()).ok()?;
    let options = ScanOptions { workers, ..ScanOptions::default() };
    let scan = Scan {
        root: &root,
        options: &options,
        clock: &HostClock,
        cancel: &Cancel::new(),
        counters: &ScanCounters::default(),
        pace: &Unlimited,
        placer: None,
        then: None,
    };
    let sink = |_: Found| ControlFlow::Continue(());
    let (report, took) = timed(|| scan.subtree(PathRef::ROOT, &sink));
    report.complete.then_some((report.counts.entries, took))
}

/// Directories to read, and how many are queued or being read.
struct Walk {
    todo: Mutex<(Vec<OwnedFd>, usize)>,
    bell: Condvar,
    entries: AtomicU64,
}

impl Walk {
    fn of(directory: &Path, threads: usize) -> Result<(u64, Took), Errno> {
        let root = openat(CWD, directory, READ, Mode::empty())?;
        let walk = Self {
            todo: Mutex::new((vec![root], 1)),
            bell: Condvar::new(),
            entries: AtomicU64::new(0),
        };
        let ((), took) = timed(|| {
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    let thread = std::thread::Builder::new().name("bare".into());
                    drop(thread.spawn_scoped(scope, || walk.work()));
                }
                walk.work();
            });
        });
        Ok((walk.entries.into_inner(), took))
    }

    fn work(&self) {
        let mut buffer = Vec::with_capacity(128 * 1024);
        while let Some(directory) = self.next() {
            // What cannot be read is missed: the counts then do not agree, and there is no figure.
            let below = self.read(&directory, &mut buffer).unwrap_or_default();
            let mut todo = self.lock();
            todo.1 += below.len();
            todo.1 -= 1;
            todo.0.extend(below);
            drop(todo);
            self.bell.notify_all();
        }
    }

    fn next(&self) -> Option<OwnedFd> {
        let mut todo = self.lock();
        loop {
            match todo.0.pop() {
                Some(directory) => return Some(directory),
                None if todo.1 == 0 => return None,
                None => todo = self.bell.wait(todo).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn read(&self, directory: &OwnedFd, buffer: &mut Vec<u8>) -> Result<Vec<OwnedFd>, Errno> {
        let mut below: Vec<CString> = Vec::new();
        let mut count = 0;
        let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
            count += 1;
            if entry.file_type() == FileType::Directory {
                below.push(name.to_owned());
            }
        }
        self.entries.fetch_add(count, Ordering::Relaxed);
        below.iter().map(|name| openat(directory, name, READ, Mode::empty())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<OwnedFd>, usize)> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
