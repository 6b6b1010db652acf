//! Which changes concern a path, and from which side.

use fusion_core::change::ChangeKind;
use fusion_core::path::PathRef;

/// From where a change is seen by who asked for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// From within, or it is no move.
    Within,
    /// Something moved in.
    In,
    /// Something moved out.
    Out,
}

impl Side {
    /// From which side a change is seen from a path; `None` if it does not concern it. What happens to
    /// a directory above concerns it if it takes the path along.
    #[must_use]
    pub fn of(kind: &ChangeKind, asked: PathRef<'_>) -> Option<Self> {
        let along = |path: PathRef<'_>| path.is_within(asked) || asked.is_within(path);
        match kind {
            ChangeKind::Created { path, .. } | ChangeKind::Modified { path, .. } => {
                path.as_ref().is_within(asked).then_some(Self::Within)
            }
            ChangeKind::Removed { path, .. }
            | ChangeKind::Restored { path, .. }
            | ChangeKind::Purged { path, .. } => along(path.as_ref()).then_some(Self::Within),
            ChangeKind::Moved { from, to, .. } => {
                match (along(from.as_ref()), along(to.as_ref())) {
                    (true, true) => Some(Self::Within),
                    (false, true) => Some(Self::In),
                    (true, false) => Some(Self::Out),
                    (false, false) => None,
                }
            }
            ChangeKind::Reset => Some(Self::Within),
            ChangeKind::Touched { .. }
            | ChangeKind::Listed(_)
            | ChangeKind::Buried { .. }
            | ChangeKind::Noted(_) => None,
        }
    }

    /// The same for what stands at the path itself, and not for what lies below it.
    #[must_use]
    pub fn of_itself(kind: &ChangeKind, asked: PathRef<'_>) -> Option<Self> {
        let takes = |path: PathRef<'_>| asked.is_within(path);
        let concerns = match kind {
            ChangeKind::Created { path, .. } | ChangeKind::Modified { path, .. } => {
                path.as_ref() == asked
            }
            ChangeKind::Removed { path, .. }
            | ChangeKind::Restored { path, .. }
            | ChangeKind::Purged { path, .. } => takes(path.as_ref()),
            ChangeKind::Moved { from, to, .. } => takes(from.as_ref()) || takes(to.as_ref()),
            _ => true,
        };
        Self::of(kind, asked).filter(|_| concerns)
    }
}
