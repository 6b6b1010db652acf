//! Files of a directory that all were there at one moment, held open.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::too_fast;
use crate::disk::{Disk as _, RealDisk};
use crate::error::StoreError;

/// How often a directory is looked at again because it changed while it was looked at.
const TRIES: usize = 1_000;

/// A file that is held open: it can be read also after it was removed.
#[derive(Debug)]
pub(in crate::embedded) struct Held {
    pub(in crate::embedded) path: PathBuf,
    pub(in crate::embedded) file: File,
    inode: u64,
}

impl Held {
    /// Whether the file still has its name.
    pub(in crate::embedded) fn is_there(&self) -> Result<bool, StoreError> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) => Ok(found.ino() == self.inode),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("read", &self.path)(error)),
        }
    }
}

/// Opens the files whose names are wanted, by name; none if the directory is not there.
pub(in crate::embedded) fn hold(
    dir: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Held>, StoreError> {
    for _ in 0..TRIES {
        if let Some(held) = try_hold(dir, &wanted)? {
            return Ok(held);
        }
    }
    Err(too_fast("its files change"))
}

/// `None` if a file went meanwhile.
fn try_hold(dir: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Option<Vec<Held>>, StoreError> {
    let names = match RealDisk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
        names => names.map_err(StoreError::io("read", dir))?,
    };
    let mut all = Vec::new();
    for name in names.iter().filter(|name| wanted(name)) {
        let path = dir.join(name);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.ino(), file)));
        match opened {
            Ok((inode, file)) => all.push(Held { path, file, inode }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        }
    }
    // Those that are there now were there when the last one was opened: all at one moment.
    for held in &all {
        if !held.is_there()? {
            return Ok(None);
        }
    }
    Ok(Some(all))
}
