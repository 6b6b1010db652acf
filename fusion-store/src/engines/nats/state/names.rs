//! What the messages of a bucket are called: subjects, as `nats kv` shows them without their beginning.
//!
//! | key of the bucket | is |
//! |---|---|
//! | `about` | the format and the id of the state, as JSON |
//! | `writer.SERVER` | the last write of a server: what every write of it expects |
//! | `many` | written with every bundle: what a conditional write expects |
//! | `many.SERVER` | a bundle: values that were written together and are too many for one batch |
//! | `swap.SERVER` | carries the expectation of a conditional write on `many` |
//! | `SPACE.KEY` | a value |
//! | ….N | part N of a value or bundle that is larger than a message; the last part is under its name |
//!
//! A key of letters, digits, `-`, `_` and `/` stands as it is. In any other, each other byte is `=HH`,
//! upper-case; but 16 bytes, which are an id, are `==` and the id as people write it.

use uuid::Uuid;

use crate::ports::Space;

/// Subjects of a bucket.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// What all of them begin with.
    beginning: String,
}

/// What a subject is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    About,
    Writer(Uuid),
    Many,
    Bundle(Uuid),
    Value(Space, Vec<u8>),
    /// A part of what has this subject, by number.
    Part(String, u32),
    /// Nothing that has to be known.
    Other,
}

impl Names {
    /// Those of a bucket.
    pub(super) fn new(bucket: &str) -> Self {
        Self { beginning: format!("$KV.{bucket}.") }
    }

    pub(super) fn all(&self) -> String {
        format!("{}>", self.beginning)
    }

    pub(super) fn about(&self) -> String {
        format!("{}about", self.beginning)
    }

    pub(super) fn writer(&self, server: Uuid) -> String {
        format!("{}writer.{server}", self.beginning)
    }

    pub(super) fn many(&self) -> String {
        format!("{}many", self.beginning)
    }

    pub(super) fn bundle(&self, server: Uuid) -> String {
        format!("{}many.{server}", self.beginning)
    }

    pub(super) fn swap(&self, server: Uuid) -> String {
        format!("{}swap.{server}", self.beginning)
    }

    pub(super) fn value(&self, space: Space, key: &[u8]) -> String {
        format!("{}{}.{}", self.beginning, space.as_str(), token(key))
    }

    /// What a subject is of; `None` if it is none of ours.
    pub(super) fn place(&self, subject: &str) -> Option<Place> {
        let mut tokens = subject.strip_prefix(&self.beginning)?.split('.');
        let (kind, name, part) = (tokens.next()?, tokens.next(), tokens.next());
        let place = match (kind, name) {
            ("about", None) => Place::About,
            ("many", None) => Place::Many,
            (_, None) => Place::Other,
            ("writer", Some(server)) => Place::Writer(Uuid::try_parse(server).ok()?),
            ("many", Some(server)) => Place::Bundle(Uuid::try_parse(server).ok()?),
            (kind, Some(name)) => match Space::ALL.iter().find(|space| space.as_str() == kind) {
                Some(space) => Place::Value(*space, key_of(name)?),
                None => Place::Other,
            },
        };
        match part {
            None => Some(place),
            Some(part) => {
                let whole = subject.len() - part.len() - 1;
                Some(Place::Part(subject[..whole].to_owned(), part.parse().ok()?))
            }
        }
    }
}

/// Part `number` of what has a subject.
pub(super) fn part(subject: &str, number: u32) -> String {
    format!("{subject}.{number}")
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/')
}

/// A key as a part of a subject.
fn token(key: &[u8]) -> String {
    if let Ok(id) = <[u8; 16]>::try_from(key)
        && !key.iter().copied().all(is_plain)
    {
        return format!("=={}", Uuid::from_bytes(id));
    }
    let mut token = String::with_capacity(key.len());
    for byte in key.iter().copied() {
        match is_plain(byte) {
            true => token.push(char::from(byte)),
            false => token.push_str(&format!("={byte:02X}")),
        }
    }
    token
}

/// The key that [`token`] was made of.
fn key_of(token: &str) -> Option<Vec<u8>> {
    if let Some(id) = token.strip_prefix("==") {
        return Some(Uuid::try_parse(id).ok()?.as_bytes().to_vec());
    }
    let (mut key, mut rest) = (Vec::with_capacity(token.len()), token.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'=' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                key.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            byte => key.push(*byte),
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ports::KEY_MAX;

    #[test]
    fn keys_can_be_read_by_people() {
        let names = Names::new("fusion-state");
        let told = |space, key: &[u8]| names.value(space, key);
        assert_eq!(told(Space::View, b"home"), "$KV.fusion-state.view.home");
        let id = Uuid::from_u64_pair(1, 2);
        let job = "$KV.fusion-state.job.==00000000-0000-0001-0000-000000000002";
        assert_eq!(told(Space::Job, id.as_bytes()), job);
        assert_eq!(
            told(Space::View, b"sixteen-letters-"),
            "$KV.fusion-state.view.sixteen-letters-"
        );
        let mixed = "$KV.fusion-state.audit.a=20b=2E=3Dc=FF";
        assert_eq!(told(Space::Audit, b"a b.=c\xff"), mixed);
        // Below what a line of the protocol may have, with a place to answer to.
        assert!(told(Space::Idempotency, &[255; KEY_MAX]).len() < 3_200);
    }

    #[test]
    fn what_is_not_a_value_is_told_apart() {
        let names = Names::new("b");
        let server = Uuid::from_u128(7);
        let is = |subject: String, place| assert_eq!(names.place(&subject), Some(place));
        is(names.about(), Place::About);
        is(names.writer(server), Place::Writer(server));
        is(names.many(), Place::Many);
        is(names.bundle(server), Place::Bundle(server));
        is(names.swap(server), Place::Other);
        is(part(&names.bundle(server), 3), Place::Part(names.bundle(server), 3));
        let value = names.value(Space::Job, b"1");
        is(part(&value, 12), Place::Part(value, 12));
        for not_ours in ["$KV.c.about", "$KV.b.job.=Z1", "$KV.b.job.a.b", "$KV.b.writer.x"] {
            assert_eq!(names.place(not_ours), None, "{not_ours}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_one_subject(
            key in prop_oneof![
                proptest::collection::vec(any::<u8>(), 1..40),
                proptest::collection::vec(any::<u8>(), 16),
                proptest::collection::vec(prop_oneof![Just(b'='), Just(b'-'), Just(b'0'), Just(b'.')], 1..40),
            ],
        ) {
            let names = Names::new("b");
            let subject = names.value(Space::Session, &key);
            prop_assert!(subject.bytes().all(|byte| is_plain(byte) || matches!(byte, b'$' | b'.' | b'=')));
            prop_assert_eq!(names.place(&subject), Some(Place::Value(Space::Session, key)));
        }
    }
}
