//! Readiness, coverage and horizon (4-consistency §5), said aloud.
//!
//! Owns what the agents say of themselves, and what was said of them that the next change has to
//! make durable. Called by the view. Must never: say "quiet" or "ready" when a witness is late or
//! lost; it says "not known yet". Tested by `tests/cases/clocks-readiness.txt`.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::RootState;
use crate::id::{AgentId, Revision};
use crate::time::{ServerTime, StorageTime};

use super::View;
use super::ledger::Ledger;
use super::losses::{Loss, LossCause, Losses};
use super::settings::ViewSettings;

/// How far a view can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ViewState {
    /// Nothing is known yet.
    Empty,
    /// The first scan is running.
    Snapshotting,
    /// Whole and kept up to date.
    Ready,
    /// Was whole, but something was lost or is out of reach.
    Degraded,
}

/// How changes reach a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coverage {
    /// Agents watch the whole tree, and audits find what they cannot see.
    RealtimeAndAudit,
    /// No agent watches.
    AuditOnly,
    /// Agents watch a part of the tree.
    WatchDegraded,
}

/// What an agent says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentReport {
    /// All that it saw up to then is acknowledged.
    pub delivered_through: Option<ServerTime>,
    /// Its watches are in place.
    pub realtime_ready: bool,
    /// Directories that it would watch but cannot.
    pub unwatched_directories: u64,
    /// How it finds its root.
    pub root: RootState,
}

/// What every answer about a view says.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewStatus {
    /// How far it can be believed.
    pub state: ViewState,
    /// Why it is not [`ViewState::Ready`], in words.
    pub reasons: Vec<String>,
    /// The number of the last change.
    pub revision: Revision,
    /// Storage time now, as the view reckons.
    pub watermark: StorageTime,
    /// Whether the watermark rests on enough samples.
    pub calibrated: bool,
    /// When the last whole first scan ended.
    pub last_snapshot: Option<ServerTime>,
    /// When the last whole audit ended.
    pub last_audit: Option<ServerTime>,
    /// How changes reach it.
    pub coverage: Coverage,
    /// Up to when every witness has been heard.
    pub horizon: Option<ServerTime>,
}

/// What the agents say of themselves, and what is to be done about it. Not durable: every heartbeat
/// says it again; a loss becomes durable with the next change.
#[derive(Debug, Default)]
pub(super) struct Standing {
    agents: BTreeMap<AgentId, AgentReport>,
    /// The agents that have spoken, in a report or of their root, since their last session ended.
    here: BTreeSet<AgentId>,
    /// The last `observed_at` of each agent that was delivered, or until when it had delivered all.
    delivered: BTreeMap<AgentId, ServerTime>,
    /// Losses that are not in the ledger yet.
    pending: Losses,
    /// Agents whose sessions are over: their scans will never end.
    gone: Vec<AgentId>,
}

impl Standing {
    pub(super) fn hear(&mut self, agent: &AgentId, report: &AgentReport) {
        self.speaks(agent);
        match self.agents.get_mut(agent) {
            Some(known) => known.clone_from(report),
            None => drop(self.agents.insert(agent.clone(), report.clone())),
        }
    }

    /// An agent is here: how it finds its root counts (R11).
    pub(super) fn speaks(&mut self, agent: &AgentId) {
        if !self.here.contains(agent) {
            self.here.insert(agent.clone());
        }
    }

    /// Evidence of an agent was delivered that looked then.
    pub(super) fn delivered(&mut self, agent: &AgentId, at: ServerTime) {
        match self.delivered.get_mut(agent) {
            Some(known) => *known = at.max(*known),
            None => drop(self.delivered.insert(agent.clone(), at)),
        }
    }

    /// The session of an agent is over.
    pub(super) fn lose(&mut self, agent: &AgentId, ended: bool, now: ServerTime) {
        let report = self.forget_report(agent);
        self.here.remove(agent);
        self.gone.push(agent.clone());
        if ended {
            return;
        }
        let since = self.known_through(agent, report.as_ref()).unwrap_or(now);
        let cause = LossCause::SessionLost;
        self.note_loss(Loss { agent: agent.clone(), cause, since, over_at: Some(now) });
    }

    /// Notes a loss that the next change makes durable.
    pub(super) fn note_loss(&mut self, loss: Loss) {
        if let Some(joined) = self.pending.joined(&loss) {
            self.pending.put(joined);
        }
    }

    /// Losses that the next change makes durable.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Loss> {
        self.pending.iter()
    }

    /// Up to when all that an agent saw is in the view; the beginning of time if that is not known: of
    /// an earlier life of the server, say.
    pub(super) fn since(&self, agent: &AgentId) -> ServerTime {
        self.known_through(agent, self.agents.get(agent)).unwrap_or_default()
    }

    /// What an agent said of itself does not hold any longer, but that it had delivered all until then.
    pub(super) fn forget_report(&mut self, agent: &AgentId) -> Option<AgentReport> {
        let report = self.agents.remove(agent)?;
        if let Some(through) = report.delivered_through {
            self.delivered(agent, through);
        }
        Some(report)
    }

    fn known_through(&self, agent: &AgentId, report: Option<&AgentReport>) -> Option<ServerTime> {
        report
            .and_then(|report| report.delivered_through)
            .or_else(|| self.delivered.get(agent).copied())
    }

    /// Whether [`Standing::take_pending`] has something.
    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty() || !self.gone.is_empty()
    }

    /// Losses to be made durable, and agents whose scans will never end.
    pub(super) fn take_pending(&mut self) -> (Vec<Loss>, Vec<AgentId>) {
        (std::mem::take(&mut self.pending).into_all(), std::mem::take(&mut self.gone))
    }

    /// Whether an agent is here and watches.
    pub(super) fn report(&self, agent: &AgentId) -> Option<&AgentReport> {
        self.agents.get(agent)
    }

    /// §5: how changes reach the view.
    pub(super) fn coverage(&self) -> Coverage {
        let mut watching = self.agents.values().filter(|agent| agent.realtime_ready).peekable();
        if watching.peek().is_none() {
            Coverage::AuditOnly
        } else if watching.any(|agent| agent.unwatched_directories == 0) {
            Coverage::RealtimeAndAudit
        } else {
            Coverage::WatchDegraded
        }
    }

    /// §5: the least `delivered_through` of all agents; it stands still where events were lost.
    pub(super) fn horizon(&self, ledger: &Ledger) -> Option<ServerTime> {
        let mut least: Option<ServerTime> = None;
        for agent in self.agents.values() {
            let through = agent.delivered_through?;
            least = Some(least.map_or(through, |known| known.min(through)));
        }
        for loss in ledger.losses.iter().chain(self.pending.iter()) {
            least = Some(least.map_or(loss.since, |known| known.min(loss.since)));
        }
        least
    }

    /// §5: why the view cannot be trusted although it was whole once, in words.
    pub(super) fn troubles(
        &self,
        ledger: &Ledger,
        settings: &ViewSettings,
        now: ServerTime,
    ) -> Vec<String> {
        let mut reasons = Vec::new();
        let losses = ledger.losses.iter().chain(self.pending.iter());
        few(&mut reasons, losses, "losses of events", |loss| {
            format!("events of agent {} were lost: {}", loss.agent, loss.cause.as_str())
        });
        if ledger.relists.is_overdue(now, settings.relist_overdue) {
            reasons.push("the leader does not answer a relist".to_owned());
        }
        // That of an agent that is gone is nobody's loss; should it come back, it counts again.
        let away = ledger.root.away_now().filter(|agent| self.here.contains(*agent));
        few(&mut reasons, away, "agents whose root is away", |agent| {
            format!("the root is away at agent {agent}")
        });
        let doubts = ledger.root.doubts.values().filter(|doubt| self.here.contains(&doubt.agent));
        few(&mut reasons, doubts, "agents whose root may be another tree", |doubt| {
            let agent = &doubt.agent;
            match doubt.confirmed {
                false => format!("the root may be another tree at agent {agent}"),
                true => {
                    format!(
                        "the root is another tree at agent {agent}; an operator has to accept it"
                    )
                }
            }
        });
        self.agent_troubles(&mut reasons);
        reasons
    }

    fn agent_troubles(&self, reasons: &mut Vec<String>) {
        let blind = self.agents.iter().filter(|(_, report)| !report.realtime_ready);
        few(reasons, blind, "agents that do not watch", |(agent, _)| {
            format!("agent {agent} does not watch")
        });
        let away = |state| self.agents.iter().filter(move |(_, report)| report.root == state);
        few(
            reasons,
            away(RootState::Unavailable),
            "agents that cannot reach their root",
            |(agent, _)| format!("agent {agent} cannot reach its root"),
        );
        few(reasons, away(RootState::Doubtful), "agents that find another root", |(agent, _)| {
            format!("agent {agent} finds another root")
        });
    }
}

impl View {
    /// Whether names were left out because the view was full: what happened to them since is not known.
    pub(super) fn is_short(&self) -> bool {
        self.state.ledger.unreadable.num_short() > 0
    }

    /// What is left out because the view is full, or was and it is not yet made good, in words.
    pub(super) fn shortage(&self) -> Option<String> {
        let short = self.state.ledger.unreadable.num_short();
        let (has, max) = (self.state.tree.entries(), self.state.settings.max_entries);
        let left_out = format!("names of {short} directories are left out");
        match (short, has < max) {
            (0, _) => None,
            (_, false) => {
                Some(format!("it is full, with {has} entries of at most {max}: {left_out}"))
            }
            (_, true) => Some(format!("it was full: {left_out} until they are listed again")),
        }
    }
}

/// Reasons of one kind that are told one by one.
const FEW: usize = 8;

/// Tells of the first few one by one, and of the others how many they are: a thousand agents must not
/// make every answer and every turn a thousand times as long.
fn few<T>(
    reasons: &mut Vec<String>,
    mut of: impl Iterator<Item = T>,
    kind: &str,
    tell: impl Fn(T) -> String,
) {
    reasons.extend(of.by_ref().take(FEW).map(tell));
    match of.count() {
        0 => {}
        more => reasons.push(format!("and {more} more {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_troubled_agents_are_told_of_in_a_few_lines() {
        let mut standing = Standing::default();
        let report = AgentReport {
            realtime_ready: false,
            unwatched_directories: 0,
            root: RootState::Available,
            delivered_through: None,
        };
        for number in 0..1_000 {
            let agent = AgentId::new(&format!("agent-{number:04}")).unwrap();
            standing.lose(&agent, false, ServerTime::default());
            standing.hear(&agent, &report);
        }
        let (ledger, settings) = (Ledger::default(), ViewSettings::default());
        let reasons = standing.troubles(&ledger, &settings, ServerTime::default());
        assert_eq!(reasons.len(), 2 * (FEW + 1), "{reasons:?}");
        assert_eq!(reasons[0], "events of agent agent-0000 were lost: its session was lost");
        assert_eq!(reasons[FEW], "and 992 more losses of events");
        assert_eq!(reasons[2 * FEW + 1], "and 992 more agents that do not watch");
    }
}
