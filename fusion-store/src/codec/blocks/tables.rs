//! The tables of a ledger as bytes, each a named value.
//!
//! Rows, for a table is rarely large; confirmations, which may be many, in columns. Times are told from
//! the one before, because what is near in a table mostly is near in time; so are the paths of suspects:
//! a tree that was just copied is suspect as a whole, and is written with each checkpoint until it is not.

use fusion_core::change::{AgendaKind, Note, TrashId};
use fusion_core::evidence::Witness;
use fusion_core::id::{LeaderEpoch, SessionId};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::checkpoint::load::{LoadError, Loading};
use fusion_core::view::checkpoint::{Confirmed, Detached, Flags, LedgerImage, Table};
use fusion_core::view::{Tombstone, Totals, TrashRecord, Version, Waiting};

use super::super::decode::agent;
use super::super::encode::{cause_from, cause_number, from};
use super::super::note;
use super::super::pack::{Column, pack};
use super::super::row::{RowReader, put_bytes, put_varint, zigzag};
use super::block::{put_block, small, take_block};
use super::ledger::{close, open_version, put_maybe, put_time, put_version, take_maybe, take_time};
use crate::error::Malformed;

/// Why a table is not taken.
#[derive(Debug)]
pub(super) enum Refused {
    /// Its bytes are not what was written.
    Bytes(Malformed),
    /// A row cannot be.
    Row(LoadError),
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Bytes(malformed)
    }
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        Self::Row(error)
    }
}

/// A table as a named value.
pub(super) fn put_table(table: Table, ledger: &LedgerImage, out: &mut Vec<u8>) {
    put_version(out);
    match table {
        Table::Tombstones => put_tombstones(ledger, out),
        Table::Trash => put_trash(ledger, out),
        Table::Relists => put_waits(AgendaKind::Relist, ledger.relists(), out),
        Table::Probes => put_waits(AgendaKind::Probe, ledger.probes(), out),
        Table::Suspects => put_suspects(ledger.suspects(), out),
        Table::Unreadable => {
            for (path, errno) in ledger.unreadable() {
                put_bytes(out, path);
                put_varint(out, zigzag(i64::from(errno)));
            }
        }
        Table::Parts => {
            for (dir, parts) in ledger.parts() {
                if let Ok(dir) = TreePath::new(dir) {
                    let parts = Some(Box::new(parts.clone()));
                    note::put(out, ZERO, &Note::Parts { dir, parts });
                }
            }
        }
        Table::Held => {
            for (number, row) in ledger.held() {
                let row = Box::new(row.clone());
                note::put(out, ZERO, &Note::Held { number, row, sample: false });
            }
        }
        Table::Clock => put_clock(ledger, out),
        Table::Confirmed | Table::ConfirmedBefore => {
            put_confirmed(&ledger.confirmed(table == Table::Confirmed), out);
        }
    }
}

/// Times of notes are told from here: a table has no time of its own.
const ZERO: ServerTime = ServerTime::from_nanos(0);

/// Reads a table into a view that is being loaded.
pub(super) fn take_table(table: Table, bytes: &[u8], loading: &mut Loading) -> Result<(), Refused> {
    let (mut reader, version) = open_version(bytes)?;
    let reader = &mut reader;
    match table {
        Table::Suspects if version >= 3 => {
            take_suspects(reader, |path, end| loading.suspect(path, end))?;
        }
        Table::Tombstones => take_tombstones(reader, loading)?,
        Table::Trash => take_trash(reader, loading)?,
        Table::Clock => take_clock(reader, loading)?,
        Table::Confirmed | Table::ConfirmedBefore => {
            take_confirmed(reader, table == Table::Confirmed, loading)?;
        }
        _ => {
            while reader.left() > 0 {
                take_row(table, reader, loading)?;
            }
        }
    }
    Ok(close(reader)?)
}

fn take_row(
    table: Table,
    reader: &mut RowReader<'_>,
    loading: &mut Loading,
) -> Result<(), Malformed> {
    match table {
        Table::Suspects => {
            let path = path(reader)?;
            loading.suspect(path, take_time(reader)?);
        }
        Table::Unreadable => {
            let path = path(reader)?;
            let errno = i32::try_from(reader.signed()?);
            let errno = errno.map_err(|_| Malformed::Broken("an error has no such number"))?;
            loading.unreadable(path, errno);
        }
        _ => match (table, note::take(reader, ZERO)?) {
            (Table::Relists, Note::Waits { agenda: AgendaKind::Relist, path, waiting }) => {
                loading.relist(path.as_ref(), waiting);
            }
            (Table::Probes, Note::Waits { agenda: AgendaKind::Probe, path, waiting }) => {
                loading.probe(path.as_ref(), waiting);
            }
            (Table::Parts, Note::Parts { dir, parts: Some(parts) }) => {
                loading.parts(dir.as_ref(), *parts);
            }
            (Table::Held, Note::Held { number, row, .. }) => loading.held(number, *row),
            _ => return Err(Malformed::Broken("a row that belongs elsewhere")),
        },
    }
    Ok(())
}

/// By path: how many bytes the path has in common with the one before, what follows, and the end of the
/// quiet period.
fn put_suspects<'a>(rows: impl Iterator<Item = (&'a [u8], ServerTime)>, out: &mut Vec<u8>) {
    let (mut before, mut last): (&[u8], _) = (b"", 0);
    for (path, end) in rows {
        let common = before.iter().zip(path).take_while(|(a, b)| a == b).count();
        put_varint(out, common as u64);
        put_bytes(out, &path[common..]);
        put_varint(out, from(last, end.as_nanos()));
        (before, last) = (path, end.as_nanos());
    }
}

fn take_suspects(
    reader: &mut RowReader<'_>,
    mut each: impl FnMut(PathRef<'_>, ServerTime),
) -> Result<(), Malformed> {
    let (mut bytes, mut last) = (Vec::new(), 0_i64);
    while reader.left() > 0 {
        let common = reader.length()?;
        if common > bytes.len() {
            return Err(Malformed::Broken("a path has more in common than there is"));
        }
        bytes.truncate(common);
        bytes.extend_from_slice(reader.lengthy()?);
        let path = PathRef::new(&bytes).map_err(|_| Malformed::Broken("a path is no path"))?;
        last = last.wrapping_add(reader.signed()?);
        each(path, ServerTime::from_nanos(last));
    }
    Ok(())
}

fn put_waits<'a>(
    agenda: AgendaKind,
    rows: impl Iterator<Item = (&'a [u8], Waiting)>,
    out: &mut Vec<u8>,
) {
    for (path, waiting) in rows {
        if let Ok(path) = TreePath::new(path) {
            note::put(out, ZERO, &Note::Waits { agenda, path, waiting });
        }
    }
}

fn path<'a>(reader: &mut RowReader<'a>) -> Result<PathRef<'a>, Malformed> {
    PathRef::new(reader.lengthy()?).map_err(|_| Malformed::Broken("a path is no path"))
}

fn put_seen(out: &mut Vec<u8>, at: i64, seen_in: Option<Version>) {
    out.push(u8::from(seen_in.is_some()));
    if let Some(version) = seen_in {
        put_varint(out, version.inode);
        put_varint(out, from(at, version.ctime.as_nanos()));
    }
}

fn take_seen(reader: &mut RowReader<'_>, at: i64) -> Result<Option<Version>, Malformed> {
    if !reader.bool()? {
        return Ok(None);
    }
    let inode = reader.varint()?;
    let ctime = StorageTime::from_nanos(at.wrapping_add(reader.signed()?));
    Ok(Some(Version { inode, ctime }))
}

/// By directory: its path, how many names, and each name with its tombstone.
fn put_tombstones(ledger: &LedgerImage, out: &mut Vec<u8>) {
    let rows: Vec<_> = ledger.tombstones().collect();
    let mut last = 0;
    for group in rows.chunk_by(|left, right| left.0 == right.0) {
        let Some((dir, ..)) = group.first() else { continue };
        put_bytes(out, dir);
        put_varint(out, group.len() as u64);
        for (_, name, tomb) in group {
            let at = tomb.deleted_at.as_nanos();
            put_bytes(out, name);
            put_varint(out, from(last, at));
            put_varint(out, from(at, tomb.since.as_nanos()));
            put_seen(out, at, tomb.seen_in);
            last = at;
        }
    }
}

fn take_tombstones(reader: &mut RowReader<'_>, loading: &mut Loading) -> Result<(), Refused> {
    let mut last = 0_i64;
    while reader.left() > 0 {
        let dir = path(reader)?;
        for _ in 0..reader.varint()? {
            let name = reader.lengthy()?;
            let at = last.wrapping_add(reader.signed()?);
            let since = ServerTime::from_nanos(at.wrapping_add(reader.signed()?));
            let seen_in = take_seen(reader, at)?;
            let deleted_at = ServerTime::from_nanos(at);
            loading.tombstone(dir, name, Tombstone { deleted_at, seen_in, since })?;
            last = at;
        }
    }
    Ok(())
}

fn put_trash(ledger: &LedgerImage, out: &mut Vec<u8>) {
    let mut last = 0;
    for (record, subtree) in ledger.trash() {
        let at = record.at.as_nanos();
        put_varint(out, record.id.0.wrapping_sub(last));
        last = record.id.0;
        put_bytes(out, record.path.as_bytes());
        put_time(out, record.at);
        put_varint(out, from(at, record.deleted_at.as_nanos()));
        put_varint(out, cause_number(record.cause));
        put_stat(out, at, &record.stat);
        let block = subtree.block();
        out.push(u8::from(record.blind) | u8::from(record.by.is_some()) << 1);
        if let Some(by) = &record.by {
            put_bytes(out, by.agent.as_str().as_bytes());
            out.extend_from_slice(by.session.uuid().as_bytes());
            put_varint(out, by.epoch.0);
        }
        put_weight(out, at, &record.weight);
        out.push(subtree.flags.bits());
        put_seen(out, at, subtree.seen_in);
        out.push(u8::from(block.is_some()));
        block.iter().for_each(|block| put_block(out, *block));
    }
}

fn take_trash(reader: &mut RowReader<'_>, loading: &mut Loading) -> Result<(), Refused> {
    let mut last = 0_u64;
    while reader.left() > 0 {
        last = last.wrapping_add(reader.varint()?);
        let (path, at) = (path(reader)?.to_owned(), take_time(reader)?);
        let nanos = at.as_nanos();
        let deleted_at = ServerTime::from_nanos(nanos.wrapping_add(reader.signed()?));
        let cause = cause_from(reader.varint()?).ok_or(Malformed::Broken("no such cause"))?;
        let stat = take_stat(reader, nanos)?;
        let bits = reader.u8()?;
        let by = if bits & 2 == 0 { None } else { Some(take_witness(reader)?) };
        let weight = take_weight(reader, nanos)?;
        let flags = Flags::from_bits(reader.u8()?).ok_or(Malformed::Broken("no such flags"))?;
        let seen_in = take_seen(reader, nanos)?;
        let block = if reader.bool()? { Some(take_block(reader)?) } else { None };
        let blind = bits & 1 == 1;
        let id = TrashId(last);
        let record = TrashRecord { id, path, stat, deleted_at, at, cause, by, blind, weight };
        loading.trash(record, Detached::from_image(stat, flags, seen_in, block))?;
    }
    Ok(())
}

fn take_witness(reader: &mut RowReader<'_>) -> Result<Witness, Malformed> {
    let (agent, session) = (agent(reader)?, SessionId::new(reader.uuid()?));
    Ok(Witness { agent, session, epoch: LeaderEpoch(reader.varint()?) })
}

fn put_stat(out: &mut Vec<u8>, at: i64, stat: &Stat) {
    out.push(stat.kind as u8);
    put_varint(out, stat.size);
    put_varint(out, from(at, stat.mtime.as_nanos()));
    put_varint(out, from(stat.mtime.as_nanos(), stat.ctime.as_nanos()));
    put_varint(out, stat.inode);
    for value in [stat.mode, stat.uid, stat.gid, stat.nlink] {
        put_varint(out, u64::from(value));
    }
}

fn take_stat(reader: &mut RowReader<'_>, at: i64) -> Result<Stat, Malformed> {
    let kind = Kind::from_u8(reader.u8()?).ok_or(Malformed::Broken("no such kind of entry"))?;
    let size = reader.varint()?;
    let mtime = at.wrapping_add(reader.signed()?);
    let ctime = mtime.wrapping_add(reader.signed()?);
    Ok(Stat {
        kind,
        size,
        mtime: StorageTime::from_nanos(mtime),
        ctime: StorageTime::from_nanos(ctime),
        inode: reader.varint()?,
        mode: small(reader)?,
        uid: small(reader)?,
        gid: small(reader)?,
        nlink: small(reader)?,
    })
}

fn put_weight(out: &mut Vec<u8>, at: i64, weight: &Totals) {
    for sum in [
        weight.files,
        weight.directories,
        weight.others,
        weight.bytes,
        weight.suspects,
        weight.blind,
    ] {
        put_varint(out, sum);
    }
    out.push(u8::from(weight.newest_mtime.is_some()));
    weight.newest_mtime.iter().for_each(|time| put_varint(out, from(at, time.as_nanos())));
    put_maybe(out, weight.last_change);
}

fn take_weight(reader: &mut RowReader<'_>, at: i64) -> Result<Totals, Malformed> {
    let mut weight = Totals {
        files: reader.varint()?,
        directories: reader.varint()?,
        others: reader.varint()?,
        bytes: reader.varint()?,
        suspects: reader.varint()?,
        blind: reader.varint()?,
        newest_mtime: None,
        last_change: None,
    };
    if reader.bool()? {
        let newest = at.wrapping_add(reader.signed()?);
        weight.newest_mtime = Some(StorageTime::from_nanos(newest));
    }
    weight.last_change = take_maybe(reader)?;
    Ok(weight)
}

/// Samples mostly repeat: each with how often.
fn put_clock(ledger: &LedgerImage, out: &mut Vec<u8>) {
    let samples: Vec<i64> = ledger.clock().collect();
    for run in samples.chunk_by(|left, right| left == right) {
        put_varint(out, run.len() as u64);
        put_varint(out, zigzag(run[0]));
    }
}

fn take_clock(reader: &mut RowReader<'_>, loading: &mut Loading) -> Result<(), Malformed> {
    let mut left = 1_u64 << 20;
    while reader.left() > 0 {
        let (count, behind) = (reader.varint()?, reader.signed()?);
        let more = left.checked_sub(count);
        left = more.ok_or(Malformed::Broken("the clock has too many samples"))?;
        (0..count).for_each(|_| loading.clock(behind));
    }
    Ok(())
}

fn put_confirmed(rows: &[Confirmed], out: &mut Vec<u8>) {
    let column = |value: fn(&Confirmed) -> u64| rows.iter().map(value).collect::<Vec<u64>>();
    pack(&column(|row| row.dir & u64::from(u32::MAX)), out);
    pack(&column(|row| row.dir >> 32), out);
    pack(&column(|row| row.name), out);
    pack(&column(|row| row.at.as_nanos() as u64 ^ 1 << 63), out);
    pack(&column(|row| u64::from(row.agent)), out);
    put_varint(out, rows.len() as u64);
}

fn take_confirmed(
    reader: &mut RowReader<'_>,
    young: bool,
    loading: &mut Loading,
) -> Result<(), Malformed> {
    let mut columns = Vec::with_capacity(5);
    for _ in 0..5 {
        columns.push(Column::unpack(reader)?);
    }
    for _ in 0..reader.varint()? {
        let mut row = [0; 5];
        for (value, column) in row.iter_mut().zip(&mut columns) {
            *value = column.next()?;
        }
        let [slot, generation, name, at, agent] = row;
        let agent = u16::try_from(agent).map_err(|_| Malformed::Broken("no such agent"))?;
        let at = ServerTime::from_nanos((at ^ 1 << 63) as i64);
        let dir = generation << 32 | slot & u64::from(u32::MAX);
        loading.confirmed(young, &Confirmed { dir, name, at, agent });
    }
    if columns.iter().all(Column::is_done) {
        Ok(())
    } else {
        Err(Malformed::Broken("more is stored than the confirmations take"))
    }
}
