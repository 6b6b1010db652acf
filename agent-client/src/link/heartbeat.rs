//! The heartbeat: keeps the session, exchanges time, tells how the agent is, brings commands.
//!
//! Depends on nothing else in the agent: what is broken elsewhere is what it reports. Ends only when
//! the server says that the session is over.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::SessionId;
use fusion_core::time::Monotonic;
use fusion_proto::convert::session::heartbeat::{Heartbeat, HeartbeatHeard};
use tracing::Instrument as _;

use super::board::{Board, Reports};
use super::reaction::{Reaction, Trouble};
use super::session::Ending;
use super::told::Told;
use super::ways::Ways;
use super::{CALL_LIMIT, LinkDeps, NextAudit, TimeExchange};

/// Shortest time between two tries after one failed.
const RETRY: Duration = Duration::from_millis(500);

/// News are told at once, but never more often than this: those that come together go together.
const NEWS_GAP: Duration = Duration::from_millis(50);

/// What beats.
pub(crate) struct HeartbeatTask {
    pub(crate) session: SessionId,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) ways: Arc<Ways>,
    pub(crate) deps: LinkDeps,
    pub(crate) board: Arc<Board>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) exchange: Arc<TimeExchange>,
    /// Who answered last.
    pub(crate) by: Option<String>,
}

impl HeartbeatTask {
    /// Beats until the session is over.
    pub(crate) async fn run(mut self) -> Ending {
        let mut heard = self.deps.clock.monotonic();
        let mut told = Told::default();
        // The first one at once: it says how the agent is, and measures the way there again.
        let mut wait = Duration::ZERO;
        let mut beaten: Option<Monotonic> = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.deps.news.notified() => {
                    let passed = |at| self.deps.clock.monotonic().since(at);
                    let gap = beaten.map_or(Duration::ZERO, |at| NEWS_GAP.saturating_sub(passed(at)));
                    tokio::time::sleep(gap).await;
                }
            }
            beaten = Some(self.deps.clock.monotonic());
            match self.beat().await {
                Ok(()) => {
                    heard = self.deps.clock.monotonic();
                    self.count("ok");
                    told.clear();
                    self.board.lost(false);
                    self.board.trouble(None);
                    wait = self.deps.ids.jitter(self.interval, 0.1);
                }
                Err(trouble) => match self.failed(&trouble, heard, &mut told) {
                    Ok(after) => wait = after,
                    Err(ending) => return ending,
                },
            }
        }
    }

    /// One exchange.
    async fn beat(&mut self) -> Result<(), Trouble> {
        let span = tracing::debug_span!("heartbeat", session = %self.session);
        let reports = self.reports.pending();
        let delivered = self.deps.reporter.delivered_through();
        let beat = Heartbeat {
            session: self.session,
            agent_time: Some(self.deps.clock.wall()),
            delivered_through: delivered.and_then(|at| self.exchange.server_time(at)),
            status: Some(self.deps.reporter.status()),
            reports,
        };
        let sent = self.deps.clock.monotonic();
        let mut way = self.ways.now();
        let call = way.control.heartbeat(&beat).instrument(span);
        let answer = tokio::time::timeout(CALL_LIMIT.min(self.timeout), call).await;
        let answer = answer.map_err(|_| Trouble::unexpected("no answer to a heartbeat"));
        let heard = answer.and_then(|answer| answer.map_err(Trouble::of));
        let heard = heard.inspect_err(|trouble| self.ways.failed(&way, trouble))?;
        self.ways.answered(&way);
        // Who answers is another server, with a clock of its own.
        let by = way.control.owner().unwrap_or(way.server.as_str());
        if self.by.as_deref().is_some_and(|before| before != by) {
            self.exchange.clear();
        }
        self.by = Some(by.to_owned());
        if let Some(owner) = way.control.owner() {
            self.ways.owner_named(&way, owner);
        }
        self.reports.told(&beat.reports);
        self.hear(heard, sent);
        Ok(())
    }

    fn hear(&self, heard: HeartbeatHeard, sent: Monotonic) {
        self.exchange.add(sent, self.deps.clock.monotonic(), heard.server_time);
        self.board.next_audit(NextAudit { number: heard.audit_number, asked_at: sent });
        self.board.hear(self.session, heard.role, heard.leader_epoch);
        if !heard.reports_refused.is_empty() {
            let commands = heard.reports_refused.len();
            tracing::warn!(commands, "the leases of commands lapsed before their reports");
            self.reports.give_up(&heard.reports_refused);
        }
        self.board.commands(heard.commands, &self.reports);
    }

    /// What a failure means: how long to wait, or the end of the session.
    fn failed(
        &self,
        trouble: &Trouble,
        heard: Monotonic,
        told: &mut Told,
    ) -> Result<Duration, Ending> {
        self.count(if trouble.from_server { "refused" } else { "unanswered" });
        let after = match &trouble.reaction {
            Reaction::NewSession { cause, after } => {
                let why = format!("heartbeat: {}", trouble.text);
                return Err(Ending::Obsolete { cause: *cause, after: *after, why });
            }
            Reaction::Superseded => return Err(Ending::Superseded),
            Reaction::Reconnect { after }
            | Reaction::GoToOwner { after, .. }
            | Reaction::SlowDown { after } => *after,
            Reaction::WaitForOther { .. }
            | Reaction::OtherTree { .. }
            | Reaction::RenewSpool
            | Reaction::StopScanning
            | Reaction::ResumeFrom { .. }
            | Reaction::BackOff
            | Reaction::Report => Duration::ZERO,
        };
        let now = self.deps.clock.monotonic();
        let silent = now.since(heard);
        if told.is_news(&trouble.text, now) {
            let seconds = silent.as_secs();
            tracing::warn!(session = %self.session, seconds, "heartbeat failed: {}", trouble.text);
        }
        self.board.trouble(Some(&trouble.text));
        self.board.lost(silent > self.timeout);
        let soon = self.deps.ids.jitter(RETRY, 0.5);
        Ok(after.max(soon).min(self.interval))
    }

    fn count(&self, outcome: &str) {
        self.deps.metrics.heartbeats.with_label_values(&[outcome]).inc();
    }
}
