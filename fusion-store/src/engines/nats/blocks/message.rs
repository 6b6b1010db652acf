//! Messages of the stream of blocks, format 1. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `FrV1` values, or `FrI1` index |
//! | 4 | CRC-32 (IEEE) of all that follows |
//! | 2 | version |
//! | 2 | of an index: 1 if the checkpoint ends with it, 0 if it goes on in the next |
//! | 4 | zeros |
//! | 16, 16 | id of the view, id of the checkpoint |
//! | … | values: back to back; one that does not fit goes on in the next message |
//! | … | index: see [`Index`] |
//!
//! A checkpoint is messages with values and then its index; it counts when the last message of the
//! index is there, and that one is there only if all before it are, without a message of anybody
//! else between them.

use bytes::Bytes;
use fusion_core::id::{Revision, ViewName};
use uuid::Uuid;

use crate::codec::row::{RowReader, put_bytes, put_varint};
use crate::error::Malformed;
use crate::ports::{LogPoint, ViewId, ViewRef};

/// Bytes before values or an index.
pub(super) const HEAD: usize = 48;
/// The version of the format.
pub(super) const VERSION: u16 = 1;
const VALUES: &[u8; 4] = b"FrV1";
const INDEX: &[u8; 4] = b"FrI1";

/// What a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Values,
    /// A part of the index, and whether it is the last.
    Index(bool),
}

/// What a message says before its values or its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) view: ViewId,
    pub(super) checkpoint: Uuid,
}

impl Head {
    /// Writes it before what is in place behind room for it.
    pub(super) fn seal(&self, mut message: Vec<u8>) -> Bytes {
        let (magic, ends) = match self.kind {
            Kind::Values => (VALUES, false),
            Kind::Index(ends) => (INDEX, ends),
        };
        message[..4].copy_from_slice(magic);
        message[8..10].copy_from_slice(&VERSION.to_le_bytes());
        message[10..12].copy_from_slice(&u16::from(ends).to_le_bytes());
        message[16..32].copy_from_slice(self.view.0.as_bytes());
        message[32..48].copy_from_slice(self.checkpoint.as_bytes());
        let crc = crc32fast::hash(&message[8..]);
        message[4..8].copy_from_slice(&crc.to_le_bytes());
        message.into()
    }

    /// Reads it, and checks the whole message by its checksum.
    pub(super) fn read(message: &[u8], view: ViewId) -> Result<Self, Malformed> {
        let none = Malformed::Broken("it is no message of blocks");
        let head = message.first_chunk::<HEAD>().ok_or(none)?;
        let is_values = head.starts_with(VALUES);
        if !is_values && !head.starts_with(INDEX) {
            return Err(none);
        }
        let found = u16::from_le_bytes([head[8], head[9]]);
        if found > VERSION {
            let (found, known) = (u32::from(found), u32::from(VERSION));
            return Err(Malformed::Future { what: "a message of blocks", found, known });
        }
        if head[4..8] != crc32fast::hash(&message[8..]).to_le_bytes() {
            return Err(Malformed::Broken("the checksum of a message is wrong"));
        }
        let of = ViewId(Uuid::from_slice(&head[16..32]).unwrap_or_default());
        if of != view {
            return Err(Malformed::Broken("it is of another view"));
        }
        let kind = if is_values { Kind::Values } else { Kind::Index(head[10] == 1) };
        let checkpoint = Uuid::from_slice(&head[32..48]).unwrap_or_default();
        Ok(Self { kind, view, checkpoint })
    }
}

/// What one message with values has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Its number in the stream.
    pub(super) sequence: u64,
    /// Bytes of the message.
    pub(super) stored: u64,
    /// What was done in it, in order (as in a file of blocks).
    pub(super) index: Vec<u8>,
}

/// A message of the index: the view, what the checkpoint contains, the oldest message that it needs,
/// and what the messages with values have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) view: ViewRef,
    pub(super) contains: LogPoint,
    pub(super) oldest: u64,
    pub(super) parts: Vec<Part>,
}

impl Index {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEAD];
        put_bytes(&mut out, self.view.name.as_str().as_bytes());
        for number in [self.contains.record, self.contains.revision.0, self.oldest] {
            put_varint(&mut out, number);
        }
        put_varint(&mut out, self.parts.len() as u64);
        for part in &self.parts {
            put_varint(&mut out, part.sequence);
            put_varint(&mut out, part.stored);
            put_bytes(&mut out, &part.index);
        }
        out
    }

    pub(super) fn decode(message: &[u8], view: ViewId) -> Result<Self, Malformed> {
        let body = message.get(HEAD..).ok_or(Malformed::Broken("it is no index of blocks"))?;
        let mut reader = RowReader::new(body);
        let name = ViewName::new(reader.text()?);
        let name = name.map_err(|_| Malformed::Broken("the view has no such name"))?;
        let contains = LogPoint { record: reader.varint()?, revision: Revision(reader.varint()?) };
        let oldest = reader.varint()?;
        let count = reader.length()?;
        let part = |_| {
            let (sequence, stored) = (reader.varint()?, reader.varint()?);
            Ok(Part { sequence, stored, index: reader.lengthy()?.to_vec() })
        };
        let parts = (0..count).map(part).collect::<Result<_, Malformed>>()?;
        if reader.left() > 0 {
            return Err(Malformed::Broken("something follows the index"));
        }
        Ok(Self { view: ViewRef { id: view, name }, contains, oldest, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn head(kind: Kind) -> Head {
        Head { kind, view: sample::view(1).id, checkpoint: Uuid::from_u64_pair(3, 4) }
    }

    fn golden(magic: &[u8], ends: u8, body: &[u8]) -> Vec<u8> {
        let mut golden = vec![0; HEAD];
        golden[..4].copy_from_slice(magic);
        (golden[8], golden[10], golden[23], golden[31]) = (1, ends, 7, 1);
        (golden[39], golden[47]) = (3, 4);
        golden.extend_from_slice(body);
        let crc = crc32fast::hash(&golden[8..]).to_le_bytes();
        golden[4..8].copy_from_slice(&crc);
        golden
    }

    /// The stored formats of version 1. Other bytes are another version.
    #[test]
    fn version_1_is_as_it_was() {
        let view = sample::view(1).id;
        let values = [&[0; HEAD][..], b"values"].concat();
        assert_eq!(head(Kind::Values).seal(values), golden(b"FrV1", 0, b"values"));
        let index = Index {
            view: sample::view(1),
            contains: LogPoint { record: 5, revision: Revision(6) },
            oldest: 7,
            parts: vec![Part { sequence: 8, stored: 300, index: b"index".to_vec() }],
        };
        let body = b"\x06view-1\x05\x06\x07\x01\x08\xac\x02\x05index";
        for (ends, number) in [(false, 0), (true, 1)] {
            let message = head(Kind::Index(ends)).seal(index.encode());
            assert_eq!(message, golden(b"FrI1", number, body));
            assert_eq!(Head::read(&message, view), Ok(head(Kind::Index(ends))));
            assert_eq!(Index::decode(&message, view), Ok(index.clone()));
        }
    }

    #[test]
    fn damage_the_future_and_other_views_are_found() {
        let view = sample::view(1).id;
        let message = golden(b"FrI1", 1, b"body");
        for at in 0..message.len() {
            let mut damaged = message.clone();
            damaged[at] ^= 1;
            assert!(Head::read(&damaged, view).is_err(), "byte {at}");
        }
        assert!(Head::read(&message, sample::view(2).id).is_err());
        assert!(Head::read(&message[..HEAD - 1], view).is_err());
        let mut future = message;
        future[8] = 2;
        let refused = Head::read(&future, view);
        assert!(matches!(refused, Err(Malformed::Future { found: 2, known: 1, .. })));
        assert!(Index::decode(&golden(b"FrI1", 1, b"\x06view-1\x05\x06\x07\x09"), view).is_err());
    }
}
