//! From the kernel's statx to [`Stat`], and the few flags with which we ask.

use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};

use super::root::FileId;

/// What is asked for: exactly what [`Stat`] has. Neither atime nor blocks, which cost a round trip
/// on some network file systems.
pub(crate) const MASK: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::UID)
    .union(StatxFlags::GID)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE);

/// How names are looked at: never through a symlink, never mounting anything. Not DONT_SYNC: what a
/// cache may hold back is the storage's promise (`cache_horizon`), not ours to stretch.
pub(crate) const NAME: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT);

/// How an open descriptor itself is looked at.
pub(crate) const SELF: AtFlags = AtFlags::EMPTY_PATH.union(AtFlags::NO_AUTOMOUNT);

/// A stat, and how many of its times were outside i64 nanoseconds and were saturated.
pub(crate) fn convert(statx: &Statx) -> (Stat, usize) {
    let (mtime, mtime_saturated) = nanos(statx.stx_mtime);
    let (ctime, ctime_saturated) = nanos(statx.stx_ctime);
    let stat = Stat {
        kind: kind(FileType::from_raw_mode(u32::from(statx.stx_mode))),
        size: statx.stx_size,
        mtime,
        ctime,
        inode: statx.stx_ino,
        mode: u32::from(statx.stx_mode) & 0o7777,
        uid: statx.stx_uid,
        gid: statx.stx_gid,
        nlink: statx.stx_nlink,
    };
    (stat, usize::from(mtime_saturated) + usize::from(ctime_saturated))
}

/// The identity of what a statx describes.
pub(crate) fn file_id(statx: &Statx) -> FileId {
    FileId {
        device: u64::from(statx.stx_dev_major) << 32 | u64::from(statx.stx_dev_minor),
        inode: statx.stx_ino,
    }
}

/// Nanoseconds since the epoch, and whether they had to be saturated.
pub(crate) fn nanos(time: StatxTimestamp) -> (StorageTime, bool) {
    let seconds = time.tv_sec.checked_mul(1_000_000_000);
    match seconds.and_then(|nanos| nanos.checked_add(i64::from(time.tv_nsec))) {
        Some(nanos) => (StorageTime::from_nanos(nanos), false),
        None if time.tv_sec < 0 => (StorageTime::from_nanos(i64::MIN), true),
        None => (StorageTime::MAX, true),
    }
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    }
}
