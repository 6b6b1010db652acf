//! Numbers and texts one after the other: heads of records and what is rare in them.
//!
//! Numbers are LEB128, signed ones zigzag; bytes and texts have their length before them. Reading
//! takes nothing for granted: every length is checked before it is used.

use uuid::Uuid;

use crate::error::Malformed;

/// Adds a number.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A signed number as one that is small if it is near zero.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The other way.
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Adds bytes with their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Adds a number that may be absent.
pub(super) fn put_option(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put_varint(out, value);
    }
}

/// Reads what was written so.
#[derive(Debug)]
pub(super) struct RowReader<'a> {
    rest: &'a [u8],
}

impl<'a> RowReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.rest.split_at_checked(count);
        let (bytes, rest) = taken.ok_or(Malformed::Broken("it ends too early"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) =
            self.rest.split_first_chunk().ok_or(Malformed::Broken("it ends too early"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Broken("neither yes nor no")),
        }
    }

    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Broken("a number has more than 64 bits"))
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.varint()?).map_err(|_| Malformed::Broken("a length is out of range"))
    }

    pub(super) fn lengthy(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        self.bytes(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.lengthy()?).map_err(|_| Malformed::Broken("a text is no text"))
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, Malformed> {
        self.array().map(Uuid::from_bytes)
    }

    pub(super) fn option(&mut self) -> Result<Option<u64>, Malformed> {
        Ok(if self.bool()? { Some(self.varint()?) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(value in any::<u64>(), shift in 0..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            put_option(&mut bytes, Some(value));
            put_option(&mut bytes, None);
            put_varint(&mut bytes, zigzag(value as i64));
            let mut reader = RowReader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.option(), Ok(Some(value)));
            prop_assert_eq!(reader.option(), Ok(None));
            prop_assert_eq!(reader.signed(), Ok(value as i64));
            prop_assert_eq!(reader.left(), 0);
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(RowReader::new(&[0xff; 9]).varint().is_err());
        let mut most = [0xff; 10];
        most[9] = 1;
        assert_eq!(RowReader::new(&most).varint(), Ok(u64::MAX));
        most[9] = 2;
        assert!(RowReader::new(&most).varint().is_err());
        assert!(RowReader::new(&[5, b'a']).lengthy().is_err());
        assert!(RowReader::new(&[1, 0xff]).text().is_err());
        assert!(RowReader::new(&[2]).bool().is_err());
    }
}
