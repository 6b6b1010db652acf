//! Bytes back into a record.

use fusion_core::change::{Change, ChangeKind, Facts, Tombstone, TrashId};
use fusion_core::evidence::Witness;
use fusion_core::id::{AgentId, LeaderEpoch, Revision, SessionId};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::Version;

use super::column::{Col, ColumnsIn, Tag};
use super::encode::{
    BLIND, CONFIRMED, SAMPLE, SEEN, SUSPECT, TOMBSTONE, TOMBSTONE_SEEN, cause_from,
};
use super::row::{RowReader, unzigzag};
use super::{RECORD_VERSION, head, listed, note};
use crate::error::Malformed;
use crate::ports::{LogPoint, RecordHead, StoredRecord};

/// For so many changes memory is taken before the first of them has been read.
const CHANGES_AT_ONCE: usize = 4096;
const RANGE: Malformed = Malformed::Broken("a value is out of its range");

/// Reads a record.
///
/// # Errors
/// It is damaged, or from the future.
pub fn decode(bytes: &[u8]) -> Result<StoredRecord, Malformed> {
    let mut reader = RowReader::new(bytes);
    let (after, record) = begin(&mut reader)?;
    let count = reader.length()?;
    if count > reader.left() {
        return Err(Malformed::Broken("it has fewer bytes than changes"));
    }
    let mut next = after.revision.0;
    let mut changes = Vec::with_capacity(count.min(CHANGES_AT_ONCE));
    if count > 0 {
        let witnesses = witnesses(&mut reader)?;
        let mut columns = ColumnsIn::read(&mut reader)?;
        for _ in 0..count {
            let change = change(&mut columns, next.wrapping_add(1), record.at, &witnesses)?;
            next = next.checked_add(change.width()).ok_or(RANGE)?;
            changes.push(change);
        }
        columns.finish()?;
    }
    if reader.left() > 0 {
        return Err(Malformed::Broken("something follows the record"));
    }
    Ok(StoredRecord { point: after.after(next - after.revision.0), head: record, changes })
}

/// Reads no more of a record than its head and the place after which it comes.
///
/// # Errors
/// It is damaged, or from the future.
pub fn peek(bytes: &[u8]) -> Result<(LogPoint, RecordHead), Malformed> {
    begin(&mut RowReader::new(bytes))
}

fn begin(reader: &mut RowReader<'_>) -> Result<(LogPoint, RecordHead), Malformed> {
    let found = u16::from_le_bytes(reader.array()?);
    if found > RECORD_VERSION {
        let known = u32::from(RECORD_VERSION);
        return Err(Malformed::Future { what: "a record", found: u32::from(found), known });
    }
    if found == 0 {
        return Err(Malformed::Broken("there is no version 0"));
    }
    head::take(reader)
}

fn witnesses(reader: &mut RowReader<'_>) -> Result<Vec<Witness>, Malformed> {
    let count = reader.length()?;
    (0..count)
        .map(|_| {
            let agent = agent(reader)?;
            let session = SessionId::new(reader.uuid()?);
            Ok(Witness { agent, session, epoch: LeaderEpoch(reader.varint()?) })
        })
        .collect()
}

pub(super) fn agent(reader: &mut RowReader<'_>) -> Result<AgentId, Malformed> {
    AgentId::new(reader.text()?).map_err(|_| Malformed::Broken("an agent has no such name"))
}

fn change(
    columns: &mut ColumnsIn<'_>,
    revision: u64,
    record_at: ServerTime,
    witnesses: &[Witness],
) -> Result<Change, Malformed> {
    let at = time(columns, Col::At, record_at)?;
    let cause = cause_from(columns.next(Col::Cause)?).ok_or(RANGE)?;
    let by = match columns.next(Col::By)? {
        0 => None,
        number => {
            let index = usize::try_from(number - 1).map_err(|_| RANGE)?;
            Some(witnesses.get(index).ok_or(Malformed::Broken("no such witness"))?.clone())
        }
    };
    let tag = Tag::from_u64(columns.next(Col::Tag)?);
    let kind = kind(columns, tag.ok_or(Malformed::Broken("no such kind of change"))?, at)?;
    Ok(Change { revision: Revision(revision), at, cause, by, kind })
}

fn kind(columns: &mut ColumnsIn<'_>, tag: Tag, at: ServerTime) -> Result<ChangeKind, Malformed> {
    Ok(match tag {
        Tag::Created => {
            let (path, stat) = (path(columns)?, stat(columns)?);
            let (facts, _) = facts(columns, at, stat.ctime)?;
            ChangeKind::Created { path, stat, facts }
        }
        Tag::Modified => {
            let (path, after) = (path(columns)?, stat(columns)?);
            let before = before(columns, &after)?;
            let (facts, _) = facts(columns, at, after.ctime)?;
            ChangeKind::Modified { path, before, after, facts }
        }
        Tag::Touched => {
            let path = path(columns)?;
            let (facts, _) = facts(columns, at, StorageTime::default())?;
            ChangeKind::Touched { path, facts }
        }
        Tag::Removed => {
            let (path, stat) = (path(columns)?, stat(columns)?);
            let (facts, tombstone) = facts(columns, at, StorageTime::default())?;
            ChangeKind::Removed { path, stat, tombstone, blind: facts.blind }
        }
        Tag::Moved => {
            let (from, to, stat) = (path(columns)?, path(columns)?, stat(columns)?);
            let before = before(columns, &stat)?;
            let (facts, tombstone) = facts(columns, at, stat.ctime)?;
            let tombstone = tombstone.ok_or(Malformed::Broken("a move has no tombstone"))?;
            ChangeKind::Moved { from, to, before, stat, facts, tombstone }
        }
        Tag::Listed => ChangeKind::Listed(Box::new(listed::take(columns, at)?)),
        Tag::Buried => {
            let path = path(columns)?;
            let (_, tombstone) = facts(columns, at, StorageTime::default())?;
            let tombstone = tombstone.ok_or(Malformed::Broken("there is no tombstone"))?;
            ChangeKind::Buried { path, tombstone }
        }
        Tag::Restored => ChangeKind::Restored {
            path: path(columns)?,
            stat: stat(columns)?,
            trash: TrashId(columns.next(Col::Trash)?),
            suspect_until: time(columns, Col::Suspect, at)?,
        },
        Tag::Purged => ChangeKind::Purged {
            path: path(columns)?,
            stat: stat(columns)?,
            trash: TrashId(columns.next(Col::Trash)?),
        },
        Tag::Noted => ChangeKind::Noted(note::take(&mut columns.rare, at)?),
        Tag::Reset => {
            columns.rare.u8()?;
            ChangeKind::Reset
        }
    })
}

pub(super) fn path(columns: &mut ColumnsIn<'_>) -> Result<TreePath, Malformed> {
    TreePath::new(columns.path()?).map_err(|_| Malformed::Broken("a path is no path"))
}

pub(super) fn time(
    columns: &mut ColumnsIn<'_>,
    column: Col,
    base: ServerTime,
) -> Result<ServerTime, Malformed> {
    Ok(ServerTime::from_nanos(base.as_nanos().wrapping_add(unzigzag(columns.next(column)?))))
}

fn kind_of(columns: &mut ColumnsIn<'_>, column: Col) -> Result<Kind, Malformed> {
    let number = u8::try_from(columns.next(column)?).ok();
    number.and_then(Kind::from_u8).ok_or(Malformed::Broken("no such kind of entry"))
}

fn stat(columns: &mut ColumnsIn<'_>) -> Result<Stat, Malformed> {
    let kind = kind_of(columns, Col::Kind)?;
    let size = columns.next(Col::Size)?;
    let mtime = columns.next(Col::Mtime)? as i64;
    let ctime = mtime.wrapping_add(unzigzag(columns.next(Col::Ctime)?));
    Ok(Stat {
        kind,
        size,
        mtime: StorageTime::from_nanos(mtime),
        ctime: StorageTime::from_nanos(ctime),
        inode: columns.next(Col::Inode)?,
        mode: columns.u32(Col::Mode)?,
        uid: columns.u32(Col::Uid)?,
        gid: columns.u32(Col::Gid)?,
        nlink: columns.u32(Col::Nlink)?,
    })
}

/// The stat before, told by how far it is from the one after.
pub(super) fn before(columns: &mut ColumnsIn<'_>, after: &Stat) -> Result<Stat, Malformed> {
    let kind = kind_of(columns, Col::BeforeKind)?;
    let mut wide = |column, after: i64| {
        columns.next(column).map(|distance| after.wrapping_add(unzigzag(distance)))
    };
    let size = wide(Col::BeforeSize, after.size as i64)? as u64;
    let mtime = wide(Col::BeforeMtime, after.mtime.as_nanos())?;
    let ctime = wide(Col::BeforeCtime, after.ctime.as_nanos())?;
    let inode = wide(Col::BeforeInode, after.inode as i64)? as u64;
    let mut small = |column, after: u32| {
        let before = wide(column, i64::from(after))?;
        u32::try_from(before).map_err(|_| RANGE)
    };
    Ok(Stat {
        kind,
        size,
        mtime: StorageTime::from_nanos(mtime),
        ctime: StorageTime::from_nanos(ctime),
        inode,
        mode: small(Col::BeforeMode, after.mode)?,
        uid: small(Col::BeforeUid, after.uid)?,
        gid: small(Col::BeforeGid, after.gid)?,
        nlink: small(Col::BeforeNlink, after.nlink)?,
    })
}

fn facts(
    columns: &mut ColumnsIn<'_>,
    at: ServerTime,
    ctime: StorageTime,
) -> Result<(Facts, Option<Tombstone>), Malformed> {
    let flags = columns.next(Col::Flags)?;
    let has = |bit: u64| flags & bit != 0;
    let seen_in = if has(SEEN) { Some(version(columns)?) } else { None };
    let confirmed_at = if has(CONFIRMED) { Some(time(columns, Col::Confirmed, at)?) } else { None };
    let suspect_until = if has(SUSPECT) { Some(time(columns, Col::Suspect, at)?) } else { None };
    let sample = if has(SAMPLE) {
        let distance = unzigzag(columns.next(Col::Sample)?);
        Some(StorageTime::from_nanos(ctime.as_nanos().wrapping_add(distance)))
    } else {
        None
    };
    let facts = Facts { seen_in, confirmed_at, suspect_until, blind: has(BLIND), sample };
    let tombstone = if has(TOMBSTONE) {
        let deleted_at = time(columns, Col::Deleted, at)?;
        let since = time(columns, Col::Since, at)?;
        let seen_in = if has(TOMBSTONE_SEEN) { Some(version(columns)?) } else { None };
        Some(Tombstone { deleted_at, seen_in, since })
    } else {
        None
    };
    Ok((facts, tombstone))
}

pub(super) fn version(columns: &mut ColumnsIn<'_>) -> Result<Version, Malformed> {
    let inode = columns.next(Col::SeenInode)?;
    let ctime = StorageTime::from_nanos(columns.next(Col::SeenCtime)? as i64);
    Ok(Version { inode, ctime })
}
