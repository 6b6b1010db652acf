//! A view as the store has it: its blocks, and what the log has after them.
//!
//! Reads from disk: called where waiting is allowed, before the view's thread begins.

use fusion_core::id::LeaderEpoch;
use fusion_core::view::{View, ViewSettings};
use fusion_store::{LogPoint, ReadFrom, StoreError, ViewRef};

use super::journal::lane_key;
use super::lanes::Lanes;
use crate::stores::Stores;

/// A view of an earlier life of the server, or of none.
pub(super) struct Restored {
    pub(super) view: View,
    pub(super) lanes: Lanes,
    /// The highest epoch that was given.
    pub(super) epoch: LeaderEpoch,
    /// Where its log ends.
    pub(super) end: LogPoint,
}

/// Loads a view. One that the store does not know is empty.
pub(super) fn restore(
    stores: &Stores,
    view: &ViewRef,
    settings: &ViewSettings,
) -> Result<Restored, StoreError> {
    let opened = stores.log.open(view)?;
    if let Some(cut) = &opened.cut {
        tracing::warn!(view = %view.name, %cut, "the end of the log was not whole; it was never acknowledged");
    }
    let mut restored = Restored {
        view: View::new(settings.clone()),
        lanes: Lanes::default(),
        epoch: LeaderEpoch::default(),
        end: opened.end,
    };
    let from = ReadFrom::Start;
    let mut num_changes = 0_u64;
    for record in stores.log.read(view.id, from)? {
        let record = record?;
        num_changes += record.width();
        record.changes.iter().for_each(|change| restored.view.replay(change));
        restored.epoch = restored.epoch.max(record.head.leader_epoch.unwrap_or_default());
        if let Some(applied) = record.head.applied {
            restored.lanes.set(lane_key(applied.lane), applied.sequence);
        }
    }
    tracing::info!(view = %view.name, end = %opened.end, replayed = num_changes, "view loaded");
    Ok(restored)
}
