//! Suspects: entries that may be half written or half visible, and when that ends (R7).
//!
//! Owns the end of the quiet period of every suspect. That an entry is suspect is a flag in the tree,
//! which counts and lists them; here is only the time. Shortly before the end the leader is asked to
//! look (the sentinel check), so that a writer on a blind host renews the period. Must never: keep
//! an entry suspect because of its mtime. Tested by `tests/cases/r7-r8.txt`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::path::PathRef;
use crate::time::ServerTime;

use super::path_map::{Key, moved};
use super::schedule::{Schedule, Waits};
use super::shared::Shared;

/// The suspects.
///
/// A tree that was just copied is suspect as a whole, so there is one record for each and no second list
/// of checks: they are asked for in the order of the ends, and it is kept how far that is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Suspects {
    /// The end of each one's quiet period.
    ends: Schedule<()>,
    /// A check was asked for of all up to here, but for those in `late`. Not durable.
    asked: Option<(ServerTime, Key)>,
    /// Those whose end was set before that place afterwards.
    late: BTreeSet<(ServerTime, Key)>,
}

/// How long before the end of the quiet period the sentinel check is asked for.
fn ahead(threshold: Duration) -> Duration {
    threshold / 3
}

impl Suspects {
    /// The ends by path, to be held while they change.
    pub(super) fn shared(&self) -> &Shared<Waits<()>> {
        self.ends.shared()
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// When an entry's quiet period ends, if it is suspect.
    pub(super) fn end(&self, path: PathRef<'_>) -> Option<ServerTime> {
        self.ends.get(path).map(|(end, ())| *end)
    }

    /// Begins or renews a quiet period.
    pub(super) fn set(&mut self, path: PathRef<'_>, end: ServerTime) {
        let before = self.end(path);
        if before == Some(end) {
            return;
        }
        self.forget_late(path, before);
        self.ends.set(path, end, ());
        self.ask_later(path, end);
    }

    pub(super) fn remove(&mut self, path: PathRef<'_>) {
        let end = self.ends.remove(path).map(|(end, ())| end);
        self.forget_late(path, end);
    }

    /// Has a check asked for that would be behind those that were asked for.
    fn ask_later(&mut self, path: PathRef<'_>, end: ServerTime) {
        let is_behind = |(time, key): &(ServerTime, Key)| (end, path.as_bytes()) <= (*time, &**key);
        if self.asked.as_ref().is_some_and(is_behind) {
            self.late.insert((end, path.as_bytes().into()));
        }
    }

    fn forget_late(&mut self, path: PathRef<'_>, end: Option<ServerTime>) {
        if let Some(end) = end.filter(|_| !self.late.is_empty()) {
            self.late.remove(&(end, path.as_bytes().into()));
        }
    }

    /// When the next quiet period ends.
    pub(super) fn first_end(&self) -> Option<ServerTime> {
        self.ends.first()
    }

    /// When the next sentinel check is due.
    pub(super) fn first_check(&self, threshold: Duration) -> Option<ServerTime> {
        let late = self.late.first();
        let next = || self.ends.due_after(self.asked.as_ref(), ServerTime::MAX).next();
        late.or_else(next).map(|(end, _)| end.minus(ahead(threshold)))
    }

    /// At most `limit` suspects whose quiet period is over.
    pub(super) fn over(&self, now: ServerTime, limit: usize) -> Vec<Key> {
        let over = self.ends.due_after(None, now).take(limit);
        over.map(|(_, path)| Key::clone(path)).collect()
    }

    /// Takes at most `limit` sentinel checks that are due.
    pub(super) fn ask(&mut self, now: ServerTime, limit: usize, threshold: Duration) -> Vec<Key> {
        let through = now.plus(ahead(threshold));
        let mut due = Vec::new();
        while due.len() < limit && self.late.first().is_some_and(|(end, _)| *end <= through) {
            due.extend(self.late.pop_first().map(|(_, path)| path));
        }
        let next = self.ends.due_after(self.asked.as_ref(), through);
        let next: Vec<_> = next.take(limit - due.len()).cloned().collect();
        self.asked = next.last().cloned().or_else(|| self.asked.take());
        due.extend(next.into_iter().map(|(_, path)| path));
        due
    }

    /// All with the ends of their quiet periods, by path bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], ServerTime)> {
        self.ends.iter().map(|(path, end, ())| (path, end))
    }

    /// Those at a path and below it with the ends of their quiet periods, after a path.
    pub(super) fn within<'a>(
        &'a self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], ServerTime)> + use<'a> {
        self.ends.within(path, after)
    }

    pub(super) fn drop_within(&mut self, path: PathRef<'_>) {
        self.ends.drop_within(path);
        self.keep_late();
    }

    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        // Not asked for, and perhaps behind those that were once they are called otherwise.
        let last = self.asked.as_ref();
        let same_end = last.into_iter().flat_map(|last| self.ends.due_after(Some(last), last.0));
        let waiting: Vec<(ServerTime, Key)> = self
            .late
            .iter()
            .chain(same_end)
            .filter(|(_, key)| PathRef::new(key).is_ok_and(|path| path.is_within(from)))
            .map(|(end, key)| (*end, moved(key, from, to)))
            .collect();
        self.ends.move_within(from, to);
        self.keep_late();
        for (end, key) in waiting {
            if let Ok(path) = PathRef::new(&key) {
                self.ask_later(path, end);
            }
        }
    }

    /// Nobody is late who is no suspect with that end any more.
    fn keep_late(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let ends = &self.ends;
        self.late.retain(|(end, key)| {
            PathRef::new(key).is_ok_and(|path| ends.get(path).is_some_and(|(at, ())| at == end))
        });
    }

    pub(super) fn is_sound(&self) -> bool {
        let is_late = |(end, key): &(ServerTime, Key)| {
            PathRef::new(key).is_ok_and(|path| self.end(path) == Some(*end))
        };
        self.ends.is_sound() && self.late.iter().all(is_late)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const QUIET: Duration = Duration::from_secs(30);
    const PATHS: [&str; 8] = ["/a", "/a/b", "/a/b/c", "/a/d", "/e", "/e/b", "/e/b/c", "/f"];

    #[derive(Debug, Clone)]
    enum Act {
        Set(usize, i64),
        Remove(usize),
        Drop(usize),
        Move(usize, usize),
        Ask(i64, usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        let (path, seconds) = (0..PATHS.len(), 0..90_i64);
        prop_oneof![
            6 => (path.clone(), seconds.clone()).prop_map(|(path, end)| Act::Set(path, end)),
            1 => path.clone().prop_map(Act::Remove),
            1 => path.clone().prop_map(Act::Drop),
            2 => (path.clone(), path).prop_map(|(from, to)| Act::Move(from, to)),
            3 => (seconds, 0..4_usize).prop_map(|(now, limit)| Act::Ask(now, limit)),
        ]
    }

    fn path(text: &str) -> PathRef<'_> {
        PathRef::new(text.as_bytes()).unwrap()
    }

    fn at(seconds: i64) -> ServerTime {
        ServerTime::from_nanos(seconds * 1_000_000_000)
    }

    /// What is suspect until when, and whether a check was asked for.
    type Model = BTreeMap<String, (ServerTime, bool)>;

    fn within(model: &Model, top: &str) -> Vec<String> {
        let all = model.keys().filter(|key| path(key).is_within(path(top)));
        all.cloned().collect()
    }

    /// What is asked for, in order.
    fn ask(model: &mut Model, now: ServerTime, limit: usize) -> Vec<String> {
        let through = now.plus(QUIET / 3);
        let waiting = model.iter().filter(|(_, (end, asked))| !asked && *end <= through);
        let mut due: Vec<_> = waiting.map(|(key, (end, _))| (*end, key.clone())).collect();
        due.sort();
        due.truncate(limit);
        due.iter().for_each(|(_, key)| model.get_mut(key).unwrap().1 = true);
        due.into_iter().map(|(_, key)| key).collect()
    }

    fn first_check(model: &Model) -> Option<ServerTime> {
        let waiting = model.values().filter(|(_, asked)| !asked);
        waiting.map(|(end, _)| end.minus(QUIET / 3)).min()
    }

    proptest! {
        /// Each suspect is checked once in each quiet period, whatever comes and goes: as if it were kept of
        /// each whether it was. One that was moved may be asked for once more, if it ends when the last did
        /// that was asked for.
        #[test]
        fn a_check_is_asked_for_once(acts in prop::collection::vec(act(), 0..60)) {
            let (mut suspects, mut model) = (Suspects::default(), Model::new());
            let mut last = (at(-1), String::new());
            for act in acts {
                match act {
                    Act::Set(which, end) => {
                        suspects.set(path(PATHS[which]), at(end));
                        let known = model.entry(PATHS[which].to_owned()).or_insert((at(-1), false));
                        if known.0 != at(end) {
                            *known = (at(end), false);
                        }
                    }
                    Act::Remove(which) => {
                        suspects.remove(path(PATHS[which]));
                        model.remove(PATHS[which]);
                    }
                    Act::Drop(which) => {
                        suspects.drop_within(path(PATHS[which]));
                        model.retain(|key, _| !path(key).is_within(path(PATHS[which])));
                    }
                    Act::Move(from, to) => {
                        let (from, to) = (PATHS[from], PATHS[to]);
                        if path(to).is_within(path(from)) || path(from).is_within(path(to)) {
                            continue;
                        }
                        suspects.drop_within(path(to));
                        suspects.move_within(path(from), path(to));
                        model.retain(|key, _| !path(key).is_within(path(to)));
                        for key in within(&model, from) {
                            let (end, asked) = model.remove(&key).unwrap();
                            let key = format!("{to}{}", &key[from.len()..]);
                            let asked = asked && (end, &key) <= (last.0, &last.1);
                            model.insert(key, (end, asked));
                        }
                    }
                    Act::Ask(now, limit) => {
                        let asked = suspects.ask(at(now), limit, QUIET);
                        let asked: Vec<_> = asked.iter().map(|key| String::from_utf8_lossy(key)).collect();
                        let expected = ask(&mut model, at(now), limit);
                        prop_assert_eq!(&asked, &expected);
                        last = expected.into_iter().map(|key| (model[&key].0, key)).chain([last]).max().unwrap();
                    }
                }
                prop_assert!(suspects.is_sound());
                prop_assert_eq!(suspects.len(), model.len());
                prop_assert_eq!(suspects.first_check(QUIET), first_check(&model));
            }
        }
    }
}
