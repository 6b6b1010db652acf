//! Finding a literal in packed names, many names at a time.
//!
//! Owns the search for one byte string in a buffer. Used by `walk`, before names are looked at one by
//! one. Compares the first and the last byte of the literal 32 places at a time, which the compiler
//! turns into vector code. Must never: miss a place. Tested below against `windows`.

/// A literal that every wanted name contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    literal: Box<[u8]>,
}

const LANES: usize = 32;

impl Needle {
    /// A needle; `None` for the empty literal, which says nothing.
    #[must_use]
    pub fn new(literal: &[u8]) -> Option<Self> {
        (!literal.is_empty()).then(|| Self { literal: literal.into() })
    }

    /// Bytes of the literal.
    pub(super) fn len(&self) -> usize {
        self.literal.len()
    }

    /// Where the literal next begins in `names`, from `from` on.
    #[must_use]
    pub fn find(&self, names: &[u8], from: usize) -> Option<usize> {
        let (&first, &last) = (self.literal.first()?, self.literal.last()?);
        let back = self.literal.len() - 1;
        let heads = names.get(from..names.len().checked_sub(back)?)?;
        let (hay, tails) = (names.get(from..)?, names.get(from + back..)?);
        let mut at = 0;
        for (head, tail) in heads.chunks_exact(LANES).zip(tails.chunks_exact(LANES)) {
            let mut any = 0_u8;
            for (h, t) in head.iter().zip(tail) {
                any |= u8::from(*h == first) & u8::from(*t == last);
            }
            if any != 0
                && let Some(place) = self.check(hay, at, at + LANES)
            {
                return Some(from + place);
            }
            at += LANES;
        }
        self.check(hay, at, heads.len()).map(|place| from + place)
    }

    fn check(&self, hay: &[u8], begin: usize, end: usize) -> Option<usize> {
        let literal = &*self.literal;
        (begin..end).find(|&at| hay.get(at..at + literal.len()) == Some(literal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_every_place(
            names in "[ab.]{0,120}", literal in "[ab.]{1,5}", from in 0_usize..130,
        ) {
            let (names, literal) = (names.as_bytes(), literal.as_bytes());
            let wanted = names.windows(literal.len()).enumerate().skip(from);
            let wanted = wanted.filter(|(_, w)| *w == literal).map(|(at, _)| at).next();
            prop_assert_eq!(Needle::new(literal).unwrap().find(names, from), wanted);
        }
    }

    #[test]
    fn the_empty_literal_says_nothing() {
        assert_eq!(Needle::new(b""), None);
    }
}
