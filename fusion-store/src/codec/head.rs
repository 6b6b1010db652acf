//! The head of a record, row by row.

use fusion_core::id::{CorrelationId, LeaderEpoch, Revision, SessionId, SpoolId};
use fusion_core::time::ServerTime;

use super::decode::agent;
use super::row::{RowReader, put_bytes, put_option, put_varint};
use crate::error::Malformed;
use crate::ports::{Actor, Applied, Lane, LogPoint, Origin, OwnerEpoch, RecordHead};

/// The number of an origin that is followed by an epoch.
const OWNER: u8 = 11;

pub(super) fn put(out: &mut Vec<u8>, after: LogPoint, head: &RecordHead) {
    put_varint(out, after.record);
    put_varint(out, after.revision.0);
    out.extend_from_slice(&head.at.as_nanos().to_le_bytes());
    out.push(origin_number(head.origin));
    if let Origin::Owner(epoch) = head.origin {
        put_varint(out, epoch.0);
    }
    put_applied(out, head.applied.as_ref());
    put_option(out, head.leader_epoch.map(|epoch| epoch.0));
    match &head.actor {
        None => out.push(0),
        Some(Actor::Agent(agent, session)) => {
            out.push(1);
            put_bytes(out, agent.as_str().as_bytes());
            out.extend_from_slice(session.uuid().as_bytes());
        }
        Some(Actor::Principal(name)) => {
            out.push(2);
            put_bytes(out, name.as_bytes());
        }
    }
    for id in [&head.correlation, &head.causation] {
        put_bytes(out, id.as_ref().map_or(b"", |id| id.as_str().as_bytes()));
    }
}

fn put_applied(out: &mut Vec<u8>, applied: Option<&Applied>) {
    let Some(applied) = applied else { return out.push(0) };
    match &applied.lane {
        Lane::Realtime(agent, spool) => {
            out.push(1);
            put_bytes(out, agent.as_str().as_bytes());
            out.extend_from_slice(spool.uuid().as_bytes());
        }
        Lane::Scan(session) => {
            out.push(2);
            out.extend_from_slice(session.uuid().as_bytes());
        }
    }
    put_varint(out, applied.sequence);
}

/// The place after which the record comes, and its head.
pub(super) fn take(reader: &mut RowReader<'_>) -> Result<(LogPoint, RecordHead), Malformed> {
    let record = reader.varint()?;
    let after = LogPoint { record, revision: Revision(reader.varint()?) };
    let at = ServerTime::from_nanos(i64::from_le_bytes(reader.array()?));
    let origin = match reader.u8()? {
        OWNER => Origin::Owner(OwnerEpoch(reader.varint()?)),
        number => origin_from(number).ok_or(Malformed::Broken("no such origin"))?,
    };
    let applied = take_applied(reader)?;
    let leader_epoch = reader.option()?.map(LeaderEpoch);
    let actor = match reader.u8()? {
        0 => None,
        1 => Some(Actor::Agent(agent(reader)?, SessionId::new(reader.uuid()?))),
        2 => Some(Actor::Principal(reader.text()?.into())),
        _ => return Err(Malformed::Broken("no such actor")),
    };
    let (correlation, causation) = (correlation(reader)?, correlation(reader)?);
    let head = RecordHead { at, origin, applied, leader_epoch, actor, correlation, causation };
    Ok((after, head))
}

fn take_applied(reader: &mut RowReader<'_>) -> Result<Option<Applied>, Malformed> {
    let lane = match reader.u8()? {
        0 => return Ok(None),
        1 => Lane::Realtime(agent(reader)?, SpoolId::new(reader.uuid()?)),
        2 => Lane::Scan(SessionId::new(reader.uuid()?)),
        _ => return Err(Malformed::Broken("no such lane")),
    };
    Ok(Some(Applied { lane, sequence: reader.varint()? }))
}

fn correlation(reader: &mut RowReader<'_>) -> Result<Option<CorrelationId>, Malformed> {
    match reader.text()? {
        "" => Ok(None),
        text => CorrelationId::new(text)
            .map(Some)
            .map_err(|_| Malformed::Broken("a correlation id is none")),
    }
}

fn origin_number(origin: Origin) -> u8 {
    match origin {
        Origin::Realtime => 1,
        Origin::Snapshot => 2,
        Origin::Discovery => 3,
        Origin::Audit => 4,
        Origin::OnDemand => 5,
        Origin::Probe => 6,
        Origin::Report => 7,
        Origin::Time => 8,
        Origin::Operator => 9,
        Origin::Election => 10,
        Origin::Owner(_) => OWNER,
    }
}

fn origin_from(number: u8) -> Option<Origin> {
    Some(match number {
        1 => Origin::Realtime,
        2 => Origin::Snapshot,
        3 => Origin::Discovery,
        4 => Origin::Audit,
        5 => Origin::OnDemand,
        6 => Origin::Probe,
        7 => Origin::Report,
        8 => Origin::Time,
        9 => Origin::Operator,
        10 => Origin::Election,
        _ => return None,
    })
}
