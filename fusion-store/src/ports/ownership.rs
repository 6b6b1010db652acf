//! The port of ownership: which servers there are, and which of them owns which view.
//!
//! Two kinds of records, each with a version that grows with every write. A *member* record is put anew by its
//! server some times in the lease time, and nobody else writes it. A *claim* says who owns a view, under an epoch
//! that only grows; it is written by compare-and-swap, and only when the owner changes, so a thousand views cost
//! nothing while nothing happens. Nobody's wall clock is trusted: a member is gone when its record has not changed
//! for the lease time *on the observer's own monotonic clock*, and a server that could not put its record for less
//! than that, on its own, stops acting. That keeps two servers from both believing that they own a view; what
//! fences one that believes it all the same is the log, which takes no append after another's
//! ([`super::ChangeLog::append`]). So an adapter needs compare-and-swap and versions, and no expiry of its own.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use super::{ViewId, ViewRef};
use crate::error::StoreError;

/// Largest [`Member::said`], in bytes: below the largest message of the engines that there are.
pub const SAID_MAX: usize = 512 << 10;
/// Longest [`Member::address`] and [`Member::version`], in bytes.
pub const WORD_MAX: usize = 1024;

/// A server for as long as it runs: drawn when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub Uuid);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// The number of an ownership: a later owner of a view has a larger one. 0 is nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct OwnerEpoch(pub u64);

/// The version of a record: another one after every write, larger than any before it in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Stamp(pub u64);

/// A server as it tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub id: ServerId,
    /// Where others reach it, as a URI; at most [`WORD_MAX`] bytes.
    pub address: String,
    /// Its version; at most [`WORD_MAX`] bytes.
    pub version: String,
    /// Memory that it has, in bytes: its weight where views are placed.
    pub memory: u64,
    /// What it tells the others beside that, in a format of the caller's; at most [`SAID_MAX`] bytes.
    pub said: Vec<u8>,
}

/// Who owns a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The view.
    pub view: ViewRef,
    /// Its owner; nobody if it was given away.
    pub owner: Option<ServerId>,
    /// The number of this ownership, or of the last one.
    pub epoch: OwnerEpoch,
    /// Who is to have it next, if somebody said so.
    pub next: Option<ServerId>,
}

impl Claim {
    /// Whether it may take the place of what is there: the epoch never goes back, and another owner has a larger
    /// one. For adapters, which ask before they swap.
    ///
    /// # Errors
    /// `Refused`.
    pub fn may_follow(&self, there: Option<&Self>) -> Result<(), StoreError> {
        let refused = |why: String| Err(StoreError::Refused { what: "a claim", why });
        if self.owner.is_some() && self.epoch == OwnerEpoch::default() {
            return refused("epoch 0 is nobody's".to_owned());
        }
        let Some(there) = there else { return Ok(()) };
        let is_same = self.owner.is_none() || self.owner == there.owner;
        if self.view.id != there.view.id {
            refused(format!("it is of view {}, not of {}", there.view.id, self.view.id))
        } else if self.epoch < there.epoch || (self.epoch == there.epoch && !is_same) {
            refused(format!("epoch {} does not come after {}", self.epoch.0, there.epoch.0))
        } else {
            Ok(())
        }
    }
}

/// A record and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamped<T> {
    /// The record.
    pub it: T,
    /// Its version.
    pub stamp: Stamp,
}

/// Everything that is known, as of one moment for each record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roll {
    /// The servers, by id: also those that are gone, until somebody strikes them off.
    pub members: Vec<Stamped<Member>>,
    /// The claims, by view.
    pub claims: Vec<Stamped<Claim>>,
    /// At least as large as any version in it, and never smaller than in a roll that was read before.
    pub stamp: Stamp,
}

/// What came of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is written, in this version.
    Done(Stamp),
    /// Something else is there, or nothing.
    Conflict(Option<Stamped<Claim>>),
}

/// Which servers there are and who owns what. Every write is durable, and seen by all, when it returns; where the
/// engine does not answer a call gives up after a bounded time.
pub trait Ownership: Send + Sync {
    /// Puts the record of a server, whatever was there: it lives.
    ///
    /// # Errors
    /// It cannot be written; `Refused` if it is too large.
    fn renew(&self, member: &Member) -> Result<Stamp, StoreError>;

    /// Strikes a server off, if its record is still of this version: its own when it ends, or one that has been
    /// gone for long. Whether it was.
    ///
    /// # Errors
    /// It cannot be written.
    fn strike(&self, server: ServerId, stamp: Stamp) -> Result<bool, StoreError>;

    /// Writes a claim if what is there is of the version `expect`, or if there is none and `expect` is `None`.
    ///
    /// # Errors
    /// It cannot be written. After such an error nobody knows whether it was, until it is read. `Refused` if it
    /// may not follow what is there ([`Claim::may_follow`]).
    fn claim(&self, claim: &Claim, expect: Option<Stamp>) -> Result<Claimed, StoreError>;

    /// Removes the claim of a view that is no more; nothing happens if there is none.
    ///
    /// # Errors
    /// It cannot be written.
    fn forget(&self, view: ViewId) -> Result<(), StoreError>;

    /// Reads everything.
    ///
    /// # Errors
    /// It cannot be read.
    fn roll(&self) -> Result<Roll, StoreError>;

    /// Waits until a claim was written after this version, at most for `limit`. Returning early is no error: who
    /// is woken reads the roll. Member records, which change all the time, need not wake anybody.
    ///
    /// # Errors
    /// It cannot be waited for.
    fn wait(&self, after: Stamp, limit: Duration) -> Result<(), StoreError>;
}

/// Whether a member can be stored.
pub(crate) fn check_member(member: &Member) -> Result<(), StoreError> {
    let words = [&member.address, &member.version];
    let why = if let Some(word) = words.into_iter().find(|word| word.len() > WORD_MAX) {
        format!("a text of it has {} bytes, {WORD_MAX} are allowed", word.len())
    } else if member.said.len() > SAID_MAX {
        format!("what it says has {} bytes, {SAID_MAX} are allowed", member.said.len())
    } else {
        return Ok(());
    };
    Err(StoreError::Refused { what: "the record of a server", why })
}
