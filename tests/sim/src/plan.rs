//! Drawing a schedule from a seed.
//!
//! Operations are tried on a scratch storage while they are drawn, so that most of them hit
//! something; what a person would call one operation (`rm -r`, `cp -p`, a swap) becomes several
//! primitive ones with gaps between them, so that other hosts and looks come in between.

mod operations;
mod storm;

pub(crate) use storm::storm;

use crate::dice::{Dice, Stream, Tag};
use crate::name::Path;
use crate::operate::perform;
use crate::schedule::{Action, Fault, FaultKind, HostPlan, Op, Schedule};
use crate::settings::Settings;
use crate::storage::{BEGIN, HOUR, Ino, MS, ROOT, SEC, Storage, Time};

/// The longest that a cache may lag: the view's `cache_horizon` (60 s) less what clocks and looks
/// may be off (2 s), which is the margin that an operator has to leave.
const LAG: Time = 58 * SEC;

/// So many of a hundred schedules without faults are of the kind that needs no audit.
const SEEN: u64 = 25;

/// More evidence than any schedule has to hold back.
const HELD: usize = 100_000;

struct Planner {
    chance: Stream,
    storage: Storage,
    ops: Vec<Op>,
    now: Time,
    host: usize,
    hosts: usize,
}

/// The schedule of a seed under a setting.
pub(crate) fn plan(settings: Settings, seed: u64) -> Schedule {
    let dice = Dice::new(seed);
    let mut chance = dice.stream(Tag::Plan, 0, 0);
    let mut hosts = draw_hosts(&mut chance, &settings);
    let calm = !settings.crashes && !settings.late && !settings.coarse;
    let seen = calm && dice.stream(Tag::Plan, 3, 0).percent(SEEN);
    if seen {
        hosts.iter_mut().for_each(|host| (host.agent, host.lag) = (true, 0));
    }
    let spools_discovery = seen || dice.stream(Tag::Plan, 4, 0).percent(50);
    let offset = match chance.below(4) {
        0 => 0,
        1 => chance.between(-HOUR, HOUR),
        _ => chance.between(-3 * SEC, 3 * SEC),
    };
    let mut planner = Planner {
        chance: dice.stream(Tag::Plan, 1, 0),
        storage: Storage::new(settings.tick(), offset, true),
        ops: Vec::with_capacity(96),
        now: BEGIN,
        host: 0,
        hosts: if seen { 1 } else { hosts.len() },
    };
    planner.settle_in();
    let start =
        planner.now + chance.between(0, 3 * SEC) + if chance.percent(50) { 70 * SEC } else { 0 };
    planner.now = start + if seen { 600 * SEC } else { chance.between(0, 5 * SEC) };
    for _ in 0..chance.between(6, 26) {
        planner.pause();
        planner.operation();
    }
    let mut ops = planner.ops;
    ops.sort_by_key(|op| op.at);
    let end = planner.now.max(ops.last().map_or(0, |op| op.at)).max(start) + SEC;
    let mut faults = draw_faults(&mut chance, &settings, &hosts, start, end);
    faults.extend(draw_operators(dice, start, end));
    faults.sort_by_key(|fault| fault.at);
    Schedule {
        seed,
        settings,
        faults,
        hosts,
        seen,
        ops,
        start,
        end,
        late_by: chance.between(HOUR / 2, 20 * HOUR),
        deep_one_in: [1, 2, 3, 4, 4][chance.index(5)],
        part_rows: chance.between(2, 6).unsigned_abs() as usize,
        storage_offset: offset,
        rename_touches: chance.percent(70),
        audit_every: chance.between(40, 300) * SEC,
        duplicates: chance.percent(50),
        spools_discovery,
        delays: true,
        scan_pace: [20 * MS, 500 * MS, 3 * SEC, 20 * SEC][chance.index(4)],
        scan_lag: [50 * MS, 500 * MS, 5 * SEC, 60 * SEC][chance.index(4)],
        held_max: if seen { HELD } else { draw_held_max(dice) },
        check_percent: 8,
        batch_rows: 6,
    }
}

fn draw_hosts(chance: &mut Stream, settings: &Settings) -> Vec<HostPlan> {
    let count = usize::from(settings.hosts);
    let day = 24 * HOUR;
    let first = chance.index(count);
    (0..count)
        .map(|host| HostPlan {
            agent: host == first || chance.percent(65),
            lag: match chance.below(4) {
                0 => 0,
                1 => chance.between(SEC, LAG),
                _ => LAG,
            },
            wall: if settings.skew { chance.between(-3 * day, 3 * day) } else { 0 },
            error: if settings.skew {
                chance.between(-250 * MS, 250 * MS)
            } else {
                chance.between(-2 * MS, 2 * MS)
            },
        })
        .collect()
}

fn draw_faults(
    chance: &mut Stream,
    settings: &Settings,
    hosts: &[HostPlan],
    start: Time,
    end: Time,
) -> Vec<Fault> {
    let agents: Vec<usize> = (0..hosts.len()).filter(|host| hosts[*host].agent).collect();
    let mut faults = Vec::new();
    if settings.crashes {
        for _ in 0..chance.between(1, 4) {
            let agent = agents[chance.index(agents.len())];
            let lasts = match chance.below(3) {
                0 => chance.between(0, 2 * SEC),
                1 => chance.between(0, 30 * SEC),
                _ => chance.between(0, 300 * SEC),
            };
            let kind = match chance.below(10) {
                0..2 => FaultKind::AgentCrash(agent, lasts),
                2..4 => FaultKind::Cut(agent, lasts),
                4..5 => FaultKind::Resign(agent, lasts),
                5..8 => FaultKind::ServerCrash(lasts.min(20 * SEC)),
                8..9 => FaultKind::Overflow(agent, lasts.min(60 * SEC)),
                _ => FaultKind::Unreadable(lasts),
            };
            faults.push(Fault { at: chance.between(start, end), kind });
        }
    }
    if settings.late {
        let agent = agents[chance.index(agents.len())];
        let kind = FaultKind::Late(agent);
        faults.push(Fault { at: chance.between(start, end), kind });
        if chance.percent(30) {
            let kind = FaultKind::Late(agents[chance.index(agents.len())]);
            faults.push(Fault { at: chance.between(start, end), kind });
        }
    }
    if settings.skew {
        let agent = agents[chance.index(agents.len())];
        let kind = FaultKind::Jump(agent, chance.between(-50 * HOUR, 50 * HOUR));
        faults.push(Fault { at: chance.between(start, end), kind });
    }
    if chance.percent(15) {
        let kind = FaultKind::UserScan(agents[chance.index(agents.len())]);
        faults.push(Fault { at: chance.between(start, end), kind });
    }
    faults
}

/// What operators do with the trash, in one schedule of five.
fn draw_operators(dice: Dice, start: Time, end: Time) -> Vec<Fault> {
    let mut chance = dice.stream(Tag::Plan, 4, 0);
    let count = if chance.percent(20) { chance.between(1, 4) } else { 0 };
    let mut act = |_| {
        let (at, number) = (chance.between(start, end), chance.index(100));
        let restore = chance.percent(75);
        let kind = if restore { FaultKind::Restore(number) } else { FaultKind::Purge(number) };
        Fault { at, kind }
    };
    (0..count).map(&mut act).collect()
}

/// One view of four holds little back; not where no audit may be needed, because what comes over the
/// bound is only promised to be looked for in the nearest directory (R1).
fn draw_held_max(dice: Dice) -> usize {
    let mut chance = dice.stream(Tag::Plan, 5, 0);
    if chance.percent(25) { chance.index(4) } else { HELD }
}

impl Planner {
    /// Time passes before the next operation: within a tick, a moment, or a while.
    fn pause(&mut self) {
        self.now += match self.chance.below(100) {
            0..35 => self.chance.between(0, 6 * MS),
            35..65 => self.chance.between(0, 3 * SEC),
            65..92 => self.chance.between(0, 40 * SEC),
            _ => self.chance.between(0, 150 * SEC),
        };
        if self.chance.percent(50) {
            self.host = self.chance.index(self.hosts);
        }
    }

    /// A moment within one operation.
    fn moment(&mut self) {
        self.now += match self.chance.below(4) {
            0 | 1 => self.chance.between(0, MS),
            2 => self.chance.between(0, 20 * MS),
            _ => self.chance.between(0, 1500 * MS),
        };
    }

    /// Tries the action on the scratch storage and writes it down.
    fn act(&mut self, action: Action, reuse: bool) {
        let op = Op { id: self.ops.len() as u64, at: self.now, host: self.host, reuse, action };
        let now = self.now;
        let mut find = |storage: &Storage, names: &[crate::name::Name]| {
            names.iter().try_fold(ROOT, |dir, name| storage.child(dir, *name))
        };
        let _ = perform(&mut self.storage, &op, now, &mut find);
        self.ops.push(op);
    }

    /// All that stands in the scratch storage, parents first, without the root.
    fn entries(&self) -> Vec<(Path, Ino)> {
        let mut found = Vec::with_capacity(32);
        let mut children = Vec::new();
        let mut dirs = vec![(Path::root(), ROOT)];
        while let Some((path, dir)) = dirs.pop() {
            self.storage.names_at(dir, Time::MAX - 1, &mut children);
            for (name, ino) in &children {
                let child = path.join(*name);
                if self.storage.is_dir(*ino) {
                    dirs.push((child.clone(), *ino));
                }
                found.push((child, *ino));
            }
        }
        found
    }
}
