//! What is written to a bucket: values, swaps, removals, and bundles of what is too much for a batch.
//!
//! A conditional write expects the last message of its key, and the last bundle: so it happens only if
//! nothing has changed that was not read. A bundle counts as soon as it is there; then its values are
//! written under their own keys, each unless it has been changed since, and the bundle goes.

use fusion_core::time::ServerTime;

use super::bucket::{BATCH, Bucket, Turn};
use super::image::{Bundle, left};
use super::message::{self, Meta, mark, whole};
use crate::engines::nats::stream::Outgoing;
use crate::error::StoreError;
use crate::ports::{Expect, Put, Space, Swap, Version};

/// What was expected in vain: how often nothing new was found that would explain it.
#[derive(Debug, Default)]
struct Vain {
    last: u64,
    times: u32,
}

impl Vain {
    /// Something was not as expected. What is not known is asked for first, then all is read again.
    fn note(&mut self, bucket: &Bucket) {
        let last = bucket.image().last;
        self.times = if last == self.last { self.times + 1 } else { 1 };
        self.last = last;
        if self.times > 1 && self.times.is_multiple_of(2) {
            bucket.forget();
            self.last = 0;
        }
    }

    /// Whether the engine is to be asked what is not known.
    fn asks(&self) -> bool {
        !self.times.is_multiple_of(2)
    }
}

impl Bucket {
    /// Writes values, all or none; the version of the last one.
    pub(super) async fn put(&self, puts: &[Put]) -> Result<Version, StoreError> {
        let mut turn = self.turn.write().await;
        let mut messages = Vec::new();
        for put in puts {
            messages.extend(self.value(put, None));
            if messages.len() > BATCH {
                return self.put_bundle(&mut turn, puts).await.map(Version);
            }
        }
        let written = self.write(&mut turn, &messages).await?;
        let own = written
            .ok_or_else(|| self.stream.odd("write to", "it refuses what expects nothing"))?;
        Ok(Version(own + messages.len() as u64))
    }

    /// The messages of a value, and the marks of parts that are left of what it had.
    fn value(&self, put: &Put, version: Option<u64>) -> Vec<Outgoing> {
        let subject = self.names.value(put.space, &put.key);
        let had = self.image().value(put.space, &put.key).map_or(0, |value| value.parts);
        let meta = Meta { expires_at: put.expires_at, version, parts: 0 };
        let of_value = whole(subject.clone(), meta, &put.value, self.message_bytes);
        let has = of_value.len() as u32 - 1;
        let mut messages: Vec<_> = left(&subject, had, has).map(|part| mark(part, true)).collect();
        messages.extend(of_value);
        messages
    }

    /// Swaps a value if what is there is as expected.
    pub(super) async fn swap(
        &self,
        put: &Put,
        expect: Expect,
        now: ServerTime,
    ) -> Result<Swap, StoreError> {
        let mut turn = self.turn.write().await;
        let mut vain = Vain::default();
        loop {
            self.catch_up().await?;
            let there = self.image().item(put.space, &put.key, now);
            if !expect.agrees(there.as_ref()) {
                return Ok(Swap::Conflict(there));
            }
            let mut messages = vec![self.nothing_bundled()];
            messages.extend(self.value(put, None));
            self.expect_own(&mut messages, put.space, &put.key, vain.asks()).await?;
            match self.write(&mut turn, &messages).await? {
                Some(own) => return Ok(Swap::Done(Version(own + messages.len() as u64))),
                None => vain.note(self),
            }
        }
    }

    /// Removes a value; whether one was there.
    pub(super) async fn remove(&self, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        let mut turn = self.turn.write().await;
        let mut vain = Vain::default();
        loop {
            self.settle(&mut turn).await?;
            if self.image().value(space, key).is_none() {
                return Ok(false);
            }
            let mut messages = vec![self.nothing_bundled()];
            messages.extend(self.marks(space, key, false));
            self.expect_own(&mut messages, space, key, vain.asks()).await?;
            match self.write(&mut turn, &messages).await? {
                Some(_) => return Ok(true),
                None => vain.note(self),
            }
        }
    }

    /// Sweeps what has expired, at most `most` values; how many went, and whether there may be more.
    pub(super) async fn sweep(
        &self,
        now: ServerTime,
        most: usize,
    ) -> Result<(usize, bool), StoreError> {
        let mut turn = self.turn.write().await;
        let mut vain = Vain::default();
        loop {
            self.settle(&mut turn).await?;
            let due: Vec<_> = {
                let image = self.image();
                image
                    .due(now)
                    .take(most.min(BATCH))
                    .map(|(space, key)| (space, key.to_vec()))
                    .collect()
            };
            let mut messages = vec![self.nothing_bundled()];
            let mut count = 0;
            for (space, key) in &due {
                let mut marks = self.marks(*space, key, true);
                if messages.len() + marks.len() > BATCH {
                    break;
                }
                self.expect_own(&mut marks, *space, key, vain.asks()).await?;
                messages.append(&mut marks);
                count += 1;
            }
            if count == 0 {
                return Ok((0, false));
            }
            match self.write(&mut turn, &messages).await? {
                Some(_) => return Ok((count, count < most)),
                None => vain.note(self),
            }
        }
    }

    /// Marks that a value and its parts are gone; the last one is that of the value.
    fn marks(&self, space: Space, key: &[u8], is_swept: bool) -> Vec<Outgoing> {
        let subject = self.names.value(space, key);
        let had = self.image().value(space, key).map_or(0, |value| value.parts);
        let mut marks: Vec<_> = left(&subject, 0, had).map(|part| mark(part, true)).collect();
        marks.push(mark(subject, is_swept));
        marks
    }

    /// A message that is stored only if no bundle was written that is not known.
    fn nothing_bundled(&self) -> Outgoing {
        let (subject, many) = (self.names.swap(self.whose.server), self.names.many());
        let expect = Some((self.image().many, Some(many)));
        Outgoing { subject, expect, ..Outgoing::default() }
    }

    /// The last of the messages, which is that of the value, is stored only if nothing came after what
    /// is known of the key.
    async fn expect_own(
        &self,
        messages: &mut [Outgoing],
        space: Space,
        key: &[u8],
        asks: bool,
    ) -> Result<(), StoreError> {
        let known = self.image().value(space, key).and_then(|value| value.own);
        let own = match known {
            Some(own) => own,
            None if asks => self.last_mark(space, key).await?,
            None => 0,
        };
        if let Some(last) = messages.last_mut() {
            last.expect = Some((own, None));
        }
        Ok(())
    }

    /// The number of the mark that a key has nothing; 0 if there is none.
    async fn last_mark(&self, space: Space, key: &[u8]) -> Result<u64, StoreError> {
        let found = self.stream.last_of(&self.names.value(space, key)).await?;
        // A value that is not known yet is not expected.
        Ok(found.filter(message::is_mark).map_or(0, |mark| mark.sequence))
    }

    async fn put_bundle(&self, turn: &mut Turn, puts: &[Put]) -> Result<u64, StoreError> {
        self.settle(turn).await?;
        let subject = self.names.bundle(self.whose.server);
        let many = Outgoing { subject: self.names.many(), ..Outgoing::default() };
        let mut messages = vec![many];
        let bytes = message::bundle(puts);
        messages.extend(whole(subject, Meta::default(), &bytes, self.message_bytes));
        if messages.len() > BATCH {
            let why = format!("they have {} bytes together, and a batch has fewer", bytes.len());
            return Err(StoreError::Refused { what: "values", why });
        }
        let written = self.write(turn, &messages).await?;
        let own = written
            .ok_or_else(|| self.stream.odd("write to", "it refuses what expects nothing"))?;
        // They are written: what is left to do anybody does, at the latest who sweeps.
        if let Err(error) = self.settle(turn).await {
            tracing::debug!(%error, "a bundle of values is not unpacked yet");
        }
        Ok(own + messages.len() as u64)
    }

    /// Writes the values of all bundles under their own keys, and has nothing to do most of the time.
    async fn settle(&self, turn: &mut Turn) -> Result<(), StoreError> {
        let mut vain = Vain::default();
        loop {
            self.catch_up().await?;
            let first =
                self.image().bundles.iter().next().map(|(server, it)| (*server, it.clone()));
            let Some((server, bundle)) = first else { return Ok(()) };
            let mut messages = vec![self.nothing_bundled()];
            self.copies(&bundle, &mut messages, vain.asks()).await?;
            if messages.len() == 1 {
                let subject = self.names.bundle(server);
                messages.extend(left(&subject, 0, bundle.parts).map(|part| mark(part, true)));
                let last = Outgoing { expect: Some((bundle.number, None)), ..mark(subject, true) };
                messages.push(last);
            }
            if self.write(turn, &messages).await?.is_none() {
                vain.note(self);
            }
        }
    }

    /// Adds copies of values of a bundle that were not written since, as many as there is room for.
    async fn copies(
        &self,
        bundle: &Bundle,
        messages: &mut Vec<Outgoing>,
        asks: bool,
    ) -> Result<(), StoreError> {
        for (space, key) in &bundle.keys {
            let copy = {
                let image = self.image();
                let is_in_it = |own: Option<u64>| own.is_none_or(|own| own < bundle.number);
                let value = image.value(*space, key);
                let value = value.filter(|it| it.version == bundle.number && is_in_it(it.own));
                value.map(|value| Put {
                    space: *space,
                    key: key.clone(),
                    value: value.bytes().to_vec(),
                    expires_at: value.expires_at,
                })
            };
            let Some(copy) = copy else { continue };
            let mut copies = self.value(&copy, Some(bundle.number));
            if messages.len() + copies.len() > BATCH {
                return Ok(());
            }
            self.expect_own(&mut copies, *space, key, asks).await?;
            messages.append(&mut copies);
        }
        Ok(())
    }
}
