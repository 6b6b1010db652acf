//! The port of all else that survives: sessions, idempotency results, jobs, audit records.
//!
//! Small values under keys, each with a version that compare-and-swap goes by. The time is an
//! argument: what has expired is not there, whether or not it has been swept. A value carries the
//! version of its own format; who reads it migrates it and writes it back.

use fusion_core::time::ServerTime;

use super::Guarantee;
use crate::error::StoreError;

/// Longest key in bytes.
pub const KEY_MAX: usize = 1024;
/// Largest value in bytes.
pub const VALUE_MAX: usize = 4 << 20;

/// What a value is about. Keys of different spaces have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Space {
    /// Views: their names, ids and leader epochs.
    View = 1,
    /// Sessions.
    Session = 2,
    /// Results of calls that may be repeated.
    Idempotency = 3,
    /// Jobs.
    Job = 4,
    /// Records of who changed what.
    Audit = 5,
}

impl Space {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::View, Self::Session, Self::Idempotency, Self::Job, Self::Audit];

    /// Its name in files and commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Session => "session",
            Self::Idempotency => "idempotency",
            Self::Job => "job",
            Self::Audit => "audit",
        }
    }
}

/// The version of a value: another one after every write, larger than any before it in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A value with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// Its version.
    pub version: Version,
    /// From then on it is not there; `None` if it stays.
    pub expires_at: Option<ServerTime>,
}

impl Item {
    /// Whether it has not expired.
    #[must_use]
    pub fn is_there(&self, now: ServerTime) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// What it is about.
    pub space: Space,
    /// Its key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// From then on it is not there; `None` if it stays.
    pub expires_at: Option<ServerTime>,
}

/// What must be there for a swap to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Absent,
    /// The value of this version.
    Version(Version),
}

impl Expect {
    /// Whether what is there is as expected.
    #[must_use]
    pub fn agrees(self, there: Option<&Item>) -> bool {
        match self {
            Self::Absent => there.is_none(),
            Self::Version(version) => there.is_some_and(|item| item.version == version),
        }
    }
}

/// What came of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// It happened; the version of what is there now.
    Done(Version),
    /// Something else is there, or nothing.
    Conflict(Option<Item>),
}

/// One page of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// By key.
    pub items: Vec<Item>,
    /// There may be more after the last item.
    pub more: bool,
}

/// Values under keys. Every write is durable when it returns.
pub trait State: Send + Sync {
    /// Reads a value.
    ///
    /// # Errors
    /// It cannot be read.
    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Result<Option<Item>, StoreError>;

    /// Writes a value, whatever was there.
    ///
    /// # Errors
    /// It cannot be written; `Refused` if the key is empty or longer than [`KEY_MAX`], or the value
    /// larger than [`VALUE_MAX`].
    fn put(
        &self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, StoreError>;

    /// Writes values in order, whatever was there: all of them, or none.
    ///
    /// # Errors
    /// As for [`State::put`], of any of them.
    fn put_all(&self, puts: &[Put]) -> Result<(), StoreError>;

    /// Writes a value if what is there is as expected; what expired is not there.
    ///
    /// # Errors
    /// As for [`State::put`]. After any error but `Refused` it may have happened, and no write that
    /// ended so happens once a later call has been answered: who repeats the call and finds a
    /// conflict with the very value that it wanted to write has swapped. So a value that is swapped
    /// must tell its writer (an owner, an id that was drawn).
    fn compare_and_swap(
        &self,
        space: Space,
        key: &[u8],
        expect: Expect,
        value: &[u8],
        expires_at: Option<ServerTime>,
        now: ServerTime,
    ) -> Result<Swap, StoreError>;

    /// Removes a value; whether one was there.
    ///
    /// # Errors
    /// It cannot be written.
    fn delete(&self, space: Space, key: &[u8]) -> Result<bool, StoreError>;

    /// Values whose keys begin with `prefix` and come after `after`, by key bytes, at most `limit`
    /// (at least 1).
    ///
    /// # Errors
    /// They cannot be read.
    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Result<Page, StoreError>;

    /// Sweeps values that have expired, at most `limit`; how many went.
    ///
    /// # Errors
    /// They cannot be removed.
    fn expire(&self, now: ServerTime, limit: usize) -> Result<usize, StoreError>;

    /// What an acknowledged write outlives, as the engine was set up when it was last asked. Waits
    /// for nothing.
    fn guarantee(&self) -> Guarantee;
}

/// Whether key and value are within their bounds.
pub(crate) fn check(key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let why = if key.is_empty() {
        "its key is empty".to_owned()
    } else if key.len() > KEY_MAX {
        format!("its key has {} bytes, {KEY_MAX} are allowed", key.len())
    } else if value.len() > VALUE_MAX {
        format!("it has {} bytes, {VALUE_MAX} are allowed", value.len())
    } else {
        return Ok(());
    };
    Err(StoreError::Refused { what: "a value", why })
}
