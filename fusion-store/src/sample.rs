//! Samples for tests: one change of every kind, and heads of every shape.

use fusion_core::change::{
    AgendaKind, Cause, Change, ChangeKind, Facts, HeldUpsert, Listed, ListedOutcome, Loss,
    LossCause, Note, PartsSoFar, RootAway, RootDoubt, RunningScan, Tombstone, TrashId, Waiting,
    WholeScan,
};
use fusion_core::evidence::{ChildColumns, ScanId, Source, Witness};
use fusion_core::id::{
    AgentId, CorrelationId, LeaderEpoch, Revision, SessionId, SpoolId, ViewName,
};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::Version;
use uuid::Uuid;

use crate::codec::RECORD_VERSION;
use crate::ports::{
    Actor, Applied, Lane, LogPoint, Origin, OwnerEpoch, RecordHead, ViewId, ViewRef,
};

const NOW: i64 = 1_700_000_000_000_000_000;

/// A view with a number.
#[must_use]
pub fn view(number: u64) -> ViewRef {
    let id = ViewId(Uuid::from_u64_pair(7, number));
    ViewRef { id, name: name(number) }
}

#[allow(clippy::expect_used, reason = "what is written here is valid")]
fn name(number: u64) -> ViewName {
    ViewName::new(&format!("view-{number}")).expect("a view's name")
}

/// A path.
#[must_use]
#[allow(clippy::expect_used, reason = "for tests: a path that is none is a fault of the test")]
pub fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).expect("a path")
}

#[allow(clippy::expect_used, reason = "what is written here is valid")]
fn agent() -> AgentId {
    AgentId::new("host-1").expect("an agent's name")
}

fn time(seconds: i64) -> ServerTime {
    ServerTime::from_nanos(NOW + seconds * 1_000_000_000)
}

fn session() -> SessionId {
    SessionId::new(Uuid::from_u64_pair(3, 4))
}

/// A witness.
#[must_use]
pub fn witness() -> Witness {
    Witness { agent: agent(), session: session(), epoch: LeaderEpoch(5) }
}

/// A stat that depends on a number.
#[must_use]
pub fn stat(number: u64) -> Stat {
    Stat {
        kind: if number.is_multiple_of(5) { Kind::Directory } else { Kind::File },
        size: number * 1000,
        mtime: StorageTime::from_nanos(NOW - number as i64 * 1_000_003),
        ctime: StorageTime::from_nanos(NOW - number as i64 * 1_000_001),
        inode: 1_000_000 + number,
        mode: 0o644,
        uid: 1000,
        gid: u32::MAX,
        nlink: 1,
    }
}

fn version() -> Version {
    Version { inode: 12, ctime: StorageTime::from_nanos(NOW - 5) }
}

fn facts() -> Facts {
    Facts {
        seen_in: Some(version()),
        confirmed_at: Some(time(-1)),
        suspect_until: Some(time(30)),
        blind: true,
        sample: Some(StorageTime::from_nanos(NOW - 9)),
    }
}

fn tombstone(seen_in: Option<Version>) -> Tombstone {
    Tombstone { deleted_at: time(-2), seen_in, since: time(-1) }
}

/// A listing of a directory with so many rows.
#[must_use]
pub fn listed(dir: &str, rows: u64) -> Listed {
    let mut columns = ChildColumns::default();
    for row in 0..rows {
        columns.push(format!("name-{row:06}").as_bytes(), &stat(row));
    }
    Listed {
        dir: path(dir),
        version: version(),
        started_at: time(-3),
        after: Some(b"a".as_slice().into()),
        through: Some(b"z\xff".as_slice().into()),
        flags: (0..rows).map(|row| (row % 4) as u8).collect(),
        before: (0..rows).step_by(3).map(|row| (row as u32, stat(row + 1))).collect(),
        rows: columns,
        sees: true,
        unseen: vec![b"b".as_slice().into(), b"name-000001".as_slice().into()],
        open: vec![b"b".as_slice().into()],
        suspect_until: time(29),
        outcome: Some(ListedOutcome { complete: true, settled: false, behind: true }),
    }
}

/// One of every kind of change, and more than one shape where there are several.
#[must_use]
pub fn kinds() -> Vec<ChangeKind> {
    kinds_of(RECORD_VERSION)
}

/// Changes of every kind that a version of the format knows.
#[must_use]
pub fn kinds_of(format: u16) -> Vec<ChangeKind> {
    let waiting = Waiting { due: time(60), floor: ServerTime::from_nanos(i64::MIN), level: 3 };
    let (dir, file) = (path("/dir"), path("/dir/file"));
    let bare = Listed { after: None, through: None, outcome: None, ..listed("/", 0) };
    let mut kinds = vec![
        ChangeKind::Created { path: file.clone(), stat: stat(1), facts: facts() },
        ChangeKind::Created { path: TreePath::root(), stat: stat(5), facts: Facts::default() },
        ChangeKind::Modified {
            path: file.clone(),
            before: stat(0),
            after: Stat { uid: 0, size: u64::MAX, ..stat(2) },
            facts: facts(),
        },
        ChangeKind::Touched { path: file.clone(), facts: facts() },
        ChangeKind::Removed {
            path: file.clone(),
            stat: stat(3),
            tombstone: Some(tombstone(Some(version()))),
            blind: true,
        },
        ChangeKind::Removed { path: file.clone(), stat: stat(3), tombstone: None, blind: false },
        ChangeKind::Moved {
            from: file.clone(),
            to: path("/dir/other"),
            before: stat(4),
            stat: stat(6),
            facts: facts(),
            tombstone: tombstone(None),
        },
        ChangeKind::Listed(Box::new(listed("/dir", 7))),
        ChangeKind::Listed(Box::new(bare)),
        ChangeKind::Buried { path: file.clone(), tombstone: tombstone(Some(version())) },
        ChangeKind::Restored {
            path: file.clone(),
            stat: stat(8),
            trash: TrashId(77),
            suspect_until: time(31),
        },
        ChangeKind::Purged { path: file.clone(), stat: stat(9), trash: TrashId(78) },
        ChangeKind::Reset,
    ];
    let agenda = AgendaKind::Relist;
    let notes = [
        Note::Waits { agenda, path: dir.clone(), waiting },
        Note::Done { agenda: AgendaKind::Probe, path: file.clone() },
        Note::Released { number: 9 },
    ];
    kinds.extend(notes.into_iter().chain(frames(&dir, &file)).map(ChangeKind::Noted));
    if format > 1 {
        kinds.push(ChangeKind::Noted(Note::RootAgreed { agent: agent() }));
        kinds.push(ChangeKind::Noted(Note::Operated { call: Uuid::from_u64_pair(5, 6) }));
    }
    kinds
}

fn frames(dir: &TreePath, file: &TreePath) -> Vec<Note> {
    let (session, agent) = (session(), agent());
    let whole =
        WholeScan { source: Source::Audit, started_at: time(-9), finished_at: ServerTime::MAX };
    let scan = RunningScan {
        session,
        agent: agent.clone(),
        scan: ScanId(u64::MAX),
        source: Source::OnDemand,
        path: dir.clone(),
        started_at: time(-8),
        deep: true,
        doubtful: false,
    };
    let parts = PartsSoFar {
        session,
        scan: ScanId(2),
        started_at: time(-7),
        next: 3,
        last_name: b"last".as_slice().into(),
        settled: true,
        complete: false,
        whole_before: true,
    };
    let held = HeldUpsert {
        path: file.clone(),
        stat: stat(1),
        parent: stat(5),
        atomic: true,
        moved_in: false,
        observed_at: time(-1),
        by: witness(),
    };
    let loss = Loss {
        agent: agent.clone(),
        cause: LossCause::SequenceHole,
        since: time(-99),
        over_at: Some(time(-98)),
    };
    let away = RootAway { since: time(-6), until: None };
    let doubt = RootDoubt { agent: agent.clone(), since: time(-5), confirmed: true };
    vec![
        Note::Held { number: 8, row: Box::new(held), sample: true },
        Note::ScanBegan(Box::new(scan)),
        Note::ScanEnded { session, scan: ScanId(1), whole: Some(whole) },
        Note::ScanEnded { session, scan: ScanId(1), whole: None },
        Note::Parts { dir: dir.clone(), parts: Some(Box::new(parts)) },
        Note::Parts { dir: dir.clone(), parts: None },
        Note::Lost(loss),
        Note::RootAway { agent: agent.clone(), away: Some(away) },
        Note::RootAway { agent, away: None },
        Note::RootDoubt(Some(doubt)),
        Note::RootDoubt(None),
        Note::RootAccepted(true),
        Note::Unreadable { dir: dir.clone(), errno: Some(-13) },
        Note::Unreadable { dir: dir.clone(), errno: None },
        Note::TombstonesExpired,
        Note::ConfirmationsForgotten,
    ]
}

/// Changes of these kinds, numbered after a place.
#[must_use]
pub fn numbered(after: LogPoint, kinds: Vec<ChangeKind>) -> Vec<Change> {
    const CAUSES: [Cause; 7] = [
        Cause::Realtime,
        Cause::Baseline,
        Cause::Audit,
        Cause::Probe,
        Cause::RenamedOver,
        Cause::Expiry,
        Cause::Operator,
    ];
    let mut next = after.revision.0;
    let number = |(index, kind): (usize, ChangeKind)| {
        let change = Change {
            revision: Revision(next + 1),
            at: time(index as i64 / 3),
            cause: CAUSES[index % CAUSES.len()],
            by: (!index.is_multiple_of(4)).then(witness),
            kind,
        };
        next = change.last_revision().0;
        change
    };
    kinds.into_iter().enumerate().map(number).collect()
}

/// A head with everything in it.
#[must_use]
#[allow(clippy::expect_used, reason = "what is written here is valid")]
pub fn full_head() -> RecordHead {
    let correlation = |text| CorrelationId::new(text).expect("a correlation id");
    RecordHead {
        at: time(0),
        origin: Origin::Audit,
        applied: Some(Applied {
            lane: Lane::Realtime(agent(), SpoolId::new(Uuid::from_u64_pair(5, 6))),
            sequence: 1 << 40,
        }),
        leader_epoch: Some(LeaderEpoch(17)),
        actor: Some(Actor::Agent(agent(), session())),
        correlation: Some(correlation("job:1")),
        causation: Some(correlation("command.2")),
    }
}

/// Heads of all origins, lanes and actors.
#[must_use]
pub fn heads() -> Vec<RecordHead> {
    const ORIGINS: [Origin; 10] = [
        Origin::Realtime,
        Origin::Snapshot,
        Origin::Discovery,
        Origin::Audit,
        Origin::OnDemand,
        Origin::Probe,
        Origin::Report,
        Origin::Time,
        Origin::Operator,
        Origin::Election,
    ];
    let mut heads: Vec<RecordHead> =
        ORIGINS.iter().map(|origin| RecordHead::new(time(1), *origin)).collect();
    heads[1].applied = Some(Applied { lane: Lane::Scan(session()), sequence: 3 });
    heads[8].actor = Some(Actor::Principal("operator@example".into()));
    heads.push(full_head());
    heads.push(RecordHead::new(time(1), Origin::Owner(OwnerEpoch(3))));
    heads
}

/// A batch that creates so many files, numbered after a place.
#[must_use]
pub fn batch(after: LogPoint, count: u64) -> Vec<Change> {
    let created = |number: u64| ChangeKind::Created {
        path: path(&format!("/dir/file-{}-{number}", after.record)),
        stat: stat(number),
        facts: Facts::default(),
    };
    numbered(after, (0..count).map(created).collect())
}
