//! Readiness, coverage and horizon (4-consistency §5).

use std::collections::BTreeMap;

use crate::evidence::{RootState, ScanId, Source};
use crate::id::{AgentId, Revision, SessionId};
use crate::time::{ServerTime, StorageTime};

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

/// What the view knows of its scans and agents.
#[derive(Debug, Default)]
pub(super) struct Standing {
    agents: BTreeMap<AgentId, AgentReport>,
    snapshot: Option<(SessionId, ScanId, Source)>,
    last_snapshot: Option<ServerTime>,
    last_audit: Option<ServerTime>,
}

impl Standing {
    pub(super) fn hear(&mut self, agent: &AgentId, report: &AgentReport, _now: ServerTime) {
        self.agents.insert(agent.clone(), report.clone());
    }

    pub(super) fn lose(&mut self, agent: &AgentId, _ended: bool, _now: ServerTime) {
        self.agents.remove(agent);
    }

    pub(super) fn scan_started(
        &mut self,
        session: SessionId,
        scan: ScanId,
        source: Source,
        whole: bool,
    ) {
        if whole && source.is_leader_only() {
            self.snapshot = Some((session, scan, source));
        }
    }

    pub(super) fn scan_finished(
        &mut self,
        session: SessionId,
        scan: ScanId,
        complete: bool,
        at: ServerTime,
    ) {
        let Some((of, running, source)) = self.snapshot else { return };
        if (of, running) != (session, scan) {
            return;
        }
        self.snapshot = None;
        match source {
            Source::Audit if complete => self.last_audit = Some(at),
            _ if complete => self.last_snapshot = Some(at),
            _ => {}
        }
    }

    pub(super) fn status(&self, led: bool, revision: Revision, now: ServerTime) -> ViewStatus {
        let mut reasons = Vec::new();
        if !led {
            reasons.push("no agent leads this view".to_owned());
        }
        let state = match (self.last_snapshot, self.snapshot) {
            (None, None) => ViewState::Empty,
            (None, Some(_)) => ViewState::Snapshotting,
            (Some(_), _) if reasons.is_empty() => ViewState::Ready,
            (Some(_), _) => ViewState::Degraded,
        };
        match state {
            ViewState::Empty => reasons.push("nothing has been scanned yet".to_owned()),
            ViewState::Snapshotting => reasons.push("the first scan is running".to_owned()),
            ViewState::Ready | ViewState::Degraded => {}
        }
        ViewStatus {
            state,
            reasons,
            revision,
            watermark: StorageTime::from_nanos(now.as_nanos()),
            calibrated: false,
            last_snapshot: self.last_snapshot,
            last_audit: self.last_audit,
            coverage: self.coverage(),
            horizon: self.horizon(),
        }
    }

    fn coverage(&self) -> Coverage {
        if self
            .agents
            .values()
            .any(|agent| agent.realtime_ready && agent.unwatched_directories == 0)
        {
            Coverage::RealtimeAndAudit
        } else if self.agents.values().any(|agent| agent.realtime_ready) {
            Coverage::WatchDegraded
        } else {
            Coverage::AuditOnly
        }
    }

    fn horizon(&self) -> Option<ServerTime> {
        self.agents.values().map(|agent| agent.delivered_through).min().flatten()
    }
}
