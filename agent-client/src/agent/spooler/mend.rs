//! What did not fit into the spool, or is in it no more: what becomes of it, and how it is said.
//!
//! Evidence that was dropped is said as one `Overflow`. How the root is found is no evidence of a moment
//! but a state that nothing else would say again: the spool is behind with it until it has the last word.

use fusion_core::evidence::RootState;
use fusion_core::time::Monotonic;

use rustix::io::Errno;

use super::{Inner, RECOVER_AFTER, RootWord};
use crate::link::frame::{frames, root_frame};
use crate::spool::{Spool, SpoolError};
use crate::watch::WatchEvidence;

/// How often the disk is asked for a frame that it fails to read. Between two tries is the back-off of
/// the lane.
pub(super) const READS: u32 = 5;

impl Inner {
    /// No room: evidence is dropped from now on.
    pub(super) fn full(&self, since: Monotonic, error: &SpoolError) {
        tracing::error!("{error}: events are lost until there is room");
        self.state.broken("spool", Some(error.to_string()));
        let mut known = self.known();
        known.figures.times_full += 1;
        known.failed_at = Some(self.clock.monotonic());
        drop(known);
        self.lost(since);
    }

    pub(super) fn lost(&self, since: Monotonic) {
        let mut known = self.known();
        known.lost_since = Some(known.lost_since.map_or(since, |before| before.min(since)));
        if known.root == RootWord::Last {
            known.root = RootWord::Behind;
        }
    }

    /// Whether a frame that could not be read now never will be.
    pub(super) fn is_beyond_reading(&self, sequence: u64, error: &SpoolError) -> bool {
        match error {
            SpoolError::Damaged { .. } => true,
            SpoolError::Io { source, .. }
                if source.raw_os_error() == Some(Errno::IO.raw_os_error()) =>
            {
                let mut known = self.known();
                let before = known.unreadable.filter(|(of, _)| *of == sequence);
                let tries = before.map_or(1, |(_, tries)| tries + 1);
                known.unreadable = Some((sequence, tries)).filter(|_| tries < READS);
                tries >= READS
            }
            _ => false,
        }
    }

    /// A frame cannot be read.
    pub(super) fn give_up(&self, spool: &mut Spool, damaged: u64) -> Result<(), SpoolError> {
        // Before the server can hear that nothing waits.
        self.lost(Monotonic::from_nanos(0));
        let through = spool.give_up(damaged)?;
        tracing::error!(
            from = damaged,
            through,
            "frames of the spool are damaged: counted as lost"
        );
        self.show_anew(spool);
        self.recover(spool);
        Ok(())
    }

    /// Says what did not fit, if there is room again: that evidence was dropped, and how the root is.
    pub(super) fn recover(&self, spool: &mut Spool) {
        self.say_what_was_lost(spool);
        self.say_how_the_root_is(spool);
    }

    fn say_how_the_root_is(&self, spool: &mut Spool) {
        let known = self.known();
        let may = known.root == RootWord::Behind && known.lost_since.is_none();
        drop(known);
        if !may {
            return;
        }
        let (state, identity) = self.state.root();
        let identity = Some(identity).filter(|_| state == RootState::Available);
        for frame in root_frame(state, identity, self.clock.monotonic()) {
            match spool.append(frame.stamp, self.boot, &frame.payload) {
                Ok(_) => {
                    self.known().root = RootWord::Last;
                    self.appended(spool, frame.stamp);
                }
                Err(error) => self.full(frame.stamp, &error),
            }
        }
    }

    fn say_what_was_lost(&self, spool: &mut Spool) {
        let watching_since = self.clock.monotonic();
        let (lost_since, failed_at) = {
            let known = self.known();
            (known.lost_since, known.failed_at)
        };
        let Some(since) = lost_since else { return };
        // Not as soon as one small frame fits: it would be full again with the next.
        let is_early = failed_at.is_some_and(|at| watching_since.since(at) < RECOVER_AFTER);
        if is_early || spool.bytes() > self.max_bytes / 2 {
            return;
        }
        let overflow = WatchEvidence::Overflow { since, watching_since, is_over: true };
        for frame in frames(&[overflow]) {
            let Ok(sequence) = spool.append(frame.stamp, self.boot, &frame.payload) else {
                return;
            };
            let mut known = self.known();
            (known.lost_since, known.saying_so) = (None, Some(sequence));
            drop(known);
            self.appended(spool, frame.stamp);
        }
        self.state.broken("spool", None);
        tracing::warn!("the spool takes events again");
    }
}
