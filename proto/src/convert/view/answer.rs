//! What is told of a view, and what it is worth.

use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::stat::Stat;
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::{Coverage, Totals, ViewState, ViewStatus};

use super::ownership::ViewOwnership;
use crate::convert::stat::{stat_from_pb, stat_to_pb};
use crate::convert::time::{
    duration_from_pb, duration_to_pb, server_time_to_pb, storage_time_from_pb, storage_time_to_pb,
    time_in,
};
use crate::convert::{ConvertError, InField as _, Unsendable};
use crate::pb;

/// An entry as answers tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path in the notation of answers.
    pub path: String,
    /// Its stat.
    pub stat: Stat,
    /// Maybe unfinished.
    pub suspect: bool,
    /// Known only by scanning.
    pub blind: bool,
}

/// What an answer is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// How far the view can be believed.
    pub state: ViewState,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    /// The answer holds at least all changes up to this revision.
    pub revision: u64,
    /// Storage time now, as the view reckons.
    pub watermark: Option<StorageTime>,
    /// Whether the watermark rests on enough samples of the storage's clock.
    pub calibrated: bool,
    /// How changes reach the view.
    pub coverage: Coverage,
    /// When the last whole first scan ended.
    pub last_snapshot: Option<ServerTime>,
    /// When the last whole audit ended.
    pub last_audit: Option<ServerTime>,
    /// Up to when every witness has been heard.
    pub horizon: Option<ServerTime>,
    /// How long what was asked for is known to have been unchanged.
    pub quiet_for: Option<Duration>,
}

impl Freshness {
    /// What an answer is worth that was given at such a status. `quiet_for` is that of the subtree
    /// asked for.
    #[must_use]
    pub fn of(status: &ViewStatus, quiet_for: Option<Duration>) -> Self {
        let ViewStatus {
            state,
            reasons,
            revision,
            watermark,
            calibrated,
            last_snapshot,
            last_audit,
            coverage,
            horizon,
        } = status.clone();
        Self {
            state,
            reasons,
            revision: revision.0,
            watermark: Some(watermark),
            calibrated,
            coverage,
            last_snapshot,
            last_audit,
            horizon,
            quiet_for,
        }
    }

    /// Whether the view is whole and kept up to date.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == ViewState::Ready
    }

    /// The state in the word of the contract.
    #[must_use]
    pub fn state_text(&self) -> &'static str {
        state_to_text(self.state)
    }

    /// The coverage in the word of the contract.
    #[must_use]
    pub fn coverage_text(&self) -> &'static str {
        coverage_to_text(self.coverage)
    }
}

/// A view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewInfo {
    /// Its name.
    pub name: ViewName,
    /// Totals of the whole tree.
    pub totals: Totals,
    /// What answers about it are worth now.
    pub freshness: Freshness,
    /// The agent that leads it; empty if none does.
    pub leader_agent_id: String,
    /// The number of the current or last leadership.
    pub leader_epoch: u64,
    /// Live sessions.
    pub sessions: u32,
    /// When it was created.
    pub created_at: Option<ServerTime>,
    /// Whose it is among several servers; absent if the server is alone.
    pub ownership: Option<ViewOwnership>,
}

/// The state of a view as it is written in metadata and shown to people.
#[must_use]
pub const fn state_to_text(state: ViewState) -> &'static str {
    match state {
        ViewState::Empty => "EMPTY",
        ViewState::Snapshotting => "SNAPSHOTTING",
        ViewState::Ready => "READY",
        ViewState::Degraded => "DEGRADED",
    }
}

/// Reads the state of a view; `None` if this version does not know it.
#[must_use]
pub fn state_from_text(text: &str) -> Option<ViewState> {
    match text {
        "EMPTY" => Some(ViewState::Empty),
        "SNAPSHOTTING" => Some(ViewState::Snapshotting),
        "READY" => Some(ViewState::Ready),
        "DEGRADED" => Some(ViewState::Degraded),
        _ => None,
    }
}

/// The state of a view on the wire.
#[must_use]
pub const fn state_to_pb(state: ViewState) -> pb::ViewState {
    match state {
        ViewState::Empty => pb::ViewState::Empty,
        ViewState::Snapshotting => pb::ViewState::Snapshotting,
        ViewState::Ready => pb::ViewState::Ready,
        ViewState::Degraded => pb::ViewState::Degraded,
    }
}

/// The state of a view from the wire.
///
/// # Errors
/// A number that is no state, 0 included.
pub fn state_from_pb(number: i32) -> Result<ViewState, ConvertError> {
    match pb::ViewState::try_from(number) {
        Ok(pb::ViewState::Empty) => Ok(ViewState::Empty),
        Ok(pb::ViewState::Snapshotting) => Ok(ViewState::Snapshotting),
        Ok(pb::ViewState::Ready) => Ok(ViewState::Ready),
        Ok(pb::ViewState::Degraded) => Ok(ViewState::Degraded),
        Ok(pb::ViewState::Unspecified) | Err(_) => Err(ConvertError::unknown("state", number)),
    }
}

/// The coverage of a view on the wire.
#[must_use]
pub const fn coverage_to_pb(coverage: Coverage) -> pb::Coverage {
    match coverage {
        Coverage::RealtimeAndAudit => pb::Coverage::RealtimeAndAudit,
        Coverage::AuditOnly => pb::Coverage::AuditOnly,
        Coverage::WatchDegraded => pb::Coverage::WatchDegraded,
    }
}

/// The coverage of a view from the wire.
///
/// # Errors
/// A number that is no coverage, 0 included.
pub fn coverage_from_pb(number: i32) -> Result<Coverage, ConvertError> {
    match pb::Coverage::try_from(number) {
        Ok(pb::Coverage::RealtimeAndAudit) => Ok(Coverage::RealtimeAndAudit),
        Ok(pb::Coverage::AuditOnly) => Ok(Coverage::AuditOnly),
        Ok(pb::Coverage::WatchDegraded) => Ok(Coverage::WatchDegraded),
        Ok(pb::Coverage::Unspecified) | Err(_) => Err(ConvertError::unknown("coverage", number)),
    }
}

/// The coverage of a view in the word of the contract.
#[must_use]
pub const fn coverage_to_text(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::RealtimeAndAudit => "REALTIME_AND_AUDIT",
        Coverage::AuditOnly => "AUDIT_ONLY",
        Coverage::WatchDegraded => "WATCH_DEGRADED",
    }
}

/// An entry from the wire. Its path stays in the notation of answers.
///
/// # Errors
/// A stat that is missing or malformed.
pub fn entry_from_pb(entry: pb::Entry) -> Result<Entry, ConvertError> {
    let pb::Entry { path, stat, suspect, blind } = entry;
    let stat = stat.ok_or(ConvertError::missing("stat"))?;
    let stat = stat_from_pb(&stat).map_err(|error| error.within("stat"))?;
    Ok(Entry { path, stat, suspect, blind })
}

impl From<&Entry> for pb::Entry {
    fn from(entry: &Entry) -> Self {
        let Entry { path, stat, suspect, blind } = entry;
        let stat = Some(stat_to_pb(stat));
        Self { path: path.clone(), stat, suspect: *suspect, blind: *blind }
    }
}

/// Totals on the wire.
#[must_use]
pub fn totals_to_pb(totals: &Totals) -> pb::Totals {
    let Totals { files, directories, others, bytes, suspects, blind, newest_mtime, last_change } =
        *totals;
    pb::Totals {
        files,
        directories,
        others,
        bytes,
        suspects,
        blind,
        newest_mtime_time_ns: newest_mtime.map(|time| time.as_nanos()),
        last_change: last_change.map(server_time_to_pb),
    }
}

/// Totals from the wire.
///
/// # Errors
/// A malformed time.
pub fn totals_from_pb(totals: pb::Totals) -> Result<Totals, ConvertError> {
    let pb::Totals {
        files,
        directories,
        others,
        bytes,
        suspects,
        blind,
        newest_mtime_time_ns,
        last_change,
    } = totals;
    Ok(Totals {
        files,
        directories,
        others,
        bytes,
        suspects,
        blind,
        newest_mtime: newest_mtime_time_ns.map(StorageTime::from_nanos),
        last_change: time_in("last_change", last_change.as_ref())?,
    })
}

/// What an answer is worth, on the wire. `quiet_for` is that of the subtree asked for.
///
/// # Errors
/// A span that cannot be told.
pub fn freshness_to_pb(
    status: &ViewStatus,
    quiet_for: Option<Duration>,
) -> Result<pb::Freshness, Unsendable> {
    (&Freshness::of(status, quiet_for)).try_into()
}

/// What an answer is worth, from the wire.
///
/// # Errors
/// A state or coverage that is none, or a malformed time or span.
pub fn freshness_from_pb(freshness: pb::Freshness) -> Result<Freshness, ConvertError> {
    let pb::Freshness {
        state,
        reasons,
        revision,
        watermark,
        watermark_calibrated,
        last_snapshot,
        last_audit,
        coverage,
        horizon,
        quiet_for,
    } = freshness;
    let watermark = watermark.as_ref().map(storage_time_from_pb).transpose();
    let quiet_for = quiet_for.as_ref().map(duration_from_pb).transpose();
    Ok(Freshness {
        state: state_from_pb(state)?,
        reasons,
        revision,
        watermark: watermark.in_field("watermark")?,
        calibrated: watermark_calibrated,
        coverage: coverage_from_pb(coverage)?,
        last_snapshot: time_in("last_snapshot", last_snapshot.as_ref())?,
        last_audit: time_in("last_audit", last_audit.as_ref())?,
        horizon: time_in("horizon", horizon.as_ref())?,
        quiet_for: quiet_for.in_field("quiet_for")?,
    })
}

impl TryFrom<&Freshness> for pb::Freshness {
    type Error = Unsendable;

    fn try_from(freshness: &Freshness) -> Result<Self, Unsendable> {
        let Freshness {
            state,
            reasons,
            revision,
            watermark,
            calibrated,
            coverage,
            last_snapshot,
            last_audit,
            horizon,
            quiet_for,
        } = freshness;
        Ok(Self {
            state: state_to_pb(*state).into(),
            reasons: reasons.clone(),
            revision: *revision,
            watermark: watermark.map(storage_time_to_pb),
            watermark_calibrated: *calibrated,
            last_snapshot: last_snapshot.map(server_time_to_pb),
            last_audit: last_audit.map(server_time_to_pb),
            coverage: coverage_to_pb(*coverage).into(),
            horizon: horizon.map(server_time_to_pb),
            quiet_for: quiet_for.map(|span| duration_to_pb("quiet_for", span)).transpose()?,
        })
    }
}

/// A view from the wire.
///
/// # Errors
/// A name that is none, totals or a freshness that are missing or malformed, or an owner without a UUID.
pub fn view_from_pb(view: pb::View) -> Result<ViewInfo, ConvertError> {
    let totals = view.totals.ok_or(ConvertError::missing("totals"))?;
    let freshness = view.freshness.ok_or(ConvertError::missing("freshness"))?;
    Ok(ViewInfo {
        name: ViewName::new(&view.name).in_field("name")?,
        totals: totals_from_pb(totals).map_err(|error| error.within("totals"))?,
        freshness: freshness_from_pb(freshness).map_err(|error| error.within("freshness"))?,
        leader_agent_id: view.leader_agent_id,
        leader_epoch: view.leader_epoch,
        sessions: view.sessions,
        created_at: time_in("created_at", view.created_at.as_ref())?,
        ownership: view.ownership.map(ViewOwnership::try_from).transpose()?,
    })
}

/// A view on the wire.
///
/// # Errors
/// A span that cannot be told.
pub fn view_to_pb(view: &ViewInfo) -> Result<pb::View, Unsendable> {
    Ok(pb::View {
        name: view.name.to_string(),
        totals: Some(totals_to_pb(&view.totals)),
        freshness: Some((&view.freshness).try_into()?),
        leader_agent_id: view.leader_agent_id.clone(),
        leader_epoch: view.leader_epoch,
        sessions: view.sessions,
        created_at: view.created_at.map(server_time_to_pb),
        ownership: view.ownership.clone().map(Into::into),
    })
}
