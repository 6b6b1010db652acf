//! How many entries a step looks at: fewer where a filter is slow.
//!
//! A filter runs under the lock of a directory, which its writer waits for. Most look at two thousand entries
//! in microseconds; a regular expression may need milliseconds for a single path. Must never: let an
//! expression decide how long a writer waits.

use std::time::Duration;

/// Most entries of a step.
pub(super) const STEP: usize = 2_048;
/// Entries of the first step where the filter has a regular expression.
const CAREFUL: usize = 1;
/// How long a step should take at most.
const TIME: Duration = Duration::from_millis(1);

/// The pace of a search.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    entries: usize,
}

impl Pace {
    /// Begins, in small steps where the filter may be slow.
    pub(super) fn new(careful: bool) -> Self {
        Self { entries: if careful { CAREFUL } else { STEP } }
    }

    /// Entries of the next step.
    pub(super) fn entries(self) -> usize {
        self.entries
    }

    /// A step took so long.
    pub(super) fn took(&mut self, time: Duration) {
        self.entries =
            if time > TIME { (self.entries / 4).max(1) } else { (self.entries * 2).min(STEP) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of 10,000 entries where each takes so long: how many steps, and the longest.
    fn walk(careful: bool, each: Duration) -> (usize, Duration) {
        let (mut pace, mut left, mut steps, mut longest) =
            (Pace::new(careful), 10_000, 0, Duration::ZERO);
        while left > 0 {
            let entries = pace.entries().min(left);
            let time = each * u32::try_from(entries).unwrap();
            pace.took(time);
            (left, steps, longest) = (left - entries, steps + 1, longest.max(time));
        }
        (steps, longest)
    }

    #[test]
    fn what_is_quick_goes_in_large_steps_and_what_is_slow_holds_nobody_up() {
        let nanos = Duration::from_nanos(20);
        assert_eq!(walk(false, nanos).0, 5);
        assert!(walk(true, nanos).0 < 20);
        for micros in [1, 5, 30, 200] {
            let (_, longest) = walk(true, Duration::from_micros(micros));
            assert!(longest <= Duration::from_micros(3_300), "{micros}: {longest:?}");
        }
        let slow = Duration::from_millis(30);
        assert_eq!(walk(true, slow).1, slow, "one entry cannot be looked at in parts");
    }
}
