//! Refreshing a path: what is asked for, and what came of it, both ways.

use std::time::Duration;

use fusion_core::id::{AgentId, ViewName};
use fusion_core::path::TreePath;
use fusion_core::time::ServerTime;
use fusion_core::view::Totals;

use super::answer::{
    Entry, Freshness, entry_from_pb, freshness_from_pb, totals_from_pb, totals_to_pb,
};
use super::lists::agent;
use super::view_name;
use crate::convert::stat::{path_from_text, path_to_text};
use crate::convert::time::{duration_from_pb, duration_to_pb, needed_time_in, server_time_to_pb};
use crate::convert::{ConvertError, InField as _, Unsendable};
use crate::pb;

/// What `RefreshPath` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefreshPath {
    /// The view.
    pub view: ViewName,
    /// The path.
    pub path: TreePath,
    /// Whether all below a directory is listed too.
    pub recursive: bool,
    /// Who is to look; `None` is the leader.
    pub agent: Option<AgentId>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// What the view has at the path now.
    pub entry: Option<Entry>,
    /// What lies below it, if it is a directory.
    pub totals: Option<Totals>,
    /// Directories that were listed.
    pub directories: u64,
    /// Entries that were seen.
    pub entries: u64,
    /// Directories and entries that could not be read.
    pub errors: u64,
    /// Everything that was asked for was read.
    pub complete: bool,
    /// Nothing at the path itself is left open.
    pub settled: bool,
    /// Who looked.
    pub agent: AgentId,
    /// When it was asked to.
    pub started_at: ServerTime,
    /// How long it took.
    pub took: Duration,
    /// It was being done already.
    pub joined: bool,
    /// What the answer is worth.
    pub freshness: Freshness,
}

impl TryFrom<pb::RefreshPathRequest> for RefreshPath {
    type Error = ConvertError;

    fn try_from(request: pb::RefreshPathRequest) -> Result<Self, ConvertError> {
        let pb::RefreshPathRequest { view, path, recursive, agent_id } = request;
        Ok(Self {
            view: view_name(&view)?,
            path: path_from_text("path", &path)?,
            recursive,
            agent: agent(&agent_id)?,
        })
    }
}

impl From<&RefreshPath> for pb::RefreshPathRequest {
    fn from(asked: &RefreshPath) -> Self {
        let RefreshPath { view, path, recursive, agent } = asked;
        Self {
            view: view.to_string(),
            path: path_to_text(path.as_ref()),
            recursive: *recursive,
            agent_id: agent.as_ref().map(AgentId::to_string).unwrap_or_default(),
        }
    }
}

impl TryFrom<&Refreshed> for pb::RefreshPathResponse {
    type Error = Unsendable;

    fn try_from(refreshed: &Refreshed) -> Result<Self, Unsendable> {
        let Refreshed {
            entry,
            totals,
            directories,
            entries,
            errors,
            complete,
            settled,
            agent,
            started_at,
            took,
            joined,
            freshness,
        } = refreshed;
        Ok(Self {
            entry: entry.as_ref().map(Into::into),
            totals: totals.as_ref().map(totals_to_pb),
            directories: *directories,
            entries: *entries,
            errors: *errors,
            complete: *complete,
            settled: *settled,
            agent_id: agent.to_string(),
            started_at: Some(server_time_to_pb(*started_at)),
            took: Some(duration_to_pb("took", *took)?),
            joined: *joined,
            freshness: Some(freshness.try_into()?),
        })
    }
}

impl TryFrom<pb::RefreshPathResponse> for Refreshed {
    type Error = ConvertError;

    fn try_from(answer: pb::RefreshPathResponse) -> Result<Self, ConvertError> {
        let pb::RefreshPathResponse {
            entry,
            totals,
            directories,
            entries,
            errors,
            complete,
            settled,
            agent_id,
            started_at,
            took,
            joined,
            freshness,
        } = answer;
        Ok(Self {
            entry: entry.map(entry_from_pb).transpose()?,
            totals: totals.map(totals_from_pb).transpose()?,
            directories,
            entries,
            errors,
            complete,
            settled,
            agent: AgentId::new(&agent_id).in_field("agent_id")?,
            started_at: needed_time_in("started_at", started_at.as_ref())?,
            took: duration_from_pb(&took.ok_or(ConvertError::missing("took"))?).in_field("took")?,
            joined,
            freshness: freshness_from_pb(freshness.ok_or(ConvertError::missing("freshness"))?)?,
        })
    }
}
