//! The desk at which commands are given, told and reported.
//!
//! Shared by the view's thread (which gives the leader its orders), whoever asks for a scan of a path
//! (which gives errands to any session), the session service (heartbeats and reports) and the streams
//! (notices). Its lock is held for one operation on small tables, never across an await, and nothing
//! is locked under it but a page of the view's tree, to be read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_core::change::Change;
use fusion_core::id::{AgentId, InstanceId, Revision, SessionId, ViewName};
use fusion_core::path::PathRef;
use fusion_core::stat::Kind;
use fusion_core::time::{Monotonic, ServerTime, StorageTime};
use fusion_core::view::{Order, ViewReader};
use fusion_proto::convert::session::command::{Command, CommandReport};
use prometheus::IntCounter;
use tokio::sync::watch;
use uuid::Uuid;

use super::commands::{CommandTable, Ended};
use super::errands::{Errands, Sent};
use super::unseen::{Unseen, UnseenNow};
use crate::ops::metrics::Metrics;

/// What there is to do in a view.
#[derive(Debug)]
struct Tables {
    /// For whoever leads.
    orders: CommandTable,
    /// For any session.
    errands: Errands,
    /// For all who cannot have seen it.
    unseen: Unseen,
}

/// What became of commands of all kinds, as metrics tell it.
#[derive(Debug)]
pub(super) struct CommandCounts {
    given: IntCounter,
    done: IntCounter,
    failed: IntCounter,
    refused: IntCounter,
    lapsed: IntCounter,
}

impl CommandCounts {
    pub(super) fn new(metrics: &Metrics, view: &ViewName) -> Self {
        let count = |state| metrics.commands.with_label_values(&[view.as_str(), state]);
        Self {
            given: count("given"),
            done: count("done"),
            failed: count("failed"),
            refused: count("refused"),
            lapsed: count("lapsed"),
        }
    }

    fn ended(&self, ended: Ended) {
        self.done.inc_by(ended.done);
        self.failed.inc_by(ended.failed);
        self.refused.inc_by(ended.refused);
    }
}

/// The commands of one view.
#[derive(Debug)]
pub(crate) struct CommandDesk {
    reader: ViewReader,
    counts: CommandCounts,
    tables: Mutex<Tables>,
    news: watch::Sender<()>,
    errand_news: watch::Sender<()>,
}

impl CommandDesk {
    /// Of a view that is at a revision.
    pub(super) fn new(reader: ViewReader, revision: Revision, counts: CommandCounts) -> Self {
        let (orders, errands) = Default::default();
        let tables = Mutex::new(Tables { orders, errands, unseen: Unseen::new(revision) });
        let (news, errand_news) = Default::default();
        Self { reader, counts, tables, news, errand_news }
    }

    /// Goes back to a revision, to [`take`](Self::take) what the log has after it.
    pub(crate) fn rewind(&self, through: Revision) {
        self.lock().unseen.rewind(through);
    }

    /// Goes on where the desk of the view's life before this one left off; its sessions are over.
    pub(crate) fn take_over(&self, before: &Self) {
        let before = std::mem::replace(&mut before.lock().unseen, Unseen::new(Revision(0)));
        self.lock().unseen.take_over(before);
    }

    /// A session began: see [`Unseen::joined`].
    pub(crate) fn joined(
        &self,
        session: SessionId,
        life: (&AgentId, InstanceId),
        since: StorageTime,
        after: Option<Revision>,
    ) {
        self.lock().unseen.joined(session, life.0, life.1, since, after);
    }

    /// Whether an agent watches directory by directory, as it says itself.
    pub(crate) fn watches(&self, session: SessionId, by_directory: bool) {
        self.lock().unseen.heard(session, by_directory);
    }

    /// Takes in what changed. `horizon`: as it was before.
    pub(crate) fn take(&self, changes: &[Change], horizon: Option<ServerTime>) {
        self.lock().unseen.take(changes, horizon);
    }

    /// Tells agents of directories that they cannot have seen appear.
    pub(crate) fn tell_unseen(&self, draw: impl FnMut() -> Uuid) {
        let given = self.lock().unseen.give(&|path| self.is_directory(path), draw);
        if given > 0 {
            self.counts.given.inc_by(given);
            self.errand_news.send_replace(());
        }
    }

    fn is_directory(&self, path: PathRef<'_>) -> bool {
        self.reader.entry(path).is_some_and(|entry| entry.stat.kind == Kind::Directory)
    }

    /// How it stands with them.
    pub(super) fn unseen(&self) -> UnseenNow {
        self.lock().unseen.now()
    }

    /// Up to where a session's agent has reported all of them.
    pub(crate) fn reported(&self, session: SessionId) -> Option<Revision> {
        self.lock().unseen.reported(session)
    }

    pub(super) fn set_leader(&self, leader: Option<SessionId>) {
        self.lock().orders.set_leader(leader);
    }

    /// How many paths may be given now, without the commands that have lapsed.
    pub(super) fn room(&self, now: Monotonic) -> usize {
        let mut tables = self.lock();
        self.counts.lapsed.inc_by(tables.orders.lapse(now) as u64);
        tables.orders.room()
    }

    /// Gives orders to the leader.
    pub(super) fn give(&self, orders: Vec<Order>, now: Monotonic, mut draw: impl FnMut() -> Uuid) {
        let mut tables = self.lock();
        let table = &mut tables.orders;
        let given: usize = orders.into_iter().map(|order| table.give(order, now, &mut draw)).sum();
        drop(tables);
        if given > 0 {
            self.counts.given.inc_by(given as u64);
            self.news.send_replace(());
        }
    }

    /// Whether an audit that was ordered while another was under way can be given now.
    pub(super) fn owes_audit(&self) -> bool {
        self.lock().orders.owes_audit()
    }

    /// It is given now, or no longer wanted.
    pub(super) fn forgive_audit(&self) {
        self.lock().orders.audit_owed = false;
    }

    /// Gives a session an errand; how it ended comes later. `None` if there are too many.
    pub(crate) fn send(
        &self,
        session: SessionId,
        command: Command,
        now: Monotonic,
    ) -> Option<Sent> {
        let sent = self.lock().errands.send(session, command, now)?;
        self.counts.given.inc();
        self.errand_news.send_replace(());
        Some(sent)
    }

    /// Whether the view wants what this command asks for.
    pub(super) fn is_order(&self, command: Uuid) -> bool {
        self.lock().orders.has(command)
    }

    /// Whether somebody waits for what comes of this command.
    pub(super) fn is_errand(&self, command: Uuid) -> bool {
        self.lock().errands.has(command)
    }

    /// Ends the errands of which nothing was heard for too long.
    pub(crate) fn lapse_errands(&self, now: Monotonic) {
        self.counts.lapsed.inc_by(self.lock().errands.lapse(now) as u64);
    }

    /// Ends the errands of a session that is over.
    pub(crate) fn session_over(&self, session: SessionId) {
        self.lock().errands.session_over(session);
    }

    /// A session is over, by its agent's wish or not: what it was told waits for the next one.
    pub(crate) fn left(&self, session: SessionId, ended: bool) {
        self.lock().unseen.session_over(session, ended);
    }

    /// Changes when there may be something for the leader's streams to tell.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Changes when there may be an errand for any session's streams to tell.
    pub(crate) fn errand_changes(&self) -> watch::Receiver<()> {
        self.errand_news.subscribe()
    }

    /// What no stream of this session has told yet.
    pub(crate) fn news(&self, session: SessionId) -> Vec<Command> {
        let mut tables = self.lock();
        let mut news = tables.orders.news(session);
        news.extend(tables.errands.news(session));
        news.extend(tables.unseen.news(session));
        news
    }

    /// One heartbeat: takes the reports, gives what is to do, and whose reports are refused. Orders are
    /// told to who `leads` only: the view may not have heard of it yet.
    pub(crate) fn beat(
        &self,
        session: SessionId,
        leads: bool,
        reports: &[CommandReport],
        now: Monotonic,
        draw: impl FnMut() -> Uuid,
    ) -> (Vec<Command>, Vec<Uuid>) {
        let mut tables = self.lock();
        let (rest, unseen) = tables.unseen.report(session, reports);
        let (rest, errands) = tables.errands.report(session, &rest, now);
        let (refused, mut ended) = tables.orders.report(session, &rest, now);
        ended.done += errands.done + unseen.done;
        ended.failed += errands.failed + unseen.failed;
        // In the same moment, so that nobody finds it done with one and not given the next.
        if tables.unseen.give_one(session, &|path| self.is_directory(path), draw) {
            self.counts.given.inc();
        }
        let mut commands = if leads { tables.orders.all(session) } else { Vec::new() };
        commands.extend(tables.errands.all(session));
        commands.extend(tables.unseen.all(session));
        self.counts.ended(ended);
        (commands, refused)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
