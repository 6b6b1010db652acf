//! A copy of a data directory, taken beside the server that has it, or without one.
//!
//! Called by an operator's command, in a process of its own. It asks the server for nothing but a
//! moment's quiet of the state: all else follows from how files are written. Files of blocks are
//! written once, those of the log only grow, so what was there at one moment can be held open and
//! copied; what was recycled meanwhile is noticed. The state first and the log last, so that nothing
//! rests on what the copy does not have. The file that makes a directory a store is written last: a
//! copy that was not finished is none. Must never: write anything into the directory that is copied,
//! but the file that asks for quiet.

mod held;
mod state;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::blocks::{self, BlocksSettings, EmbeddedBlocks};
use super::log;
use super::store::{STATE, identity, write_identity};
use crate::disk::{Disk as _, RealDisk};
use crate::error::StoreError;
use crate::ports::{Blocks as _, ViewId};

pub(super) use held::{Held, hold};
pub(super) use state::quiet_of;

/// How often a view is copied again because its log was trimmed beyond its blocks meanwhile.
const TRIES: usize = 20;

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// The server that the directory belongs to; the copy does too.
    pub server: Uuid,
    /// How many views there are.
    pub views: usize,
    /// How many bytes the copy has.
    pub bytes: u64,
}

/// Copies a data directory to one that is empty or not there. All that was durable when it was called
/// is in the copy, and of what came later a part that a start can go on from.
///
/// # Errors
/// `NoStore`; `Refused` if the other directory has anything in it, or what is copied changes faster
/// than it can be copied; the directory is corrupt or cannot be read, the other one not be written.
pub fn back_up(from: &Path, to: &Path) -> Result<BackedUp, StoreError> {
    let disk = RealDisk;
    let Some(server) = identity(&disk, from)? else {
        return Err(StoreError::NoStore { path: from.to_path_buf() });
    };
    make_empty(to)?;
    let mut bytes = state::copy(&from.join(STATE), &to.join(STATE))?;
    let mut views = BTreeSet::new();
    for below in ["log", "blocks"] {
        let dir = from.join(below);
        let names = disk.list(&dir).map_err(StoreError::io("read", &dir))?;
        views.extend(names.iter().filter_map(|name| Uuid::try_parse(name).ok()));
        make_dir(&to.join(below))?;
    }
    for view in &views {
        bytes += copy_view(from, to, ViewId(*view))?;
    }
    for below in ["log", "blocks"] {
        sync_dir(&to.join(below))?;
    }
    write_identity(&disk, to, server)?;
    Ok(BackedUp { server, views: views.len(), bytes })
}

fn copy_view(from: &Path, to: &Path, view: ViewId) -> Result<u64, StoreError> {
    let place = |root: &Path, below: &str| root.join(below).join(view.to_string());
    for _ in 0..TRIES {
        let to_blocks = place(to, "blocks");
        let bytes = blocks::copy(&place(from, "blocks"), &to_blocks)?;
        let copied = log::copy(&place(from, "log"), &place(to, "log"))?;
        let settings = BlocksSettings::default();
        let copy = EmbeddedBlocks::new(Arc::new(RealDisk), to.join("blocks"), settings)?;
        let contains = copy.contains(view)?.unwrap_or_default();
        if let Some(copied) = copied.filter(|copied| copied.start.record <= contains.record) {
            return Ok(bytes + copied.bytes);
        }
        remove(&to_blocks)?;
        remove(&place(to, "log"))?;
    }
    Err(too_fast("its log is trimmed"))
}

/// What changes faster than it can be copied.
fn too_fast(what: &str) -> StoreError {
    let why = format!("{what} faster than it can be copied; stop the server first");
    StoreError::Refused { what: "a back-up", why }
}

fn make_empty(dir: &Path) -> Result<(), StoreError> {
    make_dir(dir)?;
    let names = RealDisk.list(dir).map_err(StoreError::io("read", dir))?;
    match names.iter().find(|name| *name != "lost+found") {
        None => Ok(()),
        Some(name) => {
            let why = format!("there is `{name}` in `{}`; name an empty directory", dir.display());
            Err(StoreError::Refused { what: "a back-up", why })
        }
    }
}

pub(super) fn make_dir(dir: &Path) -> Result<(), StoreError> {
    RealDisk.make_dir(dir).map_err(StoreError::io("make the directory", dir))
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    RealDisk.sync_dir(dir).map_err(StoreError::io("sync", dir))
}

fn remove(dir: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a file that nobody else may read.
pub(super) fn make_file(path: &Path) -> Result<File, StoreError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).map_err(StoreError::io("make", path))
}

#[cfg(test)]
mod tests;
