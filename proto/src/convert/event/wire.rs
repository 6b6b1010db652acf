//! Events on the wire and back.

use fusion_core::change::{Cause, TrashId};
use fusion_core::id::{AgentId, CorrelationId, Revision, SessionId, ViewName};
use fusion_core::stat::Stat;
use uuid::Uuid;

use super::{Account, EntryChange, Event, EventType};
use crate::convert::stat::{stat_from_pb, stat_to_pb};
use crate::convert::time::{server_time_from_pb, server_time_to_pb};
use crate::convert::{ConvertError, InField as _};
use crate::pb;

/// Each type and its number.
const TYPES: [(EventType, pb::EventType); 9] = [
    (EventType::EntryCreated, pb::EventType::EntryCreated),
    (EventType::EntryModified, pb::EventType::EntryModified),
    (EventType::EntryMoved, pb::EventType::EntryMoved),
    (EventType::EntryMovedIn, pb::EventType::EntryMovedIn),
    (EventType::EntryMovedOut, pb::EventType::EntryMovedOut),
    (EventType::NodeSoftDeleted, pb::EventType::NodeSoftDeleted),
    (EventType::NodeRestored, pb::EventType::NodeRestored),
    (EventType::NodePermanentlyDeleted, pb::EventType::NodePermanentlyDeleted),
    (EventType::ViewReset, pb::EventType::ViewReset),
];

/// Each cause, and its number.
const CAUSES: [(Cause, pb::ChangeCause); 7] = [
    (Cause::Realtime, pb::ChangeCause::Realtime),
    (Cause::Baseline, pb::ChangeCause::Baseline),
    (Cause::Audit, pb::ChangeCause::Audit),
    (Cause::Probe, pb::ChangeCause::Probe),
    (Cause::RenamedOver, pb::ChangeCause::RenamedOver),
    (Cause::Expiry, pb::ChangeCause::Expiry),
    (Cause::Operator, pb::ChangeCause::Operator),
];

/// A type on the wire.
#[must_use]
pub fn event_type_to_pb(kind: EventType) -> pb::EventType {
    let found = TYPES.iter().find(|(known, _)| *known == kind);
    found.map_or(pb::EventType::Unspecified, |(_, number)| *number)
}

/// A type from the wire.
///
/// # Errors
/// A number that is no type, 0 included.
pub fn event_type_from_pb(field: &'static str, number: i32) -> Result<EventType, ConvertError> {
    let found = TYPES.iter().find(|(_, known)| *known as i32 == number);
    found.map(|(kind, _)| *kind).ok_or(ConvertError::unknown(field, number))
}

fn cause_to_pb(cause: Cause) -> pb::ChangeCause {
    let found = CAUSES.iter().find(|(known, _)| *known == cause);
    found.map_or(pb::ChangeCause::Unspecified, |(_, number)| *number)
}

fn cause_from_pb(number: i32) -> Result<Cause, ConvertError> {
    let found = CAUSES.iter().find(|(_, known)| *known as i32 == number);
    found.map(|(cause, _)| *cause).ok_or(ConvertError::unknown("cause", number))
}

impl From<Event> for pb::EventEnvelope {
    fn from(event: Event) -> Self {
        let Event { id, event_type, account, view, path, time, revision, cause, entry } = event;
        let Account { principal, agent, session, correlation, causation } = account;
        let text = |id: Option<CorrelationId>| id.map_or(String::new(), |id| id.to_string());
        let actor = (principal.is_some() || agent.is_some()).then(|| pb::EventActor {
            principal: principal.unwrap_or_default(),
            agent_id: agent.map_or(String::new(), |agent| agent.to_string()),
            session_id: session.map_or(String::new(), |session| session.to_string()),
        });
        Self {
            event_id: id.to_string(),
            event_type: event_type_to_pb(event_type).into(),
            actor,
            target: Some(pb::EventTarget { view: view.to_string(), path, id: String::new() }),
            time: Some(server_time_to_pb(time)),
            version: revision.0,
            correlation_id: text(correlation),
            causation_id: text(causation),
            cause: cause_to_pb(cause).into(),
            payload: entry.map(|entry| pb::event_envelope::Payload::Entry(entry.into())),
        }
    }
}

impl From<EntryChange> for pb::EntryChange {
    fn from(entry: EntryChange) -> Self {
        let EntryChange { before, after, moved, suspect, blind, trash } = entry;
        let (from_path, to_path) = moved.unwrap_or_default();
        Self {
            before: before.as_ref().map(stat_to_pb),
            after: after.as_ref().map(stat_to_pb),
            from_path,
            to_path,
            suspect,
            blind,
            trash_revision: trash.map_or(0, |trash| trash.0),
        }
    }
}

/// An event from the wire.
///
/// # Errors
/// The first field that is missing or malformed.
pub fn event_from_pb(event: pb::EventEnvelope) -> Result<Event, ConvertError> {
    let pb::EventEnvelope {
        event_id,
        event_type,
        actor,
        target,
        time,
        version,
        correlation_id,
        causation_id,
        cause,
        payload,
    } = event;
    let pb::EventTarget { view, path, id: _ } = target.ok_or(ConvertError::missing("target"))?;
    let time = time.ok_or(ConvertError::missing("time"))?;
    let id = Uuid::try_parse(&event_id)
        .map_err(|error| ConvertError::invalid("event_id", error.to_string()))?;
    let mut account = actor.map(account_from_pb).transpose()?.unwrap_or_default();
    account.correlation = chain("correlation_id", &correlation_id)?;
    account.causation = chain("causation_id", &causation_id)?;
    let entry = match payload {
        None => None,
        Some(pb::event_envelope::Payload::Entry(entry)) => Some(entry_from_pb(entry)),
        Some(pb::event_envelope::Payload::Call(_)) => {
            return Err(ConvertError::invalid("call", "is no change of a view"));
        }
    };
    Ok(Event {
        id,
        event_type: event_type_from_pb("event_type", event_type)?,
        account,
        view: ViewName::new(&view).in_field("target.view")?,
        path,
        time: server_time_from_pb(&time).in_field("time")?,
        revision: Revision(version),
        cause: cause_from_pb(cause)?,
        entry: entry.transpose().map_err(|error| error.within("entry"))?,
    })
}

fn account_from_pb(actor: pb::EventActor) -> Result<Account, ConvertError> {
    let pb::EventActor { principal, agent_id, session_id } = actor;
    let agent = (!agent_id.is_empty()).then(|| AgentId::new(&agent_id)).transpose();
    let session = (!session_id.is_empty()).then(|| SessionId::parse(&session_id)).transpose();
    Ok(Account {
        principal: (!principal.is_empty()).then_some(principal),
        agent: agent.in_field("actor.agent_id")?,
        session: session.in_field("actor.session_id")?,
        ..Account::default()
    })
}

fn entry_from_pb(entry: pb::EntryChange) -> Result<EntryChange, ConvertError> {
    let pb::EntryChange { before, after, from_path, to_path, suspect, blind, trash_revision } =
        entry;
    let stat =
        |field: &'static str, stat: Option<pb::Stat>| -> Result<Option<Stat>, ConvertError> {
            stat.as_ref().map(stat_from_pb).transpose().map_err(|error| error.within(field))
        };
    Ok(EntryChange {
        before: stat("before", before)?,
        after: stat("after", after)?,
        moved: (!to_path.is_empty()).then_some((from_path, to_path)),
        suspect,
        blind,
        trash: (trash_revision != 0).then_some(TrashId(trash_revision)),
    })
}

/// An id of a chain of cause and effect; empty is none.
pub(in crate::convert) fn chain(
    field: &'static str,
    text: &str,
) -> Result<Option<CorrelationId>, ConvertError> {
    (!text.is_empty()).then(|| CorrelationId::new(text)).transpose().in_field(field)
}
