//! Heartbeats: what keeps a session alive, and what the server answers.

use fusion_core::id::{LeaderEpoch, SessionId};
use fusion_core::session::Role;
use fusion_core::time::{AgentTime, ServerTime};
use uuid::Uuid;

use super::agent::{AgentStatus, agent_status_from_pb, agent_status_to_pb};
use super::command::{
    Command, CommandReport, ReceivedCommands, command_id, command_to_pb, report_from_pb,
    report_to_pb,
};
use super::{role_from_pb, role_to_pb, session_id};
use crate::convert::time::{
    agent_time_from_pb, agent_time_to_pb, needed_time_in, server_time_from_pb, server_time_to_pb,
};
use crate::convert::{ConvertError, InField as _, Unsendable};
use crate::{limits, pb};

/// Keeps a session alive.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// The session.
    pub session: SessionId,
    /// The agent's clock when it sent this; `None` if it wants no time.
    pub agent_time: Option<AgentTime>,
    /// All that the agent saw up to then is acknowledged; `None` if it cannot say.
    pub delivered_through: Option<ServerTime>,
    /// What the agent can do now; `None` if it does not say.
    pub status: Option<AgentStatus>,
    /// How its commands go.
    pub reports: Vec<CommandReport>,
}

/// What the server says to a session. For who sends it: see [`HeartbeatHeard`] for who receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatAnswer {
    /// The server's clock when it answered.
    pub server_time: ServerTime,
    /// The session's role now.
    pub role: Role,
    /// The number of the current leadership; 0 if there is none.
    pub leader_epoch: LeaderEpoch,
    /// What to do.
    pub commands: Vec<Command>,
    /// Reported commands whose lease had lapsed.
    pub reports_refused: Vec<Uuid>,
    /// The number of the next audit (R9).
    pub audit_number: u64,
}

/// What a session heard from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatHeard {
    /// The server's clock when it answered.
    pub server_time: ServerTime,
    /// The session's role now.
    pub role: Role,
    /// The number of the current leadership; 0 if there is none.
    pub leader_epoch: LeaderEpoch,
    /// What to do.
    pub commands: ReceivedCommands,
    /// Reported commands whose lease had lapsed: their results were not taken.
    pub reports_refused: Vec<Uuid>,
    /// The number of the next audit (R9).
    pub audit_number: u64,
}

impl TryFrom<&Heartbeat> for pb::HeartbeatRequest {
    type Error = Unsendable;

    fn try_from(beat: &Heartbeat) -> Result<Self, Unsendable> {
        let Heartbeat { session, agent_time, delivered_through, status, reports } = beat;
        Ok(Self {
            session_id: session.to_string(),
            agent_time: agent_time.map(agent_time_to_pb),
            delivered_through: delivered_through.map(server_time_to_pb),
            status: status.as_ref().map(agent_status_to_pb).transpose()?,
            command_reports: reports.iter().map(report_to_pb).collect(),
        })
    }
}

impl TryFrom<pb::HeartbeatRequest> for Heartbeat {
    type Error = ConvertError;

    fn try_from(request: pb::HeartbeatRequest) -> Result<Self, ConvertError> {
        let pb::HeartbeatRequest {
            session_id: session,
            agent_time,
            delivered_through,
            status,
            command_reports,
        } = request;
        if command_reports.len() > limits::COMMANDS_MAX {
            let why = format!("at most {} reports may be sent at once", limits::COMMANDS_MAX);
            return Err(ConvertError::invalid("command_reports", why));
        }
        Ok(Self {
            session: session_id(&session)?,
            agent_time: agent_time
                .map(|time| agent_time_from_pb(&time).in_field("agent_time"))
                .transpose()?,
            delivered_through: delivered_through
                .map(|time| server_time_from_pb(&time).in_field("delivered_through"))
                .transpose()?,
            status: status
                .map(agent_status_from_pb)
                .transpose()
                .map_err(|error| error.within("status"))?,
            reports: command_reports
                .into_iter()
                .enumerate()
                .map(|(row, report)| {
                    let outer = format_args!("command_reports[{row}]").to_string();
                    report_from_pb(report).map_err(|error| error.within(outer))
                })
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&HeartbeatAnswer> for pb::HeartbeatResponse {
    fn from(answer: &HeartbeatAnswer) -> Self {
        let HeartbeatAnswer {
            server_time,
            role,
            leader_epoch,
            commands,
            reports_refused,
            audit_number,
        } = answer;
        Self {
            server_time: Some(server_time_to_pb(*server_time)),
            role: role_to_pb(*role).into(),
            leader_epoch: leader_epoch.0,
            commands: commands.iter().map(command_to_pb).collect(),
            reports_refused: reports_refused.iter().map(Uuid::to_string).collect(),
            audit_number: *audit_number,
        }
    }
}

impl TryFrom<pb::HeartbeatResponse> for HeartbeatHeard {
    type Error = ConvertError;

    fn try_from(response: pb::HeartbeatResponse) -> Result<Self, ConvertError> {
        let pb::HeartbeatResponse {
            server_time,
            role,
            leader_epoch,
            commands,
            reports_refused,
            audit_number,
        } = response;
        Ok(Self {
            server_time: needed_time_in("server_time", server_time.as_ref())?,
            role: role_from_pb(role)?,
            leader_epoch: LeaderEpoch(leader_epoch),
            commands: ReceivedCommands::from_pb(commands),
            reports_refused: reports_refused
                .iter()
                .map(|id| command_id("reports_refused", id))
                .collect::<Result<_, _>>()?,
            audit_number,
        })
    }
}
