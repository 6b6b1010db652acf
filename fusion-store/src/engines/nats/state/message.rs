//! What the messages of a bucket hold, format 1.
//!
//! A value is its bytes alone; when it expires is in the header `Fusion-Expires`, in nanoseconds since
//! 1970. Its version is the number of its message, or what `Fusion-Version` says if it is a copy out of
//! a bundle. `Fusion-Parts` says how many messages before this one are parts of it. That there is none
//! any more is said as `nats kv` says it.
//!
//! A bundle is a byte 1, and for each value its space (1 byte), when it expires (8, the largest is
//! never), the lengths of its key (2) and its value (4), and both; numbers are little-endian.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use fusion_core::time::ServerTime;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::names::part;
use crate::engines::nats::stream::{Outgoing, Stored};
use crate::error::Malformed;
use crate::ports::{Put, Space};

/// The version of all that is stored.
pub(super) const FORMAT: u32 = 1;
const EXPIRES: &str = "Fusion-Expires";
const VERSION: &str = "Fusion-Version";
const PARTS: &str = "Fusion-Parts";
const OPERATION: &str = "KV-Operation";
const TTL: &str = "Nats-TTL";
/// How long the mark of what was swept is kept by the engine. Nothing rests on it.
const MARK: Duration = Duration::from_secs(3_600);

/// What is beside the bytes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meta {
    pub(super) expires_at: Option<ServerTime>,
    /// Of a copy.
    pub(super) version: Option<u64>,
    /// Messages before this one that are parts of it.
    pub(super) parts: u32,
}

impl Meta {
    /// What a message says; `None` if it says that there is nothing any more.
    pub(super) fn of(message: &Stored) -> Result<Option<Self>, Malformed> {
        if is_mark(message) {
            return Ok(None);
        }
        let wrong = || Malformed::Broken("a header of it is no number");
        let number = |name| message.header(name).map(|text| text.parse().map_err(|_| wrong()));
        let parts = message.header(PARTS).map(|text| text.parse().map_err(|_| wrong()));
        let expires = message.header(EXPIRES).map(|text| text.parse().map_err(|_| wrong()));
        Ok(Some(Self {
            expires_at: expires.transpose()?.map(ServerTime::from_nanos),
            version: number(VERSION).transpose()?,
            parts: parts.transpose()?.unwrap_or(0),
        }))
    }

    fn headers(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(at) = self.expires_at {
            headers.insert(EXPIRES, at.as_nanos().to_string());
        }
        if let Some(version) = self.version {
            headers.insert(VERSION, version.to_string());
        }
        if self.parts > 0 {
            headers.insert(PARTS, self.parts.to_string());
        }
        headers
    }
}

/// The messages of a value or bundle, none with more than so many bytes; the last one counts.
pub(super) fn whole(subject: String, meta: Meta, bytes: &[u8], most: usize) -> Vec<Outgoing> {
    let mut pieces: Vec<_> = bytes.chunks(most).collect();
    let last = pieces.pop().unwrap_or_default();
    let meta = Meta { parts: u32::try_from(pieces.len()).unwrap_or(u32::MAX), ..meta };
    let parts = pieces.into_iter().zip(0..).map(|(piece, number)| Outgoing {
        subject: part(&subject, number),
        payload: Bytes::copy_from_slice(piece),
        ..Outgoing::default()
    });
    let mut messages: Vec<_> = parts.collect();
    let payload = Bytes::copy_from_slice(last);
    messages.push(Outgoing { subject, headers: meta.headers(), payload, expect: None });
    messages
}

/// The mark that there is nothing of this subject any more, which goes away by itself if it was swept.
pub(super) fn mark(subject: String, is_swept: bool) -> Outgoing {
    let mut headers = HeaderMap::new();
    headers.insert(OPERATION, "DEL");
    if is_swept {
        headers.insert(TTL, MARK.as_secs().to_string());
    }
    Outgoing { subject, headers, ..Outgoing::default() }
}

/// Whether a message says that there is nothing any more.
pub(super) fn is_mark(message: &Stored) -> bool {
    message.header(OPERATION).is_some()
}

/// What a state is.
pub(super) fn about(id: Uuid) -> Bytes {
    json!({ "v": FORMAT, "id": id.to_string() }).to_string().into()
}

pub(super) fn about_of(bytes: &[u8]) -> Result<Uuid, Malformed> {
    let broken = || Malformed::Broken("it does not tell the id of the state");
    let about: Json = serde_json::from_slice(bytes).map_err(|_| broken())?;
    match about["v"].as_u64().and_then(|found| u32::try_from(found).ok()) {
        Some(found) if found > FORMAT => {
            Err(Malformed::Future { what: "the state", found, known: FORMAT })
        }
        _ => about["id"].as_str().and_then(|id| Uuid::try_parse(id).ok()).ok_or_else(broken),
    }
}

/// A write of a server: the life of its handle, and the number of the write in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) life: Uuid,
    pub(super) number: u64,
}

impl Write {
    pub(super) fn encode(self) -> Bytes {
        json!({ "life": self.life.to_string(), "write": self.number }).to_string().into()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let told = || {
            let told: Json = serde_json::from_slice(bytes).ok()?;
            let life = Uuid::try_parse(told["life"].as_str()?).ok()?;
            Some(Self { life, number: told["write"].as_u64()? })
        };
        told().ok_or(Malformed::Broken("it does not tell the write of a server"))
    }

    /// What the engine calls it.
    pub(super) fn id(self) -> String {
        format!("{}-{}", self.life.simple(), self.number)
    }
}

/// Values as a bundle.
pub(super) fn bundle(puts: &[Put]) -> Vec<u8> {
    let mut bytes = vec![1];
    for put in puts {
        bytes.push(put.space as u8);
        bytes.extend(put.expires_at.unwrap_or(ServerTime::MAX).as_nanos().to_le_bytes());
        // Both are within their bounds.
        bytes.extend((put.key.len() as u16).to_le_bytes());
        bytes.extend((put.value.len() as u32).to_le_bytes());
        bytes.extend(&put.key);
        bytes.extend(&put.value);
    }
    bytes
}

pub(super) fn bundle_of(bytes: &[u8]) -> Result<Vec<Put>, Malformed> {
    let broken = || Malformed::Broken("a bundle is cut off");
    let mut puts = Vec::new();
    let mut rest = match bytes.split_first() {
        Some((1, rest)) => rest,
        Some((found, _)) => {
            let found = u32::from(*found);
            return Err(Malformed::Future { what: "a bundle of values", found, known: 1 });
        }
        None => return Err(broken()),
    };
    let mut take = |count: usize| -> Result<Option<&[u8]>, Malformed> {
        if rest.is_empty() {
            return Ok(None);
        }
        let (taken, after) = rest.split_at_checked(count).ok_or_else(broken)?;
        rest = after;
        Ok(Some(taken))
    };
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
    while let Some(head) = take(15)? {
        let space = Space::ALL.into_iter().find(|space| *space as u8 == head[0]);
        let expires_at = ServerTime::from_nanos(number(&head[1..9]).cast_signed());
        let (of_key, of_value) = (number(&head[9..11]) as usize, number(&head[11..15]) as usize);
        let key = take(of_key)?.ok_or_else(broken)?.to_vec();
        let value = match of_value {
            0 => Vec::new(),
            count => take(count)?.ok_or_else(broken)?.to_vec(),
        };
        let space = space.ok_or(Malformed::Broken("a bundle has a value of no space"))?;
        let expires_at = (expires_at != ServerTime::MAX).then_some(expires_at);
        puts.push(Put { space, key, value, expires_at });
    }
    Ok(puts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(messages: &[Outgoing]) -> Vec<String> {
        let told = |message: &Outgoing| {
            let mut headers: Vec<_> = message
                .headers
                .iter()
                .flat_map(|(name, values)| {
                    values.iter().map(move |value| format!(" {name}={value}"))
                })
                .collect();
            headers.sort();
            format!("{}{} {:?}", message.subject, headers.concat(), message.payload)
        };
        messages.iter().map(told).collect()
    }

    /// The stored formats of version 1. Other texts are another version.
    #[test]
    fn version_1_is_as_it_was() {
        let golden = include_str!("../../../../tests/golden/nats-state-1.txt");
        let at = Some(ServerTime::from_nanos(1_790_000_000_000_000_007));
        let meta = Meta { expires_at: at, version: Some(41), parts: 0 };
        let mut is = stored(&whole("$KV.b.job.k".to_owned(), meta, b"{\"v\":1}", 99));
        is.extend(stored(&whole("$KV.b.job.k".to_owned(), Meta::default(), b"abcdefg", 3)));
        is.extend(stored(&whole("$KV.b.job.k".to_owned(), Meta::default(), b"", 3)));
        is.extend(stored(&[
            mark("$KV.b.job.k".to_owned(), false),
            mark("$KV.b.job.k".to_owned(), true),
        ]));
        is.push(format!("about {:?}", about(Uuid::from_u64_pair(1, 2))));
        let write = Write { life: Uuid::from_u64_pair(3, 4), number: 5 };
        is.push(format!("writer {:?} in batch {}", write.encode(), write.id()));
        let put = |space, key: &[u8], value: &[u8], expires_at| Put {
            space,
            key: key.to_vec(),
            value: value.to_vec(),
            expires_at,
        };
        let puts = [put(Space::View, b"home", b"{}", None), put(Space::Audit, &[255], b"", at)];
        is.push(format!("many {:?}", Bytes::from(bundle(&puts))));
        assert_eq!(is.join("\n"), golden.trim_end());
        assert_eq!(bundle_of(&bundle(&puts)).unwrap(), puts);
        assert_eq!(about_of(&about(Uuid::from_u64_pair(1, 2))), Ok(Uuid::from_u64_pair(1, 2)));
        assert_eq!(Write::decode(&write.encode()), Ok(write));
    }

    #[test]
    fn what_is_broken_or_of_the_future_is_refused() {
        let future = about_of(br#"{"v":2,"id":"x"}"#);
        assert!(matches!(future, Err(Malformed::Future { found: 2, known: 1, .. })));
        assert!(matches!(bundle_of(&[2]), Err(Malformed::Future { found: 2, known: 1, .. })));
        let whole = bundle(&[Put {
            space: Space::Job,
            key: b"key".to_vec(),
            value: b"value".to_vec(),
            expires_at: None,
        }]);
        for at in (0..whole.len()).filter(|at| *at != 1) {
            assert!(bundle_of(&whole[..at]).is_err(), "{at}");
        }
        for broken in ["", "{}", r#"{"v":1,"id":7}"#] {
            assert!(about_of(broken.as_bytes()).is_err());
            assert!(Write::decode(broken.as_bytes()).is_err());
        }
    }
}
