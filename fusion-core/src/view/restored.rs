//! Putting back what the trash has (R12).
//!
//! Called by `perform`. What is restored is what was known of it once: suspect at its top, and seen by
//! nobody since. Must never: decide whether it may be restored. Tested by `tests/cases/r11-r12.txt`.

use crate::change::{Change, TrashId};
use crate::path::PathRef;
use crate::time::ServerTime;

use super::confirm::EntryKey;
use super::state::State;
use super::tree::{BlockId, Flags};

impl State {
    /// R12: a record is put back. What was suspect in it is suspect anew: its end was forgotten.
    pub(super) fn restore(
        &mut self,
        change: &Change,
        path: PathRef<'_>,
        id: TrashId,
        until: ServerTime,
    ) {
        let Some((dir, name)) = self.tree.slot(path) else { return };
        let Some(mut subtree) = self.ledger.trash.take(id, self.settings.trash_ttl) else { return };
        self.ledger.trash.seen(path);
        subtree.flags = subtree.flags.with(Flags::SUSPECT).without(Flags::CONFIRMED);
        if let Err(refused) = self.tree.attach(dir, name, subtree, change.at) {
            self.to_free.add(*refused.detached);
            return;
        }
        self.unconfirm_within(path);
        self.stand_again(path);
        for suspect in self.suspects_within(path) {
            if let Ok(path) = PathRef::new(&suspect) {
                self.set_suspect(path, Some(until));
            }
        }
    }

    /// Entries at a path and below it that are flagged as suspect.
    fn suspects_within(&mut self, path: PathRef<'_>) -> Vec<Vec<u8>> {
        let mut found = vec![path.as_bytes().to_vec()];
        let mut todo: Vec<_> = self
            .tree
            .dir(path)
            .map(|block| (path.as_bytes().to_vec(), block))
            .into_iter()
            .collect();
        while let Some((dir, block)) = todo.pop() {
            self.tree.children(block, None, usize::MAX, |name, child| {
                let path = [&*dir, b"/", name].concat();
                if child.flags.has(Flags::SUSPECT) {
                    found.push(path.clone());
                }
                if let Some(block) = child.block {
                    todo.push((path, block));
                }
            });
        }
        found
    }

    /// R8: what a subtree that came here whole has below its top is no blind deletion any longer.
    pub(super) fn stand_again(&mut self, path: PathRef<'_>) {
        for gone in self.ledger.trash.blind_below(path) {
            let Ok(gone) = PathRef::new(&gone) else { continue };
            if self.find(gone).is_some() {
                self.ledger.trash.seen(gone);
            }
        }
    }

    /// What was confirmed before it went is confirmed no longer: tombstones may have come since.
    fn unconfirm_within(&mut self, path: PathRef<'_>) {
        let mut todo: Vec<BlockId> = self.tree.dir(path).into_iter().collect();
        while let Some(block) = todo.pop() {
            let mut confirmed: Vec<(Box<[u8]>, Flags)> = Vec::new();
            self.tree.children(block, None, usize::MAX, |name, child| {
                if child.flags.has(Flags::CONFIRMED) {
                    confirmed.push((name.into(), child.flags.without(Flags::CONFIRMED)));
                }
                todo.extend(child.block);
            });
            for (name, flags) in confirmed {
                self.tree.set_flags(block, &name, flags);
                self.ledger.confirmations.forget(EntryKey::new(block.as_u64(), &name));
            }
        }
    }
}
