//! A view from a checkpoint.
//!
//! Owns what has to be true of a stored ledger before it is believed; `tree/load.rs` says it of
//! blocks. The caller gives the frame and the owners first, then the tables, then the blocks, from as
//! many threads as it likes. Must never: panic on what comes from disk, or yield a view that breaks
//! its invariants. Tested by `checkpoint/tests.rs` and by random bytes in the store's codec.

use crate::path::PathRef;
use crate::stat::Kind;
use crate::time::ServerTime;
use crate::view::View;
use crate::view::agenda::Waiting;
use crate::view::confirm::{Confirmation, EntryKey};
use crate::view::held::HeldUpsert;
use crate::view::ledger::Ledger;
use crate::view::scans::PartsSoFar;
use crate::view::settings::ViewSettings;
use crate::view::tombstones::Tombstone;
use crate::view::trash::TrashRecord;
use crate::view::tree::{BlockId, Detached, Owner, Purge, TreeError, TreeLoader};

use super::{Confirmed, Frame, LedgerImage, Table};

/// Why what was stored does not make a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The blocks do not make a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A table has a row that cannot be.
    #[error("the stored table of {} has a row that cannot be: {why}", table.as_str())]
    Row {
        /// The table.
        table: Table,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A view that is being loaded.
#[derive(Debug)]
pub struct Loading {
    settings: ViewSettings,
    frame: Frame,
    ledger: Ledger,
    tree: TreeLoader,
}

impl Loading {
    /// A view of which tables and blocks are still to come. `owners` is the dictionary from number 1
    /// on.
    ///
    /// # Errors
    /// [`LoadError::Tree`]: an owner stands twice in the dictionary.
    pub fn new(settings: ViewSettings, frame: Frame, owners: &[Owner]) -> Result<Self, LoadError> {
        let tree = TreeLoader::new(frame.tree, owners)?;
        let mut ledger = Ledger::default();
        for agent in &frame.agents {
            let _ = ledger.agents.number(agent);
        }
        frame.scans.iter().for_each(|scan| ledger.scans.begin(scan.clone()));
        frame.losses.iter().for_each(|loss| ledger.losses.put(loss.clone()));
        ledger.root.away = frame.away.iter().cloned().collect();
        let doubts = frame.doubts.iter().map(|doubt| (doubt.agent.clone(), doubt.clone()));
        ledger.root.doubts = doubts.collect();
        frame.operated.iter().for_each(|call| ledger.operated(*call));
        ledger.root.accepted = frame.accepted;
        ledger.last_snapshot = frame.last_snapshot;
        ledger.last_whole_began = frame.last_whole_began;
        ledger.last_audit = frame.last_audit;
        ledger.audits = frame.audits;
        ledger.reset_at = frame.reset_at;
        ledger.clock.set_least(frame.least_behind);
        ledger.held.set_next(frame.held_next);
        Ok(Self { settings, frame, ledger, tree })
    }

    /// Where the blocks go: [`TreeLoader::put`] may be called from any thread.
    #[must_use]
    pub const fn blocks(&self) -> &TreeLoader {
        &self.tree
    }

    /// A tombstone.
    ///
    /// # Errors
    /// [`LoadError::Row`].
    pub fn tombstone(
        &mut self,
        dir: PathRef<'_>,
        name: &[u8],
        tombstone: Tombstone,
    ) -> Result<(), LoadError> {
        let why = "its directory and name make no path";
        let path = dir.to_owned().join(name);
        let path = path.map_err(|_| LoadError::Row { table: Table::Tombstones, why })?;
        self.ledger.tombstones.put(path.as_ref(), tombstone, self.settings.tombstone_life());
        Ok(())
    }

    /// A record of the trash.
    ///
    /// # Errors
    /// [`LoadError::Row`].
    pub fn trash(&mut self, record: TrashRecord, subtree: Detached) -> Result<(), LoadError> {
        let why = "it is a directory without a block, or no directory with one";
        if subtree.block().is_some() != (subtree.stat.kind == Kind::Directory) {
            return Err(LoadError::Row { table: Table::Trash, why });
        }
        self.ledger.trash.put(record, subtree, self.settings.trash_ttl);
        Ok(())
    }

    /// A directory that is to be listed again.
    pub fn relist(&mut self, path: PathRef<'_>, waiting: Waiting) {
        self.ledger.relists.set(path, waiting);
    }

    /// A name that is to be looked at.
    pub fn probe(&mut self, path: PathRef<'_>, waiting: Waiting) {
        self.ledger.probes.set(path, waiting);
    }

    /// A suspect and the end of its quiet period.
    pub fn suspect(&mut self, path: PathRef<'_>, end: ServerTime) {
        self.ledger.suspects.set(path, end);
    }

    /// A directory that could not be read.
    pub fn unreadable(&mut self, path: PathRef<'_>, errno: i32) {
        self.ledger.unreadable.insert(path, errno);
    }

    /// A listing of which parts are under way.
    pub fn parts(&mut self, dir: PathRef<'_>, parts: PartsSoFar) {
        self.ledger.parts.set(dir, Some(parts));
    }

    /// Held evidence.
    pub fn held(&mut self, number: u64, row: HeldUpsert) {
        self.ledger.held.put(number, row);
    }

    /// A sample of the storage's clock, the oldest first: whole seconds that it is behind.
    pub fn clock(&mut self, behind: i64) {
        self.ledger.clock.push(behind);
    }

    /// A confirmation of the younger or the older generation.
    pub fn confirmed(&mut self, young: bool, row: &Confirmed) {
        let confirmation = Confirmation { at: row.at, agent: row.agent };
        self.ledger.confirmations.load(EntryKey(row.dir, row.name), confirmation, young);
    }

    /// All came: the view at the revision of the checkpoint.
    ///
    /// # Errors
    /// [`LoadError::Tree`].
    pub fn finish(mut self) -> Result<View, LoadError> {
        let subtrees = self.ledger.trash.shared().values();
        let mut detached: Vec<BlockId> =
            subtrees.filter_map(|(_, subtree)| subtree.block()).collect();
        detached.extend(&self.frame.to_free);
        let tree = self.tree.finish(self.frame.revision, &detached)?;
        self.ledger.tombstones.set_sweep(self.frame.sweep_at);
        self.ledger.confirmations.set_turn(self.frame.turn_at);
        let mut view = View::new(self.settings);
        view.state.tree = tree;
        view.state.ledger = self.ledger;
        view.state.revision = self.frame.revision;
        view.state.time = self.frame.time;
        view.state.to_free = Purge::from_blocks(self.frame.to_free);
        view.tables.stored = LedgerImage::take(&view.state, 0, &[]).marks();
        Ok(view)
    }
}
