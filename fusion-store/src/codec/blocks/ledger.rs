//! What is small of a view, and the dictionary of owners, as bytes.
//!
//! What the view notes for itself (scans, losses, doubts) is written as the record of changes writes
//! it: one format for both.

use fusion_core::change::Note;
use fusion_core::id::Revision;
use fusion_core::time::ServerTime;
use fusion_core::view::checkpoint::{Frame, Owner, TreeFrame};

use super::super::decode::agent;
use super::super::note;
use super::super::row::{RowReader, put_bytes, put_varint, zigzag};
use super::TABLE_VERSION;
use super::block::{put_block, small, take_block};
use crate::error::Malformed;

/// Adds the version of a named value.
pub(super) fn put_version(out: &mut Vec<u8>) {
    out.extend_from_slice(&TABLE_VERSION.to_le_bytes());
}

/// A reader behind the version.
pub(super) fn open(bytes: &[u8]) -> Result<RowReader<'_>, Malformed> {
    open_version(bytes).map(|(reader, _)| reader)
}

/// The same, and the version.
pub(super) fn open_version(bytes: &[u8]) -> Result<(RowReader<'_>, u16), Malformed> {
    let mut reader = RowReader::new(bytes);
    let version = u16::from_le_bytes(reader.array()?);
    if version > TABLE_VERSION {
        let (found, known) = (u32::from(version), u32::from(TABLE_VERSION));
        return Err(Malformed::Future { what: "a table", found, known });
    }
    if version == 0 {
        return Err(Malformed::Broken("it has no version"));
    }
    Ok((reader, version))
}

/// Nothing may be left over.
pub(super) fn close(reader: &RowReader<'_>) -> Result<(), Malformed> {
    if reader.left() == 0 { Ok(()) } else { Err(Malformed::Broken("more is stored than belongs")) }
}

/// Adds a time that may be absent.
pub(super) fn put_maybe(out: &mut Vec<u8>, time: Option<ServerTime>) {
    out.push(u8::from(time.is_some()));
    time.iter().for_each(|time| put_time(out, *time));
}

pub(super) fn take_maybe(reader: &mut RowReader<'_>) -> Result<Option<ServerTime>, Malformed> {
    if reader.bool()? { take_time(reader).map(Some) } else { Ok(None) }
}

pub(super) fn put_time(out: &mut Vec<u8>, time: ServerTime) {
    put_varint(out, zigzag(time.as_nanos()));
}

pub(super) fn take_time(reader: &mut RowReader<'_>) -> Result<ServerTime, Malformed> {
    reader.signed().map(ServerTime::from_nanos)
}

/// What is small, as a named value.
pub(super) fn put_frame(frame: &Frame, out: &mut Vec<u8>) {
    put_version(out);
    let tree = &frame.tree;
    for number in [tree.number, tree.used, tree.live, tree.floor] {
        put_varint(out, u64::from(number));
    }
    for number in [frame.revision.0, frame.audits, frame.held_next] {
        put_varint(out, number);
    }
    put_time(out, frame.time);
    for time in [
        frame.last_snapshot,
        frame.last_whole_began,
        frame.last_audit,
        frame.reset_at,
        frame.sweep_at,
        frame.turn_at,
    ] {
        put_maybe(out, time);
    }
    out.push(u8::from(frame.least_behind.is_some()));
    frame.least_behind.iter().for_each(|nanos| put_varint(out, zigzag(*nanos)));
    put_varint(out, frame.to_free.len() as u64);
    frame.to_free.iter().for_each(|block| put_block(out, *block));
    put_varint(out, frame.agents.len() as u64);
    frame.agents.iter().for_each(|agent| put_bytes(out, agent.as_str().as_bytes()));
    let notes = notes(frame);
    put_varint(out, notes.len() as u64);
    notes.iter().for_each(|note| note::put(out, frame.time, note));
}

fn notes(frame: &Frame) -> Vec<Note> {
    let scans = frame.scans.iter().map(|scan| Note::ScanBegan(Box::new(scan.clone())));
    let losses = frame.losses.iter().map(|loss| Note::Lost(loss.clone()));
    let away = frame
        .away
        .iter()
        .map(|(agent, away)| Note::RootAway { agent: agent.clone(), away: Some(*away) });
    let doubts = frame.doubts.iter().map(|doubt| Note::RootDoubt(Some(doubt.clone())));
    let operated = frame.operated.iter().map(|call| Note::Operated { call: *call });
    let accepted = frame.accepted.then_some(Note::RootAccepted(true));
    scans.chain(losses).chain(away).chain(doubts).chain(operated).chain(accepted).collect()
}

pub(super) fn take_frame(bytes: &[u8]) -> Result<Frame, Malformed> {
    let mut reader = open(bytes)?;
    let reader = &mut reader;
    let tree = TreeFrame {
        number: small(reader)?,
        used: small(reader)?,
        live: small(reader)?,
        floor: small(reader)?,
    };
    let (revision, audits, held_next) =
        (Revision(reader.varint()?), reader.varint()?, reader.varint()?);
    let time = take_time(reader)?;
    let mut frame = Frame {
        revision,
        time,
        tree,
        to_free: Vec::new(),
        agents: Vec::new(),
        scans: Vec::new(),
        losses: Vec::new(),
        away: Vec::new(),
        doubts: Vec::new(),
        operated: Vec::new(),
        accepted: false,
        last_snapshot: take_maybe(reader)?,
        last_whole_began: take_maybe(reader)?,
        last_audit: take_maybe(reader)?,
        audits,
        reset_at: take_maybe(reader)?,
        held_next,
        sweep_at: take_maybe(reader)?,
        turn_at: take_maybe(reader)?,
        least_behind: if reader.bool()? { Some(reader.signed()?) } else { None },
    };
    for _ in 0..reader.varint()? {
        frame.to_free.push(take_block(reader)?);
    }
    for _ in 0..reader.varint()? {
        frame.agents.push(agent(reader)?);
    }
    for _ in 0..reader.varint()? {
        match note::take(reader, time)? {
            Note::ScanBegan(scan) => frame.scans.push(*scan),
            Note::Lost(loss) => frame.losses.push(loss),
            Note::RootAway { agent, away: Some(away) } => frame.away.push((agent, away)),
            Note::RootDoubt(doubt) => frame.doubts.extend(doubt),
            Note::Operated { call } => frame.operated.push(call),
            Note::RootAccepted(accepted) => frame.accepted = accepted,
            _ => return Err(Malformed::Broken("a note that belongs elsewhere")),
        }
    }
    close(reader)?;
    Ok(frame)
}

/// The dictionary of owners, as a named value.
pub(super) fn put_owners(owners: &[Owner], out: &mut Vec<u8>) {
    put_version(out);
    put_varint(out, owners.len() as u64);
    for owner in owners {
        for number in [owner.mode, owner.uid, owner.gid, owner.nlink_high] {
            put_varint(out, u64::from(number));
        }
    }
}

pub(super) fn take_owners(bytes: &[u8]) -> Result<Vec<Owner>, Malformed> {
    let mut reader = open(bytes)?;
    let reader = &mut reader;
    let count = reader.varint()?;
    // Each takes four bytes at least, so a count that lies ends before it costs memory.
    let mut owners = Vec::with_capacity((count as usize).min(reader.left()));
    for _ in 0..count {
        owners.push(Owner {
            mode: small(reader)?,
            uid: small(reader)?,
            gid: small(reader)?,
            nlink_high: small(reader)?,
        });
    }
    close(reader)?;
    Ok(owners)
}
