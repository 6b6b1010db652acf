//! What a view must learn before any further evidence: who leads, who is heard, who is gone.
//!
//! Written by the session service, which must never wait, and drained by the view's thread before
//! each batch. The lock guards a short queue; it is held to push or to take it, never across an
//! await, and no other lock is taken under it. Reports of one agent overwrite each other, so the
//! queue is bounded by what sessions begin and end between two batches.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use fusion_core::id::{AgentId, InstanceId, SessionId};
use fusion_core::time::ServerTime;
use fusion_core::view::{AgentReport, Leadership};
use tokio::sync::Notify;

use super::operate::Operator;

/// One thing that a view must learn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// Who leads from now on.
    Leads(Option<Leadership>),
    /// An operator has the view forget all; its sessions are over.
    Reset(Operator),
    /// A session began.
    Joined(SessionId, Life),
    /// The server began anew.
    Kept {
        /// The sessions that live on; no other does.
        sessions: HashSet<SessionId>,
        /// What began each session that is remembered, also of those that are over; the oldest first.
        lives: Vec<Life>,
    },
    /// An agent said this of itself.
    Heard(AgentId, AgentReport),
    /// A session is over.
    Over {
        /// The session.
        session: SessionId,
        /// Its agent.
        agent: AgentId,
        /// By `EndSession`.
        ended: bool,
    },
}

/// The life of an agent that began a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    /// The agent.
    pub(crate) agent: AgentId,
    /// Which process of it.
    pub(crate) instance: InstanceId,
    /// When its session began.
    pub(crate) since: ServerTime,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Control {
    notes: Mutex<VecDeque<Note>>,
    pub(super) news: Notify,
}

impl Control {
    pub(super) fn tell(&self, note: Note) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Note::Heard(agent, report) = &note {
            let last = notes.iter_mut().rev().find_map(|earlier| match earlier {
                Note::Heard(of, report) if of == agent => Some(Some(report)),
                Note::Over { agent: of, .. } | Note::Joined(_, Life { agent: of, .. })
                    if of == agent =>
                {
                    Some(None)
                }
                _ => None,
            });
            if let Some(Some(earlier)) = last {
                earlier.clone_from(report);
                return;
            }
        }
        notes.push_back(note);
        drop(notes);
        self.news.notify_one();
    }

    pub(super) fn take(&self) -> VecDeque<Note> {
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
