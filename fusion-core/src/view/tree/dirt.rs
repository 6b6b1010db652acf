//! What of a tree no checkpoint has yet, and the checkpoint that runs.
//!
//! Owns a list of the blocks that changed since the last checkpoint began, and the images that the
//! writer had to take. A checkpoint is numbered; each block remembers in which one its last change
//! belongs ([`Marks`]). To begin one is to count one on and to put the list aside: no block is
//! visited. From then on a block of the list belongs to the checkpoint as it stands; the flusher takes
//! it under its read lock, or the writer does under its write lock when it is about to change it and
//! nobody has. Must never: let the writer wait for the flusher, or take a block for clean because a
//! checkpoint that was not stored had it. Tested by `checkpoint/tests.rs`, every order of both.
//!
//! *Locks.* `book` is the writer's alone, in a mutex only because the tree is shared; `copied` is
//! between writer and flusher, held to push or pop one image. Both are taken inside of a block's lock
//! and never the other way round.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::{Block, BlockImage};
use super::load::TreeFrame;
use super::owners::Owner;
use super::{BlockId, Tree, TreeWriter};

/// In which checkpoints a block's last changes belong.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Anything but its rows changed.
    pub(super) head: u32,
    /// Its rows changed.
    pub(super) body: u32,
    /// The last checkpoint that has its image.
    taken: AtomicU32,
}

impl Marks {
    #[inline]
    fn latest(&self) -> u32 {
        self.head.max(self.body)
    }
}

/// What of a block changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its rows, and perhaps all else.
    Whole,
    /// Anything but its rows.
    Head,
}

/// What is not stored yet.
#[derive(Debug)]
pub(super) struct Dirt {
    /// The checkpoint in which what changes now belongs.
    next: AtomicU32,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Book {
    /// Slots that changed since the last checkpoint began.
    slots: Vec<u32>,
    /// Slots of checkpoints that were not stored.
    owed: Vec<Arc<Vec<u32>>>,
    /// The last checkpoint that was stored.
    stored: u32,
    /// Owners that it has.
    owners: u32,
    run: Option<Arc<Run>>,
}

/// A checkpoint that runs.
#[derive(Debug)]
struct Run {
    number: u32,
    /// The last one that was stored.
    after: u32,
    /// It has all blocks, whatever was stored.
    whole: bool,
    /// Owners that were known when it began.
    owners: u32,
    lists: Vec<Arc<Vec<u32>>>,
    copied: Mutex<VecDeque<BlockImage>>,
    /// Bytes of `copied`.
    backlog: AtomicUsize,
    backlog_max: usize,
    /// Nobody goes on with it; it was not stored.
    over: AtomicBool,
}

/// The writer had to copy more than was allowed before the flusher fetched it. What the checkpoint
/// should have had belongs in the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the checkpoint was given up: the flusher is too slow for the changes; its blocks go into the next one"
)]
pub struct Overrun;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dirt {
    pub(super) fn new() -> Self {
        Self::after(0, 0)
    }

    /// Nothing changed since this checkpoint, which has so many owners.
    pub(super) fn after(stored: u32, owners: u32) -> Self {
        let book = Book { slots: Vec::new(), owed: Vec::new(), stored, owners, run: None };
        Self { next: AtomicU32::new(stored.saturating_add(1)), book: Mutex::new(book) }
    }

    /// The writer is about to change a block.
    #[inline]
    pub(super) fn note(&self, slot: u32, block: &mut Block, part: Part) {
        // Only the writer stores it, so it need not be ordered.
        let next = self.next.load(Ordering::Relaxed);
        if block.marks.latest() != next {
            self.note_first(slot, block);
        }
        match part {
            Part::Whole => block.marks.body = next,
            Part::Head => block.marks.head = next,
        }
    }

    /// The first change of a block since the last checkpoint began.
    #[cold]
    fn note_first(&self, slot: u32, block: &Block) {
        let mut book = lock(&self.book);
        book.slots.push(slot);
        if let Some(run) = &book.run {
            run.save(slot, block);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let book = lock(&self.book);
        let owed: usize = book.owed.iter().map(|list| list.len()).sum();
        let run = book.run.as_ref().map_or(0, |run| run.backlog.load(Ordering::Relaxed));
        (book.slots.capacity() + owed) * size_of::<u32>() + run
    }
}

impl Run {
    /// Whether a block belongs to the checkpoint and nobody took it yet.
    fn wants(&self, marks: &Marks) -> bool {
        let latest = marks.latest();
        (self.whole || latest > self.after)
            && latest <= self.number
            && marks.taken.load(Ordering::Acquire) != self.number
    }

    fn take(&self, slot: u32, block: &Block) -> BlockImage {
        block.marks.taken.store(self.number, Ordering::Release);
        BlockImage::take(slot, block, self.number, self.whole || block.marks.body > self.after)
    }

    /// The writer takes a block that it is about to change, if nobody has.
    fn save(&self, slot: u32, block: &Block) {
        if self.over.load(Ordering::Acquire) || !self.wants(&block.marks) {
            return;
        }
        let image = self.take(slot, block);
        let bytes = image.bytes();
        let mut copied = lock(&self.copied);
        copied.push_back(image);
        let backlog = self.backlog.fetch_add(bytes, Ordering::AcqRel) + bytes;
        if backlog > self.backlog_max {
            // In this order: whoever finds nothing to fetch then finds that it is over.
            self.over.store(true, Ordering::Release);
            copied.clear();
            self.backlog.store(0, Ordering::Release);
        }
    }

    /// What is left when every block was looked at.
    fn last(&self) -> Result<Option<BlockImage>, Overrun> {
        match self.fetch() {
            None if self.over.load(Ordering::Acquire) => Err(Overrun),
            image => Ok(image),
        }
    }

    fn fetch(&self) -> Option<BlockImage> {
        if self.backlog.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut copied = lock(&self.copied);
        let image = copied.pop_front()?;
        self.backlog.fetch_sub(image.bytes(), Ordering::AcqRel);
        Some(image)
    }
}

/// Gives the checkpoint up when it is dropped, unless it was stored.
#[derive(Debug)]
struct Hold(Arc<Run>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

/// The flusher's side of a checkpoint: all blocks that changed, as they stood when it began. Taken
/// by one thread, beside the writer and the readers. Dropped before it was stored, it is given up,
/// and the next checkpoint has its blocks as well.
#[derive(Debug)]
pub struct TreeCheckpoint {
    tree: Arc<Tree>,
    hold: Hold,
    /// Slots of blocks that changed, in order: sorted by the flusher, for `begin` is short.
    slots: Option<Vec<u32>>,
    at: usize,
    owners_after: u32,
}

/// All of a checkpoint was taken and is stored now. Dropped, it counts as not stored.
#[derive(Debug)]
#[must_use = "the view has to be told"]
pub struct Stored {
    hold: Hold,
}

impl TreeCheckpoint {
    /// Its number; they grow, also from one process to the next.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.hold.0.number
    }

    /// The image of the next block that changed; `None` if there is none left. What the writer had
    /// to copy comes first, so that it does not pile up.
    ///
    /// # Errors
    /// [`Overrun`].
    pub fn next_block(&mut self) -> Result<Option<BlockImage>, Overrun> {
        let run = &self.hold.0;
        let slots = self.slots.get_or_insert_with(|| {
            let mut slots: Vec<u32> =
                run.lists.iter().flat_map(|list| list.iter().copied()).collect();
            slots.sort_unstable();
            slots.dedup();
            slots
        });
        loop {
            if run.over.load(Ordering::Acquire) {
                return Err(Overrun);
            }
            if let Some(image) = run.fetch() {
                return Ok(Some(image));
            }
            // Each slot is looked at after the writer was done with it or before it came: at the end of
            // the list all that it took is in `copied`.
            let Some(&slot) = slots.get(self.at) else { return run.last() };
            self.at += 1;
            let Some(block) = self.tree.blocks.read_slot(slot) else { continue };
            if run.wants(&block.marks) {
                return Ok(Some(run.take(slot, &block)));
            }
        }
    }

    /// The dictionary of owners, from number 1 on; `None` if it has not grown since the last
    /// checkpoint that was stored.
    #[must_use]
    pub fn owners(&self) -> Option<Vec<Owner>> {
        let count = self.hold.0.owners;
        (count > self.owners_after)
            .then(|| (1..=count).map(|number| self.tree.owners.get(number)).collect())
    }

    /// Says that all of it is stored.
    ///
    /// # Errors
    /// [`Overrun`]: it was not taken to its end.
    pub fn stored(mut self) -> Result<Stored, Overrun> {
        match self.next_block()? {
            Some(_) => Err(Overrun),
            None => Ok(Stored { hold: self.hold }),
        }
    }
}

impl TreeWriter {
    /// Begins a checkpoint of all that changed since the last one that was stored. Costs nothing per
    /// block. Of what the writer has to copy because it changes it before it was taken, at most
    /// `backlog_max` bytes are kept; beyond that the checkpoint is given up. `None` while one runs.
    pub fn begin_checkpoint(&mut self, backlog_max: usize) -> Option<TreeCheckpoint> {
        self.begin_one(backlog_max, false)
    }

    /// The same of all blocks, whatever was stored: for a store that has nothing of this tree, or what
    /// another writer put there, whose numbers of blocks are others.
    pub fn begin_whole_checkpoint(&mut self, backlog_max: usize) -> Option<TreeCheckpoint> {
        self.begin_one(backlog_max, true)
    }

    fn begin_one(&mut self, backlog_max: usize, whole: bool) -> Option<TreeCheckpoint> {
        let mut book = lock(&self.tree.blocks.dirt.book);
        if book.run.as_ref().is_some_and(|run| !run.over.load(Ordering::Acquire)) {
            return None;
        }
        book.give_up();
        let number = self.tree.blocks.dirt.next.load(Ordering::Relaxed);
        let slots = std::mem::take(&mut book.slots);
        let mut lists = std::mem::take(&mut book.owed);
        lists.push(Arc::new(slots));
        if whole {
            lists.push(Arc::new((0..self.used).collect()));
        }
        let run = Arc::new(Run {
            number,
            after: book.stored,
            whole,
            owners: self.book.count(),
            lists,
            copied: Mutex::default(),
            backlog: AtomicUsize::new(0),
            backlog_max,
            over: AtomicBool::new(false),
        });
        book.run = Some(Arc::clone(&run));
        self.tree.blocks.dirt.next.store(number.saturating_add(1), Ordering::Relaxed);
        let owners_after = if whole { 0 } else { book.owners };
        Some(TreeCheckpoint {
            tree: self.share(),
            hold: Hold(run),
            slots: None,
            at: 0,
            owners_after,
        })
    }

    /// The checkpoint is stored: what it has need not go into the next one. Whether it was the one
    /// that runs.
    pub fn end_checkpoint(&mut self, stored: Stored) -> bool {
        let mut book = lock(&self.tree.blocks.dirt.book);
        let runs = book.run.as_ref().is_some_and(|run| Arc::ptr_eq(run, &stored.hold.0));
        if runs && let Some(run) = book.run.take() {
            (book.stored, book.owners) = (run.number, run.owners);
        }
        runs
    }

    /// Bytes that were copied for the checkpoint that runs and are still to be fetched. Who owns the
    /// writer takes less evidence while it is large.
    #[must_use]
    pub fn checkpoint_backlog(&self) -> usize {
        let book = lock(&self.tree.blocks.dirt.book);
        book.run.as_ref().map_or(0, |run| run.backlog.load(Ordering::Acquire))
    }

    /// How many blocks changed since the last checkpoint began, about.
    #[must_use]
    pub fn dirty_blocks(&self) -> usize {
        let book = lock(&self.tree.blocks.dirt.book);
        book.slots.len() + book.owed.iter().map(|list| list.len()).sum::<usize>()
    }

    /// What of the tree stands in no block; `number` is that of the checkpoint.
    pub(in crate::view) fn frame(&self, number: u32) -> TreeFrame {
        let free = u32::try_from(self.free.len()).unwrap_or(u32::MAX);
        let live = self.used.saturating_sub(free);
        TreeFrame { number, used: self.used, live, floor: self.floor }
    }
}

impl Book {
    /// What a checkpoint that was not stored had belongs in the next one.
    fn give_up(&mut self) {
        if let Some(run) = self.run.take() {
            self.owed.extend(run.lists.iter().cloned());
        }
    }
}

impl BlockId {
    pub(super) const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }
}
