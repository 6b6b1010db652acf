//! The root of a tree: the one descriptor from which everything else is opened.
//!
//! Owns the way from a path of the view to a descriptor: relative to the root, through no symbolic
//! link, never above the root, and into another mount only if asked. With `openat2` the kernel sees
//! to that; where it is missing (before Linux 5.6, or behind an old seccomp filter) every component
//! is opened by itself with `O_NOFOLLOW`.
//!
//! A root that is held keeps its file system busy: it can only be unmounted lazily. That is wanted:
//! evidence never mixes two storages. Whether the path still leads here is asked by
//! [`Root::check`]; if not, a new `Root` is opened and everything built on the old one is ended.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use fusion_core::path::PathRef;
use fusion_core::stat::{Kind, Stat};
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatxAttributes, openat, openat2, statx};
use rustix::io::Errno;

use super::exclusion::Exclusion;
use super::hung::Hung;
use super::stat;

/// What is one file on a host: names come and go, this stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device, as statx tells it (major in the high, minor in the low half).
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

impl FileId {
    /// The identity of what stands at a path outside the tree, such as our own spool.
    ///
    /// # Errors
    /// The error number of the operating system.
    pub fn of(path: &Path) -> Result<Self, Errno> {
        Ok(stat::file_id(&statx(CWD, path, rustix::fs::AtFlags::empty(), stat::MASK)?))
    }
}

/// How a tree is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootOptions {
    /// Whether directories on which something else is mounted are entered.
    pub cross_mounts: bool,
    /// Whether to do without `openat2` even where it exists. For tests.
    pub without_openat2: bool,
    /// How long a call of the storage is waited for.
    pub call_limit: Duration,
}

impl Default for RootOptions {
    /// Ten seconds: an NFS server that restarts, or a disk that spins up, is not taken for hung.
    fn default() -> Self {
        let call_limit = Duration::from_secs(10);
        Self { cross_mounts: false, without_openat2: false, call_limit }
    }
}

/// Why a directory cannot be a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("open root {}: {}", path.display(), std::io::Error::from(*errno))]
pub struct RootError {
    /// The path that was given.
    pub path: PathBuf,
    /// What the system said of it.
    pub errno: Errno,
}

/// An open root. Shared by scans and watchers; opens and looks, and never writes. Clones are the same.
#[derive(Debug, Clone)]
pub struct Root(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    fd: OwnedFd,
    id: FileId,
    options: RootOptions,
    has_openat2: bool,
    exclusion: RwLock<Arc<Exclusion>>,
    hung: Hung,
}

/// A directory that was opened to look at names in it.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) fd: OwnedFd,
    pub(crate) id: FileId,
    /// Its stat, from before any name in it is looked at.
    pub(crate) stat: Stat,
}

/// A directory for reading its names.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOATIME);

/// A directory for looking at names in it: needs no right to read it, and costs less.
pub(crate) const REACH: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Root {
    /// Opens a directory as root. The path itself may be, or lead through, a symbolic link.
    ///
    /// # Errors
    /// Nothing stands there, it is no directory, or it must not be read.
    pub fn open(path: &Path, options: RootOptions) -> Result<Self, RootError> {
        let failed = |errno| RootError { path: path.to_owned(), errno };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty()).map_err(failed)?;
        let looked = statx(&fd, "", stat::SELF, stat::MASK).map_err(failed)?;
        let id = stat::file_id(&looked);
        let probe = openat2(&fd, ".", REACH, Mode::empty(), ResolveFlags::BENEATH);
        let has_openat2 = !options.without_openat2 && probe.is_ok();
        let (path, exclusion, hung) = (path.to_owned(), RwLock::default(), Hung::default());
        Ok(Self(Arc::new(Inner { path, fd, id, options, has_openat2, exclusion, hung })))
    }

    /// Where it stands as the kernel has it, whatever symbolic links led there; asks no storage. The
    /// path that was given, if that cannot be told.
    #[must_use]
    pub fn real_path(&self) -> PathBuf {
        let named = format!("/proc/self/fd/{}", self.0.fd.as_raw_fd());
        std::fs::read_link(named).unwrap_or_else(|_| self.0.path.clone())
    }

    /// The path that was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// What the root is.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.0.id
    }

    /// Whether directories on which something else is mounted are entered.
    #[must_use]
    pub fn crosses_mounts(&self) -> bool {
        self.0.options.cross_mounts
    }

    /// Whether it is the top of a mount, and not a directory within one.
    pub(crate) fn is_mount(&self) -> Result<bool, Errno> {
        let looked = statx(&self.0.fd, "", stat::SELF, stat::MASK)?;
        Ok(looked.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
    }

    pub(super) fn exclusion_now(&self) -> &RwLock<Arc<Exclusion>> {
        &self.0.exclusion
    }

    /// What of the tree hangs now.
    pub(crate) fn hung(&self) -> &Hung {
        &self.0.hung
    }

    pub(crate) fn call_limit(&self) -> Duration {
        self.0.options.call_limit
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    /// Opens a directory to read its names.
    pub(crate) fn open_to_read(&self, path: PathRef<'_>) -> Result<OwnedFd, Errno> {
        sparing_atime(|flags| self.open_beneath(path, flags))
    }

    /// Opens a child of a directory that was reached, to read its names: the path to that directory
    /// may lead elsewhere by now.
    pub(crate) fn open_child(&self, parent: &Reached, name: &[u8]) -> Result<OwnedFd, Errno> {
        sparing_atime(|flags| {
            if self.0.has_openat2 {
                return self.openat2(parent.fd.as_fd(), &to_c(name)?, flags);
            }
            let child = openat(&parent.fd, name, flags, Mode::empty())?;
            self.refuse_other_device(&child)?;
            Ok(child)
        })
    }

    /// Opens a directory to look at names in it.
    pub(crate) fn open_to_reach(&self, path: PathRef<'_>) -> Result<OwnedFd, Errno> {
        self.open_beneath(path, REACH)
    }

    /// Opens a directory to look at names in it, and looks at itself.
    pub(crate) fn reach(&self, path: PathRef<'_>) -> Result<Reached, Errno> {
        let fd = self.open_to_reach(path)?;
        let (id, stat) = stat_of(&fd)?;
        Ok(Reached { fd, id, stat })
    }

    fn open_beneath(&self, path: PathRef<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        if !self.0.has_openat2 {
            return self.walk_beneath(path, flags);
        }
        let relative = if path.is_root() { b"." } else { &path.as_bytes()[1..] };
        self.openat2(self.0.fd.as_fd(), &to_c(relative)?, flags)
    }

    fn openat2(&self, at: BorrowedFd<'_>, path: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if !self.0.options.cross_mounts {
            resolve |= ResolveFlags::NO_XDEV;
        }
        // EAGAIN: a rename somewhere disturbed the kernel's check. It is rare and passes.
        for _ in 0..64 {
            match openat2(at, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The same without `openat2`: one descriptor after the other, none through a link.
    fn walk_beneath(&self, path: PathRef<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut names = path.names().peekable();
        let mut at = openat(&self.0.fd, ".", REACH, Mode::empty())?;
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            at = openat(&at, name, if last { flags } else { REACH }, Mode::empty())?;
            self.refuse_other_device(&at)?;
        }
        if path.is_root() { openat(&self.0.fd, ".", flags, Mode::empty()) } else { Ok(at) }
    }

    /// What NO_XDEV does, save that it cannot see a bind mount of the same file system.
    fn refuse_other_device(&self, fd: &OwnedFd) -> Result<(), Errno> {
        if self.0.options.cross_mounts {
            return Ok(());
        }
        let looked = statx(fd, "", stat::SELF, stat::MASK)?;
        if stat::file_id(&looked).device == self.0.id.device { Ok(()) } else { Err(Errno::XDEV) }
    }
}

/// The stat of an open directory.
pub(crate) fn stat_of(fd: impl AsFd) -> Result<(FileId, Stat), Errno> {
    let looked = statx(fd, "", stat::SELF, stat::MASK)?;
    let (found, _) = stat::convert(&looked);
    if found.kind == Kind::Directory {
        Ok((stat::file_id(&looked), found))
    } else {
        Err(Errno::NOTDIR)
    }
}

/// What the directory is in which an open directory stands, whatever its path.
pub(crate) fn parent_of(directory: impl AsFd) -> Result<FileId, Errno> {
    Ok(stat::file_id(&statx(directory, "..", stat::NAME, stat::MASK)?))
}

/// Opens for reading without touching the access time, where we may: only the owner may ask for that.
fn sparing_atime(open: impl Fn(OFlags) -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    match open(READ) {
        Err(Errno::PERM) => open(READ.difference(OFlags::NOATIME)),
        result => result,
    }
}

fn to_c(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::INVAL)
}
