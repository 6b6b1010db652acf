//! State in a key-value bucket of JetStream, which `nats kv` shows.
//!
//! A key of the bucket is a space and a key ([`names`]), a message its value ([`message`]), and the
//! number of the message its version. All that is there is kept in memory ([`image`]) and brought up to
//! date by each call, up to what the stream's leader says is the end: other servers write as well. Called
//! by the server as [`State`]. Must never: go by the clock of the engine, begin anew in silence, or let a
//! write that was given up happen after one that followed ([`bucket`]). Tested by the conformance suite and
//! by faults of real servers in `tests/engines`.

mod bucket;
mod changes;
mod image;
mod message;
mod names;

use std::sync::Arc;

use async_nats::jetstream::stream::Config;
use fusion_core::time::ServerTime;
use uuid::Uuid;

use super::{Nats, random};
use crate::engines::Whose;
use crate::error::StoreError;
use crate::ports::{
    Expect, Guarantee, Item, Page, Put, Space, State, Swap, Version, check as check_value,
};
use bucket::Bucket;
use names::Names;

/// State in a bucket.
#[derive(Debug)]
pub struct NatsState {
    nats: Arc<Nats>,
    bucket: Arc<Bucket>,
    id: Uuid,
}

impl NatsState {
    /// Opens the bucket; makes it if there is none and the server has had no state yet.
    pub(super) fn open(nats: Arc<Nats>, whose: Whose) -> Result<Self, StoreError> {
        let name = format!("{}-state", nats.settings.prefix);
        let (names, stream) = (Names::new(&name), nats.stream(format!("KV_{name}")));
        let config = Config {
            subjects: vec![names.all()],
            num_replicas: nats.settings.replicas,
            max_bytes: -1,
            max_messages_per_subject: 1,
            allow_atomic_publish: true,
            allow_message_ttl: true,
            description: Some("the state of Fusion: sessions, jobs, audit records".to_owned()),
            ..Config::default()
        };
        let (message_bytes, life) = (nats.message_bytes(), random()?);
        let bucket = Bucket::new(stream, names, whose, message_bytes, nats.bridge.engine(), life);
        let bucket = Arc::new(bucket);
        let opened = Arc::clone(&bucket);
        let id = nats.bridge.run("open the state at", nats.settings.timeout * 2, async move {
            if opened.wanted().is_some() && opened.stream.extent().await?.is_none() {
                return Err(opened.other(None));
            }
            opened.stream.ensure(config).await?;
            opened.take_over().await
        })?;
        Ok(Self { nats, bucket, id })
    }

    /// The id of the state.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    fn run<T: Send + 'static, W>(
        &self,
        what: &'static str,
        work: impl FnOnce(Arc<Bucket>) -> W,
    ) -> Result<T, StoreError>
    where
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        self.nats.bridge.run(what, self.nats.settings.timeout, work(Arc::clone(&self.bucket)))
    }
}

impl State for NatsState {
    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Result<Option<Item>, StoreError> {
        self.run("read from", |bucket| async move { bucket.fresh().await })?;
        Ok(self.bucket.image().item(space, key, now))
    }

    fn put(
        &self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, StoreError> {
        check_value(key, value)?;
        let put = Put { space, key: key.to_vec(), value: value.to_vec(), expires_at };
        self.run("write to", |bucket| async move { bucket.put(&[put]).await })
    }

    fn put_all(&self, puts: &[Put]) -> Result<(), StoreError> {
        puts.iter().try_for_each(|put| check_value(&put.key, &put.value))?;
        // Of a key that is there twice the last one counts.
        let mut seen = std::collections::HashSet::new();
        let is_last = |put: &&Put| seen.insert((put.space, put.key.clone()));
        let puts: Vec<_> = puts.iter().rev().filter(is_last).cloned().collect();
        if puts.is_empty() {
            return Ok(());
        }
        self.run("write to", |bucket| async move { bucket.put(&puts).await.map(drop) })
    }

    fn compare_and_swap(
        &self,
        space: Space,
        key: &[u8],
        expect: Expect,
        value: &[u8],
        expires_at: Option<ServerTime>,
        now: ServerTime,
    ) -> Result<Swap, StoreError> {
        check_value(key, value)?;
        let put = Put { space, key: key.to_vec(), value: value.to_vec(), expires_at };
        self.run("write to", |bucket| async move { bucket.swap(&put, expect, now).await })
    }

    fn delete(&self, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        let key = key.to_vec();
        self.run("write to", |bucket| async move { bucket.remove(space, &key).await })
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Result<Page, StoreError> {
        self.run("read from", |bucket| async move { bucket.fresh().await })?;
        Ok(self.bucket.image().page(space, prefix, after, limit.max(1), now))
    }

    fn expire(&self, now: ServerTime, limit: usize) -> Result<usize, StoreError> {
        let mut gone = 0;
        while gone < limit {
            let most = limit - gone;
            let sweep = |bucket: Arc<Bucket>| async move { bucket.sweep(now, most).await };
            let (swept, may_be_more) = self.run("write to", sweep)?;
            gone += swept;
            if !may_be_more {
                break;
            }
        }
        Ok(gone)
    }

    fn guarantee(&self) -> Guarantee {
        self.nats.guarantee()
    }
}
