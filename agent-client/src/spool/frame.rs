//! One frame: the format, version 1. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the payload |
//! | 4 | CRC-32 (IEEE) of everything else in the frame |
//! | 8 | sequence |
//! | 8 | monotonic stamp, nanoseconds since the boot |
//! | 16 | boot id |
//! | … | payload |

use std::fmt;
use std::io;

use fusion_core::time::Monotonic;

use super::SpoolError;

/// Bytes before the payload.
pub(super) const HEADER: usize = 40;
/// Largest payload; four times the largest message of the contract.
pub(super) const PAYLOAD_MAX: usize = 16 << 20;

/// One life of the machine: monotonic stamps of different boots cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId([u8; 16]);

impl BootId {
    /// From its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// That of the running kernel.
    ///
    /// # Errors
    /// `/proc` is not mounted, or says something else than a UUID.
    pub fn of_this_boot() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let uuid = uuid::Uuid::try_parse(text.trim()).map_err(io::Error::other)?;
        Ok(Self(uuid.into_bytes()))
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", uuid::Uuid::from_bytes(self.0).hyphenated())
    }
}

/// A frame as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its sequence.
    pub sequence: u64,
    /// Monotonic time of the boot `boot`.
    pub stamp: Monotonic,
    /// The boot in which it was written.
    pub boot: BootId,
    /// The encoded batch.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub(super) fn encode(
    sequence: u64,
    stamp: Monotonic,
    boot: BootId,
    payload: &[u8],
) -> Result<Vec<u8>, SpoolError> {
    let bytes = payload.len();
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= PAYLOAD_MAX);
    let length = length.ok_or(SpoolError::TooLarge { bytes })?.to_le_bytes();
    let mut frame = Vec::with_capacity(HEADER + bytes);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&sequence.to_le_bytes());
    frame.extend_from_slice(&stamp.as_nanos().to_le_bytes());
    frame.extend_from_slice(&boot.0);
    frame.extend_from_slice(payload);
    let crc = checksum(&length, &frame[8..]).to_le_bytes();
    frame[4..8].copy_from_slice(&crc);
    Ok(frame)
}

/// How many bytes a frame with this header has; `None` if no frame begins so.
pub(super) fn frame_bytes(header: &[u8; HEADER]) -> Option<usize> {
    let length = u32::from_le_bytes(*header.first_chunk()?) as usize;
    (length <= PAYLOAD_MAX).then_some(HEADER + length)
}

/// Reads a whole frame; `None` if it is damaged or is not the one of this sequence.
pub(super) fn decode(bytes: &[u8], sequence: u64) -> Option<Frame> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    if checksum(length, rest) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (found, rest) = rest.split_first_chunk::<8>()?;
    let (stamp, rest) = rest.split_first_chunk::<8>()?;
    let (boot, payload) = rest.split_first_chunk::<16>()?;
    let is_whole = payload.len() == u32::from_le_bytes(*length) as usize;
    (is_whole && u64::from_le_bytes(*found) == sequence).then(|| Frame {
        sequence,
        stamp: Monotonic::from_nanos(i64::from_le_bytes(*stamp)),
        boot: BootId(*boot),
        payload: payload.to_vec(),
    })
}

fn checksum(length: &[u8; 4], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_and_a_damaged_one_does_not() {
        let boot = BootId::new([7; 16]);
        let bytes = encode(5, Monotonic::from_nanos(-3), boot, b"payload").unwrap();
        let frame = decode(&bytes, 5).unwrap();
        assert_eq!((frame.stamp.as_nanos(), frame.boot), (-3, boot));
        assert_eq!(frame.payload, b"payload");
        assert_eq!(decode(&bytes, 6), None);
        for at in 0..bytes.len() {
            assert_eq!(decode(&bytes[..at], 5), None, "cut at {at}");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(decode(&damaged, 5), None, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let payload = vec![0; PAYLOAD_MAX + 1];
        let refused = encode(1, Monotonic::from_nanos(0), BootId::new([0; 16]), &payload);
        assert!(matches!(refused, Err(SpoolError::TooLarge { .. })));
    }
}
