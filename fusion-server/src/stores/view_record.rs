//! What is kept of a view beside its log: that it is there, and the epochs of its leaders.

use fusion_core::id::{LeaderEpoch, ViewName};
use fusion_core::time::ServerTime;
use fusion_store::{Item, Space};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{LoadError, RecordError, check_version};
use crate::task::view::Named;

const VERSION: u32 = 1;

/// All that is kept of a view under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewRecord {
    pub(crate) id: Uuid,
    pub(crate) created_at: ServerTime,
    /// The highest that was given.
    pub(crate) epoch: LeaderEpoch,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u32,
    id: Uuid,
    created_at_ns: i64,
    epoch: u64,
}

impl ViewRecord {
    /// The form that is stored: JSON, so that an operator can read it.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Self { id, created_at, epoch } = self;
        let stored =
            Stored { v: VERSION, id, created_at_ns: created_at.as_nanos(), epoch: epoch.0 };
        // Of such a value `serde_json` refuses nothing: it has no map and no key that is no string.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what was stored, by this version or an earlier one.
    pub(crate) fn read(item: &Item) -> Result<(Named, LeaderEpoch), LoadError> {
        read(item).map_err(LoadError::record(Space::View, item))
    }
}

fn read(item: &Item) -> Result<(Named, LeaderEpoch), RecordError> {
    check_version(&item.value, VERSION)?;
    let stored: Stored = serde_json::from_slice(&item.value)?;
    let named = Named {
        name: ViewName::new(&String::from_utf8_lossy(&item.key))?,
        id: stored.id,
        created_at: ServerTime::from_nanos(stored.created_at_ns),
    };
    Ok((named, LeaderEpoch(stored.epoch)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_store::Version;

    const GOLDEN_V1: &[u8] = include_bytes!("../../tests/golden/view-v1.json");

    fn item(value: &[u8]) -> Item {
        let (key, version) = (b"projects".to_vec(), Version(1));
        Item { key, value: value.to_vec(), version, expires_at: None }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_form_does_not_drift() {
        let created_at = ServerTime::from_nanos(1_700_000_000_000_000_001);
        let record = ViewRecord { id: Uuid::from_u128(9), created_at, epoch: LeaderEpoch(7) };
        assert_eq!(record.to_bytes(), GOLDEN_V1.trim_ascii_end());
        let (named, epoch) = ViewRecord::read(&item(GOLDEN_V1)).unwrap();
        assert_eq!((named.id, named.created_at, epoch), (record.id, created_at, LeaderEpoch(7)));
        assert_eq!(named.name.as_str(), "projects");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for bad in [&b"{\"v\":2}"[..], b"{\"v\":1}", b""] {
            let error = ViewRecord::read(&item(bad)).unwrap_err().to_string();
            assert!(error.contains("the view record `projects`"), "{error}");
        }
    }
}
