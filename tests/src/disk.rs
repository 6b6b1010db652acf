//! What is on the disk: a plain walk with `lstat`, the yardstick of every system test. What is mounted
//! within a tree is no part of it, save that it is there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use fusion_core::path::notation;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

/// Entries by path in the notation of answers, the root as `/`.
pub type Tree = BTreeMap<String, Stat>;

/// What lies at and below `root` now. What vanishes on the way is left out, as `find` does.
///
/// # Panics
/// The root itself cannot be read.
#[must_use]
pub fn walk(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let meta = fs::symlink_metadata(root).expect("the root");
    tree.insert("/".to_owned(), stat(&meta));
    let mut pending: Vec<(PathBuf, Vec<u8>)> = vec![(root.to_path_buf(), Vec::new())];
    while let Some((folder, path)) = pending.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
            let below = [&path[..], b"/", entry.file_name().as_bytes()].concat();
            tree.insert(notation::to_text(&below), stat(&meta));
            if meta.is_dir() && !is_mount(&entry.path()) {
                pending.push((entry.path(), below));
            }
        }
    }
    tree
}

/// Whether something is mounted there; false if it has vanished.
fn is_mount(directory: &Path) -> bool {
    let looked = statx(CWD, directory, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
    looked.is_ok_and(|looked| looked.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// A name of raw bytes.
#[must_use]
pub fn raw(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

fn stat(meta: &Metadata) -> Stat {
    let kind = meta.file_type();
    let time = |seconds: i64, nanos: i64| StorageTime::from_nanos(seconds * 1_000_000_000 + nanos);
    Stat {
        kind: if kind.is_file() {
            Kind::File
        } else if kind.is_dir() {
            Kind::Directory
        } else if kind.is_symlink() {
            Kind::Symlink
        } else {
            debug_assert!(
                kind.is_fifo()
                    || kind.is_socket()
                    || kind.is_char_device()
                    || kind.is_block_device()
            );
            Kind::Other
        },
        size: meta.size(),
        mtime: time(meta.mtime(), meta.mtime_nsec()),
        ctime: time(meta.ctime(), meta.ctime_nsec()),
        inode: meta.ino(),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        nlink: u32::try_from(meta.nlink()).unwrap_or(u32::MAX),
    }
}
