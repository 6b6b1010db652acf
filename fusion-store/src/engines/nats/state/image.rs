//! What a bucket has, as far as its messages were read.
//!
//! Fed with every message in order, and so the same in every server that read as far. Must never: take
//! a message twice, or know of a value before all of it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;
use fusion_core::time::ServerTime;
use uuid::Uuid;

use super::message::{Meta, Write, about_of, bundle_of, is_mark};
use super::names::{Names, Place, part};
use crate::engines::nats::stream::Stored;
use crate::error::Malformed;
use crate::ports::{Item, Page, Space, Version};

/// A value of which the messages are there.
#[derive(Debug, Clone)]
pub(super) struct Value {
    bytes: Box<[u8]>,
    pub(super) version: u64,
    pub(super) expires_at: Option<ServerTime>,
    /// The number of the last message of its own subject; none if it is in a bundle alone, and that is
    /// not known.
    pub(super) own: Option<u64>,
    /// Parts of it that the bucket may have.
    pub(super) parts: u32,
}

impl Value {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn item(&self, key: &[u8]) -> Item {
        Item {
            key: key.to_vec(),
            value: self.bytes.to_vec(),
            version: Version(self.version),
            expires_at: self.expires_at,
        }
    }
}

/// A bundle that is in the bucket.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    pub(super) number: u64,
    pub(super) parts: u32,
    pub(super) keys: Vec<(Space, Vec<u8>)>,
}

/// What was read of a bucket.
#[derive(Debug)]
pub(super) struct Image {
    names: Names,
    /// The server of which the writes are known.
    server: Uuid,
    values: BTreeMap<(Space, Vec<u8>), Value>,
    due: BTreeSet<(ServerTime, Space, Vec<u8>)>,
    pub(super) about: Option<Uuid>,
    /// The last write of the server, and the number of its message.
    pub(super) writer: Option<(u64, Write)>,
    /// When a bundle was written last; 0 for never.
    pub(super) many: u64,
    pub(super) bundles: BTreeMap<Uuid, Bundle>,
    /// The parts that were read last, with their subjects and numbers.
    run: Vec<(String, u64, Bytes)>,
    /// The last message that was read.
    pub(super) last: u64,
    /// The last message that was ever read: whoever says that there is less says too little.
    pub(super) known: u64,
    /// When the stream of it was made.
    pub(super) made: i128,
}

impl Image {
    pub(super) fn new(names: Names, server: Uuid, made: i128) -> Self {
        Self {
            names,
            server,
            values: BTreeMap::new(),
            due: BTreeSet::new(),
            about: None,
            writer: None,
            many: 0,
            bundles: BTreeMap::new(),
            run: Vec::new(),
            last: 0,
            known: 0,
            made,
        }
    }

    /// The same bucket, of which nothing was read.
    pub(super) fn anew(&self, made: i128) -> Self {
        let known = self.known.max(self.last);
        Self { known, ..Self::new(self.names.clone(), self.server, made) }
    }

    /// Takes the next message.
    pub(super) fn take(&mut self, message: Stored) -> Result<(), Malformed> {
        self.last = message.sequence;
        let unknown = Malformed::Broken("its subject is none of a state");
        let place = self.names.place(&message.subject).ok_or(unknown)?;
        if let Place::Part(whole, number) = place {
            self.take_part(whole, number, message);
            return Ok(());
        }
        let run = std::mem::take(&mut self.run);
        let meta = Meta::of(&message)?;
        match (place, meta) {
            (Place::About, _) => self.about = Some(about_of(&message.payload)?),
            (Place::Writer(server), _) if server == self.server => {
                self.writer = Some((message.sequence, Write::decode(&message.payload)?));
            }
            (Place::Many, _) => self.many = message.sequence,
            (Place::Bundle(server), None) => drop(self.bundles.remove(&server)),
            (Place::Bundle(server), Some(meta)) => {
                let puts = bundle_of(&joined(run, &message, meta.parts)?)?;
                let number = message.sequence;
                let keys = puts.iter().map(|put| (put.space, put.key.clone())).collect();
                for put in puts {
                    let before = self.values.get(&(put.space, put.key.clone()));
                    let (own, parts) =
                        before.map_or((None, 0), |before| (before.own, before.parts));
                    let (bytes, expires_at) = (put.value.into(), put.expires_at);
                    let value = Value { bytes, version: number, expires_at, own, parts };
                    self.set(put.space, put.key, Some(value));
                }
                self.bundles.insert(server, Bundle { number, parts: meta.parts, keys });
            }
            (Place::Value(space, key), None) => self.set(space, key, None),
            (Place::Value(space, key), Some(meta)) => {
                let bytes = joined(run, &message, meta.parts)?.into();
                let before = self.values.get(&(space, key.clone()));
                let value = Value {
                    bytes,
                    version: meta.version.unwrap_or(message.sequence),
                    expires_at: meta.expires_at,
                    own: Some(message.sequence),
                    parts: meta.parts.max(before.map_or(0, |before| before.parts)),
                };
                self.set(space, key, Some(value));
            }
            (Place::Writer(_) | Place::Other | Place::Part(..), _) => {}
        }
        Ok(())
    }

    fn take_part(&mut self, whole: String, number: u32, message: Stored) {
        if is_mark(&message) {
            self.run.clear();
            if let Some(Place::Value(space, key)) = self.names.place(&whole)
                && let Some(value) = self.values.get_mut(&(space, key))
            {
                value.parts = value.parts.min(number);
            }
            return;
        }
        let follows = self.run.last().is_some_and(|(subject, before, _)| {
            *subject == whole && before + 1 == message.sequence
        });
        if number == 0 || !follows {
            self.run.clear();
        }
        self.run.push((whole, message.sequence, message.payload));
    }

    fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Value>) {
        let expires = |value: &Value| value.expires_at.map(|at| (at, space, key.clone()));
        self.due.extend(value.as_ref().and_then(expires));
        let now = value.as_ref().and_then(|value| value.expires_at);
        let before = match value {
            Some(value) => self.values.insert((space, key.clone()), value),
            None => self.values.remove(&(space, key.clone())),
        };
        if let Some(at) = before.and_then(|before| before.expires_at).filter(|at| now != Some(*at))
        {
            self.due.remove(&(at, space, key));
        }
    }

    pub(super) fn value(&self, space: Space, key: &[u8]) -> Option<&Value> {
        self.values.get(&(space, key.to_vec()))
    }

    /// The value of a key, if it has not expired.
    pub(super) fn item(&self, space: Space, key: &[u8], now: ServerTime) -> Option<Item> {
        self.value(space, key).map(|value| value.item(key)).filter(|item| item.is_there(now))
    }

    /// One page of a scan.
    pub(super) fn page(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Page {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded((space, after.to_vec())),
            _ => Bound::Included((space, prefix.to_vec())),
        };
        let is_one = |(of, key): &(Space, Vec<u8>)| *of == space && key.starts_with(prefix);
        let there = |value: &Value| value.expires_at.is_none_or(|at| now < at);
        let mut found = self
            .values
            .range((from, Bound::Unbounded))
            .take_while(|(place, _)| is_one(place))
            .filter(|(_, value)| there(value))
            .map(|((_, key), value)| value.item(key));
        let items: Vec<_> = found.by_ref().take(limit).collect();
        Page { items, more: found.next().is_some() }
    }

    /// Values that have expired, the oldest first.
    pub(super) fn due(&self, now: ServerTime) -> impl Iterator<Item = (Space, &[u8])> {
        let due = self.due.iter().take_while(move |(at, ..)| *at <= now);
        due.map(|(_, space, key)| (*space, key.as_slice()))
    }
}

/// A value with its parts, which came right before its last message.
fn joined(run: Vec<(String, u64, Bytes)>, last: &Stored, parts: u32) -> Result<Vec<u8>, Malformed> {
    let missing = Malformed::Broken("its parts are not before it");
    let from = run.len().checked_sub(parts as usize).ok_or(missing)?;
    let own = &run[from..];
    let is_last =
        |part: &(String, u64, Bytes)| part.1 + 1 == last.sequence && part.0 == last.subject;
    if parts > 0 && !own.last().is_some_and(is_last) {
        return Err(missing);
    }
    let mut bytes = Vec::with_capacity(own.iter().map(|part| part.2.len()).sum::<usize>());
    own.iter().for_each(|part| bytes.extend_from_slice(&part.2));
    bytes.extend_from_slice(&last.payload);
    Ok(bytes)
}

/// The subjects of parts that are left when what has `had` of them gets `has`.
pub(super) fn left(subject: &str, had: u32, has: u32) -> impl Iterator<Item = String> {
    (has..had).map(move |number| part(subject, number))
}
