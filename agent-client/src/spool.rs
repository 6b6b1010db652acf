//! The spool: realtime evidence on the agent's disk until the server has it durably.
//!
//! Owns: one directory with `spool.lock` (who holds it), `identity` (which spool it is), `cursor`
//! (what is acknowledged) and segments of checksummed frames. Called by the agent's link, from one
//! thread or task: there is no lock inside. A frame's payload is an encoded batch and opaque here.
//! Must never: give a sequence twice, give out a damaged frame, hold more than its bytes, remove
//! what was not acknowledged (save when told to by [`Spool::renumber`] or forced by a damaged
//! segment, which [`Recovery`] reports, or by [`Spool::give_up`]), or run beside another process on the same directory.
//!
//! *Sequences* count up by one from 1. The last segment is never removed, and is named after its
//! first sequence, so that `next` is known even when nothing is held.
//!
//! *fsync policy*: an append is one `write` and is not synced ([`Durability::Process`]): it survives
//! the death of the process, which is what the spool is for. What dies with the machine is lost to
//! the kernel's event queue as well, and the new instance makes the server take that time as lost
//! (R10), so a sync per batch would cost a disk round trip and save nothing. Synced are: a segment
//! when the next one begins and when the spool is closed, the identity before it is used. Should a
//! crash of the machine cut off frames that the server has, the server says SPOOL_ROLLED_BACK, or
//! [`Recovery::rolled_back`] says it first. [`Durability::Machine`] syncs every append.
//!
//! *When it is full* (its own bound or the disk's) an append is refused with [`SpoolError::Full`] and
//! nothing is written; the caller remembers since when, and writes one `Overflow` once there is room.
//! Until then only its memory knows, which is enough: if the process dies, R10 says the same.
//!
//! Tested below and in `spool/*`: torn at every byte, a seeded schedule of append, acknowledge and
//! reopen against a model, golden bytes of every format, and what a later version wrote.

mod cursor;
mod error;
mod frame;
mod identity;
mod lock;
mod owner;
mod segment;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use fusion_core::id::{AgentId, SpoolId};
use fusion_core::time::Monotonic;
use uuid::Uuid;

pub use error::SpoolError;
pub use frame::{BootId, Frame};
pub use identity::Identity;
pub use lock::Takeover;
pub use owner::{Alive, Claim, Owner};

use cursor::Cursor;
use error::is_full;
use lock::SpoolLock;
use segment::Segment;

/// How a spool is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Most bytes of segments.
    pub max_bytes: u64,
    /// A segment of this size is followed by the next one.
    pub segment_bytes: u64,
    /// What an append survives.
    pub durability: Durability,
}

/// What an append survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Durability {
    /// The death of the process: no sync per append.
    Process,
    /// The death of the machine: a sync per append.
    Machine,
}

impl SpoolOptions {
    /// With so many bytes, and a segment size that fits.
    #[must_use]
    pub fn with_max_bytes(max_bytes: u64) -> Self {
        let segment_bytes = (max_bytes / 8).clamp(16 * 1024, 8 << 20);
        Self { max_bytes, segment_bytes, durability: Durability::Process }
    }
}

/// What was found when a spool was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The spool was made now: the server has not met it.
    pub created: bool,
    /// The identity could not be read and was drawn anew; frames of the old one were dropped.
    pub identity_lost: bool,
    /// Bytes of a torn frame that were cut off, an append that the process did not survive; and of a
    /// damaged header, which was written anew.
    pub torn_bytes: u64,
    /// Sequences before `first_held` that were never acknowledged and cannot be read any more.
    pub lost_frames: u64,
    /// More was acknowledged than the spool holds: it was copied back or lost its tail. What the
    /// server calls SPOOL_ROLLED_BACK; ends with [`Spool::renumber`].
    pub rolled_back: bool,
}

/// A spool that was opened.
pub struct Opened {
    /// The spool.
    pub spool: Spool,
    /// Whose lock was taken over, if its holder left without releasing it. To be logged.
    pub takeover: Option<Takeover>,
    /// What was found in it. To be logged, and reported as lost events where it says so.
    pub recovery: Recovery,
}

/// An open spool. Holds its lock until it is closed or dropped.
pub struct Spool {
    dir: PathBuf,
    options: SpoolOptions,
    identity: Identity,
    lock: SpoolLock,
    cursor: Cursor,
    /// Oldest first; never empty; the last one is appended to.
    segments: VecDeque<Segment>,
    /// Sequence and place of the frame that a reader will probably ask for next.
    hint: Option<(u64, segment::Place)>,
}

impl Spool {
    /// Takes the lock, recovers what is there, or makes a new spool. `draw` gives random UUIDs.
    ///
    /// # Errors
    /// Another process holds it, a later version wrote it, locks do not work there, or the disk refuses.
    pub fn open(
        dir: &Path,
        options: SpoolOptions,
        claim: &Claim,
        draw: &mut dyn FnMut() -> Uuid,
    ) -> Result<Opened, SpoolError> {
        make_dir(dir)?;
        let (lock, takeover) = SpoolLock::take(dir, claim)?;
        let mut recovery = Recovery::default();
        let identity = identity::load_or_make(dir, draw, &mut recovery)?;
        let mut cursor = Cursor::load(dir, identity.spool_id)?;
        let mut segments = segment::recover(dir, identity.spool_id, &mut recovery)?;
        let acknowledged = cursor.acknowledged();
        if segments.is_empty() {
            segments.push_back(Segment::create(dir, identity.spool_id, acknowledged + 1)?);
        }
        let first = segments.front().map_or(1, Segment::first);
        let next = segments.back().map_or(1, Segment::next);
        if cursor.is_known() {
            recovery.lost_frames = first.saturating_sub(acknowledged + 1);
            recovery.rolled_back = acknowledged >= next;
        }
        if recovery.rolled_back {
            cursor.believe(next - 1);
        }
        let hint = None;
        let mut spool = Self { dir: dir.into(), options, identity, lock, cursor, segments, hint };
        spool.remove_consumed()?;
        Ok(Opened { spool, takeover, recovery })
    }

    /// Which spool this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The sequence that the next append gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.segments.back().map_or(1, Segment::next)
    }

    /// The oldest sequence that is held; [`Spool::next`] if none is.
    #[must_use]
    pub fn first_held(&self) -> u64 {
        let first = self.segments.front().map_or(1, Segment::first);
        first.max(self.cursor.acknowledged() + 1).min(self.next())
    }

    /// Up to which sequence everything is acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.first_held() - 1
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    /// Puts a payload at the end and gives its sequence. `stamp` is the boot's monotonic time of the
    /// newest look in it; with `boot` it can be turned into server time once an offset is known.
    ///
    /// # Errors
    /// [`SpoolError::Full`], [`SpoolError::TooLarge`], or the disk fails; then nothing was appended.
    pub fn append(
        &mut self,
        stamp: Monotonic,
        boot: BootId,
        payload: &[u8],
    ) -> Result<u64, SpoolError> {
        let sequence = self.next();
        let bytes = frame::encode(sequence, stamp, boot, payload)?;
        let needed = bytes.len() as u64;
        let held = self.bytes();
        let max_bytes = self.options.max_bytes;
        let full = SpoolError::Full { bytes: held, max_bytes, needed };
        if held + needed > max_bytes {
            return Err(full);
        }
        let has_room = self.segments.back().is_some_and(|last| {
            last.is_empty() || last.bytes() + needed <= self.options.segment_bytes
        });
        let appended = if has_room { Ok(()) } else { self.begin_segment() };
        let appended = appended.and_then(|()| match self.segments.back_mut() {
            Some(last) => last.append(&bytes, self.options.durability),
            None => Ok(()),
        });
        match appended {
            Ok(()) => Ok(sequence),
            Err(SpoolError::Io { source, .. }) if is_full(&source) => Err(full),
            Err(error) => Err(error),
        }
    }

    /// Frames from `sequence` on, in order: at least one if there is one, and no more once
    /// `max_bytes` of payload are reached. None if `sequence` is [`Spool::next`].
    ///
    /// # Errors
    /// The sequence is not held, its frame is damaged (see [`Spool::give_up`]), or the disk fails.
    pub fn read_from(&mut self, sequence: u64, max_bytes: usize) -> Result<Vec<Frame>, SpoolError> {
        let (first_held, next) = (self.first_held(), self.next());
        if sequence < first_held || sequence > next {
            return Err(SpoolError::NotHeld { sequence, first_held, next });
        }
        let mut frames = Vec::new();
        let mut bytes = 0;
        let mut at = sequence;
        while at < next && (frames.is_empty() || bytes < max_bytes) {
            let hint = self.hint.filter(|&(sequence, _)| sequence == at).map(|(_, place)| place);
            let segment = self.segments.iter().find(|segment| segment.contains(at));
            let segment = segment.ok_or(SpoolError::Damaged { sequence: at })?;
            let (frame, place) = match segment.read(at, hint) {
                // What was read is of use without it.
                Err(_) if !frames.is_empty() => break,
                read => read?,
            };
            at += 1;
            self.hint = Some((at, place));
            bytes += frame.payload.len();
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Everything up to `through` is durable on the server: forgets it, and removes the segments
    /// that are consumed as a whole. A repeat is nothing.
    ///
    /// # Errors
    /// `through` was never given, or the disk fails (then it is still acknowledged in memory).
    pub fn acknowledge(&mut self, through: u64) -> Result<(), SpoolError> {
        let (first_held, next) = (self.first_held(), self.next());
        if through >= next {
            return Err(SpoolError::NotHeld { sequence: through, first_held, next });
        }
        if through < first_held {
            return Ok(());
        }
        self.cursor.set(through)?;
        self.remove_consumed()
    }

    /// Forgets a frame that cannot be read, with all before it and the rest of its segment, where the
    /// frames after a damaged one may not be found; gives the last of them. The server sees the hole in
    /// the sequences (R10).
    ///
    /// # Errors
    /// The sequence is not held, or the disk fails.
    pub fn give_up(&mut self, damaged: u64) -> Result<u64, SpoolError> {
        let segment = self.segments.iter().find(|segment| segment.contains(damaged));
        let through = segment.map_or(damaged, |segment| segment.next() - 1);
        if through + 1 == self.next() {
            // What is appended from now on must be found. What goes need not be synced.
            self.add_segment()?;
        }
        self.acknowledge(through)?;
        Ok(through)
    }

    /// From now on the disk fails to read what is there.
    #[cfg(test)]
    pub(crate) fn fail_reads(&mut self) {
        self.segments.iter_mut().for_each(Segment::fail_reads);
    }

    /// Makes this a new spool, numbered from 1: what SPOOL_ROLLED_BACK asks for. What was not
    /// acknowledged is kept under new numbers. A crash in between leaves the old spool.
    ///
    /// # Errors
    /// The disk fails, or has no room for a copy of what is held.
    pub fn renumber(&mut self, draw: &mut dyn FnMut() -> Uuid) -> Result<(), SpoolError> {
        let spool_id = SpoolId::new(draw());
        let mut fresh = VecDeque::from([Segment::create(&self.dir, spool_id, 1)?]);
        let mut at = self.first_held();
        while at < self.next() {
            for frame in self.read_from(at, 1 << 20)? {
                at = frame.sequence + 1;
                let Some(last) = fresh.back_mut() else { break };
                let bytes = frame::encode(last.next(), frame.stamp, frame.boot, &frame.payload)?;
                last.append(&bytes, Durability::Process)?;
                if last.bytes() >= self.options.segment_bytes {
                    last.sync()?;
                    let first = last.next();
                    fresh.push_back(Segment::create(&self.dir, spool_id, first)?);
                }
            }
        }
        if let Some(last) = fresh.back_mut() {
            last.sync()?;
        }
        let identity = Identity { spool_id, agent_suffix: self.identity.agent_suffix.clone() };
        identity::save(&self.dir, &identity)?;
        // From here on it is the new one; what is left of the old is removed now or at next open.
        self.identity = identity;
        self.hint = None;
        self.cursor = Cursor::load(&self.dir, spool_id)?;
        for old in std::mem::replace(&mut self.segments, fresh) {
            old.remove()?;
        }
        Ok(())
    }

    /// Writes into the lock's record whose spool it is, once that is known.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sign(&mut self, agent: &AgentId) -> Result<(), SpoolError> {
        self.lock.sign(agent)
    }

    /// Writes into the lock's record which batches are being delivered. For people.
    ///
    /// # Errors
    /// The disk fails.
    pub fn note_consuming(&mut self, first: u64, last: u64) -> Result<(), SpoolError> {
        self.lock.note_consuming(first, last)
    }

    /// Makes what was appended survive the machine.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync(&mut self) -> Result<(), SpoolError> {
        self.segments.back_mut().map_or(Ok(()), Segment::sync)
    }

    /// Syncs, and releases the lock. Removes nothing but the lock's record: what was consumed went
    /// with its acknowledgement, and all else stays. Dropping a spool releases the lock alone.
    ///
    /// # Errors
    /// The disk fails; the lock is released all the same.
    pub fn close(mut self) -> Result<(), SpoolError> {
        let synced = self.sync();
        synced.and(self.cursor.sync())
    }

    fn begin_segment(&mut self) -> Result<(), SpoolError> {
        if let Some(last) = self.segments.back_mut() {
            last.sync()?;
        }
        self.add_segment()
    }

    fn add_segment(&mut self) -> Result<(), SpoolError> {
        let segment = Segment::create(&self.dir, self.identity.spool_id, self.next())?;
        self.segments.push_back(segment);
        Ok(())
    }

    fn remove_consumed(&mut self) -> Result<(), SpoolError> {
        let acknowledged = self.cursor.acknowledged();
        let is_consumed = |segment: &Segment| segment.next() <= acknowledged + 1;
        // The one that is appended to makes way too, but not for every small batch.
        let last = self.segments.back();
        let is_large = |last: &Segment| last.bytes() >= self.options.segment_bytes / 8;
        if last.is_some_and(|last| is_consumed(last) && is_large(last)) {
            // Where there is no room for a new one it stays until the next acknowledgement.
            let _ = self.begin_segment();
        }
        while self.segments.len() > 1
            && let Some(consumed) = self.segments.pop_front_if(|first| is_consumed(first))
        {
            consumed.remove()?;
        }
        Ok(())
    }
}

pub(crate) fn make_dir(dir: &Path) -> Result<(), SpoolError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(SpoolError::io(format!("make the spool {}", dir.display())))
}

#[cfg(test)]
mod tests;
