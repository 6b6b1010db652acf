//! What can go wrong with a spool, and how it is told from the bytes that are there.

use std::io;
use std::path::{Path, PathBuf};

use super::Owner;

/// Why a spool cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process holds it.
    #[error("the spool {} is held by {holder}", dir.display())]
    Held {
        /// The spool.
        dir: PathBuf,
        /// Who holds it, from its own record; in words if that cannot be read.
        holder: String,
        /// The record, if it can be read.
        owner: Option<Box<Owner>>,
    },
    /// The file system has no working locks, so nobody could tell who holds the spool.
    #[error("the spool {} is on a file system without working locks: {why}; put it on a local disk", dir.display())]
    NoLocks {
        /// The spool.
        dir: PathBuf,
        /// What showed it.
        why: String,
    },
    /// No room, by the spool's bound or the disk's. Nothing was written.
    #[error("the spool is full: {bytes} of {max_bytes} bytes, {needed} needed")]
    Full {
        /// Bytes held.
        bytes: u64,
        /// Bytes that may be held.
        max_bytes: u64,
        /// Bytes of the refused frame.
        needed: u64,
    },
    /// A payload larger than any batch can be.
    #[error("a payload of {bytes} bytes is larger than a frame can be")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A sequence that is not held: acknowledged before, or not yet given.
    #[error("sequence {sequence} is not held: {first_held} to below {next} are")]
    NotHeld {
        /// What was asked for.
        sequence: u64,
        /// The oldest that is held.
        first_held: u64,
        /// The next to be given.
        next: u64,
    },
    /// A later version wrote it. Nothing was changed.
    #[error(
        "{what} {} has format {found}, this version knows up to {known}; run the version that wrote it, or a later one",
        path.display()
    )]
    FutureFormat {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// A frame was damaged on disk after it had been written.
    #[error("the frame of sequence {sequence} is damaged on disk")]
    Damaged {
        /// Its sequence.
        sequence: u64,
    },
    /// The disk does not do what it should.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing: doing.into(), source }
    }
}

/// The last of the bytes that a file of the spool begins with is its format, a digit. That of a later
/// version is refused; whatever else stands there is damage, and the caller's to judge.
pub(super) fn must_be_known(
    what: &'static str,
    path: &Path,
    magic: &[u8; 8],
    bytes: &[u8],
) -> Result<(), SpoolError> {
    let [name @ .., known] = magic;
    let digit = bytes.strip_prefix(name).and_then(|rest| rest.first());
    match digit.filter(|digit| digit.is_ascii_digit() && *digit > known) {
        None => Ok(()),
        Some(digit) => {
            let (found, known) = (u32::from(digit - b'0'), u32::from(known - b'0'));
            Err(SpoolError::FutureFormat { what, path: path.to_owned(), found, known })
        }
    }
}

/// Whether an error says that the disk, or what we may use of it, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    let full = [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT];
    error.raw_os_error().is_some_and(|errno| full.iter().any(|full| full.raw_os_error() == errno))
}
