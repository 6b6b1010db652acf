//! Agendas: directories to be listed again (R4) and names to be looked at again (R4b).
//!
//! Owns what waits, since when it may be done, and how often the leader was asked. What waits is
//! durable; that the leader was asked is not: after a restart it is asked again. Must never: let one
//! directory be ordered oftener than its back-off allows, whatever evidence comes (no storms).
//! Tested by `tests/cases/r4-listing.txt` and the simulator.

use std::time::Duration;

use crate::path::PathRef;
use crate::time::ServerTime;

use super::path_map::Key;
use super::schedule::{Schedule, Waits};
use super::shared::Shared;

/// An order that is not answered is repeated after this time, then after twice that, and so on.
const REPEAT: Duration = Duration::from_secs(15);
/// The longest time between two repetitions is `REPEAT` times two to the power of this.
const REPEAT_DOUBLINGS: u32 = 5;
/// The longest back-off of a directory that stays unsettled: `cache_horizon` times two to this.
const LEVEL_MAX: u8 = 4;
/// And so much more: the second answer shall find a directory settled that was too young (R4.4).
const TICKS: Duration = Duration::from_secs(2);

/// Why and since when something waits: the durable half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// When it is wanted.
    pub due: ServerTime,
    /// Not before this time, whatever is wanted: the back-off.
    pub floor: ServerTime,
    /// How many answers left it on the agenda.
    pub level: u8,
}

impl Waiting {
    /// When it may be ordered first.
    #[must_use]
    pub fn from(&self) -> ServerTime {
        self.due.max(self.floor)
    }
}

/// What is to be looked at again, by path.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Agenda {
    /// What waits, by when the leader is asked next.
    items: Schedule<Waiting>,
    /// How often it was asked for, by when it was first. Not durable.
    asked: Schedule<u32>,
}

impl Agenda {
    /// All that waits by path, to be held while it changes.
    pub(super) fn shared(&self) -> &Shared<Waits<Waiting>> {
        self.items.shared()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn get(&self, path: PathRef<'_>) -> Option<Waiting> {
        self.items.get(path).map(|(_, waiting)| *waiting)
    }

    /// What waits there once it is also wanted at `due`; `None` if nothing changes.
    pub(super) fn wanted(&self, path: PathRef<'_>, due: ServerTime) -> Option<Waiting> {
        match self.get(path) {
            None => Some(Waiting { due, floor: due, level: 0 }),
            Some(known) if known.due <= due => None,
            Some(known) if known.level == 0 => Some(Waiting { due, floor: due, level: 0 }),
            Some(known) => Some(Waiting { due, ..known }),
        }
    }

    /// What waits there once a doubt wants it: a ghost, or a name that was kept. The back-off begins
    /// anew: it is for directories that stay too young to be settled, and keeps nothing waiting that is
    /// known to be doubtful. Every doubt takes a change of the directory, so there are no more orders
    /// than changes. `None` if nothing changes.
    pub(super) fn doubted(
        &self,
        path: PathRef<'_>,
        due: ServerTime,
        horizon: Duration,
    ) -> Option<Waiting> {
        let Some(known) = self.get(path).filter(|known| known.level > 1) else {
            return self.wanted(path, due);
        };
        let longer = horizon.saturating_mul((1 << (known.level - 1)) - 1);
        let floor = known.floor.minus(longer);
        Some(Waiting { due: known.due.min(due.max(floor)), floor, level: 1 })
    }

    /// What waits there after an answer that left it on the agenda: the next level of back-off.
    pub(super) fn unanswered(
        &self,
        path: PathRef<'_>,
        now: ServerTime,
        horizon: Duration,
    ) -> Option<Waiting> {
        let known = self.get(path)?;
        let level = known.level.saturating_add(1).min(LEVEL_MAX);
        let floor = now.plus(horizon.saturating_mul(1 << (level - 1)).saturating_add(TICKS));
        Some(Waiting { due: floor.max(known.due.max(now)), floor, level })
    }

    /// Puts it on, or changes what waits; whoever was asked before is asked anew.
    pub(super) fn set(&mut self, path: PathRef<'_>, waiting: Waiting) {
        self.items.set(path, waiting.from(), waiting);
        self.asked.remove(path);
    }

    pub(super) fn remove(&mut self, path: PathRef<'_>) -> bool {
        self.asked.remove(path);
        self.items.remove(path).is_some()
    }

    /// When the next order is due.
    pub(super) fn first(&self) -> Option<ServerTime> {
        self.items.first()
    }

    /// Takes at most `limit` orders that are due, and plans their repetition.
    pub(super) fn ask(&mut self, now: ServerTime, limit: usize) -> Vec<Key> {
        let due = self.items.due_after(None, now).take(limit);
        let due: Vec<Key> = due.map(|(_, path)| Key::clone(path)).collect();
        for key in &due {
            let Ok(path) = PathRef::new(key) else { continue };
            let Some(waiting) = self.get(path) else { continue };
            let (first, times) = self.asked.get(path).copied().unwrap_or((now, 0));
            let pause = REPEAT.saturating_mul(1 << times.min(REPEAT_DOUBLINGS));
            self.items.set(path, now.plus(pause), waiting);
            self.asked.set(path, first, times.saturating_add(1));
        }
        due
    }

    /// Another leader is asked: it knows nothing of what the one before was asked for. That an order
    /// stands unanswered is not forgotten.
    pub(super) fn ask_anew(&mut self) {
        let asked: Vec<(Key, ServerTime)> =
            self.asked.iter().map(|(path, first, _)| (path.into(), first)).collect();
        for (key, first) in asked {
            let Ok(path) = PathRef::new(&key) else { continue };
            let Some(waiting) = self.get(path) else { continue };
            self.items.set(path, waiting.from(), waiting);
            self.asked.set(path, first, 0);
        }
    }

    /// Whether an order stands unanswered for longer than `overdue`.
    pub(super) fn is_overdue(&self, now: ServerTime, overdue: Duration) -> bool {
        self.asked.first().is_some_and(|first| now.since(first) > overdue)
    }

    /// All, by path bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Waiting)> {
        self.items.iter().map(|(path, _, waiting)| (path, *waiting))
    }

    /// What waits at a path and below it.
    pub(super) fn within(&self, path: PathRef<'_>) -> impl Iterator<Item = Waiting> {
        self.items.values_within(path).copied()
    }

    pub(super) fn drop_within(&mut self, path: PathRef<'_>) {
        self.items.drop_within(path);
        self.asked.drop_within(path);
    }

    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        self.items.move_within(from, to);
        self.asked.move_within(from, to);
    }

    pub(super) fn is_sound(&self) -> bool {
        let known = |(path, _, _): (&[u8], _, _)| {
            PathRef::new(path).is_ok_and(|path| self.items.get(path).is_some())
        };
        self.items.is_sound() && self.asked.is_sound() && self.asked.iter().all(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> ServerTime {
        ServerTime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn an_order_is_repeated_with_back_off() {
        let path = PathRef::new(b"/d").unwrap();
        let mut agenda = Agenda::default();
        let waiting = agenda.wanted(path, at(100)).unwrap();
        agenda.set(path, waiting);
        assert!(agenda.ask(at(99), 9).is_empty());
        assert_eq!(agenda.ask(at(100), 9).len(), 1);
        assert!(agenda.ask(at(114), 9).is_empty());
        assert_eq!(agenda.ask(at(115), 9).len(), 1);
        assert!(agenda.ask(at(144), 9).is_empty());
        assert_eq!(agenda.ask(at(145), 9).len(), 1);
        assert!(!agenda.is_overdue(at(700), Duration::from_secs(600)));
        assert!(agenda.is_overdue(at(701), Duration::from_secs(600)));
    }

    #[test]
    fn another_leader_is_asked_at_once_and_the_old_order_is_not_forgotten() {
        let path = PathRef::new(b"/d").unwrap();
        let mut agenda = Agenda::default();
        agenda.set(path, agenda.wanted(path, at(100)).unwrap());
        for time in [100, 115, 145, 205] {
            assert_eq!(agenda.ask(at(time), 9).len(), 1);
        }
        agenda.ask_anew();
        assert_eq!(agenda.ask(at(206), 9).len(), 1);
        assert!(agenda.ask(at(220), 9).is_empty());
        assert_eq!(agenda.ask(at(221), 9).len(), 1);
        assert!(agenda.is_overdue(at(701), Duration::from_secs(600)));
        agenda.remove(path);
        assert!(!agenda.is_overdue(at(701), Duration::from_secs(600)) && agenda.is_sound());
    }

    #[test]
    fn evidence_cannot_shorten_the_back_off() {
        let path = PathRef::new(b"/d").unwrap();
        let mut agenda = Agenda::default();
        agenda.set(path, agenda.wanted(path, at(100)).unwrap());
        agenda.set(path, agenda.unanswered(path, at(100), H).unwrap());
        assert_eq!(agenda.first(), Some(at(162)));
        agenda.set(path, agenda.wanted(path, at(110)).unwrap());
        assert_eq!(agenda.first(), Some(at(162)));
        assert_eq!(agenda.wanted(path, at(120)), None);
        agenda.set(path, agenda.unanswered(path, at(162), H).unwrap());
        assert_eq!(agenda.first(), Some(at(284)));
    }

    #[test]
    fn a_doubt_begins_the_back_off_anew() {
        let path = PathRef::new(b"/d").unwrap();
        let mut agenda = Agenda::default();
        agenda.set(path, agenda.wanted(path, at(100)).unwrap());
        agenda.set(path, agenda.unanswered(path, at(100), H).unwrap());
        assert_eq!(agenda.doubted(path, at(170), H), None, "it is wanted before");
        agenda.set(path, agenda.unanswered(path, at(162), H).unwrap());
        agenda.set(path, agenda.unanswered(path, at(284), H).unwrap());
        assert_eq!(agenda.first(), Some(at(526)));
        agenda.set(path, agenda.doubted(path, at(300), H).unwrap());
        assert_eq!(agenda.first(), Some(at(346)), "62 seconds after the last answer");
        assert_eq!(agenda.doubted(path, at(350), H), None);
        agenda.set(path, agenda.unanswered(path, at(346), H).unwrap());
        assert_eq!(agenda.first(), Some(at(468)), "the second level");
        agenda.set(path, agenda.doubted(path, at(430), H).unwrap());
        assert_eq!(agenda.first(), Some(at(430)), "when it may be judged");
    }
}
