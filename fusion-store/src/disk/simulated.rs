//! A disk that stands in for a real one in tests: it fails when told, and forgets at a crash.
//!
//! Everything is in memory. Each operation that changes something is counted; at the number that was
//! chosen the machine stops: that write reaches the disk in part, and nothing works any more.
//! [`SimulatedDisk::restart`] gives the disk as the machine finds it after that: what was synced,
//! and of everything else any part, by a seed. Names are synced by `sync_dir` alone, and change in
//! order, as file systems with a journal do it; a page that was not synced is there or not, each on
//! its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Access, Disk, DiskFile};

/// What is there or not as a whole after a crash.
const PAGE: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    files: BTreeMap<u64, Bytes>,
    names: BTreeMap<PathBuf, u64>,
    /// Names as they are on disk, and what happened to them since: at each step, all of them.
    durable_names: BTreeMap<PathBuf, u64>,
    steps: Vec<BTreeMap<PathBuf, u64>>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    next: u64,
    operations: u64,
    written: u64,
    syncs: u64,
    faults: Faults,
    stopped: bool,
    hanging: bool,
}

#[derive(Debug, Default, Clone)]
struct Bytes {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// The machine stops in the operation with this number, counted from 1.
    pub stop_at: Option<u64>,
    /// Writes fail with this error, also when only this many bytes in all fit.
    pub capacity: Option<u64>,
    /// Syncs fail, and what was written since the last one is lost.
    pub syncs_fail: bool,
    /// From the operation with this number on, names in directories cannot be made durable.
    pub dir_syncs_fail_from: Option<u64>,
    /// Writes fail as on a read-only file system.
    pub read_only: bool,
    /// Writes of more bytes fail as on a full disk: what is small finds room.
    pub largest_write: Option<usize>,
    /// What makes or changes a name waits for as long as this is so, as on a disk that hangs.
    pub names_hang: bool,
    /// The same of what makes the bytes of a file durable.
    pub syncs_hang: bool,
}

/// Pseudo-random numbers; the same seed gives the same.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }
}

fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

fn absent() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl SimulatedDisk {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The contents, once names do not hang.
    fn answer(&self) -> MutexGuard<'_, Contents> {
        self.once_not(|faults| faults.names_hang)
    }

    /// The contents, once this does not hang.
    fn once_not(&self, hangs: fn(&Faults) -> bool) -> MutexGuard<'_, Contents> {
        loop {
            let mut contents = self.lock();
            if !hangs(&contents.faults) {
                return contents;
            }
            contents.hanging = true;
            drop(contents);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Whether somebody has waited for a disk that hangs since it began to.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.lock().hanging
    }

    /// From now on this goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        let mut contents = self.lock();
        (contents.faults, contents.hanging) = (faults, false);
    }

    /// How many operations there were that changed something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// How many bytes were written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.lock().written
    }

    /// How many times the bytes of a file were made durable.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The disk as a machine that stopped now finds it when it starts again.
    #[must_use]
    pub fn restart(&self, seed: u64) -> Self {
        let mut random = Seeded::new(seed);
        let old = self.lock();
        let step = random.below(old.steps.len() as u64 + 1) as usize;
        let names = step.checked_sub(1).map_or(&old.durable_names, |last| &old.steps[last]).clone();
        let files = old.files.iter().map(|(id, bytes)| {
            let found = bytes.after_crash(&mut random);
            (*id, Bytes { now: found.clone(), durable: found })
        });
        let (files, durable_names, dirs) = (files.collect(), names.clone(), old.dirs.clone());
        let next = old.next;
        let state = Contents { files, names, durable_names, dirs, next, ..Contents::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Changes the bytes of a file as a failing disk would.
    ///
    /// # Panics
    /// There is no such file, or it is shorter.
    pub fn damage(&self, path: &Path, at: usize, mask: u8) {
        let mut contents = self.lock();
        let id = contents.names[path];
        if let Some(bytes) = contents.files.get_mut(&id) {
            bytes.now[at] ^= mask;
            bytes.durable = bytes.now.clone();
        }
    }

    /// All files with their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let contents = self.lock();
        let length = |id| contents.files.get(id).map_or(0, |bytes: &Bytes| bytes.now.len());
        contents.names.iter().map(|(path, id)| (path.clone(), length(id))).collect()
    }

    /// Copies a file over another.
    ///
    /// # Panics
    /// There is no such file.
    pub fn copy(&self, from: &Path, to: &Path) {
        let mut contents = self.lock();
        let bytes = contents.files[&contents.names[from]].clone();
        contents.next += 1;
        let id = contents.next;
        contents.files.insert(id, bytes);
        contents.names.insert(to.to_path_buf(), id);
        contents.durable_names.insert(to.to_path_buf(), id);
    }
}

impl Bytes {
    /// Each page is as it was synced, or as it was written after that.
    fn after_crash(&self, random: &mut Seeded) -> Vec<u8> {
        let length = if random.below(2) == 0 { self.now.len() } else { self.durable.len() };
        let mut found = self.durable.clone();
        found.resize(length, 0);
        for start in (0..length.min(self.now.len())).step_by(PAGE) {
            let end = (start + PAGE).min(length).min(self.now.len());
            if random.below(2) == 0 {
                found[start..end].copy_from_slice(&self.now[start..end]);
            }
        }
        found
    }
}

impl Contents {
    /// One more operation; whether the machine stops in it.
    fn count(&mut self) -> io::Result<bool> {
        if self.stopped {
            return Err(stopped());
        }
        if self.faults.read_only {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        self.operations += 1;
        self.stopped = self.faults.stop_at == Some(self.operations);
        Ok(self.stopped)
    }

    fn change(&mut self) -> io::Result<()> {
        if self.count()? { Err(stopped()) } else { Ok(()) }
    }

    fn step(&mut self) {
        self.steps.push(self.names.clone());
    }

    fn alive(&self) -> io::Result<()> {
        if self.stopped { Err(stopped()) } else { Ok(()) }
    }

    fn has_room(&self, more: usize) -> bool {
        let used: usize = self.files.values().map(|bytes| bytes.now.len()).sum();
        self.faults.capacity.is_none_or(|capacity| (used + more) as u64 <= capacity)
    }
}

impl Disk for SimulatedDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut contents = self.answer();
        contents.alive()?;
        contents.dirs.extend(dir.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let contents = self.lock();
        contents.alive()?;
        if !contents.dirs.contains(dir) {
            return Err(absent());
        }
        let paths = contents.names.keys().chain(&contents.dirs);
        let here = paths.filter(|path| path.parent() == Some(dir));
        let names = here.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut contents = self.lock();
        contents.alive()?;
        let known = contents.names.get(path).copied();
        if access == Access::Create {
            contents.change()?;
        }
        if access == Access::Write && contents.faults.read_only {
            return Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
        }
        let id = match (known, access) {
            (Some(id), Access::Create) => {
                contents.files.entry(id).and_modify(|bytes| bytes.now.clear());
                id
            }
            (Some(id), _) => id,
            (None, Access::Create) => {
                contents.next += 1;
                let id = contents.next;
                contents.names.insert(path.to_path_buf(), id);
                contents.files.insert(id, Bytes::default());
                contents.step();
                id
            }
            (None, _) => return Err(absent()),
        };
        Ok(Arc::new(SimulatedFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut contents = self.answer();
        contents.change()?;
        let id = contents.names.remove(from).ok_or_else(absent)?;
        contents.names.insert(to.to_path_buf(), id);
        contents.step();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut contents = self.answer();
        contents.change()?;
        contents.names.remove(path);
        contents.step();
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut contents = self.lock();
        contents.change()?;
        contents.dirs.remove(dir);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut contents = self.answer();
        contents.change()?;
        if contents.faults.dir_syncs_fail_from.is_some_and(|from| contents.operations >= from) {
            return Err(io::Error::other("a simulated error"));
        }
        contents.durable_names = contents.names.clone();
        contents.steps.clear();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut contents = self.lock();
        contents.alive()?;
        if !contents.locks.insert(path.to_path_buf()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimulatedLock { disk: self.clone(), path: path.to_path_buf() })))
    }
}

struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.disk.lock().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    id: u64,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let contents = self.disk.lock();
        contents.alive()?;
        let bytes = contents.files.get(&self.id).ok_or_else(absent)?;
        let from = bytes.now.get(at as usize..).unwrap_or_default();
        let count = from.len().min(buffer.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, written: &[u8], at: u64) -> io::Result<()> {
        let mut contents = self.disk.lock();
        let stops = contents.count()?;
        let now = contents.files.get(&self.id).map_or(0, |bytes| bytes.now.len());
        let (at, end) = (at as usize, at as usize + written.len());
        let is_small = contents.faults.largest_write.is_none_or(|largest| written.len() <= largest);
        let fits = is_small && contents.has_room(end.saturating_sub(now));
        contents.written += written.len() as u64;
        let bytes = contents.files.get_mut(&self.id).ok_or_else(absent)?;
        // A write that fails has written something all the same.
        let count = if stops || !fits { written.len() / 2 } else { written.len() };
        if bytes.now.len() < at + count {
            bytes.now.resize(at + count, 0);
        }
        bytes.now[at..at + count].copy_from_slice(&written[..count]);
        match (stops, fits) {
            (true, _) => Err(stopped()),
            (_, false) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut contents = self.disk.once_not(|faults| faults.syncs_hang);
        let stops = contents.count()?;
        let fails = contents.faults.syncs_fail;
        let bytes = contents.files.get_mut(&self.id).ok_or_else(absent)?;
        if fails {
            // As Linux does: what could not be written is dropped, and the next sync succeeds.
            bytes.now.clone_from(&bytes.durable);
            return Err(io::Error::other("input/output error"));
        }
        if stops {
            return Err(stopped());
        }
        bytes.durable.clone_from(&bytes.now);
        contents.syncs += 1;
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let contents = self.disk.lock();
        contents.alive()?;
        Ok(contents.files.get(&self.id).map_or(0, |bytes| bytes.now.len() as u64))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut contents = self.disk.lock();
        contents.change()?;
        if let Some(bytes) = contents.files.get_mut(&self.id) {
            bytes.now.resize(length as usize, 0);
        }
        Ok(())
    }
}
