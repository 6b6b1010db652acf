//! Chance that depends on a key and not on the order of asking.
//!
//! Every draw is a hash of the seed and of what it is drawn for (a tag and two numbers), so that
//! dropping an operation or a fault from a schedule leaves all other draws as they were: that is
//! what lets a failing schedule shrink. A [`Stream`] is a run of draws under one key.

/// What a draw is for; part of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Tag {
    Plan = 1,
    Attribute,
    Names,
    Kernel,
    Look,
    Batch,
    Deliver,
    Duplicate,
    Scan,
    Step,
    Order,
    Check,
    Checkpoint,
}

/// The source of all chance of one schedule.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice {
    seed: u64,
}

/// Draws under one key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream(u64);

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The draws for `(tag, a, b)`.
    pub(crate) fn stream(self, tag: Tag, a: u64, b: u64) -> Stream {
        let key = mix(self.seed ^ (tag as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Stream(mix(key ^ a.wrapping_mul(0xd6e8_feb8_6659_fd93)) ^ mix(b.wrapping_add(key)))
    }
}

impl Stream {
    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// An index below `len`.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        if high <= low { low } else { low + self.below((high - low + 1).unsigned_abs()) as i64 }
    }

    /// Whether a chance of `percent` in a hundred came true.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_the_key_alone() {
        let dice = Dice::new(7);
        let mut one = dice.stream(Tag::Look, 1, 2);
        let mut two = dice.stream(Tag::Look, 1, 2);
        assert_eq!(one.next(), two.next());
        assert_ne!(dice.stream(Tag::Look, 2, 1).next(), dice.stream(Tag::Look, 1, 2).next());
        assert!((0..1000).all(|_| one.between(-3, 5) <= 5 && one.below(3) < 3));
    }
}
