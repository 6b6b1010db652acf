//! Suspects: entries that may be half written or half visible, and when that ends (R7).
//!
//! Owns the end of the quiet period of every suspect. That an entry is suspect is a flag in the tree,
//! which counts and lists them; here is only the time. Shortly before the end the leader is asked to
//! look (the sentinel check), so that a writer on a blind host renews the period. Must never: keep
//! an entry suspect because of its mtime. Tested by `tests/cases/r7-r8.txt`.

use std::time::Duration;

use crate::path::PathRef;
use crate::time::ServerTime;

use super::schedule::{Schedule, Waits};
use super::shared::Shared;

/// The suspects.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Suspects {
    /// The end of each one's quiet period.
    ends: Schedule<()>,
    /// When to ask for a sentinel check; an entry leaves when it was asked. Not durable.
    checks: Schedule<()>,
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
    pub(super) fn set(&mut self, path: PathRef<'_>, end: ServerTime, threshold: Duration) {
        if self.end(path) != Some(end) {
            self.ends.set(path, end, ());
            self.checks.set(path, end.minus(ahead(threshold)), ());
        }
    }

    pub(super) fn remove(&mut self, path: PathRef<'_>) {
        if self.ends.remove(path).is_some() {
            self.checks.remove(path);
        }
    }

    /// When the next quiet period ends.
    pub(super) fn first_end(&self) -> Option<ServerTime> {
        self.ends.first()
    }

    /// When the next sentinel check is due.
    pub(super) fn first_check(&self) -> Option<ServerTime> {
        self.checks.first()
    }

    /// Suspects whose quiet period is over.
    pub(super) fn over(&self, now: ServerTime) -> Vec<Box<[u8]>> {
        self.ends.due(now).map(|(_, path)| path.into()).collect()
    }

    /// Takes at most `limit` sentinel checks that are due.
    pub(super) fn ask(&mut self, now: ServerTime, limit: usize) -> Vec<Box<[u8]>> {
        let due: Vec<Box<[u8]>> =
            self.checks.due(now).take(limit).map(|(_, path)| path.into()).collect();
        for key in &due {
            if let Ok(path) = PathRef::new(key) {
                self.checks.remove(path);
            }
        }
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
        self.checks.drop_within(path);
    }

    pub(super) fn move_within(&mut self, from: PathRef<'_>, to: PathRef<'_>) {
        self.ends.move_within(from, to);
        self.checks.move_within(from, to);
    }

    pub(super) fn is_sound(&self) -> bool {
        self.ends.is_sound() && self.checks.is_sound()
    }
}
