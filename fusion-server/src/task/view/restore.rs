//! A view as the store has it: its blocks, and what the log has after them.
//!
//! Reads from disk: called where waiting is allowed, before the view's thread begins.

use fusion_core::id::LeaderEpoch;
use fusion_core::view::{View, ViewSettings};
use fusion_store::codec::blocks::{LoadedView, load};
use fusion_store::{LogPoint, Origin, OwnerEpoch, ReadFrom, Records, StoreError, ViewRef};

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
    /// Up to where its log was read: further than where it ended when it was opened, if another server writes it; and not
    /// as far, if this one appended what it could not write, which may never be there.
    pub(super) end: LogPoint,
}

impl Restored {
    /// Replays what the log has; gives how many changes.
    fn replay(&mut self, records: Records) -> Result<u64, StoreError> {
        let mut num_changes = 0;
        for record in records {
            let record = record?;
            num_changes += record.width();
            record.changes.iter().for_each(|change| self.view.replay(change));
            self.epoch = self.epoch.max(record.head.leader_epoch.unwrap_or_default());
            if let Origin::Owner(epoch) = record.head.origin {
                self.owner = self.owner.max(epoch);
            }
            if let Some(applied) = record.head.applied {
                self.lanes.set(lane_key(applied.lane), applied.sequence);
            }
            self.end = self.end.max(record.point);
        }
        Ok(num_changes)
    }
}

/// Loads a view. One that the store does not know is empty. A log that is gone while the blocks are there, as when
/// somebody removed its stream, begins anew where they end: no revision is given twice. One that ends before them has
/// lost what was acknowledged, and is refused.
pub(super) fn restore(
    stores: &Stores,
    view: &ViewRef,
    settings: &ViewSettings,
) -> Result<Restored, StoreError> {
    let begin = stores.blocks.contains(view.id)?.unwrap_or_default();
    let opened = stores.log.open_at(view, begin)?;
    if opened.end.record < begin.record {
        return Err(StoreError::Corrupt {
            place: format!("the log of view {}", view.id),
            at: 0,
            why: format!(
                "it ends at {}, and the blocks contain what came up to {begin}: its end was lost. Bring the store \
                 back from a back-up; or remove what is left of the log, and the view goes on from its blocks",
                opened.end
            ),
        });
    }
    if let Some(cut) = &opened.cut {
        tracing::warn!(view = %view.name, %cut, "the end of the log was not whole; it was never acknowledged");
    }
    let mut restored = blocks(stores, view, settings)?;
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
    let num_changes =
        restored.replay(stores.log.read(view.id, ReadFrom::After(restored.contains))?)?;
    let contains = restored.contains;
    let end = restored.end;
    tracing::info!(view = %view.name, %contains, %end, replayed = num_changes, "view loaded");
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fusion_core::id::{Revision, ViewName};
    use fusion_core::time::ServerTime;
    use fusion_store::memory::{MemoryBlocks, MemoryLog, MemoryState};
    use fusion_store::{Blocks as _, ChangeLog as _, RecordHead, ViewId};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_another_server_appends_meanwhile_is_replayed_once() {
        let view = ViewRef { id: ViewId(Uuid::from_u128(7)), name: ViewName::new("v").unwrap() };
        let log = Arc::new(MemoryLog::default());
        let stores = Stores::new(
            log.clone(),
            Arc::new(MemoryBlocks::default()),
            Arc::new(MemoryState::default()),
        );
        let mut restored = restore(&stores, &view, &ViewSettings::default()).unwrap();
        let head = RecordHead::new(ServerTime::default(), Origin::Owner(OwnerEpoch(3)));
        let appended = log.append(view.id, restored.end, &head, &[]).unwrap().point();
        restored.replay(log.read(view.id, ReadFrom::After(restored.contains)).unwrap()).unwrap();
        assert_eq!(
            (restored.end, restored.owner),
            (appended, OwnerEpoch(3)),
            "it goes on from there"
        );
    }

    #[test]
    fn a_log_that_ends_before_the_blocks_is_refused() {
        let view = ViewRef { id: ViewId(Uuid::from_u128(7)), name: ViewName::new("v").unwrap() };
        let (log, blocks) = (Arc::new(MemoryLog::default()), Arc::new(MemoryBlocks::default()));
        log.open(&view).unwrap();
        let contains = LogPoint { record: 9, revision: Revision(20) };
        blocks.begin(&view, contains).unwrap().commit().unwrap();
        let stores = Stores::new(log, blocks, Arc::new(MemoryState::default()));
        let refused = restore(&stores, &view, &ViewSettings::default()).err().unwrap().to_string();
        assert!(refused.contains("its end was lost"), "{refused}");
    }
}
