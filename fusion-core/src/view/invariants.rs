//! What must always hold of a view, in one place.
//!
//! Used by the text cases and arbitrary evidence after every step, by the simulator after some of its
//! batches, and by `debug_assert!` where it is cheap. Must never: change anything. A broken invariant is a bug of the
//! rules, whatever the evidence was.

use crate::change::NO_ROOM;
use crate::path::PathRef;
use crate::path::notation::to_text;

use super::View;
use super::tree::{BlockId, Flags};

/// An invariant that does not hold, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl View {
    /// Checks all invariants. Costs a pass over the view.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check_invariants(&self) -> Result<(), Broken> {
        self.check_directories()?;
        self.check_suspects()?;
        self.check_agendas()?;
        self.check_tombstones()?;
        self.check_held()?;
        self.check_trash()?;
        self.check_short()?;
        self.check_cheap()
    }

    /// Those that cost nothing.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check_cheap(&self) -> Result<(), Broken> {
        let told = self.state.tree.revision();
        holds(told == self.state.revision, || format!("readers are told revision {}", told.0))
    }

    /// V1: the aggregates of every directory equal a recount.
    fn check_directories(&self) -> Result<(), Broken> {
        let tree = &self.state.tree;
        let root = tree.root().and_then(|root| root.block.map(|block| (b"/".to_vec(), block)));
        let mut todo: Vec<(Vec<u8>, BlockId)> = root.into_iter().collect();
        while let Some((path, block)) = todo.pop() {
            let (told, counted) = (tree.totals(block), tree.recount(block));
            let same = match (told, counted) {
                (Some(told), Some(mut counted)) => {
                    counted.last_change = told.last_change;
                    told == counted
                }
                _ => false,
            };
            holds(same, || format!("{}: {told:?} is counted {counted:?}", to_text(&path)))?;
            tree.children(block, None, usize::MAX, |name, child| {
                let stem: &[u8] = if path.len() == 1 { b"" } else { &path };
                todo.extend(child.block.map(|block| ([stem, b"/", name].concat(), block)));
            });
        }
        Ok(())
    }

    /// V2: what is flagged as suspect has an end to its quiet period, and nothing else has.
    fn check_suspects(&self) -> Result<(), Broken> {
        let ledger = &self.state.ledger;
        let root = self.state.tree.root();
        let below =
            root.and_then(|root| root.block).and_then(|block| self.state.tree.totals(block));
        let own = root.is_some_and(|root| root.flags.has(Flags::SUSPECT));
        let flagged = below.unwrap_or_default().suspects + u64::from(own);
        let listed = ledger.suspects.len() as u64;
        holds(ledger.suspects.is_sound(), || "the ends of suspects are unsound".to_owned())?;
        holds(flagged == listed, || format!("{flagged} suspects are flagged, {listed} listed"))?;
        for (path, _) in ledger.suspects.iter() {
            let flagged = self.flags(path).is_some_and(|flags| flags.has(Flags::SUSPECT));
            holds(flagged, || format!("{} is listed as suspect", to_text(path)))?;
        }
        Ok(())
    }

    /// V3: what waits for a listing is a known directory (or the root), and the index is true.
    fn check_agendas(&self) -> Result<(), Broken> {
        let ledger = &self.state.ledger;
        let sound = ledger.relists.is_sound() && ledger.probes.is_sound();
        holds(sound, || "an agenda is unsound".to_owned())?;
        for (path, _) in ledger.relists.iter() {
            let directory = path == b"/" || self.is_directory(path);
            holds(directory, || format!("{} waits to be listed", to_text(path)))?;
        }
        Ok(())
    }

    /// V4: a path is never both an entry and a tombstone, save an entry that an operator restored and
    /// nobody has seen since (R12), or that no evidence has passed R5 for.
    fn check_tombstones(&self) -> Result<(), Broken> {
        let ledger = &self.state.ledger;
        let counted = ledger.tombstones.iter().count();
        let told = ledger.tombstones.len();
        holds(counted == told, || format!("{told} tombstones are counted {counted}"))?;
        for (dir, name, _) in ledger.tombstones.iter() {
            let stem: &[u8] = if dir.len() == 1 { b"" } else { dir };
            let path = [stem, b"/", name].concat();
            let confirmed = self.flags(&path).is_some_and(|flags| flags.has(Flags::CONFIRMED));
            holds(!confirmed, || format!("{} is there and buried", to_text(&path)))?;
        }
        Ok(())
    }

    /// V5: what is held back is within its bound, once each, and found by its directory.
    fn check_held(&self) -> Result<(), Broken> {
        let (held, bound) = (&self.state.ledger.held, self.state.settings.held_max);
        holds(held.len() <= bound, || format!("{} rows are held", held.len()))?;
        holds(held.is_sound(), || "the indexes of held rows are unsound".to_owned())
    }

    /// V6: blind deletions are those of the records that say so, and nothing stands there again.
    fn check_trash(&self) -> Result<(), Broken> {
        let trash = &self.state.ledger.trash;
        let flagged = trash.after(None).filter(|record| record.blind).count();
        let (listed, told) = (trash.blind_after(None).count(), trash.blind_len());
        let same = flagged == listed && listed == told;
        holds(same, || format!("{flagged} deletions are blind, {listed} listed, {told} counted"))?;
        for record in trash.blind_after(None) {
            let path = record.path.as_bytes();
            let gone = record.blind && self.flags(path).is_none();
            holds(gone, || format!("{} is there and a blind deletion", to_text(path)))?;
        }
        Ok(())
    }

    /// V7: what is short is a known directory (or the root), and counted.
    fn check_short(&self) -> Result<(), Broken> {
        let unreadable = &self.state.ledger.unreadable;
        let short = || unreadable.iter().filter(|(_, errno)| *errno == NO_ROOM);
        let (counted, told) = (short().count(), unreadable.num_short());
        holds(counted == told, || format!("{told} directories are short, {counted} listed"))?;
        for (path, _) in short() {
            let directory = path == b"/" || self.is_directory(path);
            holds(directory, || format!("{} is short", to_text(path)))?;
        }
        let below = self.state.tree.root().and_then(|root| self.state.tree.recount(root.block?));
        let below = below.map_or(0, |all| all.files + all.directories + all.others + 1);
        let told = self.state.tree.entries();
        holds(told == below, || format!("{told} entries are counted {below}"))
    }

    fn flags(&self, path: &[u8]) -> Option<Flags> {
        let path = PathRef::new(path).ok()?;
        let tree = self.state.tree.share();
        tree.entry(path).map(|child| child.flags)
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        let tree = self.state.tree.share();
        PathRef::new(path).is_ok_and(|path| tree.dir(path).is_some())
    }
}

fn holds(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), Broken> {
    if condition { Ok(()) } else { Err(Broken(otherwise())) }
}
