//! What is being done of the commands, and what waits for its turn.
//!
//! Four slots, in each of which one command at a time is done: probes, single directories, subtrees, and
//! directories to watch.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use fusion_core::evidence::Source;
use fusion_core::id::{LeaderEpoch, SessionId};

use crate::agent::desk::{Outcome, ReportDesk};
use crate::link::{Action, Command, Standing};
use crate::role::{duty_of, goes_on};
use crate::scan::{Cancel, ScanCounters};

/// All slots.
#[derive(Default)]
pub(crate) struct Slots([Slot; 4]);

/// One of them.
#[derive(Default)]
pub(crate) struct Slot {
    /// With the session that each was given in.
    waiting: VecDeque<(Command, SessionId)>,
    pub(crate) doing: Option<Doing>,
}

/// A command that is being done. Dropping it ends it.
pub(crate) struct Doing {
    command: Command,
    source: Source,
    /// Under which leadership of which session it was begun.
    begun: (SessionId, LeaderEpoch),
    cancel: Cancel,
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    counters: Option<Arc<ScanCounters>>,
    percent: u8,
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.cancel.set();
    }
}

impl Doing {
    pub(crate) fn new(
        command: &Command,
        begun: &Standing,
        source: Source,
        cancel: Cancel,
        outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
    ) -> Self {
        let begun = (begun.session, begun.epoch);
        let command = command.clone();
        Self { command, source, begun, cancel, outcome, counters: None, percent: 0 }
    }

    /// With progress, by these counters.
    pub(crate) fn counting(mut self, counters: Arc<ScanCounters>) -> Self {
        self.counters = Some(counters);
        self
    }
}

impl Slot {
    pub(crate) fn queue(&mut self, command: Command, session: SessionId) {
        self.waiting.push_back((command, session));
    }

    /// Ends what is being done and forgets what waits; gives what that was.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Command> + use<> {
        let Self { waiting, doing } = std::mem::take(self);
        let doing = doing.map(|doing| doing.command.clone());
        doing.into_iter().chain(waiting.into_iter().map(|(command, _)| command))
    }
}

impl Slots {
    /// Where a command goes.
    pub(crate) fn of(&mut self, action: &Action) -> &mut Slot {
        let [probes, directories, subtrees, watches] = &mut self.0;
        match action {
            Action::Scan { recursive: true, .. } => subtrees,
            Action::Scan { .. } => directories,
            Action::Watch { .. } => watches,
            Action::Probe { .. } | Action::Stop { .. } | Action::Restart { .. } => probes,
        }
    }

    /// A command whose turn it is, and the session that it was given in.
    pub(crate) fn next(&mut self) -> Option<(Command, SessionId)> {
        let mut idle = self.0.iter_mut().filter(|slot| slot.doing.is_none());
        idle.find_map(|slot| slot.waiting.pop_front())
    }

    /// Waits until one of those that are being done has come to its end; never, if none is.
    pub(crate) async fn ended(&mut self) -> (Command, Outcome) {
        std::future::poll_fn(|context| {
            for slot in &mut self.0 {
                let Some(doing) = &mut slot.doing else { continue };
                if let Poll::Ready(outcome) = doing.outcome.as_mut().poll(context) {
                    let command = doing.command.clone();
                    slot.doing = None;
                    return Poll::Ready((command, outcome));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Cuts off what belongs to a session or leadership that is over; what is a leader's stops with
    /// the leadership under which it was begun.
    pub(crate) fn stop_what_is_over(&self, now: Option<&Standing>) {
        for doing in self.0.iter().filter_map(|slot| slot.doing.as_ref()) {
            let may = now.is_some_and(|now| {
                let same_term = (now.session, now.epoch) == doing.begun;
                now.session == doing.begun.0 && goes_on(duty_of(doing.source), now.role, same_term)
            });
            if !may {
                doing.cancel.set();
            }
        }
    }

    /// Cuts off all scans that are being done.
    pub(crate) fn cut_off_scans(&self) {
        for doing in self.0.iter().filter_map(|slot| slot.doing.as_ref()) {
            if doing.counters.is_some() {
                doing.cancel.set();
            }
        }
    }

    /// Whether anything that has progress is being done.
    pub(crate) fn count(&self) -> bool {
        self.0.iter().flat_map(|slot| &slot.doing).any(|doing| doing.counters.is_some())
    }

    /// Tells how far scans are.
    pub(crate) fn tell_progress(&mut self, desk: &ReportDesk) {
        for doing in self.0.iter_mut().filter_map(|slot| slot.doing.as_mut()) {
            if let Some(counters) = &doing.counters {
                doing.percent = doing.percent.max(counters.percent());
                desk.progress(&doing.command, doing.percent, counters);
            }
        }
    }

    /// Ends and forgets everything; gives what there was.
    pub(crate) fn clear(&mut self) -> Vec<Command> {
        self.0.iter_mut().flat_map(Slot::take_all).collect()
    }
}
