//! What the view notes for itself, row by row: it is rare, and of many kinds.

use fusion_core::change::{
    AgendaKind, HeldUpsert, Loss, LossCause, Note, PartsSoFar, RootAway, RootDoubt, RunningScan,
    Waiting, WholeScan,
};
use fusion_core::evidence::{ScanId, Source, Witness};
use fusion_core::id::{AgentId, LeaderEpoch, SessionId};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};

use super::decode::agent;
use super::encode::from;
use super::row::{RowReader, put_bytes, put_varint, zigzag};
use crate::error::Malformed;

const WAITS: u8 = 1;
const DONE: u8 = 2;
const HELD: u8 = 3;
const RELEASED: u8 = 4;
const SCAN_BEGAN: u8 = 5;
const SCAN_ENDED: u8 = 6;
const PARTS: u8 = 7;
const LOST: u8 = 8;
const ROOT_AWAY: u8 = 9;
const ROOT_DOUBT: u8 = 10;
const ROOT_ACCEPTED: u8 = 11;
const UNREADABLE: u8 = 12;
const TOMBSTONES_EXPIRED: u8 = 13;
const CONFIRMATIONS_FORGOTTEN: u8 = 14;
/// Since version 2.
const ROOT_AGREED: u8 = 15;
const OPERATED: u8 = 16;

/// Writes with times told from the time of the change.
struct Rows<'a> {
    out: &'a mut Vec<u8>,
    at: i64,
}

/// Adds a note of a change at this time.
pub(super) fn put(out: &mut Vec<u8>, at: ServerTime, note: &Note) {
    let mut rows = Rows { out, at: at.as_nanos() };
    match note {
        Note::Waits { agenda, path, waiting } => rows.waits(*agenda, path, waiting),
        Note::Done { agenda, path } => {
            rows.kind(DONE).u8(agenda_number(*agenda)).path(path);
        }
        Note::Held { number, row, sample } => rows.held(*number, row, *sample),
        Note::Released { number } => {
            rows.kind(RELEASED).number(*number);
        }
        Note::ScanBegan(scan) => rows.scan_began(scan),
        Note::ScanEnded { session, scan, whole } => {
            rows.kind(SCAN_ENDED).session(*session).number(scan.0).u8(u8::from(whole.is_some()));
            if let Some(whole) = whole {
                let source = source_number(whole.source);
                rows.u8(source).time(whole.started_at).time(whole.finished_at);
            }
        }
        Note::Parts { dir, parts } => rows.parts(dir, parts.as_deref()),
        Note::Lost(loss) => {
            let cause = loss_number(loss.cause);
            rows.kind(LOST).agent(&loss.agent).u8(cause).time(loss.since).maybe(loss.over_at);
        }
        Note::RootAway { agent, away } => {
            rows.kind(ROOT_AWAY).agent(agent).u8(u8::from(away.is_some()));
            if let Some(away) = away {
                rows.time(away.since).maybe(away.until);
            }
        }
        Note::RootDoubt(doubt) => {
            rows.kind(ROOT_DOUBT).u8(u8::from(doubt.is_some()));
            if let Some(doubt) = doubt {
                rows.agent(&doubt.agent).time(doubt.since).u8(u8::from(doubt.confirmed));
            }
        }
        Note::RootAgreed { agent } => {
            rows.kind(ROOT_AGREED).agent(agent);
        }
        Note::Operated { call } => {
            rows.kind(OPERATED).out.extend_from_slice(call.as_bytes());
        }
        Note::RootAccepted(accepted) => {
            rows.kind(ROOT_ACCEPTED).u8(u8::from(*accepted));
        }
        Note::Unreadable { dir, errno } => {
            rows.kind(UNREADABLE).path(dir).u8(u8::from(errno.is_some()));
            if let Some(errno) = errno {
                rows.number(zigzag(i64::from(*errno)));
            }
        }
        Note::TombstonesExpired => {
            rows.kind(TOMBSTONES_EXPIRED);
        }
        Note::ConfirmationsForgotten => {
            rows.kind(CONFIRMATIONS_FORGOTTEN);
        }
    }
}

impl Rows<'_> {
    fn kind(&mut self, kind: u8) -> &mut Self {
        self.u8(kind)
    }

    fn u8(&mut self, value: u8) -> &mut Self {
        self.out.push(value);
        self
    }

    fn number(&mut self, value: u64) -> &mut Self {
        put_varint(self.out, value);
        self
    }

    fn time(&mut self, time: ServerTime) -> &mut Self {
        self.number(from(self.at, time.as_nanos()))
    }

    fn maybe(&mut self, time: Option<ServerTime>) -> &mut Self {
        self.u8(u8::from(time.is_some()));
        if let Some(time) = time {
            self.time(time);
        }
        self
    }

    fn path(&mut self, path: &TreePath) -> &mut Self {
        put_bytes(self.out, path.as_bytes());
        self
    }

    fn agent(&mut self, agent: &AgentId) -> &mut Self {
        put_bytes(self.out, agent.as_str().as_bytes());
        self
    }

    fn session(&mut self, session: SessionId) -> &mut Self {
        self.out.extend_from_slice(session.uuid().as_bytes());
        self
    }

    fn stat(&mut self, stat: &Stat) -> &mut Self {
        self.u8(stat.kind as u8).number(stat.size);
        self.number(from(self.at, stat.mtime.as_nanos()));
        self.number(from(stat.mtime.as_nanos(), stat.ctime.as_nanos())).number(stat.inode);
        for value in [stat.mode, stat.uid, stat.gid, stat.nlink] {
            self.number(u64::from(value));
        }
        self
    }

    fn waits(&mut self, agenda: AgendaKind, path: &TreePath, waiting: &Waiting) {
        self.kind(WAITS).u8(agenda_number(agenda)).path(path);
        self.time(waiting.due).time(waiting.floor).u8(waiting.level);
    }

    fn held(&mut self, number: u64, row: &HeldUpsert, sample: bool) {
        let flags = u8::from(row.atomic) | u8::from(row.moved_in) << 1 | u8::from(sample) << 2;
        self.kind(HELD).number(number).u8(flags).path(&row.path);
        self.stat(&row.stat).stat(&row.parent).time(row.observed_at);
        self.agent(&row.by.agent).session(row.by.session).number(row.by.epoch.0);
    }

    fn scan_began(&mut self, scan: &RunningScan) {
        let flags = u8::from(scan.deep) | u8::from(scan.doubtful) << 1;
        self.kind(SCAN_BEGAN).session(scan.session).agent(&scan.agent).number(scan.scan.0);
        self.u8(source_number(scan.source)).path(&scan.path).time(scan.started_at).u8(flags);
    }

    fn parts(&mut self, dir: &TreePath, parts: Option<&PartsSoFar>) {
        self.kind(PARTS).path(dir).u8(u8::from(parts.is_some()));
        let Some(parts) = parts else { return };
        let flags = u8::from(parts.settled)
            | u8::from(parts.complete) << 1
            | u8::from(parts.whole_before) << 2;
        self.session(parts.session).number(parts.scan.0).time(parts.started_at);
        self.number(u64::from(parts.next));
        put_bytes(self.out, &parts.last_name);
        self.u8(flags);
    }
}

/// Reads a note of a change at this time.
pub(super) fn take(reader: &mut RowReader<'_>, at: ServerTime) -> Result<Note, Malformed> {
    Ok(match reader.u8()? {
        WAITS => {
            let (agenda, path) = (agenda_from(reader)?, path(reader)?);
            let (due, floor) = (time(reader, at)?, time(reader, at)?);
            Note::Waits { agenda, path, waiting: Waiting { due, floor, level: reader.u8()? } }
        }
        DONE => Note::Done { agenda: agenda_from(reader)?, path: path(reader)? },
        HELD => take_held(reader, at)?,
        RELEASED => Note::Released { number: reader.varint()? },
        SCAN_BEGAN => Note::ScanBegan(Box::new(take_scan(reader, at)?)),
        SCAN_ENDED => Note::ScanEnded {
            session: SessionId::new(reader.uuid()?),
            scan: ScanId(reader.varint()?),
            whole: if reader.bool()? { Some(take_whole(reader, at)?) } else { None },
        },
        PARTS => {
            let dir = path(reader)?;
            let parts = if reader.bool()? { Some(take_parts(reader, at)?) } else { None };
            Note::Parts { dir, parts: parts.map(Box::new) }
        }
        LOST => Note::Lost(Loss {
            agent: agent(reader)?,
            cause: loss_from(reader.u8()?)?,
            since: time(reader, at)?,
            over_at: maybe(reader, at)?,
        }),
        ROOT_AWAY => {
            let agent = agent(reader)?;
            let away = if reader.bool()? {
                Some(RootAway { since: time(reader, at)?, until: maybe(reader, at)? })
            } else {
                None
            };
            Note::RootAway { agent, away }
        }
        ROOT_DOUBT => Note::RootDoubt(take_doubt(reader, at)?),
        ROOT_AGREED => Note::RootAgreed { agent: agent(reader)? },
        OPERATED => Note::Operated { call: reader.uuid()? },
        ROOT_ACCEPTED => Note::RootAccepted(reader.bool()?),
        UNREADABLE => Note::Unreadable { dir: path(reader)?, errno: take_errno(reader)? },
        TOMBSTONES_EXPIRED => Note::TombstonesExpired,
        CONFIRMATIONS_FORGOTTEN => Note::ConfirmationsForgotten,
        _ => return Err(Malformed::Broken("no such note")),
    })
}

fn take_held(reader: &mut RowReader<'_>, at: ServerTime) -> Result<Note, Malformed> {
    let (number, flags) = (reader.varint()?, reader.u8()?);
    let path = path(reader)?;
    let (stat, parent) = (stat(reader, at)?, stat(reader, at)?);
    let observed_at = time(reader, at)?;
    let (agent, session) = (agent(reader)?, SessionId::new(reader.uuid()?));
    let by = Witness { agent, session, epoch: LeaderEpoch(reader.varint()?) };
    let (atomic, moved_in) = (flags & 1 != 0, flags & 2 != 0);
    let row = HeldUpsert { path, stat, parent, atomic, moved_in, observed_at, by };
    Ok(Note::Held { number, row: Box::new(row), sample: flags & 4 != 0 })
}

fn take_scan(reader: &mut RowReader<'_>, at: ServerTime) -> Result<RunningScan, Malformed> {
    let (session, agent) = (SessionId::new(reader.uuid()?), agent(reader)?);
    let (scan, source) = (ScanId(reader.varint()?), source_from(reader.u8()?)?);
    let (path, started_at, flags) = (path(reader)?, time(reader, at)?, reader.u8()?);
    let (deep, doubtful) = (flags & 1 != 0, flags & 2 != 0);
    Ok(RunningScan { session, agent, scan, source, path, started_at, deep, doubtful })
}

fn take_whole(reader: &mut RowReader<'_>, at: ServerTime) -> Result<WholeScan, Malformed> {
    let source = source_from(reader.u8()?)?;
    Ok(WholeScan { source, started_at: time(reader, at)?, finished_at: time(reader, at)? })
}

fn take_parts(reader: &mut RowReader<'_>, at: ServerTime) -> Result<PartsSoFar, Malformed> {
    let (session, scan) = (SessionId::new(reader.uuid()?), ScanId(reader.varint()?));
    let started_at = time(reader, at)?;
    let next = u32::try_from(reader.varint()?);
    let next = next.map_err(|_| Malformed::Broken("a part has no such number"))?;
    let last_name = reader.lengthy()?.into();
    let flags = reader.u8()?;
    Ok(PartsSoFar {
        session,
        scan,
        started_at,
        next,
        last_name,
        settled: flags & 1 != 0,
        complete: flags & 2 != 0,
        whole_before: flags & 4 != 0,
    })
}

fn take_doubt(reader: &mut RowReader<'_>, at: ServerTime) -> Result<Option<RootDoubt>, Malformed> {
    if !reader.bool()? {
        return Ok(None);
    }
    let (agent, since) = (agent(reader)?, time(reader, at)?);
    Ok(Some(RootDoubt { agent, since, confirmed: reader.bool()? }))
}

fn take_errno(reader: &mut RowReader<'_>) -> Result<Option<i32>, Malformed> {
    if !reader.bool()? {
        return Ok(None);
    }
    let errno = i32::try_from(reader.signed()?);
    errno.map(Some).map_err(|_| Malformed::Broken("an error has no such number"))
}

fn path(reader: &mut RowReader<'_>) -> Result<TreePath, Malformed> {
    TreePath::new(reader.lengthy()?).map_err(|_| Malformed::Broken("a path is no path"))
}

fn time(reader: &mut RowReader<'_>, at: ServerTime) -> Result<ServerTime, Malformed> {
    Ok(ServerTime::from_nanos(at.as_nanos().wrapping_add(reader.signed()?)))
}

fn maybe(reader: &mut RowReader<'_>, at: ServerTime) -> Result<Option<ServerTime>, Malformed> {
    if reader.bool()? { time(reader, at).map(Some) } else { Ok(None) }
}

fn stat(reader: &mut RowReader<'_>, at: ServerTime) -> Result<Stat, Malformed> {
    let kind = Kind::from_u8(reader.u8()?).ok_or(Malformed::Broken("no such kind of entry"))?;
    let size = reader.varint()?;
    let mtime = at.as_nanos().wrapping_add(reader.signed()?);
    let ctime = mtime.wrapping_add(reader.signed()?);
    let inode = reader.varint()?;
    let mut small = || {
        u32::try_from(reader.varint()?)
            .map_err(|_| Malformed::Broken("a value is out of its range"))
    };
    Ok(Stat {
        kind,
        size,
        mtime: StorageTime::from_nanos(mtime),
        ctime: StorageTime::from_nanos(ctime),
        inode,
        mode: small()?,
        uid: small()?,
        gid: small()?,
        nlink: small()?,
    })
}

fn agenda_number(agenda: AgendaKind) -> u8 {
    match agenda {
        AgendaKind::Relist => 1,
        AgendaKind::Probe => 2,
    }
}

fn agenda_from(reader: &mut RowReader<'_>) -> Result<AgendaKind, Malformed> {
    match reader.u8()? {
        1 => Ok(AgendaKind::Relist),
        2 => Ok(AgendaKind::Probe),
        _ => Err(Malformed::Broken("no such agenda")),
    }
}

fn source_number(source: Source) -> u8 {
    match source {
        Source::Snapshot => 1,
        Source::Audit => 2,
        Source::OnDemand => 3,
        Source::Discovery => 4,
    }
}

fn source_from(number: u8) -> Result<Source, Malformed> {
    match number {
        1 => Ok(Source::Snapshot),
        2 => Ok(Source::Audit),
        3 => Ok(Source::OnDemand),
        4 => Ok(Source::Discovery),
        _ => Err(Malformed::Broken("no such kind of scan")),
    }
}

fn loss_number(cause: LossCause) -> u8 {
    match cause {
        LossCause::Overflow => 1,
        LossCause::NewInstance => 2,
        LossCause::SequenceHole => 3,
        LossCause::SessionLost => 4,
    }
}

fn loss_from(number: u8) -> Result<LossCause, Malformed> {
    match number {
        1 => Ok(LossCause::Overflow),
        2 => Ok(LossCause::NewInstance),
        3 => Ok(LossCause::SequenceHole),
        4 => Ok(LossCause::SessionLost),
        _ => Err(Malformed::Broken("no such loss")),
    }
}
