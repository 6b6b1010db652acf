//! The own name of a directory, kept in its block where it is short.
//!
//! Owns the bytes. Names are compared at every look by path, so a short one must not cost a second
//! wait for memory. Must never: be longer than a name (255 bytes). Tested below.

/// Bytes that stand in the block itself.
const INLINE: usize = 22;

/// A name.
#[derive(Debug, Clone)]
pub(super) enum SmallName {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl Default for SmallName {
    fn default() -> Self {
        Self::Inline(0, [0; INLINE])
    }
}

impl From<&[u8]> for SmallName {
    fn from(name: &[u8]) -> Self {
        let mut bytes = [0; INLINE];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(head), Ok(length)) => {
                head.copy_from_slice(name);
                Self::Inline(length, bytes)
            }
            _ => Self::Heap(name.into()),
        }
    }
}

impl std::ops::Deref for SmallName {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline(length, bytes) => &bytes[..usize::from(*length).min(INLINE)],
            Self::Heap(name) => name,
        }
    }
}

impl SmallName {
    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Inline(..) => 0,
            Self::Heap(name) => name.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long() {
        for length in 0..=255 {
            let name = vec![b'x'; length];
            let small = SmallName::from(&*name);
            assert_eq!(*small, *name);
            assert_eq!(small.bytes(), if length <= INLINE { 0 } else { length });
        }
        assert_eq!(size_of::<SmallName>(), 24);
    }
}
