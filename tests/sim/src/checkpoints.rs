//! The server's checkpoints: taken at moments by chance, flushed beside the evidence, stored or lost.
//!
//! Half of the schedules have them; in the others a crash replays all changes. A checkpoint counts only
//! when the changes that it has are durable themselves, and one that is being taken dies with the
//! server. Must never: say what a full replay would not.

use fusion_core::change::Change;
use fusion_core::view::checkpoint::kept::{Kept, Taking};
use fusion_core::view::{View, ViewSettings};

use crate::dice::{Dice, Tag};

/// What the writer may copy for a checkpoint, in bytes: little enough to be exceeded now and then.
const BACKLOG_MAX: usize = 4_000;

/// The last checkpoint, and the one that is being taken.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    dice: Dice,
    kept: Kept,
    /// With how many changes it began.
    taking: Option<(Taking, usize)>,
}

impl Checkpoints {
    /// Those of a schedule, if it is to have any.
    pub(crate) fn of(dice: Dice) -> Option<Self> {
        let has = dice.stream(Tag::Checkpoint, 2, 0).percent(50);
        has.then(|| Self { dice, kept: Kept::default(), taking: None })
    }

    /// What the flusher does after a call: `changes` were made so far, of which `durable` are kept.
    pub(crate) fn go(&mut self, view: &mut View, call: usize, changes: usize, durable: usize) {
        let mut chance = self.dice.stream(Tag::Checkpoint, 1, call as u64);
        let Some((mut taking, at)) = self.taking.take() else {
            if chance.percent(3) {
                self.taking = Taking::begin(view, BACKLOG_MAX).map(|taking| (taking, changes));
            }
            return;
        };
        if chance.percent(1) {
            return;
        }
        if durable >= at && chance.percent(8) {
            // Given up, if the writer had to copy too much.
            let _ = taking.keep(&mut self.kept, view);
            return;
        }
        for _ in 0..chance.below(3) {
            if taking.step().is_err() {
                return;
            }
        }
        self.taking = Some((taking, at));
    }

    /// The view after a crash: the last checkpoint, and the changes after it.
    ///
    /// # Errors
    /// The checkpoint cannot be loaded.
    pub(crate) fn restart(
        &mut self,
        settings: &ViewSettings,
        changes: &[Change],
    ) -> Result<View, String> {
        self.taking = None;
        self.kept.restart(settings.clone(), changes).map_err(|error| error.to_string())
    }
}
