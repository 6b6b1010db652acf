//! A value as it is stored, format 1: version, expiry, checksum, bytes. Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | version |
//! | 8 | when it expires, nanoseconds since 1970; the largest number is never |
//! | 4 | CRC-32 (IEEE) of the place, the two numbers and the value |
//! | … | the value |

use fusion_core::time::ServerTime;

use crate::error::Malformed;
use crate::ports::{Item, Version};

const HEAD: usize = 20;

fn checksum(place: &[u8], numbers: &[u8], value: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    [place, numbers, value].into_iter().for_each(|bytes| hasher.update(bytes));
    hasher.finalize().to_le_bytes()
}

pub(super) fn encode(
    place: &[u8],
    version: Version,
    expires_at: Option<ServerTime>,
    value: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + value.len());
    bytes.extend_from_slice(&version.0.to_le_bytes());
    bytes.extend_from_slice(&expires_at.unwrap_or(ServerTime::MAX).as_nanos().to_le_bytes());
    let crc = checksum(place, &bytes, value);
    bytes.extend_from_slice(&crc);
    bytes.extend_from_slice(value);
    bytes
}

/// Reads a value; the place is the space and the key.
pub(super) fn decode(place: &[u8], bytes: &[u8]) -> Result<Item, Malformed> {
    let damaged = || Malformed::Broken("a value is damaged");
    let (head, value) = bytes.split_first_chunk::<HEAD>().ok_or_else(damaged)?;
    if head[16..] != checksum(place, &head[..16], value) {
        return Err(damaged());
    }
    let word = |at: usize| head[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let expires_at = ServerTime::from_nanos(word(8) as i64);
    Ok(Item {
        key: place.get(1..).unwrap_or_default().to_vec(),
        value: value.to_vec(),
        version: Version(word(0)),
        expires_at: (expires_at != ServerTime::MAX).then_some(expires_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stored format of version 1. Other bytes are another version.
    #[test]
    fn version_1_is_as_it_was() {
        let place = b"\x04job-1";
        let mut golden = vec![7, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        let crc = crc32fast::hash(&[place.as_slice(), &golden, b"value"].concat());
        golden.extend_from_slice(&crc.to_le_bytes());
        golden.extend_from_slice(b"value");
        let expires_at = Some(ServerTime::from_nanos(9));
        assert_eq!(encode(place, Version(7), expires_at, b"value"), golden);
        let item = decode(place, &golden).unwrap();
        assert_eq!((item.key, item.value), (b"job-1".to_vec(), b"value".to_vec()));
        assert_eq!((item.version, item.expires_at), (Version(7), expires_at));
        for at in 0..golden.len() {
            let mut damaged = golden.clone();
            damaged[at] ^= 1;
            assert!(decode(place, &damaged).is_err() && decode(place, &golden[..at]).is_err());
        }
        assert!(decode(b"\x04job-2", &golden).is_err(), "it is the value of another key");
    }
}
