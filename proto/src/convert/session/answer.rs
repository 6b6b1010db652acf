//! What the server tells of a session, both ways.

use fusion_core::id::{AgentId, LeaderEpoch};

use super::agent::{agent_status_from_pb, agent_status_to_pb};
use super::{
    AgentSettings, CreatedSession, SessionInfo, Withheld, client_from_pb, client_to_pb,
    role_from_pb, role_to_pb, session_id, session_state_from_pb, session_state_to_pb,
};
use crate::convert::time::{duration_from_pb, duration_to_pb, needed_time_in, server_time_to_pb};
use crate::convert::view::view_name;
use crate::convert::{ConvertError, InField as _, Unsendable, bounded};
use crate::{limits, pb};

impl TryFrom<&AgentSettings> for pb::ViewSettings {
    type Error = Unsendable;

    fn try_from(settings: &AgentSettings) -> Result<Self, Unsendable> {
        let AgentSettings {
            cache_horizon,
            hot_threshold,
            audit_interval,
            deep_audit_one_in,
            batch_rows,
            batch_bytes,
            ref exclude,
            withheld,
        } = *settings;
        let number = |field, value: usize| {
            u32::try_from(value).map_err(|_| Unsendable { field, why: "does not fit 32 bits" })
        };
        Ok(Self {
            cache_horizon: Some(duration_to_pb("cache_horizon", cache_horizon)?),
            hot_threshold: Some(duration_to_pb("hot_threshold", hot_threshold)?),
            audit_interval: Some(duration_to_pb("audit_interval", audit_interval)?),
            deep_audit_one_in,
            batch_rows: number("batch_rows", batch_rows)?,
            batch_bytes: number("batch_bytes", batch_bytes)?,
            exclude: exclude.clone(),
            withhold: withheld_to_pb(withheld),
        })
    }
}

impl TryFrom<pb::ViewSettings> for AgentSettings {
    type Error = ConvertError;

    fn try_from(settings: pb::ViewSettings) -> Result<Self, ConvertError> {
        let pb::ViewSettings {
            cache_horizon,
            hot_threshold,
            audit_interval,
            deep_audit_one_in,
            batch_rows,
            batch_bytes,
            exclude,
            withhold,
        } = settings;
        if exclude.len() > limits::EXCLUDE_MAX {
            let why = format!("at most {} patterns", limits::EXCLUDE_MAX);
            return Err(ConvertError::invalid("exclude", why));
        }
        for pattern in &exclude {
            bounded("exclude", pattern, limits::PATTERN_MAX)?;
        }
        if deep_audit_one_in == 0 {
            return Err(ConvertError::invalid("deep_audit_one_in", "must be at least 1"));
        }
        Ok(Self {
            cache_horizon: span("cache_horizon", cache_horizon)?,
            hot_threshold: span("hot_threshold", hot_threshold)?,
            audit_interval: span("audit_interval", audit_interval)?,
            deep_audit_one_in,
            batch_rows: budget(
                "batch_rows",
                batch_rows,
                limits::BATCH_ROWS_MIN,
                limits::BATCH_ROWS,
            )?,
            batch_bytes: budget(
                "batch_bytes",
                batch_bytes,
                limits::BATCH_BYTES_MIN,
                limits::BATCH_BYTES,
            )?,
            exclude,
            withheld: withheld_from_pb(&withhold)?,
        })
    }
}

fn withheld_to_pb(withheld: Withheld) -> Vec<i32> {
    let owner = withheld.owner.then_some(pb::WithheldField::Owner);
    let mode = withheld.mode.then_some(pb::WithheldField::Mode);
    owner.into_iter().chain(mode).map(Into::into).collect()
}

/// A field that this version does not know is refused: to tell it would be wrong.
fn withheld_from_pb(fields: &[i32]) -> Result<Withheld, ConvertError> {
    let mut withheld = Withheld::default();
    for &field in fields {
        match pb::WithheldField::try_from(field) {
            Ok(pb::WithheldField::Owner) => withheld.owner = true,
            Ok(pb::WithheldField::Mode) => withheld.mode = true,
            Ok(pb::WithheldField::Unspecified) | Err(_) => {
                return Err(ConvertError::unknown("withhold", field));
            }
        }
    }
    Ok(withheld)
}

impl TryFrom<&SessionInfo> for pb::Session {
    type Error = Unsendable;

    fn try_from(info: &SessionInfo) -> Result<Self, Unsendable> {
        let SessionInfo {
            session,
            view,
            agent,
            client,
            state,
            role,
            epoch,
            created_at,
            last_heartbeat,
            timeout,
            root_uri,
            status,
        } = info;
        Ok(Self {
            session_id: session.map(|session| session.to_string()).unwrap_or_default(),
            view: view.to_string(),
            agent_id: agent.to_string(),
            client: Some(client_to_pb(client)),
            state: session_state_to_pb(*state).into(),
            role: role_to_pb(*role).into(),
            leader_epoch: epoch.0,
            created_at: Some(server_time_to_pb(*created_at)),
            last_heartbeat: Some(server_time_to_pb(*last_heartbeat)),
            timeout: Some(duration_to_pb("timeout", *timeout)?),
            root_uri: root_uri.clone(),
            status: status.as_ref().map(agent_status_to_pb).transpose()?,
        })
    }
}

impl TryFrom<pb::Session> for SessionInfo {
    type Error = ConvertError;

    fn try_from(session: pb::Session) -> Result<Self, ConvertError> {
        let pb::Session {
            session_id: id,
            view,
            agent_id,
            client,
            state,
            role,
            leader_epoch,
            created_at,
            last_heartbeat,
            timeout,
            root_uri,
            status,
        } = session;
        bounded("root_uri", &root_uri, limits::ROOT_URI_MAX)?;
        Ok(Self {
            session: (!id.is_empty()).then(|| session_id(&id)).transpose()?,
            view: view_name(&view)?,
            agent: AgentId::new(&agent_id).in_field("agent_id")?,
            client: client_from_pb(client)?,
            state: session_state_from_pb(state)?,
            role: role_from_pb(role)?,
            epoch: LeaderEpoch(leader_epoch),
            created_at: needed_time_in("created_at", created_at.as_ref())?,
            last_heartbeat: needed_time_in("last_heartbeat", last_heartbeat.as_ref())?,
            timeout: span("timeout", timeout)?,
            root_uri,
            status: status
                .map(agent_status_from_pb)
                .transpose()
                .map_err(|error| error.within("status"))?,
        })
    }
}

impl TryFrom<&CreatedSession> for pb::CreateSessionResponse {
    type Error = Unsendable;

    fn try_from(created: &CreatedSession) -> Result<Self, Unsendable> {
        let CreatedSession {
            session,
            info,
            leader_epoch,
            heartbeat_interval,
            server_time,
            settings,
        } = created;
        let told = pb::Session { session_id: session.to_string(), ..info.try_into()? };
        Ok(Self {
            session: Some(told),
            session_id: session.to_string(),
            role: role_to_pb(info.role).into(),
            leader_epoch: leader_epoch.0,
            timeout: Some(duration_to_pb("timeout", info.timeout)?),
            heartbeat_interval: Some(duration_to_pb("heartbeat_interval", *heartbeat_interval)?),
            server_time: Some(server_time_to_pb(*server_time)),
            settings: Some(settings.try_into()?),
        })
    }
}

impl TryFrom<pb::CreateSessionResponse> for CreatedSession {
    type Error = ConvertError;

    fn try_from(response: pb::CreateSessionResponse) -> Result<Self, ConvertError> {
        let pb::CreateSessionResponse {
            session,
            session_id: id,
            role,
            leader_epoch,
            timeout,
            heartbeat_interval,
            server_time,
            settings,
        } = response;
        let session = session.ok_or(ConvertError::missing("session"))?;
        let info = SessionInfo::try_from(session).map_err(|error| error.within("session"))?;
        let settings = settings.ok_or(ConvertError::missing("settings"))?;
        let created = Self {
            session: session_id(&id)?,
            info,
            leader_epoch: LeaderEpoch(leader_epoch),
            heartbeat_interval: span("heartbeat_interval", heartbeat_interval)?,
            server_time: needed_time_in("server_time", server_time.as_ref())?,
            settings: settings
                .try_into()
                .map_err(|error: ConvertError| error.within("settings"))?,
        };
        // What is said twice must be said alike, or one half of the agent believes the wrong one.
        let CreatedSession { session, info, .. } = &created;
        if info.session != Some(*session) {
            return Err(ConvertError::invalid("session_id", "is not that of `session`"));
        }
        if info.role != role_from_pb(role)? {
            return Err(ConvertError::invalid("role", "is not that of `session`"));
        }
        if info.timeout != span("timeout", timeout)? {
            return Err(ConvertError::invalid("timeout", "is not that of `session`"));
        }
        Ok(created)
    }
}

/// A span that must be there.
fn span(
    field: &'static str,
    span: Option<prost_types::Duration>,
) -> Result<std::time::Duration, ConvertError> {
    let span = span.ok_or(ConvertError::missing(field))?;
    duration_from_pb(&span).in_field(field)
}

/// A part of a batch's budget, within the contract's own.
fn budget(field: &'static str, value: u32, min: usize, max: usize) -> Result<usize, ConvertError> {
    match usize::try_from(value) {
        Ok(value) if (min..=max).contains(&value) => Ok(value),
        _ => Err(ConvertError::invalid(field, format!("must be {min} to {max}"))),
    }
}
