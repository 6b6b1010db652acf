//! The desk at which commands are given, told and reported.
//!
//! Shared by the view's thread (which gives the leader its orders), whoever asks for a scan of a path
//! (which gives errands to any session), the session service (heartbeats and reports) and the streams
//! (notices). Its lock is held for one operation on small tables, never across an await, and nothing
//! is locked under it but a page of the view's tree, to be read.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fusion_core::change::Change;
use fusion_core::id::{AgentId, InstanceId, Revision, SessionId};
use fusion_core::path::PathRef;
use fusion_core::stat::Kind;
use fusion_core::time::{Monotonic, ServerTime, StorageTime};
use fusion_core::view::{Order, ViewReader};
use fusion_proto::convert::session::command::{Command, CommandReport};
use tokio::sync::watch;
use uuid::Uuid;

use super::commands::{CommandTable, Ended};
use super::errands::{Errands, Sent};
use super::unseen::{Unseen, UnseenNow};

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

/// The commands of one view.
#[derive(Debug)]
pub(crate) struct CommandDesk {
    reader: ViewReader,
    tables: Mutex<Tables>,
    news: watch::Sender<()>,
    errand_news: watch::Sender<()>,
}

impl CommandDesk {
    /// Of a view that is at a revision.
    pub(super) fn new(reader: ViewReader, revision: Revision) -> Self {
        let (orders, errands) = Default::default();
        let tables = Mutex::new(Tables { orders, errands, unseen: Unseen::new(revision) });
        let (news, errand_news) = Default::default();
        Self { reader, tables, news, errand_news }
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
        if self.lock().unseen.give(&|path| self.is_directory(path), draw) {
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

    /// How many paths may be given now, and how many commands have lapsed.
    pub(super) fn room(&self, now: Monotonic) -> (usize, usize) {
        let mut tables = self.lock();
        let lapsed = tables.orders.lapse(now);
        (tables.orders.room(), lapsed)
    }

    /// Gives orders to the leader; how many commands that makes.
    pub(super) fn give(
        &self,
        orders: Vec<Order>,
        now: Monotonic,
        mut draw: impl FnMut() -> Uuid,
    ) -> usize {
        let mut tables = self.lock();
        let table = &mut tables.orders;
        let given = orders.into_iter().map(|order| table.give(order, now, &mut draw)).sum();
        drop(tables);
        if given > 0 {
            self.news.send_replace(());
        }
        given
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
        let sent = self.lock().errands.send(session, command, now);
        self.errand_news.send_replace(());
        sent
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
        self.lock().errands.lapse(now);
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

    /// One heartbeat: takes the reports, gives what is to do, whose reports are refused, and how
    /// commands ended. Orders are told to who `leads` only: the view may not have heard of it yet.
    pub(crate) fn beat(
        &self,
        session: SessionId,
        leads: bool,
        reports: &[CommandReport],
        now: Monotonic,
        draw: impl FnMut() -> Uuid,
    ) -> (Vec<Command>, Vec<Uuid>, Ended) {
        let mut tables = self.lock();
        let (rest, unseen) = tables.unseen.report(session, reports);
        let (rest, errands) = tables.errands.report(session, &rest, now);
        let (refused, mut ended) = tables.orders.report(session, &rest, now);
        ended.done += errands.done + unseen.done;
        ended.failed += errands.failed + unseen.failed;
        // In the same moment, so that nobody finds it done with one and not given the next.
        tables.unseen.give_one(session, &|path| self.is_directory(path), draw);
        let mut commands = if leads { tables.orders.all(session) } else { Vec::new() };
        commands.extend(tables.errands.all(session));
        commands.extend(tables.unseen.all(session));
        (commands, refused, ended)
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
