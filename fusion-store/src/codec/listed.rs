//! A listing into columns and back: its rows are those of the record's columns, all directories of
//! a batch one after the other.

use fusion_core::change::{Listed, ListedOutcome};
use fusion_core::evidence::ChildColumns;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;

use super::column::{Col, ColumnsIn, ColumnsOut};
use super::decode::{before, path, time, version};
use super::encode::{from, put_before, put_path, put_version};
use super::row::{unzigzag, zigzag};
use crate::error::{Malformed, StoreError};

const AFTER: u64 = 1;
const THROUGH: u64 = 2;
const SEES: u64 = 4;
const OUTCOME: u64 = 8;
const COMPLETE: u64 = 16;
const SETTLED: u64 = 32;
const BEHIND: u64 = 64;

/// Adds a listing.
pub(super) fn put(out: &mut ColumnsOut, at: ServerTime, listed: &Listed) -> Result<(), StoreError> {
    check(listed)?;
    let at = at.as_nanos();
    put_path(out, &listed.dir);
    put_version(out, listed.version);
    out.put(Col::Started, from(at, listed.started_at.as_nanos()));
    out.put(Col::Suspect, from(at, listed.suspect_until.as_nanos()));
    out.put(Col::Flags, flags(listed));
    out.put(Col::Rows, listed.rows.len() as u64);
    out.put(Col::RowFlagsCount, listed.flags.len() as u64);
    out.put(Col::Befores, listed.before.len() as u64);
    out.put(Col::Unseen, listed.unseen.len() as u64);
    out.put(Col::Open, listed.open.len() as u64);
    let interval = listed.after.iter().chain(&listed.through);
    for name in interval.chain(&listed.unseen).chain(&listed.open) {
        out.put(Col::NameLength, name.len() as u64);
        out.names.extend_from_slice(name);
    }
    put_rows(out, &listed.rows);
    out.extend(Col::RowFlags, listed.flags.iter().map(|flags| u64::from(*flags)));
    let mut last = 0;
    for (row, stat) in &listed.before {
        out.put(Col::BeforeRow, zigzag(i64::from(*row) - i64::from(last)));
        put_before(out, &listed.rows.as_children().stat(*row as usize), stat);
        last = *row;
    }
    Ok(())
}

fn flags(listed: &Listed) -> u64 {
    let bit = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
    let outcome = listed.outcome.map_or(0, |outcome| {
        OUTCOME
            | bit(outcome.complete, COMPLETE)
            | bit(outcome.settled, SETTLED)
            | bit(outcome.behind, BEHIND)
    });
    outcome
        | bit(listed.after.is_some(), AFTER)
        | bit(listed.through.is_some(), THROUGH)
        | bit(listed.sees, SEES)
}

/// Columns of one length, or the rows of the next directory would be read as this one's.
fn check(listed: &Listed) -> Result<(), StoreError> {
    let (rows, count) = (&listed.rows, listed.rows.len());
    let lengths = [
        rows.kinds.len(),
        rows.sizes.len(),
        rows.mtimes.len(),
        rows.ctimes.len(),
        rows.inodes.len(),
        rows.modes.len(),
        rows.uids.len(),
        rows.gids.len(),
        rows.nlinks.len(),
    ];
    let names: usize = rows.name_lengths.iter().map(|length| *length as usize).sum();
    let sound = lengths.iter().all(|length| *length == count)
        && names == rows.names.len()
        && listed.flags.len() <= count
        && listed.before.len() <= count
        && listed.before.iter().all(|(row, _)| (*row as usize) < count);
    if sound {
        return Ok(());
    }
    let why = format!("the columns of the listing of {} have different lengths", listed.dir);
    Err(StoreError::Refused { what: "a record", why })
}

fn put_rows(out: &mut ColumnsOut, rows: &ChildColumns) {
    let wide = |value: &u32| u64::from(*value);
    out.extend(Col::NameLength, rows.name_lengths.iter().map(wide));
    out.names.extend_from_slice(&rows.names);
    out.extend(Col::Kind, rows.kinds.iter().map(|kind| u64::from(*kind)));
    out.extend(Col::Size, rows.sizes.iter().copied());
    out.extend(Col::Mtime, rows.mtimes.iter().map(|time| *time as u64));
    let pairs = rows.mtimes.iter().zip(&rows.ctimes);
    out.extend(Col::Ctime, pairs.map(|(mtime, ctime)| from(*mtime, *ctime)));
    out.extend(Col::Inode, rows.inodes.iter().copied());
    out.extend(Col::Mode, rows.modes.iter().map(wide));
    out.extend(Col::Uid, rows.uids.iter().map(wide));
    out.extend(Col::Gid, rows.gids.iter().map(wide));
    out.extend(Col::Nlink, rows.nlinks.iter().map(wide));
}

/// Reads a listing.
pub(super) fn take(columns: &mut ColumnsIn<'_>, at: ServerTime) -> Result<Listed, Malformed> {
    let dir = path(columns)?;
    let version = version(columns)?;
    let started_at = time(columns, Col::Started, at)?;
    let suspect_until = time(columns, Col::Suspect, at)?;
    let flags = columns.next(Col::Flags)?;
    let mut count = |column| columns.u32(column).map(|count| count as usize);
    let (rows, row_flags) = (count(Col::Rows)?, count(Col::RowFlagsCount)?);
    let (befores, unseen, open) = (count(Col::Befores)?, count(Col::Unseen)?, count(Col::Open)?);
    // Names are not empty, so none of the counts can be larger than what is there.
    if row_flags.max(befores) > rows || rows.max(unseen).max(open) > columns.names_left() {
        return Err(Malformed::Broken("a listing has fewer names than rows"));
    }
    let mut bound = |bit: u64| match flags & bit {
        0 => Ok(None),
        _ => columns.name().map(|name| Some(Box::from(name))),
    };
    let (after, through) = (bound(AFTER)?, bound(THROUGH)?);
    let mut names = |count: usize| (0..count).map(|_| columns.name().map(Box::from)).collect();
    let (unseen, open): (Result<Vec<_>, _>, Result<Vec<_>, _>) = (names(unseen), names(open));
    let (unseen, open) = (unseen?, open?);
    let rows = take_rows(columns, rows)?;
    let flags_of_rows = columns.take(Col::RowFlags, row_flags, |flags| u8::try_from(flags).ok())?;
    let before = take_befores(columns, befores, &rows)?;
    let outcome = (flags & OUTCOME != 0).then_some(ListedOutcome {
        complete: flags & COMPLETE != 0,
        settled: flags & SETTLED != 0,
        behind: flags & BEHIND != 0,
    });
    Ok(Listed {
        dir,
        version,
        started_at,
        after,
        through,
        rows,
        flags: flags_of_rows,
        before,
        sees: flags & SEES != 0,
        unseen,
        open,
        suspect_until,
        outcome,
    })
}

fn take_rows(columns: &mut ColumnsIn<'_>, count: usize) -> Result<ChildColumns, Malformed> {
    let narrow = |value: u64| u32::try_from(value).ok();
    let name_lengths = columns.take(Col::NameLength, count, narrow)?;
    let bytes = name_lengths.iter().map(|length| *length as usize).sum();
    let kind = |value: u64| u8::try_from(value).ok().filter(|k| Kind::from_u8(*k).is_some());
    let mtimes = columns.take(Col::Mtime, count, |time| Some(time as i64))?;
    let mut ctimes = columns.take(Col::Ctime, count, |from| Some(unzigzag(from)))?;
    for (ctime, mtime) in ctimes.iter_mut().zip(&mtimes) {
        *ctime = mtime.wrapping_add(*ctime);
    }
    Ok(ChildColumns {
        names: columns.names(bytes)?.to_vec(),
        name_lengths,
        kinds: columns.take(Col::Kind, count, kind)?,
        sizes: columns.take(Col::Size, count, Some)?,
        mtimes,
        ctimes,
        inodes: columns.take(Col::Inode, count, Some)?,
        modes: columns.take(Col::Mode, count, narrow)?,
        uids: columns.take(Col::Uid, count, narrow)?,
        gids: columns.take(Col::Gid, count, narrow)?,
        nlinks: columns.take(Col::Nlink, count, narrow)?,
    })
}

fn take_befores(
    columns: &mut ColumnsIn<'_>,
    count: usize,
    rows: &ChildColumns,
) -> Result<Vec<(u32, Stat)>, Malformed> {
    let mut last = 0_i64;
    let mut befores = Vec::new();
    for _ in 0..count {
        last = last.wrapping_add(unzigzag(columns.next(Col::BeforeRow)?));
        let row = u32::try_from(last).ok().filter(|row| (*row as usize) < rows.len());
        let row = row.ok_or(Malformed::Broken("a row has no such number"))?;
        befores.push((row, before(columns, &rows.as_children().stat(row as usize))?));
    }
    Ok(befores)
}
