//! Listings, whose entries a server encodes as it reads them.
//!
//! Owns the message `ListEntriesResponse`, which is not generated: as generated, each entry would
//! be allocated, measured twice and copied, and that is most of what a listing costs. On the wire
//! it is the message of the `.proto` file. Called by the server, which appends to
//! [`EncodedEntries`] under the lock of a directory, and by clients, which see plain entries. Must
//! never: encode otherwise than the generated code would (tested below).

use std::borrow::Cow;

use fusion_core::path::notation;
use fusion_core::stat::Stat;
use prost::DecodeError;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{DecodeContext, WireType, encoded_len_varint, message, skip_field, string};

use crate::convert::stat::kind_to_pb;
use crate::pb;

/// A page of children: `fusion.v1.ListEntriesResponse`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListEntriesResponse {
    /// Children by name, in byte order.
    pub entries: Vec<pb::Entry>,
    /// More of them, after those, as bytes; nothing in a message that was received.
    pub encoded: EncodedEntries,
    /// Token of the next page; empty if this is the last.
    pub next_page_token: String,
    /// What the answer is worth.
    pub freshness: Option<pb::Freshness>,
}

/// Entries as elements of the first field of a message.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EncodedEntries {
    bytes: Vec<u8>,
}

impl EncodedEntries {
    /// None yet, with room for this many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// How many bytes they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds an entry. Its path is `stem`, which is in the notation, and `name`, which is not yet.
    pub fn push(&mut self, stem: &str, name: &[u8], stat: &Stat, suspect: bool, blind: bool) {
        let name = printable(name);
        let path = stem.len() + name.len();
        let mut tail = Short::default();
        tail.stat(stat);
        for (tag, set) in [(0x18, suspect), (0x20, blind)] {
            if set {
                tail.field(tag, 1);
            }
        }
        let mut head = Short::default();
        head.varint(0x0a);
        head.varint((1 + encoded_len_varint(path as u64) + path + tail.len) as u64);
        head.field(0x0a, path as u64);
        self.bytes.reserve(head.len + path + tail.len);
        self.bytes.extend_from_slice(head.bytes());
        self.bytes.extend_from_slice(stem.as_bytes());
        self.bytes.extend_from_slice(&name);
        self.bytes.extend_from_slice(tail.bytes());
    }
}

/// The bytes of a path in the notation. Nearly all are printable as they are and need no copy.
#[must_use]
pub fn printable(bytes: &[u8]) -> Cow<'_, [u8]> {
    // All bytes are looked at, whatever the first ones are: so many are looked at together.
    let special = |byte: u8| !(b' '..0x7f).contains(&byte) | (byte == b'\\');
    if bytes.iter().fold(false, |any, &byte| any | special(byte)) {
        Cow::Owned(notation::to_text(bytes).into_bytes())
    } else {
        Cow::Borrowed(bytes)
    }
}

/// A few encoded fields. There is room for a stat and what is beside it in an entry: three numbers of
/// up to ten bytes, two of eight, five of up to five, a tag for each, two lengths and two flags.
struct Short {
    bytes: [u8; 96],
    len: usize,
}

impl Default for Short {
    fn default() -> Self {
        Self { bytes: [0; 96], len: 0 }
    }
}

impl Short {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    #[inline]
    fn put(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.put(value as u8 | 0x80);
            value >>= 7;
        }
        self.put(value as u8);
    }

    #[inline]
    fn field(&mut self, tag: u8, value: u64) {
        self.put(tag);
        self.varint(value);
    }

    /// Zero is not encoded.
    #[inline]
    fn number(&mut self, tag: u8, value: u64) {
        if value != 0 {
            self.field(tag, value);
        }
    }

    #[inline]
    fn fixed(&mut self, tag: u8, value: i64) {
        if value != 0 {
            self.put(tag);
            self.bytes[self.len..self.len + 8].copy_from_slice(&value.to_le_bytes());
            self.len += 8;
        }
    }

    /// A stat as the second field of an entry. Its length is below 128 and so one byte.
    fn stat(&mut self, stat: &Stat) {
        let Stat { kind, size, mtime, ctime, inode, mode, uid, gid, nlink } = *stat;
        self.put(0x12);
        let length = self.len;
        self.put(0);
        self.number(0x08, kind_to_pb(kind) as u64);
        self.number(0x10, size);
        self.fixed(0x19, mtime.as_nanos());
        self.fixed(0x21, ctime.as_nanos());
        self.number(0x28, inode);
        self.number(0x30, mode.into());
        self.number(0x38, uid.into());
        self.number(0x40, gid.into());
        self.number(0x48, nlink.into());
        self.bytes[length] = (self.len - length - 1) as u8;
    }
}

impl Message for ListEntriesResponse {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        message::encode_repeated(1, &self.entries, buffer);
        buffer.put_slice(&self.encoded.bytes);
        if !self.next_page_token.is_empty() {
            string::encode(2, &self.next_page_token, buffer);
        }
        if let Some(freshness) = &self.freshness {
            message::encode(3, freshness, buffer);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => message::merge_repeated(wire_type, &mut self.entries, buffer, context),
            2 => string::merge(wire_type, &mut self.next_page_token, buffer, context),
            3 => {
                let freshness = self.freshness.get_or_insert_default();
                message::merge(wire_type, freshness, buffer, context)
            }
            _ => skip_field(wire_type, tag, buffer, context),
        }
    }

    fn encoded_len(&self) -> usize {
        let token = match &self.next_page_token {
            token if token.is_empty() => 0,
            token => string::encoded_len(2, token),
        };
        let freshness = self.freshness.as_ref().map_or(0, |it| message::encoded_len(3, it));
        message::encoded_len_repeated(1, &self.entries)
            + self.encoded.bytes.len()
            + token
            + freshness
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::stat::entry_to_pb;
    use fusion_core::path::PathRef;
    use fusion_core::stat::Kind;
    use fusion_core::time::StorageTime;
    use proptest::prelude::*;

    prop_compose! {
        fn rows()(
            name in prop::collection::vec(1_u8..=255, 1..200)
                .prop_filter("no name", |name| !name.contains(&b'/') && name[0] != b'.'),
            kind in 1..=4_u8,
            numbers in prop::array::uniform2(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]),
            times: (i64, i64),
            small in prop::array::uniform4(prop_oneof![Just(0), Just(u32::MAX), any::<u32>()]),
            flags: (bool, bool),
        ) -> (Vec<u8>, Stat, bool, bool) {
            let stat = Stat {
                kind: Kind::from_u8(kind).unwrap(),
                size: numbers[0],
                mtime: StorageTime::from_nanos(times.0),
                ctime: StorageTime::from_nanos(times.1),
                inode: numbers[1],
                mode: small[0],
                uid: small[1],
                gid: small[2],
                nlink: small[3],
            };
            (name, stat, flags.0, flags.1)
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_what_the_generated_code_encodes(
            rows in prop::collection::vec(rows(), 0..5), token in "[a-z]{0,3}", fresh: bool,
        ) {
            let mut encoded = EncodedEntries::default();
            let mut entries = Vec::new();
            for (name, stat, suspect, blind) in &rows {
                let path = [b"/a b/", &**name].concat();
                let path = PathRef::new(&path).unwrap();
                entries.push(entry_to_pb(path, stat, *suspect, *blind));
                encoded.push("/a b/", name, stat, *suspect, *blind);
            }
            let freshness = fresh.then(pb::Freshness::default);
            let sent = ListEntriesResponse {
                encoded,
                next_page_token: token.clone(),
                freshness: freshness.clone(),
                ..Default::default()
            };
            let plain = ListEntriesResponse {
                entries, next_page_token: token, freshness, ..Default::default()
            };
            let bytes = sent.encode_to_vec();
            prop_assert_eq!(&bytes, &plain.encode_to_vec());
            prop_assert_eq!(bytes.len(), sent.encoded_len());
            prop_assert_eq!(ListEntriesResponse::decode(&*bytes), Ok(plain));
        }
    }
}
