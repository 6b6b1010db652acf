//! Which changes concern a path, and from which side.

use fusion_core::change::ChangeKind;
use fusion_core::path::PathRef;

use super::{EntryChange, Event, EventType};
use crate::convert::stat::path_to_text;

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

/// Whether a change names something that does not lie at a path or below it.
#[must_use]
pub fn names_outside(kind: &ChangeKind, top: PathRef<'_>) -> bool {
    let is_outside = |path: PathRef<'_>| !path.is_within(top);
    match kind {
        ChangeKind::Moved { from, to, .. } => is_outside(from.as_ref()) || is_outside(to.as_ref()),
        ChangeKind::Removed { path, .. }
        | ChangeKind::Restored { path, .. }
        | ChangeKind::Purged { path, .. } => is_outside(path.as_ref()),
        // These are told to nobody above whom they happen.
        _ => false,
    }
}

impl Event {
    /// Takes out what somebody is not to learn who may see only what lies at a path and below it. Of a
    /// rename across its edge the other end goes, with the stat there: something came, or went. What
    /// happened to a directory above, and took the path along, is told as having happened to the path.
    pub fn cut(&mut self, kind: &ChangeKind, top: PathRef<'_>) {
        if !names_outside(kind, top) {
            return;
        }
        let Some(entry) = &mut self.entry else { return };
        entry.moved = None;
        match kind {
            ChangeKind::Moved { from, .. } if from.as_ref().is_within(top) => {
                self.event_type = EventType::EntryMovedOut;
                self.path = path_to_text(from.as_ref());
                entry.after = None;
            }
            ChangeKind::Moved { to, .. } if to.as_ref().is_within(top) => {
                self.event_type = EventType::EntryMovedIn;
                self.path = path_to_text(to.as_ref());
                entry.before = None;
            }
            _ => {
                self.path = path_to_text(top);
                *entry = EntryChange::default();
            }
        }
    }
}
