//! A view as the store has it: its blocks, and what the log has after them.
//!
//! Reads from disk: called where waiting is allowed, before the view's thread begins.

use fusion_core::id::LeaderEpoch;
use fusion_core::view::{View, ViewSettings};
use fusion_store::codec::blocks::{LoadedView, load};
use fusion_store::{LogPoint, Origin, OwnerEpoch, ReadFrom, StoreError, ViewRef};

use super::beside;
use super::journal::lane_key;
use super::lanes::Lanes;
use crate::stores::Stores;

/// A view of an earlier life of the server, or of none.
pub(super) struct Restored {
    pub(super) view: View,
    pub(super) lanes: Lanes,
    /// The highest epoch that was given.
    pub(super) epoch: LeaderEpoch,
    /// The highest epoch of its owners.
    pub(super) owner: OwnerEpoch,
    /// What its last checkpoint contains.
    pub(super) contains: LogPoint,
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
    let mut restored = blocks(stores, view, settings)?;
    restored.end = opened.end;
    if restored.contains.record < opened.start.record {
        return Err(StoreError::Corrupt {
            place: format!("the blocks of view {}", view.id),
            at: 0,
            why: format!(
                "they end at {}, and the log begins at {}: what lies between is missing",
                restored.contains, opened.start
            ),
        });
    }
    let mut num_changes = 0_u64;
    for record in stores.log.read(view.id, ReadFrom::After(restored.contains))? {
        let record = record?;
        num_changes += record.width();
        record.changes.iter().for_each(|change| restored.view.replay(change));
        restored.epoch = restored.epoch.max(record.head.leader_epoch.unwrap_or_default());
        if let Origin::Owner(epoch) = record.head.origin {
            restored.owner = restored.owner.max(epoch);
        }
        if let Some(applied) = record.head.applied {
            restored.lanes.set(lane_key(applied.lane), applied.sequence);
        }
    }
    let contains = restored.contains;
    tracing::info!(view = %view.name, %contains, end = %opened.end, replayed = num_changes, "view loaded");
    Ok(restored)
}

/// The view as of its last checkpoint; empty without one.
fn blocks(
    stores: &Stores,
    view: &ViewRef,
    settings: &ViewSettings,
) -> Result<Restored, StoreError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let Some(LoadedView { view: loaded, contains, beside }) =
        load(&*stores.blocks, view.id, settings.clone(), threads)?
    else {
        return Ok(Restored {
            view: View::new(settings.clone()),
            lanes: Lanes::default(),
            epoch: LeaderEpoch::default(),
            owner: OwnerEpoch::default(),
            contains: LogPoint::default(),
            end: LogPoint::default(),
        });
    };
    let stored = beside.get(beside::NAME).map(Vec::as_slice).unwrap_or_default();
    let (lanes, epoch, owner) = beside::read(stored).map_err(|error| StoreError::Corrupt {
        place: format!("`{}` of view {}", beside::NAME, view.name),
        at: 0,
        why: error.to_string(),
    })?;
    Ok(Restored { view: loaded, lanes, epoch, owner, contains, end: contains })
}
