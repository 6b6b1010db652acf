//! Administration: what is asked for, and what is told, both ways.

mod servers;

use fusion_core::id::ViewName;
use fusion_core::time::ServerTime;
use uuid::Uuid;

use super::ConvertError;
use super::time::{needed_time_in, server_time_to_pb};
use super::view::view_name;
use crate::pb;

pub use servers::{ListedServer, ListedView, MoveView, server_uuid};

/// What server this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
    /// The id of its data.
    pub server: Uuid,
    /// When it started.
    pub started_at: ServerTime,
    /// Its clock when it answered.
    pub server_time: ServerTime,
    /// The directory of its data; empty if it keeps all in memory.
    pub data_dir: String,
    /// Bytes that logs and checkpoints take.
    pub data_bytes: u64,
    /// Views that it has.
    pub views: u32,
    /// Live sessions.
    pub sessions: u32,
    /// What it is set up to bear.
    pub limits: ServerLimits,
    /// What it logs.
    pub log_filter: String,
    /// Where its state is kept; absent if it does not tell.
    pub state: Option<EngineGuarantee>,
    /// The id by which several servers know it; absent if it is alone.
    pub member: Option<Uuid>,
    /// Where the logs of views are kept; absent if it does not tell.
    pub log: Option<EngineGuarantee>,
}

/// An engine, and what an acknowledgement is worth as it is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineGuarantee {
    /// The engine and, if it runs outside of the server, its version and where it is.
    pub engine: String,
    /// What an acknowledged value outlives.
    pub survives: Survival,
    /// What an operator should know beside that; empty if there is nothing.
    pub note: String,
}

/// What something outlives that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// The loss of power.
    Power,
    /// The death of all processes, also the engine's own; not the loss of power.
    Processes,
    /// The death of the server; not that of the engine.
    Server,
    /// Nothing: it is in the memory of the server.
    Nothing,
    /// The engine does not tell how it is set up, or we do not know the word.
    Unknown,
}

impl Survival {
    /// Its name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Power => "power",
            Self::Processes => "processes",
            Self::Server => "server",
            Self::Nothing => "nothing",
            Self::Unknown => "unknown",
        }
    }
}

impl From<&EngineGuarantee> for pb::EngineGuarantee {
    fn from(guarantee: &EngineGuarantee) -> Self {
        let EngineGuarantee { engine, survives, note } = guarantee;
        let survives = match survives {
            Survival::Power => pb::Survival::Power,
            Survival::Processes => pb::Survival::Processes,
            Survival::Server => pb::Survival::Server,
            Survival::Nothing => pb::Survival::Nothing,
            Survival::Unknown => pb::Survival::Unknown,
        };
        Self { engine: engine.clone(), survives: survives.into(), note: note.clone() }
    }
}

impl From<pb::EngineGuarantee> for EngineGuarantee {
    fn from(guarantee: pb::EngineGuarantee) -> Self {
        let survives = match guarantee.survives() {
            pb::Survival::Power => Survival::Power,
            pb::Survival::Processes => Survival::Processes,
            pb::Survival::Server => Survival::Server,
            pb::Survival::Nothing => Survival::Nothing,
            // A later server may know more words.
            pb::Survival::Unknown | pb::Survival::Unspecified => Survival::Unknown,
        };
        let pb::EngineGuarantee { engine, note, .. } = guarantee;
        Self { engine, survives, note }
    }
}

/// What a server is set up to bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerLimits {
    /// Most views.
    pub max_views: u32,
    /// Most live sessions.
    pub max_sessions: u32,
    /// Most rows of an evidence batch.
    pub batch_rows: u32,
    /// Most bytes of an evidence batch.
    pub batch_bytes: u32,
    /// Most rows of a page.
    pub page_rows: u32,
    /// Most bytes of a message.
    pub message_bytes: u32,
}

/// A view that was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewReset {
    /// Its revision.
    pub revision: u64,
    /// The number of the last leadership before.
    pub leader_epoch: u64,
    /// Sessions that were ended.
    pub sessions_ended: u32,
}

/// A setting that changed while the server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// Its key.
    pub key: String,
    /// As it was, as TOML writes it; empty if it was not there.
    pub before: String,
    /// As it is; empty if it is not there any more.
    pub after: String,
}

impl From<ConfigChange> for pb::ConfigChange {
    fn from(change: ConfigChange) -> Self {
        let ConfigChange { key, before, after } = change;
        Self { key, previous_value: before, value: after }
    }
}

impl From<pb::ConfigChange> for ConfigChange {
    fn from(change: pb::ConfigChange) -> Self {
        let pb::ConfigChange { key, previous_value, value } = change;
        Self { key, before: previous_value, after: value }
    }
}

impl TryFrom<pb::ResetViewRequest> for ViewName {
    type Error = ConvertError;

    fn try_from(request: pb::ResetViewRequest) -> Result<Self, ConvertError> {
        let pb::ResetViewRequest { view } = request;
        view_name(&view)
    }
}

impl TryFrom<pb::AcceptRootRequest> for ViewName {
    type Error = ConvertError;

    fn try_from(request: pb::AcceptRootRequest) -> Result<Self, ConvertError> {
        let pb::AcceptRootRequest { view } = request;
        view_name(&view)
    }
}

impl From<ViewReset> for pb::ResetViewResponse {
    fn from(reset: ViewReset) -> Self {
        let ViewReset { revision, leader_epoch, sessions_ended } = reset;
        Self { revision, leader_epoch, sessions_ended }
    }
}

impl From<pb::ResetViewResponse> for ViewReset {
    fn from(answer: pb::ResetViewResponse) -> Self {
        let pb::ResetViewResponse { revision, leader_epoch, sessions_ended } = answer;
        Self { revision, leader_epoch, sessions_ended }
    }
}

impl From<ServerLimits> for pb::ServerLimits {
    fn from(limits: ServerLimits) -> Self {
        let ServerLimits {
            max_views,
            max_sessions,
            batch_rows,
            batch_bytes,
            page_rows,
            message_bytes,
        } = limits;
        Self { max_views, max_sessions, batch_rows, batch_bytes, page_rows, message_bytes }
    }
}

impl From<pb::ServerLimits> for ServerLimits {
    fn from(limits: pb::ServerLimits) -> Self {
        let pb::ServerLimits {
            max_views,
            max_sessions,
            batch_rows,
            batch_bytes,
            page_rows,
            message_bytes,
        } = limits;
        Self { max_views, max_sessions, batch_rows, batch_bytes, page_rows, message_bytes }
    }
}

impl From<&ServerInfo> for pb::GetServerInfoResponse {
    fn from(info: &ServerInfo) -> Self {
        let ServerInfo {
            version,
            server,
            started_at,
            server_time,
            data_dir,
            data_bytes,
            views,
            sessions,
            limits,
            log_filter,
            state,
            member,
            log,
        } = info;
        Self {
            version: version.clone(),
            server_id: server.to_string(),
            started_at: Some(server_time_to_pb(*started_at)),
            server_time: Some(server_time_to_pb(*server_time)),
            data_dir: data_dir.clone(),
            data_bytes: *data_bytes,
            views: *views,
            sessions: *sessions,
            limits: Some((*limits).into()),
            log_filter: log_filter.clone(),
            state: state.as_ref().map(Into::into),
            member_id: member.map(|id| id.to_string()).unwrap_or_default(),
            log: log.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<pb::GetServerInfoResponse> for ServerInfo {
    type Error = ConvertError;

    fn try_from(answer: pb::GetServerInfoResponse) -> Result<Self, ConvertError> {
        let member = Some(answer.member_id).filter(|id| !id.is_empty());
        Ok(Self {
            version: answer.version,
            server: server_uuid(&answer.server_id)?,
            started_at: needed_time_in("started_at", answer.started_at.as_ref())?,
            server_time: needed_time_in("server_time", answer.server_time.as_ref())?,
            data_dir: answer.data_dir,
            data_bytes: answer.data_bytes,
            views: answer.views,
            sessions: answer.sessions,
            limits: answer.limits.ok_or(ConvertError::missing("limits"))?.into(),
            log_filter: answer.log_filter,
            state: answer.state.map(Into::into),
            member: member.map(|id| server_uuid(&id)).transpose()?,
            log: answer.log.map(Into::into),
        })
    }
}
