//! Servers and claims in a key-value bucket of JetStream, which `nats kv` shows.
//!
//! The key `member.ID` has the record of a server, `claim.ID` that of a view, as JSON; the version of a
//! record is the number of its message. A bucket keeps the last message of each key, so what is known
//! is brought up to date by reading what came after the last message that was read. What is asked
//! first is the leader, for whoever else is near may lag behind. Must never: write a claim without
//! the version that it replaces, or answer with less than it has answered before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fusion_core::id::ViewName;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use super::Nats;
use super::stream::{Put, Stored, Stream, hints};
use crate::error::{Malformed, StoreError};
use crate::ports::{
    Claim, Claimed, Member, OwnerEpoch, Ownership, Roll, ServerId, Stamp, Stamped, ViewId, ViewRef,
    check_member,
};

/// The version of the records.
const VERSION: u64 = 1;
/// Messages and bytes that are read at a time.
const BATCH: (usize, usize) = (1_000, 8 << 20);
/// How long nothing is heard before it is looked.
const LOOK: Duration = Duration::from_secs(1);
const NOT_JSON: Malformed = Malformed::Broken("it is no record of a server or a claim");

/// Servers and claims on JetStream.
#[derive(Debug)]
pub struct NatsOwnership {
    nats: Arc<Nats>,
    bucket: Arc<Bucket>,
    /// The number of the last claim that was told of; listened to once somebody waits.
    told: OnceLock<watch::Receiver<u64>>,
}

#[derive(Debug)]
struct Bucket {
    stream: Stream,
    /// What the subjects of all keys begin with.
    subjects: String,
    known: Mutex<Known>,
    /// Held while what is new is read.
    reading: tokio::sync::Mutex<()>,
}

/// What was read.
#[derive(Debug, Default)]
struct Known {
    members: BTreeMap<ServerId, Stamped<Member>>,
    claims: BTreeMap<ViewId, Stamped<Claim>>,
    /// Claims that were removed: the number of the message that says so.
    forgotten: BTreeMap<ViewId, u64>,
    /// When a claim was written last.
    claimed: u64,
    last: u64,
}

impl NatsOwnership {
    /// Makes the bucket if it is not there.
    pub(super) fn open(nats: Arc<Nats>) -> Result<Self, StoreError> {
        let name = format!("{}-ownership", nats.settings.prefix);
        let subjects = format!("$KV.{name}.");
        let stream = nats.stream(format!("KV_{name}"));
        let config = Config {
            subjects: vec![format!("{subjects}>")],
            num_replicas: nats.settings.replicas,
            max_bytes: -1,
            max_messages_per_subject: 1,
            allow_rollup: true,
            deny_delete: true,
            description: Some("the servers of Fusion, and who owns which view".to_owned()),
            ..Config::default()
        };
        let made = stream.clone();
        let limit = nats.settings.timeout * 2;
        nats.bridge.run("make a bucket at", limit, async move { made.ensure(config).await })?;
        let (known, reading) = (Mutex::default(), tokio::sync::Mutex::default());
        let bucket = Arc::new(Bucket { stream, subjects, known, reading });
        Ok(Self { nats, bucket, told: OnceLock::new() })
    }

    fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.nats.bridge.run(what, self.nats.settings.timeout * 2, work)
    }
}

impl Bucket {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn member(&self, server: ServerId) -> String {
        format!("{}member.{}", self.subjects, server.0.simple())
    }

    fn claim(&self, view: ViewId) -> String {
        format!("{}claim.{}", self.subjects, view.0.simple())
    }

    /// Reads what came since it was read last.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let _reading = self.reading.lock().await;
        let extent = self.stream.extent().await?;
        let end = extent.map_or(0, |extent| extent.last);
        loop {
            let from = self.known().last + 1;
            if from > end {
                return Ok(());
            }
            let read = self.stream.batch(from, BATCH.0, BATCH.1, None).await?;
            if read.is_empty() {
                // Whoever was asked lags behind.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let mut known = self.known();
            for message in read {
                let sequence = message.sequence;
                let place = || format!("message {sequence} of stream {}", self.stream.name());
                let taken = known.take(&self.subjects, message);
                taken.map_err(|why| StoreError::corrupt(place(), 0)(why))?;
            }
        }
    }

    /// What is there of a view's claim.
    fn there(&self, view: ViewId) -> Option<Stamped<Claim>> {
        self.known().claims.get(&view).cloned()
    }

    async fn write_claim(
        &self,
        claim: Claim,
        expect: Option<Stamp>,
    ) -> Result<Claimed, StoreError> {
        self.catch_up().await?;
        let view = claim.view.id;
        let there = self.there(view);
        if there.as_ref().map(|there| there.stamp) != expect {
            return Ok(Claimed::Conflict(there));
        }
        claim.may_follow(there.as_ref().map(|there| &there.it))?;
        let forgotten = self.known().forgotten.get(&view).copied();
        let replaces = expect.map_or(forgotten.unwrap_or(0), |stamp| stamp.0);
        let put = self.stream.put(&self.claim(view), encode_claim(&claim), Some(replaces)).await;
        match put {
            Ok(Put::Done(stamp)) => Ok(Claimed::Done(Stamp(stamp))),
            Ok(Put::Other) => {
                self.catch_up().await?;
                Ok(Claimed::Conflict(self.there(view)))
            }
            Err(error) => {
                // It may have been written all the same.
                self.catch_up().await?;
                let there = self.there(view).filter(|there| Some(there.stamp) != expect);
                match there {
                    Some(there) if there.it == claim => Ok(Claimed::Done(there.stamp)),
                    Some(there) => Ok(Claimed::Conflict(Some(there))),
                    None => Err(error),
                }
            }
        }
    }
}

impl Known {
    /// Takes a message into account.
    fn take(&mut self, subjects: &str, message: Stored) -> Result<(), Malformed> {
        self.last = self.last.max(message.sequence);
        let key = message.subject.strip_prefix(subjects).ok_or(NOT_JSON)?;
        let (kind, id) = key.split_once('.').ok_or(NOT_JSON)?;
        let id = Uuid::try_parse(id).map_err(|_| NOT_JSON)?;
        let stamp = Stamp(message.sequence);
        match kind {
            "member" if message.payload.is_empty() => drop(self.members.remove(&ServerId(id))),
            "member" => {
                let it = decode_member(ServerId(id), &message.payload)?;
                self.members.insert(ServerId(id), Stamped { it, stamp });
            }
            "claim" => {
                self.claimed = message.sequence;
                self.claims.remove(&ViewId(id));
                if message.payload.is_empty() {
                    self.forgotten.insert(ViewId(id), message.sequence);
                    return Ok(());
                }
                let it = decode_claim(ViewId(id), &message.payload)?;
                self.forgotten.remove(&ViewId(id));
                self.claims.insert(ViewId(id), Stamped { it, stamp });
            }
            // Of a later version, which tells what it changes by the version of its records.
            _ => {}
        }
        Ok(())
    }
}

impl Ownership for NatsOwnership {
    fn renew(&self, member: &Member) -> Result<Stamp, StoreError> {
        check_member(member)?;
        let (bucket, payload) = (Arc::clone(&self.bucket), encode_member(member));
        let subject = bucket.member(member.id);
        self.run("write to", async move {
            match bucket.stream.put(&subject, payload, None).await? {
                Put::Done(stamp) => Ok(Stamp(stamp)),
                Put::Other => Err(bucket.stream.odd("write to", "it refuses what expects nothing")),
            }
        })
    }

    fn strike(&self, server: ServerId, stamp: Stamp) -> Result<bool, StoreError> {
        let bucket = Arc::clone(&self.bucket);
        self.run("write to", async move {
            bucket.catch_up().await?;
            if bucket.known().members.get(&server).map(|member| member.stamp) != Some(stamp) {
                return Ok(false);
            }
            let struck =
                bucket.stream.put(&bucket.member(server), Bytes::new(), Some(stamp.0)).await?;
            Ok(struck != Put::Other)
        })
    }

    fn claim(&self, claim: &Claim, expect: Option<Stamp>) -> Result<Claimed, StoreError> {
        let (bucket, claim) = (Arc::clone(&self.bucket), claim.clone());
        self.run("write to", async move { bucket.write_claim(claim, expect).await })
    }

    fn forget(&self, view: ViewId) -> Result<(), StoreError> {
        let bucket = Arc::clone(&self.bucket);
        self.run("write to", async move {
            bucket.catch_up().await?;
            if bucket.there(view).is_some() {
                bucket.stream.put(&bucket.claim(view), Bytes::new(), None).await?;
            }
            Ok(())
        })
    }

    fn roll(&self) -> Result<Roll, StoreError> {
        let bucket = Arc::clone(&self.bucket);
        self.run("read from", async move {
            bucket.catch_up().await?;
            let known = bucket.known();
            Ok(Roll {
                members: known.members.values().cloned().collect(),
                claims: known.claims.values().cloned().collect(),
                stamp: Stamp(known.last),
            })
        })
    }

    fn wait(&self, after: Stamp, limit: Duration) -> Result<(), StoreError> {
        let told = match self.told.get() {
            Some(told) => told.clone(),
            None => {
                let (tell, told) = watch::channel(self.bucket.known().last);
                let filter = format!("{}claim.*", self.bucket.subjects);
                self.nats.bridge.spawn(hints(self.bucket.stream.clone(), filter, tell))?;
                self.told.get_or_init(|| told).clone()
            }
        };
        let mut left = limit;
        loop {
            let (bucket, mut told) = (Arc::clone(&self.bucket), told.clone());
            let step = left.min(LOOK);
            let longest = step + self.nats.settings.timeout * 2;
            let heard = self.nats.bridge.run("read from", longest, async move {
                bucket.catch_up().await?;
                if bucket.known().claimed > after.0 {
                    return Ok(true);
                }
                let last = bucket.known().last;
                let heard = told.wait_for(|told| *told > last).map(drop);
                // Nothing was heard: it is looked again.
                Ok(tokio::time::timeout(step, heard).await.is_ok())
            })?;
            left -= step;
            if heard || left.is_zero() {
                return Ok(());
            }
        }
    }
}

fn encode_member(member: &Member) -> Bytes {
    let record = json!({
        "v": VERSION,
        "address": member.address,
        "version": member.version,
        "memory": member.memory,
        "said": STANDARD.encode(&member.said),
    });
    record.to_string().into()
}

fn decode_member(id: ServerId, bytes: &[u8]) -> Result<Member, Malformed> {
    let record = record(bytes)?;
    let text = |key: &str| record[key].as_str().map(str::to_owned).ok_or(NOT_JSON);
    let said = STANDARD.decode(text("said")?).map_err(|_| NOT_JSON)?;
    let memory = record["memory"].as_u64().ok_or(NOT_JSON)?;
    Ok(Member { id, address: text("address")?, version: text("version")?, memory, said })
}

fn encode_claim(claim: &Claim) -> Bytes {
    let server = |server: Option<ServerId>| server.map(|server| server.to_string());
    let record = json!({
        "v": VERSION,
        "view": claim.view.name.as_str(),
        "owner": server(claim.owner),
        "epoch": claim.epoch.0,
        "next": server(claim.next),
    });
    record.to_string().into()
}

fn decode_claim(id: ViewId, bytes: &[u8]) -> Result<Claim, Malformed> {
    let record = record(bytes)?;
    let server = |key: &str| match &record[key] {
        Value::Null => Ok(None),
        Value::String(id) => Uuid::try_parse(id).map(|id| Some(ServerId(id))).map_err(|_| NOT_JSON),
        _ => Err(NOT_JSON),
    };
    let name = record["view"].as_str().and_then(|name| ViewName::new(name).ok());
    Ok(Claim {
        view: ViewRef { id, name: name.ok_or(NOT_JSON)? },
        owner: server("owner")?,
        epoch: OwnerEpoch(record["epoch"].as_u64().ok_or(NOT_JSON)?),
        next: server("next")?,
    })
}

/// A record of a version that is known here.
fn record(bytes: &[u8]) -> Result<Value, Malformed> {
    let record: Value = serde_json::from_slice(bytes).map_err(|_| NOT_JSON)?;
    match record["v"].as_u64().ok_or(NOT_JSON)? {
        found if found > VERSION => {
            let (found, known) = (u32::try_from(found).unwrap_or(u32::MAX), VERSION as u32);
            Err(Malformed::Future { what: "a record of the servers", found, known })
        }
        _ => Ok(record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// The stored formats of version 1. Another text is another version.
    #[test]
    fn version_1_is_as_it_was() {
        let id = ServerId(Uuid::from_u64_pair(1, 2));
        let (address, version) = ("http://a:1".to_owned(), "1.2.3".to_owned());
        let member = Member { id, address, version, memory: 5, said: vec![1, 2] };
        let golden = r#"{"address":"http://a:1","memory":5,"said":"AQI=","v":1,"version":"1.2.3"}"#;
        assert_eq!(encode_member(&member), golden);
        assert_eq!(decode_member(id, golden.as_bytes()), Ok(member));
        let view = sample::view(1);
        let claim = Claim { view: view.clone(), owner: Some(id), epoch: OwnerEpoch(4), next: None };
        let golden = r#"{"epoch":4,"next":null,"owner":"00000000-0000-0001-0000-000000000002","v":1,"view":"view-1"}"#;
        assert_eq!(encode_claim(&claim), golden);
        assert_eq!(decode_claim(view.id, golden.as_bytes()), Ok(claim));
        let future = golden.replace(r#""v":1"#, r#""v":2"#);
        let refused = decode_claim(view.id, future.as_bytes());
        assert!(matches!(refused, Err(Malformed::Future { found: 2, known: 1, .. })));
        for broken in ["", "{}", r#"{"v":1}"#, r#"{"epoch":4,"next":7,"v":1,"view":"a"}"#] {
            assert!(decode_claim(view.id, broken.as_bytes()).is_err());
            assert!(decode_member(id, broken.as_bytes()).is_err());
        }
    }
}
