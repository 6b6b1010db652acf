//! Troubles are told when they begin or change, and now and then while they last.

use std::time::Duration;

use fusion_core::time::Monotonic;

/// How often a trouble that does not change is told.
const REMIND: Duration = Duration::from_secs(30);

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<(String, Monotonic)>);

impl Told {
    /// Whether this is to be told now.
    pub(crate) fn is_news(&mut self, text: &str, now: Monotonic) -> bool {
        let old = self.0.as_ref().is_some_and(|(told, at)| told == text && now.since(*at) < REMIND);
        if !old {
            self.0 = Some((text.to_owned(), now));
        }
        !old
    }

    /// All is well again.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_again_after_a_while_only() {
        let at = |seconds| Monotonic::from_nanos(0).plus(Duration::from_secs(seconds));
        let mut told = Told::default();
        assert!(told.is_news("a", at(0)));
        assert!(!told.is_news("a", at(29)));
        assert!(told.is_news("a", at(30)));
        assert!(told.is_news("b", at(31)));
        told.clear();
        assert!(told.is_news("b", at(32)));
    }
}
