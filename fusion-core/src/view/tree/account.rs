//! Aggregates along the parent chain, and the newest mtime when its holder went.
//!
//! Owns how a change reaches the ancestors. The sums are exact after every call of the writer; the
//! newest mtime is exact or an upper bound that is marked so, and found again by whoever asks next.
//! Must never: pass over siblings for a change. Tested by `recount` after random edits.

use crate::stat::Kind;
use crate::time::StorageTime;
use crate::view::read::Totals;

use super::block::{Block, Delta, Sums};
use super::{BlockId, Tree};

/// A directory whose newest mtime is being found.
struct Search {
    dir: BlockId,
    edits: u32,
    best: Option<i64>,
    /// Directories in it that may have a newer one.
    todo: Vec<BlockId>,
}

impl Search {
    fn begin(dir: BlockId, block: &Block) -> Self {
        let pages = block.body.pages();
        Self {
            dir,
            edits: block.edits,
            best: pages.iter().flat_map(|page| page.rows()).map(|row| row.mtime()).max(),
            todo: pages.iter().flat_map(|page| page.links()).map(|(_, link)| link).collect(),
        }
    }
}

impl Tree {
    /// Takes a change into a directory and all above it. One lock at a time, from below.
    pub(super) fn propagate(&self, from: BlockId, delta: &Delta) {
        if delta.is_nothing() {
            return;
        }
        let mut at = from;
        while let Some(mut block) = self.blocks.write_head(at) {
            block.account(delta);
            at = block.parent;
        }
    }

    /// The newest mtime below a directory. Where it has to be found again, that costs a pass over
    /// the rows of the directory and of those below it in which it may be, and is remembered unless
    /// the writer was there meanwhile (`edits`): every change below reaches the directory itself.
    pub(super) fn newest(&self, dir: BlockId) -> Option<StorageTime> {
        let mut stack = vec![Search::begin(dir, &*self.blocks.read(dir)?)];
        loop {
            let top = stack.last_mut()?;
            if let Some(child) = top.todo.pop() {
                let Some(block) = self.blocks.read(child) else { continue };
                if block.newest() <= top.best {
                    continue;
                }
                if block.newest_stale {
                    let search = Search::begin(child, &block);
                    drop(block);
                    stack.push(search);
                } else {
                    top.best = block.newest();
                }
                continue;
            }
            let done = stack.pop()?;
            if let Some(mut block) = self.blocks.mend(done.dir)
                && block.edits == done.edits
                && let Some(best) = done.best
            {
                block.set_newest(best);
            }
            match stack.last_mut() {
                Some(above) => above.best = above.best.max(done.best),
                None => return done.best.map(StorageTime::from_nanos),
            }
        }
    }

    /// What lies below a directory, counted entry by entry; `last_change` is as remembered. For
    /// tests and assertions: [`Tree::totals`] must say the same.
    #[must_use]
    pub fn recount(&self, dir: BlockId) -> Option<Totals> {
        let mut counted = Sums::default();
        let mut newest = None;
        let mut todo = vec![dir];
        while let Some(at) = todo.pop() {
            let block = self.blocks.read(at)?;
            for page in block.body.pages() {
                for (number, row) in page.rows().iter().enumerate() {
                    counted.add(&Sums::of(row));
                    newest = newest.max(Some(row.mtime()));
                    let link = page.link(number);
                    debug_assert_eq!(link.is_some(), row.kind() == Kind::Directory);
                    todo.extend(link);
                }
            }
        }
        Some(Totals {
            files: counted.files,
            directories: counted.directories,
            others: counted.others,
            bytes: counted.bytes,
            suspects: counted.suspects,
            blind: counted.blind,
            newest_mtime: newest.map(StorageTime::from_nanos),
            last_change: self.blocks.read(dir)?.totals().last_change,
        })
    }
}
