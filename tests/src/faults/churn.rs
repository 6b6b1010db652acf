//! A tree that changes all the time: a thread that creates, writes, renames and removes at random.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Names that files and directories get; few, so that they are taken again and again.
const NAMES: u64 = 40;

/// Chance from a seed; the same seed gives the same run.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The run of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// A span below so many milliseconds.
    pub fn millis(&mut self, end: u64) -> Duration {
        Duration::from_micros(self.below(end * 1_000))
    }
}

/// The running thread; ends with [`Churn::end`], or when it is dropped.
#[derive(Debug)]
pub struct Churn {
    stop: Arc<AtomicBool>,
    work: PathBuf,
    thread: Option<JoinHandle<(u64, BTreeSet<u64>)>>,
}

impl Churn {
    /// Begins to change what is below `work`, a directory that stays.
    ///
    /// # Panics
    /// There is no such directory, or no thread.
    #[must_use]
    pub fn begin(work: &Path, seed: u64) -> Self {
        assert!(work.is_dir(), "{} is to be churned", work.display());
        let stop = Arc::new(AtomicBool::new(false));
        let (work, kept) = (work.to_path_buf(), work.to_path_buf());
        let stopped = Arc::clone(&stop);
        let churn = move || {
            let (mut dice, mut done, mut linked) = (Dice::new(seed), 0, BTreeSet::new());
            while !stopped.load(Ordering::Relaxed) {
                done += u64::from(one(&work, &mut dice, &mut linked).is_ok());
                std::thread::sleep(dice.millis(2));
            }
            (done, linked)
        };
        let thread = std::thread::Builder::new().name("churn".into()).spawn(churn);
        Self { stop, work: kept, thread: Some(thread.expect("a thread")) }
    }

    /// Ends it, and gives how many operations succeeded. Files have one name each then: what is done to a
    /// file through one of its names is not told to who watches another, so that the view has it
    /// only from the next look at that.
    ///
    /// # Panics
    /// The thread panicked.
    #[must_use]
    pub fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(|thread| thread.join().expect("the churn"));
        let (done, linked) = ended.unwrap_or_default();
        part(&self.work, &linked);
        done
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives every name of a file that had several a file of its own.
pub(crate) fn part(dir: &Path, linked: &BTreeSet<u64>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(stat) = fs::symlink_metadata(&path) else { continue };
        if stat.is_dir() {
            part(&path, linked);
        } else if linked.contains(&stat.ino()) {
            let own = path.with_extension("own");
            let copied = fs::copy(&path, &own).and_then(|_| fs::rename(&own, &path));
            copied.expect("a file of its own");
        }
    }
}

/// One operation. Many fail, because names are drawn blindly; that is part of it.
pub(crate) fn one(work: &Path, dice: &mut Dice, linked: &mut BTreeSet<u64>) -> std::io::Result<()> {
    let path = place(work, dice);
    match dice.below(20) {
        0..8 => File::create(&path)?.write_all(&vec![b'x'; dice.below(3_000) as usize]),
        8..10 => File::options().append(true).open(&path)?.write_all(b"more"),
        10..13 => fs::remove_file(&path),
        13..16 => rename(&path, &place(work, dice)),
        16..18 => fs::create_dir(&path),
        18 => {
            let link = place(work, dice);
            fs::hard_link(&path, &link)?;
            linked.insert(fs::symlink_metadata(&link)?.ino());
            Ok(())
        }
        _ => fs::remove_dir_all(&path),
    }
}

/// One into itself, or over what it is in, is refused here, as by any storage: where a mount still shows what
/// is gone there, its kernel lets it pass, and libfuse waits for ever for what it has locked itself.
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.starts_with(to) || to.starts_with(from) {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    fs::rename(from, to)
}

/// A path one to three levels below `work`.
fn place(work: &Path, dice: &mut Dice) -> PathBuf {
    let mut path = work.to_path_buf();
    for _ in 0..=dice.below(3) {
        path.push(format!("n{}", dice.below(NAMES)));
    }
    path
}
