//! The disk as the embedded store sees it: few operations, so that tests can stand in for it.
//!
//! [`RealDisk`] is the file system; with the feature `testing`, `simulated` is one that fails, tears
//! and forgets what was not synced. Must never: hide an error, or sync less than it says.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use crate::error::StoreError;

#[cfg(any(test, feature = "testing"))]
pub mod simulated;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To be read; it must be there.
    Read,
    /// To be read and written; it must be there.
    Write,
    /// To be read and written; it is made, or emptied.
    Create,
}

/// A file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a directory and those above it, durably; nothing happens if it is there.
    ///
    /// # Errors
    /// Those of the operating system, as of all of these.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// See above.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// See above.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file or directory; what stood at `to` goes. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// See above.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; nothing happens if it is not there. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// See above.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory; nothing happens if it is not there.
    ///
    /// # Errors
    /// See above.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// See above.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the advisory lock of a file until what is returned is dropped; made if it is not there.
    /// `None` if another has it.
    ///
    /// # Errors
    /// See above.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// Removes a directory of numbered files, the newest first: what is left after a crash is the older
/// part, which is what it was once. Nothing happens if there is none.
///
/// # Errors
/// A file or the directory cannot be removed.
pub(crate) fn remove_newest_first(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let remove = || {
        for name in disk.list(dir)?.iter().rev() {
            disk.remove(&dir.join(name))?;
        }
        disk.remove_dir(dir)?;
        dir.parent().map_or(Ok(()), |above| disk.sync_dir(above))
    };
    match remove() {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Reads at a place as much as there is, up to the length of the buffer.
    ///
    /// # Errors
    /// Those of the operating system, as of all of these.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all bytes at a place.
    ///
    /// # Errors
    /// See above; how much of it was written is not known then.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes what was written durable. After an error nothing is known of anything that was written
    /// since the last time: write it anew, elsewhere.
    ///
    /// # Errors
    /// See above.
    fn sync(&self) -> io::Result<()>;

    /// Its length in bytes.
    ///
    /// # Errors
    /// See above.
    fn length(&self) -> io::Result<u64>;

    /// Cuts it off, or lengthens it by zeros.
    ///
    /// # Errors
    /// See above.
    fn set_length(&self, bytes: u64) -> io::Result<()>;
}

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
        if let Some(above) = above {
            self.make_dir(above)?;
        }
        std::fs::DirBuilder::new().mode(0o700).create(dir)?;
        above.map_or(Ok(()), |above| self.sync_dir(above))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let (write, create) = (access != Access::Read, access == Access::Create);
        let mut options = OpenOptions::new();
        options.read(true).write(write).create(create).truncate(create).mode(0o600);
        Ok(Arc::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        absent_is_fine(std::fs::remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        absent_is_fine(std::fs::remove_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(Held(file)))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A lock that is let go at once, also while a process that is just being started has the file.
struct Held(File);

impl Drop for Held {
    fn drop(&mut self) {
        // The lock goes with the file in any case.
        let _ = self.0.unlock();
    }
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

impl DiskFile for File {
    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < bytes.len() {
            match FileExt::read_at(self, &mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}
