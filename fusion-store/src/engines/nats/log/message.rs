//! Messages: what the stream of a log consists of, format 1. All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `FrN1` |
//! | 4 | CRC-32 (IEEE) of all that follows |
//! | 2 | version |
//! | 2 | part: 0 whole records, 1 a piece of a record that goes on, 2 the last piece |
//! | 4 | number of the piece, from 0 |
//! | 16, 16 | id of the view, id of the writer: one for each time that the log is opened |
//! | 8, 8 | record and revision of the place before it |
//! | 8, 8 | record and revision of the place after it: the one before, if it makes nothing visible |
//! | 8 | time of the last record, nanoseconds since 1970 |
//! | 8 | bytes of all messages of the log before it |
//! | … | records, each a length in 4 bytes and the record (see `codec`); or a piece of one record |
//!
//! Every message tells where the log ends with it, so the last one tells the end, the first one the
//! beginning, and any place is found by halving. The place never goes back from one message to the next.

use bytes::Bytes;
use fusion_core::id::Revision;
use uuid::Uuid;

use crate::error::Malformed;
use crate::ports::{LogPoint, ViewId};

/// Bytes before the records.
pub(super) const HEAD: usize = 96;
/// The version of the format.
pub(super) const VERSION: u16 = 1;
const MAGIC: &[u8; 4] = b"FrN1";

/// What a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Whole records.
    Whole,
    /// A piece of a record, with its number; nothing is visible by it.
    Piece(u32),
    /// The last piece, with its number, which makes the record visible.
    Last(u32),
}

/// A message without its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) part: Part,
    pub(super) view: ViewId,
    pub(super) writer: Uuid,
    pub(super) before: LogPoint,
    pub(super) after: LogPoint,
    pub(super) at: i64,
    pub(super) offset: u64,
}

impl Head {
    /// Writes it before its records, which are in place behind room for it.
    pub(super) fn seal(&self, message: &mut [u8]) {
        let (part, piece) = match self.part {
            Part::Whole => (0_u16, 0),
            Part::Piece(piece) => (1, piece),
            Part::Last(piece) => (2, piece),
        };
        message[..4].copy_from_slice(MAGIC);
        message[8..10].copy_from_slice(&VERSION.to_le_bytes());
        message[10..12].copy_from_slice(&part.to_le_bytes());
        message[12..16].copy_from_slice(&piece.to_le_bytes());
        message[16..32].copy_from_slice(self.view.0.as_bytes());
        message[32..48].copy_from_slice(self.writer.as_bytes());
        let places = [self.before.record, self.before.revision.0, self.after.record];
        let numbers = [self.after.revision.0, self.at as u64, self.offset];
        for (index, number) in places.into_iter().chain(numbers).enumerate() {
            let at = 48 + 8 * index;
            message[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&message[8..]);
        message[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads it, and checks the whole message by its checksum.
    pub(super) fn read(message: &[u8]) -> Result<Self, Malformed> {
        const NONE: Malformed = Malformed::Broken("it is no message of a log");
        let head = message.first_chunk::<HEAD>().filter(|head| head.starts_with(MAGIC));
        let head = head.ok_or(NONE)?;
        let short = |at: usize| head[at..].first_chunk().map_or(0, |b| u16::from_le_bytes(*b));
        let word = |at: usize| head[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
        let long = |at: usize| head[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        if short(8) > VERSION {
            let (found, known) = (u32::from(short(8)), u32::from(VERSION));
            return Err(Malformed::Future { what: "a message of the log", found, known });
        }
        if word(4) != crc32fast::hash(&message[8..]) {
            return Err(Malformed::Broken("the checksum of a message is wrong"));
        }
        let part = match short(10) {
            0 => Part::Whole,
            1 => Part::Piece(word(12)),
            2 => Part::Last(word(12)),
            _ => return Err(Malformed::Broken("a message has an unknown part")),
        };
        let place = |at| LogPoint { record: long(at), revision: Revision(long(at + 8)) };
        Ok(Self {
            part,
            view: ViewId(Uuid::from_slice(&head[16..32]).unwrap_or_default()),
            writer: Uuid::from_slice(&head[32..48]).unwrap_or_default(),
            before: place(48),
            after: place(64),
            at: long(80) as i64,
            offset: long(88),
        })
    }
}

/// A message as the stream has it: its number there, and what it says.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) sequence: u64,
    pub(super) head: Head,
    pub(super) payload: Bytes,
}

impl Message {
    /// Checks what the stream has under a number.
    pub(super) fn of(sequence: u64, payload: Bytes, view: ViewId) -> Result<Self, Malformed> {
        let head = Head::read(&payload)?;
        if head.view != view {
            return Err(Malformed::Broken("it is of another view"));
        }
        Ok(Self { sequence, head, payload })
    }

    /// Bytes of the log up to its end.
    pub(super) fn end_offset(&self) -> u64 {
        self.head.offset + self.payload.len() as u64
    }

    /// Its records as bytes, or the piece that it is.
    pub(super) fn body(&self) -> Bytes {
        self.payload.slice(HEAD..)
    }
}

/// Adds a record to a message of whole ones.
pub(super) fn put_record(message: &mut Vec<u8>, record: &[u8]) {
    message.extend_from_slice(&(record.len() as u32).to_le_bytes());
    message.extend_from_slice(record);
}

/// Takes the next record off the front of a message's body; `None` after the last.
pub(super) fn take_record(body: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
    if body.is_empty() {
        return Ok(None);
    }
    let length = body.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let length = length.filter(|length| body.len() - 4 >= *length);
    let length = length.ok_or(Malformed::Broken("a record is longer than its message"))?;
    let record = body.slice(4..4 + length);
    *body = body.slice(4 + length..);
    Ok(Some(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(part: Part) -> Head {
        let place = |record, revision| LogPoint { record, revision: Revision(revision) };
        let (view, writer) = (ViewId(Uuid::from_u64_pair(1, 2)), Uuid::from_u64_pair(3, 4));
        Head { part, view, writer, before: place(5, 6), after: place(7, 8), at: -9, offset: 10 }
    }

    /// The stored format of version 1. Other bytes are another version.
    #[test]
    fn version_1_is_as_it_was() {
        for (part, number, piece) in
            [(Part::Whole, 0, 0), (Part::Piece(3), 1, 3), (Part::Last(4), 2, 4)]
        {
            let mut message = vec![0; HEAD];
            put_record(&mut message, b"record");
            head(part).seal(&mut message);
            let mut golden = vec![0; HEAD];
            golden[..4].copy_from_slice(b"FrN1");
            (golden[8], golden[10], golden[12]) = (1, number, piece);
            (golden[23], golden[31], golden[39], golden[47]) = (1, 2, 3, 4);
            (golden[48], golden[56], golden[64], golden[72]) = (5, 6, 7, 8);
            golden[80..88].copy_from_slice(&[0xf7, 255, 255, 255, 255, 255, 255, 255]);
            golden[88] = 10;
            golden.extend_from_slice(b"\x06\0\0\0record");
            let crc = crc32fast::hash(&golden[8..]).to_le_bytes();
            golden[4..8].copy_from_slice(&crc);
            assert_eq!(message, golden);
            let read = Message::of(1, golden.into(), head(part).view).unwrap();
            assert_eq!((read.head, read.end_offset()), (head(part), 10 + 106));
            let mut body = read.body();
            assert_eq!(take_record(&mut body).unwrap().unwrap(), b"record".as_slice());
            assert_eq!(take_record(&mut body), Ok(None));
        }
    }

    #[test]
    fn damage_the_future_and_other_views_are_found() {
        let mut message = vec![0; HEAD];
        put_record(&mut message, b"record");
        head(Part::Whole).seal(&mut message);
        for at in 0..message.len() {
            let mut damaged = message.clone();
            damaged[at] ^= 1;
            assert!(Head::read(&damaged).is_err(), "byte {at}");
        }
        assert!(Head::read(&message[..HEAD - 1]).is_err());
        assert!(Message::of(1, message.clone().into(), ViewId(Uuid::nil())).is_err());
        message[8] = 2;
        let refused = Head::read(&message);
        assert!(matches!(refused, Err(Malformed::Future { found: 2, known: 1, .. })));
        assert!(take_record(&mut Bytes::from_static(b"\x07\0\0\0record")).is_err());
        assert!(take_record(&mut Bytes::from_static(b"\x07\0")).is_err());
    }
}
