//! What a checkpoint holds beside the view: how far each lane was applied, and the leader's epoch. JSON,
//! so that an operator can read it.

use fusion_core::id::{AgentId, LeaderEpoch, SessionId, SpoolId};
use fusion_store::OwnerEpoch;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lanes::{LaneKey, Lanes};
use crate::stores::{RecordError, check_version};

/// Its name in the checkpoint.
pub(super) const NAME: &str = "server";
/// The version that is written; every one up to it is read.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    epoch: u64,
    /// Of its owner, where there are several servers.
    #[serde(default, skip_serializing_if = "is_nobody")]
    owner: u64,
    realtime: Vec<StoredSpool>,
    scan: Vec<StoredScan>,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct StoredSpool {
    agent: String,
    spool: Uuid,
    applied: u64,
}

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct StoredScan {
    session: Uuid,
    applied: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's form")]
fn is_nobody(owner: &u64) -> bool {
    *owner == 0
}

/// The form that is stored.
pub(super) fn to_bytes(lanes: &Lanes, epoch: LeaderEpoch, owner: OwnerEpoch) -> Vec<u8> {
    let (mut realtime, mut scan) = (Vec::new(), Vec::new());
    for (lane, applied) in lanes.iter() {
        match lane {
            LaneKey::Realtime(agent, spool) => {
                let agent = agent.as_str().to_owned();
                realtime.push(StoredSpool { agent, spool: spool.uuid(), applied });
            }
            LaneKey::Scan(session) => scan.push(StoredScan { session: session.uuid(), applied }),
        }
    }
    realtime.sort_unstable();
    scan.sort_unstable();
    let stored = Stored { v: VERSION, epoch: epoch.0, owner: owner.0, realtime, scan };
    // Of such a value `serde_json` refuses nothing: it has no map and no key that is no string.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// Reads what was stored, by this version or an earlier one.
pub(super) fn read(bytes: &[u8]) -> Result<(Lanes, LeaderEpoch, OwnerEpoch), RecordError> {
    check_version(bytes, VERSION)?;
    let stored: Stored = serde_json::from_slice(bytes)?;
    let mut lanes = Lanes::default();
    for StoredSpool { agent, spool, applied } in stored.realtime {
        lanes.set(LaneKey::Realtime(AgentId::new(&agent)?, SpoolId::new(spool)), applied);
    }
    for StoredScan { session, applied } in stored.scan {
        lanes.set(LaneKey::Scan(SessionId::new(session)), applied);
    }
    Ok((lanes, LeaderEpoch(stored.epoch), OwnerEpoch(stored.owner)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN_V1: &[u8] = include_bytes!("../../../tests/golden/beside-v1.json");

    #[test]
    fn what_is_written_is_read_back_and_the_form_does_not_drift() {
        let mut lanes = Lanes::default();
        let agent = AgentId::new("host-1").unwrap();
        lanes.set(LaneKey::Realtime(agent.clone(), SpoolId::new(Uuid::from_u128(2))), 7);
        lanes.set(LaneKey::Realtime(agent, SpoolId::new(Uuid::from_u128(1))), 6);
        lanes.set(LaneKey::Scan(SessionId::new(Uuid::from_u128(3))), 5);
        let bytes = to_bytes(&lanes, LeaderEpoch(9), OwnerEpoch(0));
        assert_eq!(
            String::from_utf8(bytes),
            String::from_utf8(GOLDEN_V1.trim_ascii_end().to_vec())
        );
        let (again, epoch, owner) = read(GOLDEN_V1).unwrap();
        assert_eq!((epoch, owner), (LeaderEpoch(9), OwnerEpoch(0)));
        assert_eq!(to_bytes(&again, epoch, owner), GOLDEN_V1.trim_ascii_end());
        let owned = to_bytes(&again, epoch, OwnerEpoch(4));
        assert_eq!(read(&owned).unwrap().2, OwnerEpoch(4));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let future = read(b"{\"v\":2}");
        assert!(matches!(future, Err(RecordError::FromTheFuture { found: 2, known: 1 })));
        for bad in [&b"{\"v\":1}"[..], b""] {
            assert!(read(bad).is_err());
        }
    }
}
