//! A full view: what would be one entry more is left out, and the directory that lacks it is remembered.
//!
//! Such a directory is *short*: it is not complete, waits to be listed again, and has the view DEGRADED
//! without a horizon until it was listed whole. Entries go and move as ever, so that room can come. Must
//! never: remember anything of a path that is not known, or a full view would grow all the same.

use crate::change::{Cause, NO_ROOM, Note};
use crate::path::PathRef;
use crate::view::View;
use crate::view::verdict::Verdict;

use super::Act;
use super::children::Doubts;
use super::listing::Frame;

impl View {
    /// How many entries more there is room for.
    pub(super) fn room(&self) -> u64 {
        self.state.settings.max_entries.saturating_sub(self.state.tree.entries())
    }

    /// Something at a path is left out: the nearest known directory above it is short.
    pub(super) fn leave_out(&mut self, act: &mut Act<'_>, path: PathRef<'_>) -> Verdict {
        let dir = self.state.nearest_dir(path);
        self.leave_out_of(act, dir)
    }

    /// Something in a known directory is left out. It is listed again when that may find room; whatever
    /// else is left out of it by then waits for the same.
    pub(super) fn leave_out_of(&mut self, act: &mut Act<'_>, dir: PathRef<'_>) -> Verdict {
        self.shorten(act, dir);
        let again_at = act.now.plus(self.state.settings.cache_horizon);
        self.relist(act, dir, again_at);
        Verdict::Full
    }

    /// What was found in a directory that was short is short itself until it was listed: all below it was
    /// left out as well.
    pub(super) fn pass_on(&mut self, act: &mut Act<'_>, frame: &Frame<'_>, doubts: &Doubts) {
        let dir = frame.dir.to_owned();
        for (name, _) in &doubts.directories {
            let Ok(path) = dir.join(name) else { continue };
            self.shorten(act, path.as_ref());
        }
    }

    fn shorten(&mut self, act: &mut Act<'_>, dir: PathRef<'_>) {
        if !self.state.ledger.unreadable.is_short(dir) {
            let note = Note::Unreadable { dir: dir.to_owned(), errno: Some(NO_ROOM) };
            self.note(act, Cause::Audit, note);
        }
    }
}
