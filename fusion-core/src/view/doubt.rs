//! What the view was told of and has not taken in yet.
//!
//! Asked by whoever must not take silence for certainty: evidence that is held back, or whose way was
//! not known so that the leader was asked to look, has been delivered and is in no total. Must never:
//! count what only waits for its time (a back-off, a second look at a young directory): that can go on
//! for as long as a directory is written to. So whoever drops evidence where a back-off holds the relist has
//! to have something else looked at. Tested by `tests/cases/doubt.txt` and the server's `tests/grpc/wait.rs`.

use crate::path::PathRef;
use crate::time::ServerTime;

use super::View;
use super::agenda::Agenda;

impl View {
    /// Whether evidence of something at or below a path is held back, or a look there is due and was
    /// not answered.
    #[must_use]
    pub fn in_doubt(&self, path: PathRef<'_>, now: ServerTime) -> bool {
        let ledger = &self.state.ledger;
        let is_due = |agenda: &Agenda| agenda.within(path).any(|waiting| waiting.from() <= now);
        is_due(&ledger.relists) || is_due(&ledger.probes) || !ledger.held.within(path).is_empty()
    }
}
