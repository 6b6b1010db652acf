//! Whether the storage behind a root is there, and whether it is the one that it was (R11).

use std::ffi::{CStr, CString};
use std::fs;

pub use fusion_core::evidence::RootIdentity;
use fusion_core::path::PathRef;
use fusion_core::time::StorageTime;
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::root::{Root, RootOptions};
use super::stat;

/// Most top-level entries in an identity.
const TOP_MAX: usize = 64;
/// Most top-level entries that are looked at. Of more, those with the smallest inode numbers: a
/// choice that every host makes alike.
const LOOKED_AT_MAX: usize = 4_096;

/// What a second look at the root's path shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootCheck {
    /// The path leads to the directory that is held open.
    Same,
    /// The path leads to another directory: unmounted, mounted over, moved, or made anew.
    Replaced,
    /// The path leads nowhere, or the storage does not answer as it should.
    Gone(Errno),
}

impl Root {
    /// Looks at the root's path again. May hang with the storage, as every call here.
    #[must_use]
    pub fn check(&self) -> RootCheck {
        let held = super::root::stat_of(self.as_fd());
        let fresh = Root::open(self.path(), RootOptions::default());
        match (held, fresh) {
            (Err(errno), _) => RootCheck::Gone(errno),
            (_, Err(error)) => RootCheck::Gone(error.errno),
            (Ok(_), Ok(fresh)) if fresh.id() == self.id() => RootCheck::Same,
            (Ok(_), Ok(_)) => RootCheck::Replaced,
        }
    }

    /// Whether the tree that was known stands at the root's path, but is not the one that is held:
    /// its file system was mounted anew. Some top-level entry must be the same.
    #[must_use]
    pub fn stands_again(&self, known: &RootIdentity) -> bool {
        let fresh = Self::open(self.path(), RootOptions::default()).ok();
        let Some(fresh) = fresh.filter(|fresh| fresh.id() != self.id() || self.is_dead()) else {
            return false;
        };
        fresh.identity().is_ok_and(|found| found.top.iter().any(|top| known.top.contains(top)))
    }

    fn is_dead(&self) -> bool {
        super::root::stat_of(self.as_fd()).is_err()
    }

    /// What tells this tree from another: file system, inode, birth, and what stands at its top.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn identity(&self) -> Result<RootIdentity, Errno> {
        let (mut identity, directory, names) = self.without_top()?;
        identity.top = self.choose_top(names, |name| looked_at(&directory, name).ok());
        Ok(identity)
    }

    /// The same without what stands at the top, and the names there to choose from.
    pub(super) fn without_top(&self) -> Result<(RootIdentity, OwnedFd, Vec<TopName>), Errno> {
        let mask = stat::MASK | StatxFlags::BTIME;
        let looked = statx(self.as_fd(), "", stat::SELF, mask)?;
        let has_birth = looked.stx_mask & StatxFlags::BTIME.bits() != 0;
        let identity = RootIdentity {
            fs_type: self.fs_type().unwrap_or_default(),
            inode: looked.stx_ino,
            born: has_birth.then(|| stat::nanos(looked.stx_btime).0),
            top: Vec::new(),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(self.as_fd(), ".", flags, Mode::empty())?;
        let mut names = top_names(&directory)?;
        names.sort_unstable();
        names.truncate(LOOKED_AT_MAX);
        Ok((identity, directory, names))
    }

    /// Name and inode of the top-level entries that have not changed for longest. What vanished
    /// meanwhile, or cannot be looked at, is left to the others.
    pub(super) fn choose_top(
        &self,
        names: Vec<TopName>,
        look: impl Fn(&CStr) -> Option<(StorageTime, u64)>,
    ) -> Vec<(Vec<u8>, u64)> {
        let exclusion = self.exclusion();
        let mut top: Vec<(StorageTime, CString, u64)> = Vec::with_capacity(names.len());
        for (_, name) in names {
            if exclusion.takes_in(PathRef::ROOT, name.to_bytes()) {
                continue;
            }
            if let Some((ctime, inode)) = look(&name) {
                top.push((ctime, name, inode));
            }
        }
        top.sort_unstable();
        top.truncate(TOP_MAX);
        top.into_iter().map(|(_, name, inode)| (name.into_bytes(), inode)).collect()
    }

    /// The kernel's name of the file system: the third field after `-` in mountinfo, for our mount.
    fn fs_type(&self) -> Option<String> {
        let fd_info = format!("/proc/self/fdinfo/{}", self.as_fd().as_raw_fd());
        let fd_info = fs::read_to_string(fd_info).ok()?;
        let mount = fd_info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        String::from_utf8_lossy(&mounts).lines().find_map(|line| {
            let (head, tail) = line.split_once(" - ")?;
            let of_ours = head.split(' ').next() == Some(mount);
            of_ours.then(|| tail.split(' ').next().map(str::to_owned))?
        })
    }
}

/// An entry as its directory tells of it: inode and name.
pub(super) type TopName = (u64, CString);

/// The ctime and the inode of an entry.
pub(super) fn looked_at(directory: &OwnedFd, name: &CStr) -> Result<(StorageTime, u64), Errno> {
    let looked = statx(directory, name, stat::NAME, stat::MASK)?;
    Ok((stat::nanos(looked.stx_ctime).0, looked.stx_ino))
}

/// All entries, as the directory gives them.
fn top_names(directory: &OwnedFd) -> Result<Vec<TopName>, Errno> {
    let mut buffer: Vec<u8> = Vec::with_capacity(32 * 1024);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push((entry.ino(), name.to_owned()));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_names_what_stands_at_the_top() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..70 {
            fs::write(folder.path().join(format!("f{number:02}")), "").unwrap();
        }
        let root = Root::open(folder.path(), RootOptions::default()).unwrap();
        let identity = root.identity().unwrap();
        assert_eq!(identity.inode, root.id().inode);
        assert_eq!(identity.top.len(), TOP_MAX);
        assert!(!identity.fs_type.is_empty());
        assert_eq!(identity, root.identity().unwrap());
        assert_eq!(root.check(), RootCheck::Same);
    }

    #[test]
    fn a_root_that_was_moved_or_made_anew_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        fs::create_dir(&path).unwrap();
        let root = Root::open(&path, RootOptions::default()).unwrap();
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        assert_eq!(root.check(), RootCheck::Gone(Errno::NOENT));
        fs::create_dir(&path).unwrap();
        assert_eq!(root.check(), RootCheck::Replaced);
        let known = root.identity().unwrap();
        assert!(!root.stands_again(&known), "it has no entry of the one before");
    }

    #[test]
    fn a_tree_that_was_mounted_anew_is_known_by_its_entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        fs::create_dir_all(path.join("kept")).unwrap();
        let root = Root::open(&path, RootOptions::default()).unwrap();
        let known = root.identity().unwrap();
        assert!(!root.stands_again(&known), "it is the one that is held");
        fs::create_dir(folder.path().join("other")).unwrap();
        fs::rename(path.join("kept"), folder.path().join("other/kept")).unwrap();
        fs::rename(&path, folder.path().join("before")).unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert!(root.stands_again(&known));
    }
}
