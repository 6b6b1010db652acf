//! A table that grows without moving what it holds, so that readers need no lock over it.
//!
//! Owns slots in segments; eight segments of one size, then eight of twice that, so at most an
//! eighth is reserve. Used for blocks and owners. Only the writer grows it; a slot never moves and
//! never goes while the table lives. Must never: hand out a slot that was not grown. Tested below.

use std::sync::OnceLock;

/// Slots of the first eight segments together.
const BASE: u64 = 1 << BASE_BITS;
const BASE_BITS: u32 = 10;
/// Segments that hold all of `u32`.
const SEGMENTS: usize = (33 - BASE_BITS as usize) * 8;

/// Slots by number, appended only.
#[derive(Debug)]
pub(super) struct Segments<T> {
    segments: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Segments<T> {
    pub(super) fn new() -> Self {
        Self { segments: (0..SEGMENTS).map(|_| OnceLock::new()).collect() }
    }

    /// The slot with this number, if it was grown.
    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (segment, offset, _) = place(index);
        self.segments.get(segment)?.get()?.get(offset)
    }

    /// Makes the slot with this number, and its whole segment, if it is not there yet.
    pub(super) fn grow(&self, index: u32) {
        let (segment, _, len) = place(index);
        if let Some(segment) = self.segments.get(segment) {
            segment.get_or_init(|| (0..len).map(|_| T::default()).collect());
        }
    }

    /// Bytes of all slots, whatever they own beside them not counted.
    pub(super) fn bytes(&self) -> usize {
        let slots: usize = self.segments.iter().filter_map(OnceLock::get).map(|s| s.len()).sum();
        slots * size_of::<T>() + size_of_val(&*self.segments)
    }
}

/// Segment, offset in it, and length of the segment.
#[inline]
const fn place(index: u32) -> (usize, usize, usize) {
    let number = index as u64 + BASE;
    let exponent = 63 - number.leading_zeros();
    let shift = exponent - 3;
    let eighth = (number >> shift) & 7;
    let segment = (exponent - BASE_BITS) as usize * 8 + eighth as usize;
    (segment, (number & ((1 << shift) - 1)) as usize, 1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_own_slot() {
        let mut next = (0, 0, 128);
        for index in 0..1_000_000 {
            let at = place(index);
            if at.0 != next.0 {
                assert_eq!((at.0, at.1, next.1), (next.0 + 1, 0, next.2), "{index}");
            } else {
                assert_eq!(at.1, next.1);
            }
            next = (at.0, at.1 + 1, at.2);
        }
        assert!(place(u32::MAX).0 < SEGMENTS);
    }

    #[test]
    fn what_was_not_grown_is_not_there() {
        let table = Segments::<u32>::new();
        assert!(table.get(0).is_none());
        table.grow(5000);
        assert!(table.get(5000).is_some() && table.get(0).is_none());
        assert!(table.bytes() > 0);
    }
}
