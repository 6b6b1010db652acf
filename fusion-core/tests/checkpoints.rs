//! Checkpoints under arbitrary evidence: taken at random moments, flushed in random steps between
//! the writer's, dropped or kept at random. Whatever comes, the last one that was kept and the changes
//! after it give the view again.

#[path = "support/script.rs"]
mod script;

use fusion_core::view::View;
use fusion_core::view::checkpoint::kept::{Kept, Taking};
use proptest::prelude::*;
use script::Script;

/// What the flusher does between two steps of the writer, drawn from its own bytes.
struct Flusher<'a> {
    moves: std::slice::Iter<'a, u8>,
    taking: Option<Taking>,
    kept: Kept,
    /// What the writer may copy.
    backlog_max: usize,
}

impl Flusher<'_> {
    fn go(&mut self, script: &mut Script) -> Result<(), String> {
        let (kind, count) = self.moves.next().map_or((3, 1), |byte| (byte % 8, byte / 8));
        let Some(mut taking) = self.taking.take() else {
            if kind < 4 {
                self.taking = Taking::begin(&mut script.view, self.backlog_max);
                assert!(self.taking.is_some(), "none ran");
            }
            return Ok(());
        };
        match kind {
            // It is given up, or all of it is kept; else some steps are done.
            0 => Ok(()),
            1 | 2 => {
                if taking.keep(&mut self.kept, &mut script.view).is_err() {
                    return Ok(());
                }
                let loaded = self.check(script)?;
                if kind == 2 {
                    // A restart: the next checkpoints are those of a view that was loaded.
                    script.view = loaded;
                    script.lead(Some(1));
                }
                Ok(())
            }
            _ => {
                for _ in 0..count % 4 {
                    if taking.step().is_err() {
                        return Ok(());
                    }
                }
                // One at a time, unless the writer has just given it up.
                let bounded = self.backlog_max < usize::MAX;
                assert!(bounded || Taking::begin(&mut script.view, 0).is_none(), "one runs");
                self.taking = Some(taking);
                Ok(())
            }
        }
    }

    fn check(&self, script: &Script) -> Result<View, String> {
        let settings = script.view.settings().clone();
        let view = self.kept.restart(settings, &script.changes).map_err(|why| why.to_string())?;
        view.check_invariants().map_err(|broken| broken.to_string())?;
        let (left, right) = (script.view.dump(), view.dump());
        if left == right { Ok(view) } else { Err(format!("it differs:\n{left}\n---\n{right}")) }
    }
}

fn run(bytes: &[u8], moves: &[u8], backlog_max: usize) -> Result<(), String> {
    let (moves, kept) = (moves.iter(), Kept::default());
    let mut flusher = Flusher { moves, taking: None, kept, backlog_max };
    script::play_beside(bytes, |script| flusher.go(script)).map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_checkpoint_and_the_changes_after_it_give_the_view(
        bytes in proptest::collection::vec(any::<u8>(), 0..2500),
        moves in proptest::collection::vec(any::<u8>(), 0..200),
        backlog_max in prop_oneof![Just(usize::MAX), 0..20_000_usize],
    ) {
        if let Err(broken) = run(&bytes, &moves, backlog_max) {
            prop_assert!(false, "{}", broken);
        }
    }
}
