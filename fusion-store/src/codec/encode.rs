//! Changes into columns.

use fusion_core::change::{Cause, Change, ChangeKind, Facts, Tombstone};
use fusion_core::evidence::Witness;
use fusion_core::path::TreePath;
use fusion_core::stat::Stat;
use fusion_core::time::ServerTime;
use fusion_core::view::Version;

use super::column::{Col, ColumnsOut, Tag};
use super::row::{put_bytes, put_varint, zigzag};
use super::{RECORD_VERSION, head, listed, note};
use crate::error::StoreError;
use crate::ports::{LogPoint, RecordHead};

/// Facts: the version of the directory is known.
pub(super) const SEEN: u64 = 1;
/// Facts: it was confirmed.
pub(super) const CONFIRMED: u64 = 2;
/// Facts: it is suspect.
pub(super) const SUSPECT: u64 = 4;
/// Facts: it is blind.
pub(super) const BLIND: u64 = 8;
/// Facts: it is a sample of the storage's clock.
pub(super) const SAMPLE: u64 = 16;
/// Of a removal: there is a tombstone.
pub(super) const TOMBSTONE: u64 = 32;
/// The tombstone's version of the directory is known.
pub(super) const TOMBSTONE_SEEN: u64 = 64;

/// Makes bytes of records; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct Encoder {
    columns: ColumnsOut,
    witnesses: Vec<Witness>,
}

impl Encoder {
    /// Adds a record that comes after a place to `out`, and tells the place after it.
    ///
    /// # Errors
    /// `Refused` if the changes are not numbered without a hole from that place on, or a change
    /// contradicts itself.
    pub fn encode(
        &mut self,
        after: LogPoint,
        record: &RecordHead,
        changes: &[Change],
        out: &mut Vec<u8>,
    ) -> Result<LogPoint, StoreError> {
        self.columns.clear();
        self.witnesses.clear();
        let mut next = after.revision.0;
        for change in changes {
            if change.revision.0 != next.wrapping_add(1) {
                let why = format!("revision {} follows {next}", change.revision.0);
                return Err(StoreError::Refused { what: "a record", why });
            }
            next = change.last_revision().0;
            self.change(record.at, change)?;
        }
        out.extend_from_slice(&RECORD_VERSION.to_le_bytes());
        head::put(out, after, record);
        put_varint(out, changes.len() as u64);
        if !changes.is_empty() {
            put_varint(out, self.witnesses.len() as u64);
            for witness in &self.witnesses {
                put_bytes(out, witness.agent.as_str().as_bytes());
                out.extend_from_slice(witness.session.uuid().as_bytes());
                put_varint(out, witness.epoch.0);
            }
            self.columns.write(out);
        }
        Ok(after.after(next - after.revision.0))
    }

    fn change(&mut self, at: ServerTime, change: &Change) -> Result<(), StoreError> {
        let by = change.by.as_ref().map_or(0, |by| self.witness(by));
        let out = &mut self.columns;
        out.put(Col::At, from(at.as_nanos(), change.at.as_nanos()));
        out.put(Col::Cause, cause_number(change.cause));
        out.put(Col::By, by);
        let tag = match &change.kind {
            ChangeKind::Created { path, stat, facts } => {
                put_path(out, path);
                put_stat(out, stat);
                put_facts(out, change.at, stat.ctime.as_nanos(), facts, None);
                Tag::Created
            }
            ChangeKind::Modified { path, before, after, facts } => {
                put_path(out, path);
                put_stat(out, after);
                put_before(out, after, before);
                put_facts(out, change.at, after.ctime.as_nanos(), facts, None);
                Tag::Modified
            }
            ChangeKind::Touched { path, facts } => {
                put_path(out, path);
                put_facts(out, change.at, 0, facts, None);
                Tag::Touched
            }
            ChangeKind::Removed { path, stat, tombstone, blind } => {
                put_path(out, path);
                put_stat(out, stat);
                let facts = Facts { blind: *blind, ..Facts::default() };
                put_facts(out, change.at, 0, &facts, tombstone.as_ref());
                Tag::Removed
            }
            ChangeKind::Moved { from, to, before, stat, facts, tombstone } => {
                put_path(out, from);
                put_path(out, to);
                put_stat(out, stat);
                put_before(out, stat, before);
                put_facts(out, change.at, stat.ctime.as_nanos(), facts, Some(tombstone));
                Tag::Moved
            }
            ChangeKind::Listed(listed) => {
                listed::put(out, change.at, listed)?;
                Tag::Listed
            }
            kind => other(out, change.at, kind),
        };
        out.put(Col::Tag, tag as u64);
        Ok(())
    }

    /// The number of a witness; batches have one, or very few.
    fn witness(&mut self, by: &Witness) -> u64 {
        let known = self.witnesses.iter().rposition(|known| known == by);
        let number = known.unwrap_or_else(|| {
            self.witnesses.push(by.clone());
            self.witnesses.len() - 1
        });
        number as u64 + 1
    }
}

/// What is neither an entry nor a listing.
fn other(out: &mut ColumnsOut, at: ServerTime, kind: &ChangeKind) -> Tag {
    match kind {
        ChangeKind::Buried { path, tombstone } => {
            put_path(out, path);
            put_facts(out, at, 0, &Facts::default(), Some(tombstone));
            Tag::Buried
        }
        ChangeKind::Restored { path, stat, trash, suspect_until } => {
            put_path(out, path);
            put_stat(out, stat);
            out.put(Col::Trash, trash.0);
            out.put(Col::Suspect, from(at.as_nanos(), suspect_until.as_nanos()));
            Tag::Restored
        }
        ChangeKind::Purged { path, stat, trash } => {
            put_path(out, path);
            put_stat(out, stat);
            out.put(Col::Trash, trash.0);
            Tag::Purged
        }
        ChangeKind::Noted(noted) => {
            note::put(&mut out.rare, at, noted);
            Tag::Noted
        }
        _ => {
            // Every change takes at least one byte, so that a count that lies is found out.
            out.rare.push(0);
            Tag::Reset
        }
    }
}

/// How far a time is from another.
pub(super) fn from(base: i64, value: i64) -> u64 {
    zigzag(value.wrapping_sub(base))
}

pub(super) fn put_path(out: &mut ColumnsOut, path: &TreePath) {
    let bytes = path.as_bytes();
    out.put(Col::PathLength, bytes.len() as u64);
    out.paths.extend_from_slice(bytes);
}

fn put_stat(out: &mut ColumnsOut, stat: &Stat) {
    let mtime = stat.mtime.as_nanos();
    out.put(Col::Kind, stat.kind as u64);
    out.put(Col::Size, stat.size);
    out.put(Col::Mtime, mtime as u64);
    out.put(Col::Ctime, from(mtime, stat.ctime.as_nanos()));
    out.put(Col::Inode, stat.inode);
    out.put(Col::Mode, u64::from(stat.mode));
    out.put(Col::Uid, u64::from(stat.uid));
    out.put(Col::Gid, u64::from(stat.gid));
    out.put(Col::Nlink, u64::from(stat.nlink));
}

pub(super) fn put_before(out: &mut ColumnsOut, after: &Stat, before: &Stat) {
    let small = |after: u32, before: u32| zigzag(i64::from(before) - i64::from(after));
    out.put(Col::BeforeKind, before.kind as u64);
    out.put(Col::BeforeSize, from(after.size as i64, before.size as i64));
    out.put(Col::BeforeMtime, from(after.mtime.as_nanos(), before.mtime.as_nanos()));
    out.put(Col::BeforeCtime, from(after.ctime.as_nanos(), before.ctime.as_nanos()));
    out.put(Col::BeforeInode, from(after.inode as i64, before.inode as i64));
    out.put(Col::BeforeMode, small(after.mode, before.mode));
    out.put(Col::BeforeUid, small(after.uid, before.uid));
    out.put(Col::BeforeGid, small(after.gid, before.gid));
    out.put(Col::BeforeNlink, small(after.nlink, before.nlink));
}

fn put_facts(
    out: &mut ColumnsOut,
    at: ServerTime,
    ctime: i64,
    facts: &Facts,
    tombstone: Option<&Tombstone>,
) {
    let at = at.as_nanos();
    let bit = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
    let mut flags = bit(facts.blind, BLIND);
    if let Some(seen_in) = facts.seen_in {
        flags |= SEEN;
        put_version(out, seen_in);
    }
    if let Some(confirmed) = facts.confirmed_at {
        flags |= CONFIRMED;
        out.put(Col::Confirmed, from(at, confirmed.as_nanos()));
    }
    if let Some(until) = facts.suspect_until {
        flags |= SUSPECT;
        out.put(Col::Suspect, from(at, until.as_nanos()));
    }
    if let Some(sample) = facts.sample {
        flags |= SAMPLE;
        out.put(Col::Sample, from(ctime, sample.as_nanos()));
    }
    if let Some(tombstone) = tombstone {
        flags |= TOMBSTONE | bit(tombstone.seen_in.is_some(), TOMBSTONE_SEEN);
        out.put(Col::Deleted, from(at, tombstone.deleted_at.as_nanos()));
        out.put(Col::Since, from(at, tombstone.since.as_nanos()));
        tombstone.seen_in.into_iter().for_each(|seen_in| put_version(out, seen_in));
    }
    out.put(Col::Flags, flags);
}

pub(super) fn put_version(out: &mut ColumnsOut, version: Version) {
    out.put(Col::SeenInode, version.inode);
    out.put(Col::SeenCtime, version.ctime.as_nanos() as u64);
}

pub(super) fn cause_number(cause: Cause) -> u64 {
    match cause {
        Cause::Realtime => 0,
        Cause::Baseline => 1,
        Cause::Audit => 2,
        Cause::Probe => 3,
        Cause::RenamedOver => 4,
        Cause::Expiry => 5,
        Cause::Operator => 6,
    }
}

pub(super) fn cause_from(number: u64) -> Option<Cause> {
    Some(match number {
        0 => Cause::Realtime,
        1 => Cause::Baseline,
        2 => Cause::Audit,
        3 => Cause::Probe,
        4 => Cause::RenamedOver,
        5 => Cause::Expiry,
        6 => Cause::Operator,
        _ => return None,
    })
}
