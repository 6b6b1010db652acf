//! What waits to be looked at again: putting directories and names on the agendas, and off (R4.5).

use crate::change::{AgendaKind, Cause, Note};
use crate::path::PathRef;
use crate::time::ServerTime;
use crate::view::View;

use super::Act;

impl View {
    /// Puts a directory on the relist queue, to be listed at `due` or later. What is not a known
    /// directory is not put on it: the nearest known directory above is.
    pub(super) fn relist(&mut self, act: &mut Act<'_>, dir: PathRef<'_>, due: ServerTime) {
        if !dir.is_root() && !self.state.is_dir(dir) {
            return self.relist_nearest(act, dir, due);
        }
        let Some(waiting) = self.state.ledger.relists.wanted(dir, due) else { return };
        let note = Note::Waits { agenda: AgendaKind::Relist, path: dir.to_owned(), waiting };
        self.note(act, Cause::Audit, note);
    }

    /// The same for the nearest known directory above a path.
    pub(super) fn relist_nearest(&mut self, act: &mut Act<'_>, path: PathRef<'_>, due: ServerTime) {
        let nearest = self.state.nearest_dir(path);
        let Some(waiting) = self.state.ledger.relists.wanted(nearest, due) else { return };
        let note = Note::Waits { agenda: AgendaKind::Relist, path: nearest.to_owned(), waiting };
        self.note(act, Cause::Audit, note);
    }

    /// A ghost (R5) or a name that was kept (R4.4) in a known directory: it is listed when they can be
    /// judged, however long it has been waiting to settle.
    pub(super) fn doubt(&mut self, act: &mut Act<'_>, dir: PathRef<'_>, due: ServerTime) {
        let horizon = self.state.settings.cache_horizon;
        let Some(waiting) = self.state.ledger.relists.doubted(dir, due, horizon) else { return };
        let note = Note::Waits { agenda: AgendaKind::Relist, path: dir.to_owned(), waiting };
        self.note(act, Cause::Audit, note);
    }

    /// The same for the nearest known directory above a path.
    pub(super) fn doubt_above(&mut self, act: &mut Act<'_>, path: PathRef<'_>, due: ServerTime) {
        let nearest = self.state.nearest_dir(path);
        self.doubt(act, nearest, due);
    }

    /// Has the leader look at a name, at `due` or later.
    pub(super) fn ask(&mut self, act: &mut Act<'_>, path: PathRef<'_>, due: ServerTime) {
        let Some(waiting) = self.state.ledger.probes.wanted(path, due) else { return };
        let note = Note::Waits { agenda: AgendaKind::Probe, path: path.to_owned(), waiting };
        self.note(act, Cause::Probe, note);
    }

    /// A directory leaves the relist queue. Whether it was on it.
    pub(super) fn relisted(&mut self, act: &mut Act<'_>, dir: PathRef<'_>) -> bool {
        let waits = self.state.ledger.relists.get(dir).is_some();
        if waits {
            let note = Note::Done { agenda: AgendaKind::Relist, path: dir.to_owned() };
            self.note(act, Cause::Audit, note);
        }
        waits
    }

    /// A directory that waits was listed and stays on the queue: the next level of back-off. What was
    /// looked at before it was wanted is no answer.
    pub(super) fn unsettled(
        &mut self,
        act: &mut Act<'_>,
        dir: PathRef<'_>,
        started_at: ServerTime,
    ) {
        let relists = &self.state.ledger.relists;
        let Some(known) = relists.get(dir).filter(|known| started_at >= known.from()) else {
            return;
        };
        let horizon = self.state.settings.cache_horizon;
        let Some(waiting) = relists.unanswered(dir, act.now, horizon) else { return };
        if waiting != known {
            let note = Note::Waits { agenda: AgendaKind::Relist, path: dir.to_owned(), waiting };
            self.note(act, Cause::Audit, note);
        }
    }

    /// A name was looked at: it leaves the agenda of probes, if it was looked at late enough. Whether it
    /// was on it.
    pub(super) fn probed(&mut self, act: &mut Act<'_>, path: PathRef<'_>, at: ServerTime) -> bool {
        let Some(waiting) = self.state.ledger.probes.get(path) else { return false };
        if at >= waiting.due {
            let note = Note::Done { agenda: AgendaKind::Probe, path: path.to_owned() };
            self.note(act, Cause::Probe, note);
        }
        true
    }
}
