//! Which denied calls are recorded: so few that a flood of them cannot fill the store.
//!
//! Of each principal and method some in an hour; the next record says how many were left out. Only calls
//! with good credentials come here, so there are as many principals as somebody gave tokens to. Pure.

use std::collections::HashMap;
use std::time::Duration;

use fusion_core::session::Principal;
use fusion_core::time::Monotonic;

/// Records of one principal and method in this time, at most.
const RECORDED: u32 = 10;
const IN: Duration = Duration::from_secs(3600);
/// Pairs that are remembered, at most; those of which nothing was heard for [`IN`] give way.
const PAIRS: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Denials {
    pairs: HashMap<(Principal, &'static str), Heard>,
}

/// The calls of one pair.
#[derive(Debug)]
struct Heard {
    since: Monotonic,
    recorded: u32,
    left_out: u64,
}

impl Denials {
    /// One more call was denied. If it is to be recorded: how many of its kind were left out since the
    /// last that was.
    pub(super) fn next(
        &mut self,
        principal: &Principal,
        method: &'static str,
        now: Monotonic,
    ) -> Option<u64> {
        let pair = (principal.clone(), method);
        if self.pairs.len() >= PAIRS && !self.pairs.contains_key(&pair) {
            self.pairs.retain(|_, heard| now.since(heard.since) < IN);
            if self.pairs.len() >= PAIRS {
                return None;
            }
        }
        let new = || Heard { since: now, recorded: 0, left_out: 0 };
        let heard = self.pairs.entry(pair).or_insert_with(new);
        if now.since(heard.since) >= IN {
            (heard.since, heard.recorded) = (now, 0);
        }
        if heard.recorded >= RECORDED {
            heard.left_out += 1;
            return None;
        }
        heard.recorded += 1;
        Some(std::mem::take(&mut heard.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_secs(seconds))
    }

    #[test]
    fn of_a_flood_some_are_recorded_and_the_next_says_how_many_were_not() {
        let (mut denials, one) = (Denials::default(), Principal::new("one"));
        let mut recorded = |now, calls| -> Vec<u64> {
            (0..calls).filter_map(|_| denials.next(&one, "m", now)).collect()
        };
        assert_eq!(recorded(at(0), 1_000), [0; RECORDED as usize]);
        assert!(recorded(at(3599), 5).is_empty());
        assert_eq!(recorded(at(3600), 2), [995, 0]);
        assert_eq!(denials.next(&Principal::new("two"), "m", at(1)), Some(0), "another's");
        assert_eq!(denials.next(&one, "n", at(1)), Some(0), "another method");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut denials = Denials::default();
        for number in 0..PAIRS + 9 {
            let told = denials.next(&Principal::new(&number.to_string()), "m", at(0));
            assert_eq!(told.is_some(), number < PAIRS);
        }
        assert_eq!(denials.next(&Principal::new("later"), "m", at(3600)), Some(0));
        assert_eq!(denials.pairs.len(), 1);
    }
}
