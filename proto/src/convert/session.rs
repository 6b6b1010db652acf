//! Sessions: beginning, showing, listing and ending one.
//!
//! Heartbeats are in [`heartbeat`], what an agent says of itself in [`agent`], what it is asked to
//! do in [`command`]. What the server tells of a session is converted in `answer`.

pub mod agent;
mod answer;
pub mod command;
pub mod heartbeat;
pub mod result;
#[cfg(test)]
mod tests;

use std::time::Duration;

use fusion_core::id::{AgentId, InstanceId, LeaderEpoch, SessionId, SpoolId, ViewName};
use fusion_core::session::{Role, SessionState};
use fusion_core::time::ServerTime;

use self::agent::AgentStatus;
use super::root::{RootClaim, root_from_pb, root_to_pb};
use super::time::{duration_from_pb, duration_to_pb};
use super::view::{Page, page, page_to_pb, view_name};
use super::{ConvertError, InField as _, Unsendable, bounded};
use crate::{limits, pb};

/// The program that calls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientInfo {
    /// Name of the program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Name of its host.
    pub hostname: String,
    /// Operating system.
    pub os: String,
}

/// What an agent can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Reports changes as they happen.
    Realtime,
    /// Can scan.
    Scan,
}

/// Asks for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSession {
    /// The view.
    pub view: ViewName,
    /// The agent.
    pub agent: AgentId,
    /// This life of the agent.
    pub instance: InstanceId,
    /// The spool whose lock the agent holds.
    pub spool: SpoolId,
    /// The program that calls.
    pub client: ClientInfo,
    /// The tree that it looks at.
    pub root: RootClaim,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// The timeout that it would like; `None` is the view's.
    pub proposed_timeout: Option<Duration>,
}

/// Settings of a view that its agents need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// How stale a listing of the storage may be.
    pub cache_horizon: Duration,
    /// How long an entry counts as hot after it changed.
    pub hot_threshold: Duration,
    /// Between the starts of two audits, before jitter.
    pub audit_interval: Duration,
    /// An audit lists one in this many silent directories in full; at least 1.
    pub deep_audit_one_in: u32,
    /// Most rows of a batch: [`limits::BATCH_ROWS_MIN`] to [`limits::BATCH_ROWS`].
    pub batch_rows: usize,
    /// Most bytes of a batch, encoded: [`limits::BATCH_BYTES_MIN`] to [`limits::BATCH_BYTES`].
    pub batch_bytes: usize,
    /// Globs of names of which nothing is to be told; at most [`limits::EXCLUDE_MAX`].
    pub exclude: Vec<String>,
    /// Fields that are to be 0 in all that is told.
    pub withheld: Withheld,
}

/// Fields of a stat that a view does not want to know. Never inode, ctime, size or kind: the rules
/// stand on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Withheld {
    /// Numeric owner and group.
    pub owner: bool,
    /// Permission bits.
    pub mode: bool,
}

/// A session as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its id; `None` for who is neither its owner nor an administrator.
    pub session: Option<SessionId>,
    /// Its view.
    pub view: ViewName,
    /// Its agent.
    pub agent: AgentId,
    /// The program behind it.
    pub client: ClientInfo,
    /// Where it is in its life.
    pub state: SessionState,
    /// What it does in its view.
    pub role: Role,
    /// The number of its leadership; 0 if it does not lead.
    pub epoch: LeaderEpoch,
    /// When it began.
    pub created_at: ServerTime,
    /// When it was last heard.
    pub last_heartbeat: ServerTime,
    /// Its timeout.
    pub timeout: Duration,
    /// The root that it named.
    pub root_uri: String,
    /// What it last said of itself.
    pub status: Option<AgentStatus>,
}

/// A new session, as its agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedSession {
    /// Its id.
    pub session: SessionId,
    /// All about it; its `session` is the same.
    pub info: SessionInfo,
    /// The number of the current leadership, whoever has it; 0 if nobody.
    pub leader_epoch: LeaderEpoch,
    /// How often to send heartbeats, before jitter.
    pub heartbeat_interval: Duration,
    /// The server's clock when it answered.
    pub server_time: ServerTime,
    /// Settings of the view.
    pub settings: AgentSettings,
}

/// Ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndSession {
    /// The session.
    pub session: SessionId,
    /// A session that is gone already is no error.
    pub allow_missing: bool,
}

/// Evicts a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvictSession {
    /// The session.
    pub session: SessionId,
    /// A session that is gone already is no error.
    pub allow_missing: bool,
}

/// What `ListSessions` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSessions {
    /// Only those of this view.
    pub view: Option<ViewName>,
    /// Which page.
    pub page: Page,
}

/// The session of a request. Look at it before the rest of the request: whoever has an obsolete
/// session is to learn that first.
///
/// # Errors
/// The text is no hyphenated UUID, or empty.
pub fn session_id(text: &str) -> Result<SessionId, ConvertError> {
    SessionId::parse(text).in_field("session_id")
}

/// A role on the wire.
#[must_use]
pub const fn role_to_pb(role: Role) -> pb::SessionRole {
    match role {
        Role::Leader => pb::SessionRole::Leader,
        Role::Follower => pb::SessionRole::Follower,
    }
}

/// A role from the wire.
///
/// # Errors
/// A number that is no role, 0 included.
pub fn role_from_pb(number: i32) -> Result<Role, ConvertError> {
    match pb::SessionRole::try_from(number) {
        Ok(pb::SessionRole::Leader) => Ok(Role::Leader),
        Ok(pb::SessionRole::Follower) => Ok(Role::Follower),
        Ok(pb::SessionRole::Unspecified) | Err(_) => Err(ConvertError::unknown("role", number)),
    }
}

/// The state of a session on the wire.
#[must_use]
pub const fn session_state_to_pb(state: SessionState) -> pb::SessionState {
    match state {
        SessionState::Active => pb::SessionState::Active,
        SessionState::Ended => pb::SessionState::Ended,
        SessionState::Expired => pb::SessionState::Expired,
        SessionState::Superseded => pb::SessionState::Superseded,
        SessionState::Evicted => pb::SessionState::Evicted,
        SessionState::Reset => pb::SessionState::Reset,
    }
}

/// The state of a session from the wire.
///
/// # Errors
/// A number that is no state, 0 included.
pub fn session_state_from_pb(number: i32) -> Result<SessionState, ConvertError> {
    match pb::SessionState::try_from(number) {
        Ok(pb::SessionState::Active) => Ok(SessionState::Active),
        Ok(pb::SessionState::Ended) => Ok(SessionState::Ended),
        Ok(pb::SessionState::Expired) => Ok(SessionState::Expired),
        Ok(pb::SessionState::Superseded) => Ok(SessionState::Superseded),
        Ok(pb::SessionState::Evicted) => Ok(SessionState::Evicted),
        Ok(pb::SessionState::Reset) => Ok(SessionState::Reset),
        Ok(pb::SessionState::Unspecified) | Err(_) => Err(ConvertError::unknown("state", number)),
    }
}

const fn capability_to_pb(capability: Capability) -> pb::Capability {
    match capability {
        Capability::Realtime => pb::Capability::Realtime,
        Capability::Scan => pb::Capability::Scan,
    }
}

fn capability_from_pb(number: i32) -> Result<Capability, ConvertError> {
    match pb::Capability::try_from(number) {
        Ok(pb::Capability::Realtime) => Ok(Capability::Realtime),
        Ok(pb::Capability::Scan) => Ok(Capability::Scan),
        Ok(pb::Capability::Unspecified) | Err(_) => {
            Err(ConvertError::unknown("capabilities", number))
        }
    }
}

fn client_to_pb(client: &ClientInfo) -> pb::Client {
    let ClientInfo { name, version, hostname, os } = client.clone();
    pb::Client { name, version, hostname, os }
}

/// A client that is absent has said nothing of itself, which it may.
fn client_from_pb(client: Option<pb::Client>) -> Result<ClientInfo, ConvertError> {
    let pb::Client { name, version, hostname, os } = client.unwrap_or_default();
    bounded("client.name", &name, limits::CLIENT_TEXT_MAX)?;
    bounded("client.version", &version, limits::CLIENT_TEXT_MAX)?;
    bounded("client.hostname", &hostname, limits::HOSTNAME_MAX)?;
    bounded("client.os", &os, limits::CLIENT_TEXT_MAX)?;
    Ok(ClientInfo { name, version, hostname, os })
}

impl TryFrom<&CreateSession> for pb::CreateSessionRequest {
    type Error = Unsendable;

    fn try_from(asked: &CreateSession) -> Result<Self, Unsendable> {
        let CreateSession {
            view,
            agent,
            instance,
            spool,
            client,
            root,
            capabilities,
            proposed_timeout,
        } = asked;
        Ok(Self {
            view: view.to_string(),
            agent_id: agent.to_string(),
            instance_id: instance.to_string(),
            spool_id: spool.to_string(),
            client: Some(client_to_pb(client)),
            root: Some(root_to_pb(root)),
            capabilities: capabilities.iter().map(|can| capability_to_pb(*can).into()).collect(),
            proposed_timeout: proposed_timeout
                .map(|span| duration_to_pb("proposed_timeout", span))
                .transpose()?,
        })
    }
}

impl TryFrom<pb::CreateSessionRequest> for CreateSession {
    type Error = ConvertError;

    fn try_from(request: pb::CreateSessionRequest) -> Result<Self, ConvertError> {
        let pb::CreateSessionRequest {
            view,
            agent_id,
            instance_id,
            spool_id,
            client,
            root,
            capabilities,
            proposed_timeout,
        } = request;
        let root = root.ok_or(ConvertError::missing("root"))?;
        Ok(Self {
            view: view_name(&view)?,
            agent: AgentId::new(&agent_id).in_field("agent_id")?,
            instance: InstanceId::parse(&instance_id).in_field("instance_id")?,
            spool: SpoolId::parse(&spool_id).in_field("spool_id")?,
            client: client_from_pb(client)?,
            root: root_from_pb(root).map_err(|error| error.within("root"))?,
            capabilities: capabilities
                .into_iter()
                .map(capability_from_pb)
                .collect::<Result<_, _>>()?,
            proposed_timeout: proposed_timeout
                .map(|span| duration_from_pb(&span).in_field("proposed_timeout"))
                .transpose()?,
        })
    }
}

impl From<&EndSession> for pb::EndSessionRequest {
    fn from(asked: &EndSession) -> Self {
        let EndSession { session, allow_missing } = *asked;
        Self { session_id: session.to_string(), allow_missing }
    }
}

impl TryFrom<pb::EndSessionRequest> for EndSession {
    type Error = ConvertError;

    fn try_from(request: pb::EndSessionRequest) -> Result<Self, ConvertError> {
        let pb::EndSessionRequest { session_id: session, allow_missing } = request;
        Ok(Self { session: session_id(&session)?, allow_missing })
    }
}

impl From<&EvictSession> for pb::EvictSessionRequest {
    fn from(asked: &EvictSession) -> Self {
        let EvictSession { session, allow_missing } = *asked;
        Self { session_id: session.to_string(), allow_missing }
    }
}

impl TryFrom<pb::EvictSessionRequest> for EvictSession {
    type Error = ConvertError;

    fn try_from(request: pb::EvictSessionRequest) -> Result<Self, ConvertError> {
        let pb::EvictSessionRequest { session_id: session, allow_missing } = request;
        Ok(Self { session: session_id(&session)?, allow_missing })
    }
}

impl TryFrom<pb::GetSessionRequest> for SessionId {
    type Error = ConvertError;

    fn try_from(request: pb::GetSessionRequest) -> Result<Self, ConvertError> {
        let pb::GetSessionRequest { session_id: session } = request;
        session_id(&session)
    }
}

impl From<&ListSessions> for pb::ListSessionsRequest {
    fn from(asked: &ListSessions) -> Self {
        let ListSessions { view, page } = asked;
        let (page_size, page_token) = page_to_pb(page);
        let view = view.as_ref().map(ViewName::to_string).unwrap_or_default();
        Self { view, page_size, page_token }
    }
}

impl TryFrom<pb::ListSessionsRequest> for ListSessions {
    type Error = ConvertError;

    fn try_from(request: pb::ListSessionsRequest) -> Result<Self, ConvertError> {
        let pb::ListSessionsRequest { view, page_size, page_token } = request;
        let view = (!view.is_empty()).then(|| view_name(&view)).transpose()?;
        Ok(Self { view, page: page(page_size, &page_token)? })
    }
}
