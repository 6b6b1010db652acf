//! What is kept of an audit record: JSON, so that an operator can read it where the store shows values;
//! and its key, by which a scan gives the newest first.

use fusion_core::id::CorrelationId;
use fusion_core::session::Principal;
use fusion_core::time::ServerTime;
use fusion_proto::convert::audit::{AuditRecord, AuditTarget, ValueChange};
use fusion_store::{Item, Space};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stores::{LoadError, RecordError, check_version};

/// The version that is written; every one up to it is read.
const VERSION: u32 = 1;
/// Bytes of a key: time, place among those of the same time, id.
const KEY: usize = 8 + 8 + 16;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    id: Uuid,
    time_ns: i64,
    asked_at_ns: i64,
    principal: String,
    method: String,
    view: String,
    path: String,
    target: String,
    version: u64,
    correlation: String,
    key_digest: String,
    resumed: bool,
    code: String,
    reason: String,
    changes: Vec<StoredChange>,
}

#[derive(Serialize, Deserialize)]
struct StoredChange {
    name: String,
    before: String,
    after: String,
}

/// The form that is stored.
pub(super) fn to_bytes(record: &AuditRecord) -> Vec<u8> {
    let change = |change: &ValueChange| StoredChange {
        name: change.name.clone(),
        before: change.before.clone(),
        after: change.after.clone(),
    };
    let stored = Stored {
        v: VERSION,
        id: record.id,
        time_ns: record.time.as_nanos(),
        asked_at_ns: record.asked_at.as_nanos(),
        principal: record.principal.as_str().to_owned(),
        method: record.method.clone(),
        view: record.target.view.clone(),
        path: record.target.path.clone(),
        target: record.target.id.clone(),
        version: record.version,
        correlation: record.correlation.as_ref().map(ToString::to_string).unwrap_or_default(),
        key_digest: record.key_digest.clone(),
        resumed: record.resumed,
        code: record.code.clone(),
        reason: record.reason.clone(),
        changes: record.changes.iter().map(change).collect(),
    };
    // Of such a value `serde_json` refuses nothing: it has no map and no key that is no string.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// Reads what was stored, by this version or an earlier one.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<AuditRecord, RecordError> {
    check_version(bytes, VERSION)?;
    let stored: Stored = serde_json::from_slice(bytes)?;
    let change = |change: StoredChange| {
        let StoredChange { name, before, after } = change;
        ValueChange { name, before, after }
    };
    let correlation = stored.correlation;
    let correlation = (!correlation.is_empty()).then(|| CorrelationId::new(&correlation));
    Ok(AuditRecord {
        id: stored.id,
        time: ServerTime::from_nanos(stored.time_ns),
        asked_at: ServerTime::from_nanos(stored.asked_at_ns),
        principal: Principal::new(&stored.principal),
        method: stored.method,
        target: AuditTarget { view: stored.view, path: stored.path, id: stored.target },
        version: stored.version,
        correlation: correlation.transpose()?,
        key_digest: stored.key_digest,
        resumed: stored.resumed,
        code: stored.code,
        reason: stored.reason,
        changes: stored.changes.into_iter().map(change).collect(),
    })
}

/// The key of a record: the later its time, and its place among those of the same time, the smaller.
pub(super) fn key(time: ServerTime, place: u64, id: Uuid) -> Vec<u8> {
    [&rank(time)[..], &(!place).to_be_bytes(), id.as_bytes()].concat()
}

/// A key that lies after those of this time or later, and before those of an earlier one.
pub(super) fn key_before(time: ServerTime) -> Vec<u8> {
    // Longer than any key, so that none is after it that begins like it.
    let mut key = vec![0xff; KEY + 1];
    key[..8].copy_from_slice(&rank(time));
    key
}

fn rank(time: ServerTime) -> [u8; 8] {
    // The sign is flipped, so that times before 1970 come before the others; then all is, for the newest first.
    (!(time.as_nanos() ^ i64::MIN)).to_be_bytes()
}

/// Whether a stored record can be read.
pub(crate) fn check(item: &Item) -> Result<(), LoadError> {
    from_bytes(&item.value).map(drop).map_err(LoadError::record(Space::Audit, item))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/audit-v1.json");

    fn record() -> AuditRecord {
        let text = str::to_owned;
        AuditRecord {
            id: Uuid::from_u128(9),
            time: ServerTime::from_nanos(1_700_000_000_000_000_001),
            asked_at: ServerTime::from_nanos(1_700_000_000_000_000_000),
            principal: Principal::anonymous(),
            method: text("fusion.v1.AdminService/EvictSession"),
            target: AuditTarget { view: text("v"), path: text("/a\\x0A"), id: text("s") },
            version: 7,
            correlation: Some(CorrelationId::new("c").unwrap()),
            key_digest: text("0123456789abcdef"),
            resumed: true,
            code: text("OK"),
            reason: text("R"),
            changes: vec![ValueChange { name: text("n"), before: text("b"), after: text("a") }],
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_form_does_not_drift() {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        assert_eq!(text(&to_bytes(&record())), text(GOLDEN));
        assert_eq!(from_bytes(GOLDEN).unwrap(), record());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [&b"{\"v\":2}"[..], b"{\"v\":1}", b""] {
            assert!(from_bytes(bad).is_err());
        }
    }

    #[test]
    fn keys_go_from_the_newest_to_the_oldest() {
        let key = |nanos, place| key(ServerTime::from_nanos(nanos), place, Uuid::from_u128(1));
        let before = |nanos| key_before(ServerTime::from_nanos(nanos));
        let keys = [
            key(i64::MAX, 0),
            before(6),
            key(5, 2),
            key(5, 1),
            before(5),
            key(4, 9),
            key(-1, 0),
            key(i64::MIN, 0),
        ];
        assert!(keys.is_sorted(), "{keys:?}");
    }
}
