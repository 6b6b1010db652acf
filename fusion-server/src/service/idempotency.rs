//! Calls that may be repeated: a changing call under a key is done once, and its answer is kept.
//!
//! Owns the stored answers and who is at work under which key. Called by the edge, around the
//! handlers ([`crate::grpc`]), never by them. Before a call is done its key is noted as STARTED with
//! the id that the call gives to what it makes; when it was done with OK, its answer takes the place
//! of that note. So a repeat after a crash finishes the call and makes nothing twice. What failed is
//! forgotten: it may be tried again under the same key. Must never: answer one principal, method or
//! request with what was kept for another. Tested in `tests/grpc/idempotency.rs`.

mod alone;
mod record;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fusion_core::session::Principal;
use fusion_core::time::{Clock, ServerTime};
use fusion_proto::status::Refusal;
use fusion_store::{Put, Space, State};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::internal;
use crate::ids::Ids;
use crate::ops::metrics::Metrics;
use crate::stores::{SavePoint, Saver, unwritten_yet};
use alone::{Alone, Working};
pub(crate) use record::check;
use record::{Record, Stage};

/// How long the answer to a key that was derived is kept: for retries, not for repetition.
const DERIVED_TTL: Duration = Duration::from_secs(60);
/// Largest answer that is kept, in bytes; no changing call has a larger one.
const ANSWER_MAX: usize = 1 << 20;

/// Keeps the answers to keys; a cheap handle.
#[derive(Clone)]
pub(crate) struct Idempotency {
    shared: Arc<Shared>,
}

/// What it is made with.
pub(crate) struct IdempotencyDeps {
    pub(crate) state: Arc<dyn State>,
    pub(crate) saver: Saver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) metrics: Metrics,
    /// How long an answer is kept.
    pub(crate) ttl: Duration,
}

struct Shared {
    deps: IdempotencyDeps,
    working: Arc<Working>,
}

/// The key of a call, as its caller gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GivenKey {
    /// A key of the caller's choice: 1 to 255 visible ASCII characters.
    Chosen(String),
    /// To be made of the request.
    Derived,
}

/// What a handler is told of the call that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallIdentity {
    /// For what the call makes: the same in every try.
    pub(crate) id: Uuid,
    /// An earlier try may have been cut off when it was done already.
    pub(crate) is_resumed: bool,
}

/// What is to be done with a call.
pub(crate) enum Begun {
    /// It is to be done.
    First(Turn),
    /// It was done; the answer that it got.
    Done(Bytes),
}

/// The right to do a call. Dropped without [`Turn::keep`] or [`Turn::forget`], the call counts as cut
/// off.
pub(crate) struct Turn {
    owner: Idempotency,
    key: Vec<u8>,
    record: Record,
    expires_at: ServerTime,
    is_resumed: bool,
    _alone: Alone,
}

impl Idempotency {
    pub(crate) fn new(deps: IdempotencyDeps) -> Self {
        Self { shared: Arc::new(Shared { deps, working: Arc::default() }) }
    }

    /// Asks for the right to do a call; waits while it is being done under the same key.
    ///
    /// # Errors
    /// IDEMPOTENCY_KEY_REUSED; STORE_UNAVAILABLE: nothing was done.
    pub(crate) async fn begin(
        &self,
        principal: &Principal,
        method: &str,
        given: &GivenKey,
        request: &[u8],
    ) -> Result<Begun, Refusal> {
        let digest: [u8; 32] = Sha256::digest(request).into();
        let key = key_of(principal, method, given, &digest);
        let alone = self.shared.working.alone(&key).await;
        let now = self.shared.deps.clock.now();
        let known = self.read(&key, now).await?;
        let (record, is_resumed) = match known {
            Some(known) if known.request != digest => {
                self.count("reused");
                return Err(Refusal::IdempotencyKeyReused);
            }
            Some(Record { stage: Stage::Done(answer), .. }) => {
                self.count("replayed");
                return Ok(Begun::Done(answer));
            }
            Some(started) => (started, true),
            None => {
                let id = self.shared.deps.ids.draw();
                (Record { request: digest, id, stage: Stage::Started }, false)
            }
        };
        self.count(if is_resumed { "resumed" } else { "first" });
        let ttl = match given {
            GivenKey::Chosen(_) => self.shared.deps.ttl,
            GivenKey::Derived => DERIVED_TTL,
        };
        let (owner, expires_at) = (self.clone(), now.plus(ttl));
        let turn = Turn { owner, key, record, expires_at, is_resumed, _alone: alone };
        match turn.write(&turn.record).await {
            Ok(()) => Ok(Begun::First(turn)),
            Err(refusal) => {
                turn.forget_later();
                Err(refusal)
            }
        }
    }

    /// Forgets a key of a caller's choice, after the call under it, if one is being done. Whether there
    /// was one.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE.
    pub(crate) async fn delete(
        &self,
        principal: &Principal,
        method: &str,
        key: String,
    ) -> Result<bool, Refusal> {
        let key = key_of(principal, method, &GivenKey::Chosen(key), &[0; 32]);
        let _alone = self.shared.working.alone(&key).await;
        let now = self.shared.deps.clock.now();
        let was_there = self.read(&key, now).await?.is_some();
        if was_there {
            let deps = &self.shared.deps;
            let point = deps.saver.put(Space::Idempotency, key, Vec::new(), Some(now));
            deps.saver.written(point).await?;
        }
        Ok(was_there)
    }

    async fn read(&self, key: &[u8], now: ServerTime) -> Result<Option<Record>, Refusal> {
        let IdempotencyDeps { state, ids, .. } = &self.shared.deps;
        let (state, key) = (Arc::clone(state), key.to_vec());
        let read = tokio::task::spawn_blocking(move || state.get(Space::Idempotency, &key, now));
        let item = read.await.map_err(|error| internal(&**ids, &error))?.map_err(|error| {
            tracing::error!(%error, "a key cannot be looked up in the store");
            unwritten_yet()
        })?;
        let record = item.map(|item| Record::from_bytes(&item.value)).transpose();
        record.map_err(|error| internal(&**ids, &error))
    }

    fn count(&self, outcome: &str) {
        self.shared.deps.metrics.idempotency.with_label_values(&[outcome]).inc();
    }
}

impl Turn {
    /// What the handler is to be told.
    pub(crate) fn identity(&self) -> CallIdentity {
        CallIdentity { id: self.record.id, is_resumed: self.is_resumed }
    }

    /// Keeps the answer: every repeat gets it. What is written `along` with it is there after a crash if
    /// and only if the answer is.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE: the call was done, and a repeat finishes it.
    pub(crate) async fn keep(self, answer: Bytes, along: Option<Put>) -> Result<(), Refusal> {
        let answer = if answer.len() > ANSWER_MAX {
            tracing::warn!(bytes = answer.len(), "an answer is too large to be kept for a repeat");
            None
        } else {
            let Record { request, id, .. } = self.record;
            Some(self.put(&Record { request, id, stage: Stage::Done(answer) }))
        };
        let saver = &self.owner.shared.deps.saver;
        saver.written(saver.put_all(answer.into_iter().chain(along))).await
    }

    /// Forgets a call that failed.
    pub(crate) async fn forget(self) {
        let point = self.forget_later();
        // Whether or not it is written now: the caller is told of the failure all the same.
        let _ = self.owner.shared.deps.saver.written(point).await;
    }

    fn forget_later(&self) -> SavePoint {
        let deps = &self.owner.shared.deps;
        let now = deps.clock.now();
        deps.saver.put(Space::Idempotency, self.key.clone(), Vec::new(), Some(now))
    }

    async fn write(&self, record: &Record) -> Result<(), Refusal> {
        let saver = &self.owner.shared.deps.saver;
        saver.written(saver.put_all([self.put(record)])).await
    }

    fn put(&self, record: &Record) -> Put {
        Put {
            space: Space::Idempotency,
            key: self.key.clone(),
            value: record.to_bytes(),
            expires_at: Some(self.expires_at),
        }
    }
}

/// The key of the store: whose, which method, and then the key, so that one caller's keys never meet
/// another's.
fn key_of(principal: &Principal, method: &str, given: &GivenKey, digest: &[u8; 32]) -> Vec<u8> {
    let mut key = format!("{}\0{method}\0", principal.as_str()).into_bytes();
    match given {
        GivenKey::Chosen(chosen) => {
            key.extend_from_slice(b"k\0");
            key.extend_from_slice(chosen.as_bytes());
        }
        GivenKey::Derived => {
            key.extend_from_slice(b"d\0");
            key.extend_from_slice(digest);
        }
    }
    key
}
