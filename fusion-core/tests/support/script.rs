//! Turns any bytes into evidence, ticks and acts of operators, and runs them against a view.
//!
//! Used by the property test `arbitrary` and by the fuzz target `apply`. Few names, inodes and times,
//! so that everything meets everything; and the ends of every range. What is checked: no panic, the
//! invariants after every step, and that a replay of the changes gives the same view.

#![allow(clippy::unwrap_used, reason = "what is written here is valid")]

use fusion_core::change::{Change, LossCause};
use fusion_core::evidence::{
    ChildColumns, Evidence, Listing, RootIdentity, RootState, ScanId, Source, Witness,
};
use fusion_core::id::{AgentId, LeaderEpoch, SessionId};
use fusion_core::path::{PathRef, TreePath};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::{AgentReport, Leadership, View, ViewSettings};

const NAMES: [&[u8]; 6] = [b"a", b"b", b"a b", b"a0", b"\xff", b"zz"];
const SECOND: i64 = 1_000_000_000;

/// Bytes, taken one by one; zeros when there are none left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.next() % bound
    }

    fn chance(&mut self, one_in: u8) -> bool {
        self.below(one_in) == 1
    }

    fn path(&mut self) -> TreePath {
        let mut path = TreePath::root();
        if self.chance(60) {
            return TreePath::new([b"/x".as_slice(); 2000].concat()).unwrap();
        }
        for _ in 0..self.below(4) {
            let name = NAMES[usize::from(self.below(4))];
            path = path.join(name).unwrap();
        }
        path
    }

    fn time(&mut self, now: i64) -> ServerTime {
        match self.below(20) {
            0 => ServerTime::MAX,
            1 => ServerTime::from_nanos(i64::MIN),
            2..=6 => ServerTime::from_nanos(now - i64::from(self.next()) * SECOND),
            _ => ServerTime::from_nanos(now - i64::from(self.below(4)) * SECOND / 4),
        }
    }

    fn ctime(&mut self, now: i64) -> StorageTime {
        match self.below(24) {
            0 => StorageTime::MAX,
            1 => StorageTime::from_nanos(i64::MIN),
            2..=9 => StorageTime::from_nanos(now - i64::from(self.below(4)) * 10 * SECOND),
            _ => StorageTime::from_nanos(i64::from(self.below(6)) * SECOND),
        }
    }

    fn stat(&mut self, now: i64) -> Stat {
        let kind = if self.chance(3) { Kind::Directory } else { Kind::File };
        let kind = if self.chance(9) { Kind::Symlink } else { kind };
        self.stat_of(kind, now)
    }

    fn stat_of(&mut self, kind: Kind, now: i64) -> Stat {
        Stat {
            kind,
            size: if self.chance(9) { u64::MAX } else { u64::from(self.below(3)) },
            mtime: self.ctime(now),
            ctime: self.ctime(now),
            inode: u64::from(self.below(6)),
            mode: u32::from(self.below(2)),
            uid: if self.chance(9) { u32::MAX } else { 0 },
            gid: 0,
            nlink: 1,
        }
    }

    fn parent(&mut self, view: &View, path: &TreePath, now: i64) -> Option<Stat> {
        if self.chance(8) {
            return None;
        }
        let known = path.as_ref().split_last().and_then(|(dir, _)| view.reader().entry(dir));
        match known {
            Some(known) if !self.chance(6) => {
                let ctime = if self.chance(3) { self.ctime(now) } else { known.stat.ctime };
                Some(Stat { ctime, ..known.stat })
            }
            _ => Some(self.stat_of(Kind::Directory, now)),
        }
    }

    fn columns(&mut self, now: i64) -> ChildColumns {
        let mut columns = ChildColumns::default();
        let sound = !self.chance(16);
        for name in [0, 2, 3, 1, 5, 4] {
            if self.chance(2) {
                let stat = self.stat(now);
                columns.push(NAMES[name], &stat);
                if !sound {
                    columns.push(NAMES[name], &stat);
                }
            }
        }
        if self.chance(40) {
            columns.sizes.pop();
        }
        if self.chance(40) {
            columns.name_lengths.push(u32::MAX);
        }
        columns
    }

    fn root(&mut self) -> Option<RootIdentity> {
        if self.chance(3) {
            return None;
        }
        let top =
            (0..self.below(4)).map(|n| (NAMES[usize::from(n)].to_vec(), u64::from(self.below(6))));
        Some(RootIdentity { top: top.collect(), ..RootIdentity::default() })
    }
}

/// A view under arbitrary evidence.
pub(crate) struct Script {
    pub(crate) view: View,
    pub(crate) changes: Vec<Change>,
    now: i64,
    epoch: u64,
}

/// Runs the bytes; says what does not hold.
#[allow(dead_code, reason = "some users want the changes, or look on")]
pub(crate) fn run(bytes: &[u8]) -> Result<(), String> {
    play(bytes).map(drop)
}

/// Runs the bytes, and hands out the changes; says what does not hold.
#[allow(dead_code, reason = "some users look on after every step")]
pub(crate) fn play(bytes: &[u8]) -> Result<Vec<Change>, String> {
    play_beside(bytes, |_| Ok(()))
}

/// As [`play`], and calls `beside` after every step.
pub(crate) fn play_beside(
    bytes: &[u8],
    mut beside: impl FnMut(&mut Script) -> Result<(), String>,
) -> Result<Vec<Change>, String> {
    let settings = ViewSettings {
        held_max: 4,
        accept_root: bytes.len().is_multiple_of(2),
        max_entries: if bytes.len().is_multiple_of(3) { 7 } else { u64::MAX },
        ..ViewSettings::default()
    };
    let view = View::new(settings);
    let mut script = Script { view, changes: Vec::new(), now: 1_000 * SECOND, epoch: 0 };
    let mut bytes = Bytes(bytes);
    script.lead(Some(1));
    while !bytes.0.is_empty() {
        script.step(&mut bytes);
        script.view.check_invariants().map_err(|broken| broken.to_string())?;
        beside(&mut script)?;
    }
    let mut replayed = View::new(script.view.settings().clone());
    script.changes.iter().for_each(|change| replayed.replay(change));
    let revisions =
        script.changes.windows(2).all(|pair| pair[0].last_revision() < pair[1].revision);
    if !revisions {
        return Err("revisions are out of order".to_owned());
    }
    let (left, right) = (script.view.dump(), replayed.dump());
    if left == right {
        Ok(script.changes)
    } else {
        Err(format!("replay differs:\n{left}\n---\n{right}"))
    }
}

fn session(agent: u8) -> SessionId {
    SessionId::new(uuid::Uuid::from_u64_pair(0, u64::from(agent)))
}

fn agent(number: u8) -> AgentId {
    AgentId::new(&format!("agent-{number}")).unwrap()
}

impl Script {
    pub(crate) fn lead(&mut self, leader: Option<u8>) {
        self.epoch += 1;
        let epoch = LeaderEpoch(self.epoch);
        let leadership = leader.map(|agent| Leadership { session: session(agent), epoch });
        self.view.set_leadership(leadership);
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        self.now += match bytes.below(16) {
            0 => 61 * SECOND,
            1 => 700 * SECOND,
            _ => i64::from(bytes.below(8)) * SECOND / 2,
        };
        let now = ServerTime::from_nanos(self.now);
        match bytes.below(24) {
            0 | 1 => self.view.tick(now, &mut self.changes),
            2 => drop(self.view.orders(now, usize::from(bytes.below(9)))),
            3 => self.operate(bytes, now),
            4 => self.agents(bytes, now),
            _ => self.evidence(bytes, now),
        }
    }

    fn operate(&mut self, bytes: &mut Bytes<'_>, now: ServerTime) {
        let first = self.view.trash(None).map(|record| record.id).last();
        match (bytes.below(12), first) {
            (0..=5, Some(id)) => drop(self.view.restore(id, now, &mut self.changes)),
            (6..=8, Some(id)) => drop(self.view.purge(id, now, &mut self.changes)),
            (9, _) => self.view.accept_root(now, &mut self.changes),
            (10, _) => self.view.reset(now, &mut self.changes),
            _ => drop(self.view.assign_scan(session(bytes.below(3)), bytes.path())),
        }
    }

    fn agents(&mut self, bytes: &mut Bytes<'_>, now: ServerTime) {
        let who = bytes.below(3);
        match bytes.below(6) {
            0 => self.view.lose(&agent(who), bytes.chance(2), now),
            1 => self.view.lose_events(&agent(who), LossCause::SequenceHole, now),
            2 => self.lead((!bytes.chance(3)).then_some(who)),
            _ => {
                let report = AgentReport {
                    delivered_through: bytes.chance(2).then_some(now),
                    realtime_ready: bytes.chance(2),
                    unwatched_directories: 0,
                    root: RootState::Available,
                };
                self.view.hear(&agent(who), &report, now);
            }
        }
        let _ = (self.view.status(now), self.view.next_wake_up(), self.view.audit_wanted());
    }

    fn evidence(&mut self, bytes: &mut Bytes<'_>, now: ServerTime) {
        let who = 1 + bytes.below(2);
        let epoch = if bytes.chance(20) { 0 } else { self.epoch };
        let by = Witness { agent: agent(who), session: session(who), epoch: LeaderEpoch(epoch) };
        let (path, to) = (bytes.path(), bytes.path());
        let (parent, to_parent) =
            (bytes.parent(&self.view, &path, self.now), bytes.parent(&self.view, &to, self.now));
        let columns = bytes.columns(self.now);
        let observed_at = bytes.time(self.now);
        let stat = match self.view.reader().entry(path.as_ref()) {
            Some(known) if bytes.chance(2) => known.stat,
            _ => bytes.stat(self.now),
        };
        let evidence = match bytes.below(20) {
            0..=4 => Evidence::Upsert {
                path: path.as_ref(),
                stat,
                parent,
                atomic: bytes.chance(2),
                observed_at,
            },
            5 | 6 => Evidence::Remove { path: path.as_ref(), parent, observed_at },
            7 | 8 => Evidence::Rename {
                from: path.as_ref(),
                to: to.as_ref(),
                stat,
                from_parent: parent,
                to_parent,
                observed_at,
            },
            9..=13 => Evidence::Listing(self.listing(bytes, &path, &columns, observed_at)),
            14 | 15 => Evidence::Probe {
                path: path.as_ref(),
                found: bytes.chance(2).then_some(stat),
                parent,
                observed_at,
            },
            _ => return self.frame(bytes, &by, path.as_ref(), &stat, observed_at),
        };
        self.apply(&by, &evidence, now, bytes.chance(6));
    }

    fn apply(&mut self, by: &Witness, evidence: &Evidence<'_>, now: ServerTime, twice: bool) {
        // The replay is not warmed: that the two are the same shows that it changes nothing.
        self.view.warm(std::iter::once(evidence));
        let _ = self.view.apply(by, evidence, now, &mut self.changes);
        if twice {
            let _ = self.view.apply(by, evidence, now, &mut self.changes);
        }
    }

    fn listing<'a>(
        &self,
        bytes: &mut Bytes<'_>,
        dir: &'a TreePath,
        columns: &'a ChildColumns,
        started_at: ServerTime,
    ) -> Listing<'a> {
        let known = self.view.reader().entry(dir.as_ref()).map(|known| known.stat);
        let dir_stat = match known {
            Some(mut known) if !bytes.chance(6) => {
                if bytes.chance(3) {
                    known.ctime = bytes.ctime(self.now);
                }
                known
            }
            _ => bytes.stat_of(Kind::Directory, self.now),
        };
        Listing {
            dir: dir.as_ref(),
            dir_stat,
            scan: ScanId(u64::from(bytes.below(3))),
            source: source(bytes),
            started_at,
            finished_at: started_at,
            part: if bytes.chance(4) { u32::from(bytes.below(3)) } else { 0 },
            last: !bytes.chance(4),
            complete: !bytes.chance(8),
            children: columns.as_children(),
        }
    }

    fn frame(
        &mut self,
        bytes: &mut Bytes<'_>,
        by: &Witness,
        path: PathRef<'_>,
        stat: &Stat,
        observed_at: ServerTime,
    ) {
        let scan = ScanId(u64::from(bytes.below(3)));
        let evidence = match bytes.below(6) {
            0 | 1 => Evidence::ScanStarted {
                scan,
                source: source(bytes),
                path: if bytes.chance(2) { PathRef::ROOT } else { path },
                started_at: observed_at,
                root: bytes.root(),
            },
            2 => Evidence::ScanFinished {
                scan,
                complete: bytes.chance(2),
                directories: 0,
                entries: 0,
                errors: 0,
                finished_at: observed_at,
            },
            3 => Evidence::Unchanged { dir: path, dir_stat: *stat, observed_at },
            4 if bytes.chance(2) => Evidence::Unreadable { dir: path, errno: 13, observed_at },
            4 => Evidence::Overflow { since: observed_at, observed_at },
            _ => Evidence::Root {
                state: if bytes.chance(4) { RootState::Unavailable } else { RootState::Available },
                identity: bytes.root(),
                observed_at,
            },
        };
        self.apply(by, &evidence, ServerTime::from_nanos(self.now), bytes.chance(6));
    }
}

fn source(bytes: &mut Bytes<'_>) -> Source {
    match bytes.below(8) {
        0..=3 => Source::Audit,
        4 | 5 => Source::Snapshot,
        6 => Source::OnDemand,
        _ => Source::Discovery,
    }
}
