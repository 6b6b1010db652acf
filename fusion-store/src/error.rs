//! What can go wrong with the store, as one closed enum.
//!
//! Every message says what happened, to what, and what to do. Errors are cloned to all who wait for
//! the same thing, so the cause is shared. Must never: be made of a string that nobody can match.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fusion_core::id::Revision;

use crate::ports::{LogPoint, ViewId};

/// An error of the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {what} `{}`: {source}; see the system's log about this disk", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: Arc<io::Error>,
    },
    /// The disk, or the quota on it, is full.
    #[error("cannot {what} `{}`: the disk is full; free some space; a server that runs goes on by itself", path.display())]
    Full {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// The file system, or the directory, cannot be written.
    #[error("cannot {what} `{}`: it is read-only; mount it for writing, or give the directory to the server's user", path.display())]
    ReadOnly {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
    },
    /// Another server has the data directory.
    #[error("the data directory `{}` is in use by {owner}; stop that server, or give this one another directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Who holds it, as it wrote itself down.
        owner: String,
    },
    /// The directory has things in it and is no data directory.
    #[error("`{}` is not a data directory of Fusion ({why}); give the server an empty one", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// There is no data directory.
    #[error("there is no data directory of Fusion at `{}`; name the one of a server", path.display())]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The data directory belongs to another server.
    #[error("the data directory `{}` belongs to server {found}, this is server {wanted}; use the right directory, or remove the setting `server_id`", path.display())]
    OtherServer {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// Written by a later version.
    #[error(
        "{what} in `{place}` has format {found}, this version knows up to {known}; run the version that wrote it, or a later one"
    )]
    FutureFormat {
        /// What was read.
        what: &'static str,
        /// Where.
        place: String,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// What is stored is not what was written.
    #[error(
        "`{place}` is corrupt at byte {at}: {why}; restore it from a back-up, or move it away and let the agents list anew"
    )]
    Corrupt {
        /// The file, or whatever else holds it.
        place: String,
        /// Where in it.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// What was to be appended does not follow what is there: somebody else appended, or it was
    /// numbered wrongly.
    #[error(
        "the log of view {view} ends at {end}, not at {after}: another writer has appended; load the view anew"
    )]
    NotNext {
        /// The view.
        view: ViewId,
        /// After what it was to be appended.
        after: LogPoint,
        /// Where the log ends.
        end: LogPoint,
    },
    /// A checkpoint was to follow one that is not the last.
    #[error(
        "the last checkpoint of view {view} contains {}, not {}: another server has written one; load the view anew",
        place(*.found), place(*.expected)
    )]
    Overtaken {
        /// The view.
        view: ViewId,
        /// What the one that it was to follow contains; none if it was to be the first.
        expected: Option<LogPoint>,
        /// What the last one contains.
        found: Option<LogPoint>,
    },
    /// What was asked for is trimmed.
    #[error("the log of view {view} is kept from revision {} on, {} is gone; begin from the view itself", first.0, asked.0)]
    Trimmed {
        /// The view.
        view: ViewId,
        /// What was asked for.
        asked: Revision,
        /// The first revision that is kept.
        first: Revision,
    },
    /// What was asked for was never given.
    #[error("the log of view {view} ends at {end}, {asked} was never written")]
    Unknown {
        /// The view.
        view: ViewId,
        /// What was asked for.
        asked: LogPoint,
        /// Where the log ends.
        end: LogPoint,
    },
    /// The view has not been opened, or was removed.
    #[error("the store has no view {view} open")]
    NoView {
        /// The view.
        view: ViewId,
    },
    /// It cannot be stored as it is.
    #[error("{what} cannot be stored: {why}")]
    Refused {
        /// What.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// More waits to be written than the store holds in memory.
    #[error(
        "{bytes} bytes of view {view} wait to be written, more than are held in memory; take no evidence until the disk has caught up"
    )]
    Behind {
        /// The view.
        view: ViewId,
        /// How much waits.
        bytes: usize,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

fn place(point: Option<LogPoint>) -> String {
    point.map_or_else(|| "nothing".to_owned(), |point| point.to_string())
}

impl StoreError {
    /// For `map_err`: what the operating system refused, told apart by what can be done.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { what, path },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { what, path }
            }
            _ => Self::Io { what, path, source: Arc::new(source) },
        }
    }

    /// For `map_err`: bytes that are not what was written.
    pub fn corrupt(place: impl fmt::Display, at: u64) -> impl FnOnce(Malformed) -> Self {
        let place = place.to_string();
        move |malformed| match malformed {
            Malformed::Future { what, found, known } => {
                Self::FutureFormat { what, place, found, known }
            }
            Malformed::Broken(why) => Self::Corrupt { place, at, why: why.to_owned() },
        }
    }

    /// Whether it goes away by itself once the disk is well: what was not written yet is kept, and
    /// written then.
    #[must_use]
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Full { .. } | Self::ReadOnly { .. })
    }
}

/// Bytes that cannot be read as what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// They contradict themselves, or end too early.
    Broken(&'static str),
    /// They are of a later version.
    Future {
        /// What they are.
        what: &'static str,
        /// Their version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
}
