//! Looking at one name: parent's stat first, then the name (4-consistency §1).

use fusion_core::path::PathRef;
use fusion_core::stat::Stat;
use fusion_core::time::Monotonic;
use rustix::fs::statx;
use rustix::io::Errno;

use super::root::{FileId, Root, stat_of};
use super::stat;
use crate::clock::AgentClock;

/// What one look saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The stat of the directory, looked at before the name; `None` for the root, or if the way to
    /// the name ends before it (gone, or no directory).
    pub parent: Option<Stat>,
    /// The stat of what stands there; `None` if nothing does.
    pub found: Option<Stat>,
    /// When, taken before the first look.
    pub looked_at: Monotonic,
}

/// A look that shows neither that something stands there nor that nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("look at an entry: {}", std::io::Error::from(*errno))]
pub struct LookError {
    /// What the system said.
    pub errno: Errno,
}

impl Root {
    /// Looks at one path: what a `Probe` says.
    ///
    /// # Errors
    /// It cannot be told (EACCES, EIO, ESTALE, another mount …), or is not to be (EPERM: excluded):
    /// that yields no evidence.
    pub fn look(&self, path: PathRef<'_>, clock: &dyn AgentClock) -> Result<Look, LookError> {
        self.look_as_of(path, clock.monotonic())
    }

    /// The same, having begun then.
    pub(super) fn look_as_of(
        &self,
        path: PathRef<'_>,
        looked_at: Monotonic,
    ) -> Result<Look, LookError> {
        if self.excludes(path) {
            return Err(LookError { errno: Errno::PERM });
        }
        let Some((parent, name)) = path.split_last() else {
            let (_, found) = stat_of(self.as_fd()).map_err(|errno| LookError { errno })?;
            return Ok(Look { parent: None, found: Some(found), looked_at });
        };
        let nothing = Look { parent: None, found: None, looked_at };
        let parent = match self.reach(parent) {
            Ok(reached) => reached,
            Err(errno) if is_absence(errno) => return Ok(nothing),
            Err(errno) => return Err(LookError { errno }),
        };
        let looked = Look { parent: Some(parent.stat), ..nothing };
        match stat_in(&parent.fd, name) {
            Ok((_, found)) => Ok(Look { found: Some(found), ..looked }),
            Err(errno) if is_absence(errno) => Ok(looked),
            Err(errno) => Err(LookError { errno }),
        }
    }
}

/// The stat of a name in an open directory.
pub(crate) fn stat_in(
    directory: impl rustix::fd::AsFd,
    name: &[u8],
) -> Result<(FileId, Stat), Errno> {
    let looked = statx(directory, name, stat::NAME, stat::MASK)?;
    Ok((stat::file_id(&looked), stat::convert(&looked).0))
}

/// Whether an error says that the path does not exist as a path of the view: nothing stands there,
/// or the way to it leads through what is no directory (a symbolic link included).
pub(crate) fn is_absence(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}
