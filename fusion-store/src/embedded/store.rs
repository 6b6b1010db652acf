//! The data directory: one server has it, and all that survives is in it.
//!
//! | name | is |
//! |---|---|
//! | `fusion-store` | the version of the directory and the server that it belongs to, as text |
//! | `lock`, `owner` | who has it: an advisory lock, and a line for people |
//! | `log/`, `blocks/` | a directory for each view |
//! | `state` | sessions, idempotency results, jobs, audit records |
//! | `state.quiet` | locked while the state is being copied |
//!
//! Called once when the server starts. Must never: touch a directory that is not a store, or that
//! another server has.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fusion_core::id::ViewName;
use uuid::Uuid;

use super::{BlocksSettings, EmbeddedBlocks, EmbeddedLog, EmbeddedState, LogSettings};
use crate::disk::{Access, Disk, RealDisk};
use crate::error::StoreError;
use crate::ports::{Blocks as _, ViewId};

/// The version of the data directory.
pub const STORE_VERSION: u32 = 1;
const IDENTITY: &str = "fusion-store";
const LOCK: &str = "lock";
const OWNER: &str = "owner";
pub(super) const STATE: &str = "state";
/// Longest text that is read of a file that should have a line or two.
const TEXT_MAX: usize = 4096;

/// How a data directory is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The id of the server if the directory is new; drawn by the caller.
    pub new_server: Uuid,
    /// The id that the directory must have, if that is known.
    pub server: Option<Uuid>,
    /// Who opens it, for the one who finds it locked: process, host, since when.
    pub owner: String,
    /// What can be set about the log.
    pub log: LogSettings,
    /// What can be set about blocks.
    pub blocks: BlocksSettings,
}

/// An open data directory. Dropping it writes what waits and lets the directory go.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    log: Arc<EmbeddedLog>,
    blocks: Arc<EmbeddedBlocks>,
    state: Arc<EmbeddedState>,
    server: Uuid,
    dir: PathBuf,
    /// Last, so that it is let go when all else is closed.
    _lock: Lock,
}

/// A view of which something is stored, whether or not it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredView {
    /// Its id.
    pub id: ViewId,
    /// Its name, if anything that can be read tells it.
    pub name: Option<ViewName>,
    /// It has a log.
    pub log: bool,
    /// It has blocks.
    pub blocks: bool,
}

struct Lock(#[allow(dead_code, reason = "held, not used")] Box<dyn Send + Sync>);

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

impl Store {
    /// Opens a data directory of this machine, makes it if it is not there.
    ///
    /// # Errors
    /// `Locked`, `NotAStore`, `OtherServer`, `FutureFormat`, `Corrupt`, or the disk refuses.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(RealDisk), dir, options)
    }

    /// Opens a data directory that a server has made.
    ///
    /// # Errors
    /// `NoStore` if there is none; else as [`Store::open`].
    pub fn open_existing(dir: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        match identity(&RealDisk, dir)? {
            Some(_) => Self::open(dir, options),
            None => Err(StoreError::NoStore { path: dir.to_path_buf() }),
        }
    }

    /// As [`Store::open`], on any disk.
    ///
    /// # Errors
    /// See there.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: &StoreOptions,
    ) -> Result<Self, StoreError> {
        let make = StoreError::io("make the data directory", dir);
        disk.make_dir(dir).map_err(make)?;
        let found = identity(&*disk, dir)?;
        if found.is_none() {
            must_be_empty(&*disk, dir)?;
        }
        let lock = lock(&*disk, dir, &options.owner)?;
        // Another may have made it meanwhile.
        let server = match identity(&*disk, dir)? {
            Some(server) => server,
            None => {
                write_identity(&*disk, dir, options.new_server)?;
                options.new_server
            }
        };
        if let Some(wanted) = options.server.filter(|wanted| *wanted != server) {
            let (found, wanted) = (server.to_string(), wanted.to_string());
            return Err(StoreError::OtherServer { path: dir.to_path_buf(), found, wanted });
        }
        let log = EmbeddedLog::new(Arc::clone(&disk), dir.join("log"), options.log)?;
        let blocks = EmbeddedBlocks::new(Arc::clone(&disk), dir.join("blocks"), options.blocks)?;
        must_have_state(&*disk, dir)?;
        let state = EmbeddedState::open(Arc::clone(&disk), dir.join(STATE))?;
        let (log, blocks, state) = (Arc::new(log), Arc::new(blocks), Arc::new(state));
        Ok(Self { disk, log, blocks, state, server, dir: dir.to_path_buf(), _lock: lock })
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<EmbeddedLog> {
        &self.log
    }

    /// The blocks.
    #[must_use]
    pub fn blocks(&self) -> &Arc<EmbeddedBlocks> {
        &self.blocks
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &Arc<EmbeddedState> {
        &self.state
    }

    /// Everything that is stored of views, by id, also what is damaged or left over.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn views(&self) -> Result<Vec<StoredView>, StoreError> {
        let mut views = BTreeMap::new();
        let none = |id| StoredView { id, name: None, log: false, blocks: false };
        for name in self.names("log")? {
            let Ok(id) = Uuid::try_parse(&name).map(ViewId) else { continue };
            let view: &mut StoredView = views.entry(id).or_insert_with(|| none(id));
            // What cannot be read is there.
            let found = self.log.view_in(&name);
            view.log = !matches!(found, Ok(None));
            view.name = found.ok().flatten().map(|view| view.name);
        }
        for name in self.names("blocks")? {
            let Ok(id) = Uuid::try_parse(&name).map(ViewId) else { continue };
            let view = views.entry(id).or_insert_with(|| none(id));
            view.blocks = !matches!(self.blocks.contains(id), Ok(None));
            view.name = view.name.take().or_else(|| self.blocks.name_of(id));
        }
        Ok(views.into_values().filter(|view| view.log || view.blocks).collect())
    }

    /// How many bytes the files of a view take.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn view_bytes(&self, view: ViewId) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for below in ["log", "blocks"] {
            let dir = self.dir.join(below).join(view.to_string());
            let names = match self.disk.list(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                names => names.map_err(StoreError::io("read", &dir))?,
            };
            for name in names {
                bytes += self.bytes(&dir.join(name))?;
            }
        }
        Ok(bytes)
    }

    /// How many bytes the file of the state takes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn state_bytes(&self) -> Result<u64, StoreError> {
        self.bytes(&self.dir.join(STATE))
    }

    fn bytes(&self, path: &Path) -> Result<u64, StoreError> {
        let length = self.disk.open(path, Access::Read).and_then(|file| file.length());
        length.map_err(StoreError::io("read", path))
    }

    fn names(&self, below: &str) -> Result<Vec<String>, StoreError> {
        let dir = self.dir.join(below);
        self.disk.list(&dir).map_err(StoreError::io("read", &dir))
    }

    /// The server that the directory belongs to.
    #[must_use]
    pub fn server(&self) -> Uuid {
        self.server
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A line that was noted in the directory, by the name of its file; none if none was.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn noted(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.dir.join(name);
        read_text(&*self.disk, &path).map_err(StoreError::io("read", &path))
    }

    /// Notes a line in the directory; durable, and whole or not there, when it returns.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note(&self, name: &str, line: &str) -> Result<(), StoreError> {
        let path = self.dir.join(name);
        write_text(&*self.disk, &path, line).map_err(StoreError::io("write", &path))
    }
}

fn read_text(disk: &dyn Disk, path: &Path) -> io::Result<Option<String>> {
    let file = match disk.open(path, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = vec![0; TEXT_MAX];
    let count = file.read_at(&mut bytes, 0)?;
    Ok(Some(String::from_utf8_lossy(&bytes[..count]).into_owned()))
}

fn write_text(disk: &dyn Disk, path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let file = disk.open(&new, Access::Create)?;
    file.write_at(text.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&new, path)?;
    path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))
}

/// The server that a directory belongs to; `None` if it is not a store yet.
pub(super) fn identity(disk: &dyn Disk, dir: &Path) -> Result<Option<Uuid>, StoreError> {
    let path = dir.join(IDENTITY);
    let text = read_text(disk, &path).map_err(StoreError::io("read", &path))?;
    let Some(text) = text else { return Ok(None) };
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("fusion-store "));
    let version = version.and_then(|version| version.parse::<u32>().ok());
    if let Some(found) = version.filter(|found| *found > STORE_VERSION) {
        let (what, place) = ("the data directory", dir.display().to_string());
        return Err(StoreError::FutureFormat { what, place, found, known: STORE_VERSION });
    }
    let server = lines.next().and_then(|line| line.strip_prefix("server "));
    match (version, server.and_then(|server| Uuid::try_parse(server).ok())) {
        (Some(1..), Some(server)) => Ok(Some(server)),
        _ => {
            let why = "it does not name a version and a server".to_owned();
            Err(StoreError::Corrupt { place: path.display().to_string(), at: 0, why })
        }
    }
}

/// A directory that is none of ours is left alone.
fn must_be_empty(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let ours = [LOCK, OWNER, "owner.new", "fusion-store.new", "lost+found"];
    let names = disk.list(dir).map_err(StoreError::io("read", dir))?;
    match names.iter().find(|name| !ours.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let why = format!("there is `{name}` in it, and no `{IDENTITY}`");
            Err(StoreError::NotAStore { path: dir.to_path_buf(), why })
        }
    }
}

/// Views without the state that names them are no new directory.
fn must_have_state(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let names = |dir: &Path| disk.list(dir).map_err(StoreError::io("read", dir));
    if names(dir)?.iter().any(|name| name == STATE) {
        return Ok(());
    }
    for below in ["log", "blocks"] {
        if !names(&dir.join(below))?.is_empty() {
            let why = format!("it is missing, and there are views in `{below}`");
            let place = dir.join(STATE).display().to_string();
            return Err(StoreError::Corrupt { place, at: 0, why });
        }
    }
    Ok(())
}

/// Makes a directory a store.
pub(super) fn write_identity(disk: &dyn Disk, dir: &Path, server: Uuid) -> Result<(), StoreError> {
    let path = dir.join(IDENTITY);
    let text = format!("fusion-store {STORE_VERSION}\nserver {}\n", server.hyphenated());
    write_text(disk, &path, &text).map_err(StoreError::io("write", &path))
}

fn lock(disk: &dyn Disk, dir: &Path, owner: &str) -> Result<Lock, StoreError> {
    let (path, owner_path) = (dir.join(LOCK), dir.join(OWNER));
    match disk.lock(&path).map_err(StoreError::io("lock", &path))? {
        Some(lock) => {
            let written = write_text(disk, &owner_path, owner);
            written.map_err(StoreError::io("write", &owner_path))?;
            Ok(Lock(lock))
        }
        None => {
            let owner = read_text(disk, &owner_path).ok().flatten();
            let owner = owner.filter(|owner| !owner.is_empty());
            let owner = owner.unwrap_or_else(|| "another server".to_owned());
            Err(StoreError::Locked { path: dir.to_path_buf(), owner: owner.trim().to_owned() })
        }
    }
}
