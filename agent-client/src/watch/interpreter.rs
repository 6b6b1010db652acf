//! The interpreting thread: takes events in, looks, and tells what it saw.
//!
//! One round: take in what the reader has (`take_in`: events change the table and mark names), look
//! at what is due and tell of it (`tell`), then go on with directories that appeared (`discover`).
//! Because one thread does all the looking, evidence is in the order of looking.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use fusion_core::time::Monotonic;

use super::anew::Anew;
use super::discover::Discovery;
use super::failed::GivenUp;
use super::moves::Moves;
use super::outlet::Outlet;
use super::pending::PendingTable;
use super::reader::{Batch, Message};
use super::recent::Recent;
use super::{Shared, WatchEvidence, WatchSink};
use crate::scan::RootCheck;

/// Most events taken in before anything is told: bounds memory and the time until the first look.
const ROUND_EVENTS: usize = 16_384;
/// How long directories that appeared are listed before events get their turn again.
const DISCOVERY_SLICE: Duration = Duration::from_millis(2);

pub(super) struct Interpreter {
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: Receiver<Message>,
    pub(super) outlet: Outlet,
    pub(super) pending: PendingTable,
    pub(super) moves: Moves,
    pub(super) recent: Recent,
    pub(super) discovery: Discovery,
    pub(super) anew: Anew,
    pub(super) given_up: GivenUp,
    pub(super) root_is_gone: bool,
    /// Something happened to the root itself.
    pub(super) check_root: bool,
    /// Events of this round.
    pub(super) in_hand: usize,
    /// Up to when all events were taken in.
    pub(super) through: Monotonic,
}

impl Interpreter {
    pub(super) fn new(
        shared: Arc<Shared>,
        inbox: Receiver<Message>,
        messages: Sender<Message>,
        sink: Box<dyn WatchSink>,
    ) -> Self {
        let through = shared.clock.monotonic();
        Self {
            outlet: Outlet::new(sink, shared.options.max_rows),
            discovery: Discovery::new(),
            anew: Anew::new(messages),
            given_up: GivenUp::default(),
            shared,
            inbox,
            pending: PendingTable::default(),
            moves: Moves::default(),
            recent: Recent::default(),
            root_is_gone: false,
            check_root: false,
            in_hand: 0,
            through,
        }
    }

    /// Runs until it is told to end, the reader has ended, or the sink breaks off.
    pub(super) fn run(mut self) {
        while self.round() && !self.shared.cancel.is_set() && !self.outlet.is_broken() {}
        self.shared.cancel.set();
        self.shared.stop_reader.notify_one();
        self.shared.came_back();
    }

    /// One round; gives false when there will be no other.
    pub(super) fn round(&mut self) -> bool {
        let Some(messages) = self.receive() else { return false };
        for message in messages {
            match message {
                Message::Batch(batch) => self.take_batch(&batch),
                Message::End => return false,
                Message::Lost(since) => self.lose(since),
                Message::Made(path, read) => self.begin_made(path, read),
                Message::PlacedAnew => {
                    let placed = self.anew.placed(&self.shared);
                    placed.into_iter().for_each(|evidence| self.outlet.emit(evidence));
                }
            }
        }
        if self.check_root {
            self.tell_root_gone();
        }
        self.tell();
        self.outlet.flush();
        self.discover(DISCOVERY_SLICE);
        self.outlet.flush();
        if !self.outlet.is_broken() {
            self.discovery.tell_read();
        }
        let oldest = [self.pending.oldest(), self.moves.oldest(), self.discovery.oldest()];
        let oldest = oldest.into_iter().flatten().min();
        self.shared.gate.interpreted(self.in_hand, self.through, oldest);
        self.in_hand = 0;
        true
    }

    /// What there is to take in: waits for it, or until something is due. `None` at the end.
    fn receive(&mut self) -> Option<Vec<Message>> {
        let timeout = self.shared.options.pair_timeout;
        let due = [self.pending.next_due(), self.moves.next_due(timeout)];
        let first = if !self.discovery.is_empty() {
            self.inbox.try_recv().ok()
        } else if let Some(due) = due.into_iter().flatten().min() {
            match self.inbox.recv_timeout(due.since(self.shared.clock.monotonic())) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        } else {
            Some(self.inbox.recv().ok()?)
        };
        let mut events = 0;
        let mut messages = Vec::new();
        let mut next = first;
        while let Some(message) = next {
            match &message {
                Message::Batch(batch) => events += batch.events.len(),
                Message::End => return None,
                Message::Lost(_) | Message::PlacedAnew | Message::Made(..) => {}
            }
            messages.push(message);
            next = if events < ROUND_EVENTS { self.inbox.try_recv().ok() } else { None };
        }
        Some(messages)
    }

    fn take_batch(&mut self, batch: &Batch) {
        if let Some(since) = batch.lost_since {
            self.lose(since);
        }
        let now = self.shared.clock.monotonic();
        for (event, name) in batch.iter() {
            self.take_in(event, name, batch.since, now);
        }
        self.in_hand += batch.events.len();
        self.through = self.through.max(batch.through);
    }

    /// Events were lost since then: says so, and has all watches placed anew.
    pub(super) fn lose(&mut self, since: Monotonic) {
        super::counters::add(&self.shared.counters.overflows, 1);
        let watching_since = self.shared.clock.monotonic();
        self.outlet.emit(WatchEvidence::Overflow { since, watching_since, is_over: false });
        self.anew.lost(&self.shared, since);
    }

    /// Says so, once, if the root's path does not lead to the root any more.
    pub(super) fn tell_root_gone(&mut self) {
        self.check_root = false;
        let shared = &self.shared;
        let check = || Ok(shared.root.check());
        if self.root_is_gone || matches!(shared.pulse.call(check), Ok(RootCheck::Same) | Err(_)) {
            return;
        }
        self.root_is_gone = true;
        let looked_at = self.shared.clock.monotonic();
        self.outlet.emit(WatchEvidence::RootGone { looked_at });
    }
}
