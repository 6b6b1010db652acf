//! What an agent is asked to do, and how it went.

use std::collections::BTreeMap;

use bytes::Bytes;
use fusion_core::evidence::Source;
use fusion_core::id::CorrelationId;
use fusion_core::path::TreePath;
use uuid::Uuid;

use super::result::{ResultValue, fields_from_pb, fields_to_pb};
use crate::convert::evidence::{source_from_pb, source_to_pb};
use crate::convert::{ConvertError, InField as _, bounded};
use crate::pb::command::Action as PbAction;
use crate::{limits, pb};

/// Something that an agent is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id; a command that comes again is done once.
    pub id: Uuid,
    /// The lease under which the agent does it; may be empty.
    pub lease: String,
    /// The chain of cause and effect that it belongs to.
    pub correlation: Option<CorrelationId>,
    /// W3C trace context of whoever asked; may be empty.
    pub traceparent: String,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Scan a directory.
    Scan {
        /// The directory.
        path: TreePath,
        /// What to report it as.
        source: Source,
        /// Whether to descend.
        recursive: bool,
        /// The audit's number, which picks the directories of the deep audit (R9).
        audit_number: Option<u64>,
    },
    /// Look at names now.
    Probe {
        /// The names.
        paths: Vec<TreePath>,
    },
    /// Watch directories that another host made, and all below them, and tell what is in them.
    Watch {
        /// The directories.
        paths: Vec<TreePath>,
    },
    /// End, and do not come back.
    Stop {
        /// Why, for the agent's log.
        why: String,
    },
    /// Begin a part anew; the session is kept.
    Restart {
        /// Which.
        part: AgentPart,
    },
}

/// A part of an agent that can be begun anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgentPart {
    /// What watches: its watches are placed anew, what happened meanwhile counts as lost.
    Watch,
    /// What scans: a running scan is cut off, and the whole tree is gone over anew.
    Scan,
}

/// Where a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandState {
    /// Being done.
    Running,
    /// Done.
    Done,
    /// Could not be done.
    Failed,
}

/// How a command goes.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandReport {
    /// The command.
    pub id: Uuid,
    /// The lease under which it was done.
    pub lease: String,
    /// Where it is.
    pub state: CommandState,
    /// 0 to 100.
    pub progress: u8,
    /// What came of it, or why it failed.
    pub result: BTreeMap<String, ResultValue>,
}

/// Commands as an agent received them. One that it cannot read (of a newer server, say) does not
/// keep it from the others: it reports that one as failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReceivedCommands {
    /// What to do.
    pub commands: Vec<Command>,
    /// What cannot be done.
    pub unreadable: Vec<UnreadableCommand>,
}

/// A command that the agent cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableCommand {
    /// Its id; `None` if that is what is wrong, and then nobody can report it.
    pub id: Option<Uuid>,
    /// Its lease.
    pub lease: String,
    /// What is wrong with it.
    pub error: ConvertError,
}

impl UnreadableCommand {
    /// The report that it failed, where it has an id.
    #[must_use]
    pub fn report(&self) -> Option<CommandReport> {
        let why = ResultValue::Text(self.error.to_string());
        Some(CommandReport {
            id: self.id?,
            lease: self.lease.clone(),
            state: CommandState::Failed,
            progress: 0,
            result: BTreeMap::from([("error".to_owned(), why)]),
        })
    }
}

impl ReceivedCommands {
    /// Reads commands, each for itself.
    #[must_use]
    pub fn from_pb(commands: Vec<pb::Command>) -> Self {
        let mut received = Self::default();
        for command in commands {
            let (id, lease) = (command.command_id.clone(), command.lease_id.clone());
            match command_from_pb(command) {
                Ok(command) => received.commands.push(command),
                Err(error) => {
                    let id = command_id("command_id", &id).ok();
                    received.unreadable.push(UnreadableCommand { id, lease, error });
                }
            }
        }
        received
    }
}

/// A command on the wire.
#[must_use]
pub fn command_to_pb(command: &Command) -> pb::Command {
    let Command { id, lease, correlation, traceparent, action } = command;
    let action = match action {
        Action::Scan { path, source, recursive, audit_number } => PbAction::Scan(pb::ScanCommand {
            path: Bytes::copy_from_slice(path.as_bytes()),
            source: source_to_pb(*source).into(),
            recursive: *recursive,
            audit_number: audit_number.unwrap_or(0),
        }),
        Action::Probe { paths } => PbAction::Probe(pb::ProbeCommand { paths: paths_to_pb(paths) }),
        Action::Watch { paths } => PbAction::Watch(pb::WatchCommand { paths: paths_to_pb(paths) }),
        Action::Stop { why } => PbAction::Stop(pb::StopCommand { why: why.clone() }),
        Action::Restart { part } => {
            let part = match part {
                AgentPart::Watch => pb::AgentPart::Watch,
                AgentPart::Scan => pb::AgentPart::Scan,
            };
            PbAction::Restart(pb::RestartCommand { part: part.into() })
        }
    };
    pb::Command {
        command_id: id.to_string(),
        lease_id: lease.clone(),
        correlation_id: correlation.as_ref().map(CorrelationId::to_string).unwrap_or_default(),
        traceparent: traceparent.clone(),
        action: Some(action),
    }
}

/// A command from the wire.
///
/// # Errors
/// An id, path or source that is none, an action that this version does not know, or more than
/// [`limits::COMMANDS_MAX`] paths.
pub fn command_from_pb(command: pb::Command) -> Result<Command, ConvertError> {
    let pb::Command { command_id: id, lease_id, correlation_id, traceparent, action } = command;
    bounded("lease_id", &lease_id, limits::ID_TEXT_MAX)?;
    bounded("traceparent", &traceparent, limits::TRACEPARENT_MAX)?;
    Ok(Command {
        id: command_id("command_id", &id)?,
        lease: lease_id,
        correlation: correlation(&correlation_id)?,
        traceparent,
        action: action_from_pb(action.ok_or(ConvertError::missing("action"))?)?,
    })
}

fn action_from_pb(action: PbAction) -> Result<Action, ConvertError> {
    Ok(match action {
        PbAction::Scan(pb::ScanCommand { path, source, recursive, audit_number }) => Action::Scan {
            path: TreePath::new(&*path).in_field("scan.path")?,
            source: source_from_pb(source).map_err(|error| error.within("scan"))?,
            recursive,
            audit_number: (audit_number != 0).then_some(audit_number),
        },
        PbAction::Probe(pb::ProbeCommand { paths }) => {
            Action::Probe { paths: paths_from_pb("probe.paths", &paths)? }
        }
        PbAction::Watch(pb::WatchCommand { paths }) => {
            Action::Watch { paths: paths_from_pb("watch.paths", &paths)? }
        }
        PbAction::Stop(pb::StopCommand { why }) => Action::Stop { why },
        PbAction::Restart(pb::RestartCommand { part }) => Action::Restart {
            part: match pb::AgentPart::try_from(part) {
                Ok(pb::AgentPart::Watch) => AgentPart::Watch,
                Ok(pb::AgentPart::Scan) => AgentPart::Scan,
                Ok(pb::AgentPart::Unspecified) | Err(_) => {
                    return Err(ConvertError::unknown("restart.part", part));
                }
            },
        },
    })
}

fn paths_to_pb(paths: &[TreePath]) -> Vec<Bytes> {
    paths.iter().map(|path| Bytes::copy_from_slice(path.as_bytes())).collect()
}

fn paths_from_pb(field: &'static str, paths: &[Bytes]) -> Result<Vec<TreePath>, ConvertError> {
    if paths.len() > limits::COMMANDS_MAX {
        let why = format!("there may be at most {} in one command", limits::COMMANDS_MAX);
        return Err(ConvertError::invalid(field, why));
    }
    paths.iter().map(|path| TreePath::new(&**path).in_field(field)).collect()
}

/// A report on the wire.
#[must_use]
pub fn report_to_pb(report: &CommandReport) -> pb::CommandReport {
    let CommandReport { id, lease, state, progress, result } = report;
    let state = match state {
        CommandState::Running => pb::CommandState::Running,
        CommandState::Done => pb::CommandState::Done,
        CommandState::Failed => pb::CommandState::Failed,
    };
    pb::CommandReport {
        command_id: id.to_string(),
        lease_id: lease.clone(),
        state: state.into(),
        progress: (*progress).into(),
        result: (!result.is_empty()).then(|| fields_to_pb(result)),
    }
}

/// A report from the wire.
///
/// # Errors
/// An id or state that is none, progress above 100, or a result beyond its limits.
pub fn report_from_pb(report: pb::CommandReport) -> Result<CommandReport, ConvertError> {
    let pb::CommandReport { command_id: id, lease_id, state, progress, result } = report;
    bounded("lease_id", &lease_id, limits::ID_TEXT_MAX)?;
    let state = match pb::CommandState::try_from(state) {
        Ok(pb::CommandState::Running) => CommandState::Running,
        Ok(pb::CommandState::Done) => CommandState::Done,
        Ok(pb::CommandState::Failed) => CommandState::Failed,
        Ok(pb::CommandState::Unspecified) | Err(_) => {
            return Err(ConvertError::unknown("state", state));
        }
    };
    let progress = match u8::try_from(progress) {
        Ok(progress @ 0..=100) => progress,
        _ => return Err(ConvertError::invalid("progress", "must be 0 to 100")),
    };
    Ok(CommandReport {
        id: command_id("command_id", &id)?,
        lease: lease_id,
        state,
        progress,
        result: result.map(fields_from_pb).transpose()?.unwrap_or_default(),
    })
}

/// The id of a command.
pub(super) fn command_id(field: &'static str, text: &str) -> Result<Uuid, ConvertError> {
    match Uuid::try_parse(text) {
        Ok(id) if text.len() == 36 => Ok(id),
        _ => Err(ConvertError::invalid(field, "a hyphenated UUID is needed")),
    }
}

/// A correlation id that may be absent.
pub(crate) fn correlation(text: &str) -> Result<Option<CorrelationId>, ConvertError> {
    if text.is_empty() {
        return Ok(None);
    }
    CorrelationId::new(text).map(Some).in_field("correlation_id")
}
