//! Values under keys in one file: redb, an engine of one crate that takes any disk.
//!
//! Writers that come at the same time share one transaction and one sync: whoever gets the turn
//! writes for all who wait. After an error of the disk the engine refuses, so the file is opened anew
//! before the next call. A value is stored with its version, expiry and checksum.
//!
//! Tables: `values` (space and key → value), `expiry` (time, space and key), `meta` (numbers).

mod backend;
mod transaction;
mod value;

#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use fusion_core::time::ServerTime;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};
use uuid::Uuid;

use super::backup::quiet_of;
use crate::disk::{Access, Disk, DiskFile};
use crate::error::{Malformed, StoreError};
use crate::ports::{Expect, Guarantee, Item, Page, Put, Space, State, Swap, Version, check};
use backend::Backend;
use transaction::{Done, Write, run};

/// The version of the file's tables and values.
const STATE_VERSION: u64 = 1;
/// How long writes wait for a copy of the file: half a second.
const QUIET_STEP: Duration = Duration::from_millis(2);
const QUIET_STEPS: u32 = 250;
/// Memory for pages of the file.
const CACHE: usize = 32 << 20;

const VALUES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");
const EXPIRY: TableDefinition<'_, (i64, &[u8]), ()> = TableDefinition::new("expiry");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: &str = "format";
const LAST_VERSION: &str = "last-version";
/// The id of the state outside that the directory goes by: its upper and its lower half.
const OUTSIDE: [&str; 2] = ["outside-upper", "outside-lower"];

/// State in a file.
#[derive(Debug)]
pub struct EmbeddedState {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    database: RwLock<Option<Database>>,
    desk: Mutex<Desk>,
    /// Somebody has written.
    freed: Condvar,
    quiet: Mutex<Quiet>,
}

/// Writes that wait.
#[derive(Debug, Default)]
struct Desk {
    waiting: Vec<(Write, Arc<Slot>)>,
    /// Somebody is writing for all who waited when it began.
    is_writing: bool,
}

/// The right to write, until it is dropped.
struct Turn<'a> {
    state: &'a EmbeddedState,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.state.desk).is_writing = false;
        self.state.freed.notify_all();
    }
}

/// Whether the writer waits for a copy that is being taken.
#[derive(Debug, Default)]
enum Quiet {
    /// It does.
    #[default]
    Kept,
    /// It has waited for this one for long enough.
    Over,
}

/// Where who waits for a write finds what came of it.
#[derive(Debug, Default)]
struct Slot(Mutex<Option<Result<Done, StoreError>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EmbeddedState {
    /// Opens the file, makes it if it is not there.
    ///
    /// # Errors
    /// It cannot be read or made, is corrupt, or is from the future.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Self, StoreError> {
        let state = Self {
            disk,
            path,
            database: RwLock::new(None),
            desk: Mutex::default(),
            freed: Condvar::new(),
            quiet: Mutex::default(),
        };
        state.reopen()?;
        Ok(state)
    }

    /// Opens the file if it is not open.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some(self.begin()?);
        }
        Ok(())
    }

    fn begin(&self) -> Result<Database, StoreError> {
        match self.disk.open(&self.path, Access::Write) {
            Ok(file) => {
                // The engine would take it for a new one.
                if file.length().map_err(StoreError::io("read", &self.path))? == 0 {
                    return Err(self.corrupt(Malformed::Broken("it is empty")));
                }
                self.begin_with(file)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.create(),
            Err(error) => Err(StoreError::io("open", &self.path)(error)),
        }
    }

    fn begin_with(&self, file: Arc<dyn DiskFile>) -> Result<Database, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        // All pages are verified, or the engine panics at what somebody damaged.
        builder.set_check_integrity_on_open(true);
        let database = builder.create_with_backend(Backend::new(file));
        let database = database.map_err(|error| self.error(error.into()))?;
        self.set_up(&database)?;
        Ok(database)
    }

    /// A file that is not whole never has the name of one.
    fn create(&self) -> Result<Database, StoreError> {
        let new = self.path.with_extension("new");
        let file = self.disk.open(&new, Access::Create).map_err(StoreError::io("make", &new))?;
        drop(self.begin_with(file)?);
        let rename = || {
            self.disk.rename(&new, &self.path)?;
            self.path.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))?;
            self.disk.open(&self.path, Access::Write)
        };
        self.begin_with(rename().map_err(StoreError::io("make", &self.path))?)
    }

    /// Makes the tables, or finds out of which version they are.
    fn set_up(&self, database: &Database) -> Result<(), StoreError> {
        let write = || -> Result<Option<u64>, redb::Error> {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let found = {
                transaction.open_table(VALUES)?;
                transaction.open_table(EXPIRY)?;
                let mut meta = transaction.open_table(META)?;
                let found = meta.get(FORMAT)?.map(|format| format.value());
                if found.is_none() {
                    meta.insert(FORMAT, STATE_VERSION)?;
                }
                found
            };
            match found {
                Some(_) => transaction.abort()?,
                None => transaction.commit()?,
            }
            Ok(found)
        };
        match write().map_err(|error| self.error(error))? {
            Some(found) if found > STATE_VERSION => Err(StoreError::FutureFormat {
                what: "the state",
                place: self.path.display().to_string(),
                found: u32::try_from(found).unwrap_or(u32::MAX),
                known: STATE_VERSION as u32,
            }),
            _ => Ok(()),
        }
    }

    fn error(&self, error: redb::Error) -> StoreError {
        let place = self.path.display().to_string();
        match error {
            // So the engine tells of bytes that are none of its own, and of a file that is too short.
            redb::Error::Io(error)
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                StoreError::Corrupt { place, at: 0, why: error.to_string() }
            }
            redb::Error::Io(error) => StoreError::io("read or write", &self.path)(error),
            redb::Error::UpgradeRequired(found) => StoreError::FutureFormat {
                what: "the file of the state",
                place,
                found: u32::from(found),
                known: STATE_VERSION as u32,
            },
            error => StoreError::Corrupt { place, at: 0, why: error.to_string() },
        }
    }

    fn corrupt(&self, malformed: Malformed) -> StoreError {
        StoreError::corrupt(self.path.display(), 0)(malformed)
    }

    /// Reads with an open file; an error of the disk closes it, so that the next call opens it anew.
    fn with<T>(
        &self,
        act: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.reopen()?;
        let outcome = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            act(database.as_ref().ok_or(StoreError::Closed)?)
        };
        outcome.map_err(|error| {
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
            self.error(error)
        })
    }

    /// Writes together with all who wait.
    fn write(&self, write: Write) -> Result<Done, StoreError> {
        let slot = Arc::new(Slot::default());
        let Some(turn) = self.turn(write, &slot) else {
            return lock(&slot.0).take().unwrap_or(Err(StoreError::Closed));
        };
        self.keep_quiet(&mut lock(&self.quiet));
        let all = std::mem::take(&mut lock(&self.desk).waiting);
        let (writes, slots): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let outcome = self.with(|database| run(database, &writes));
        for (number, slot) in slots.iter().enumerate() {
            let done = match &outcome {
                Ok(Ok(done)) => done.get(number).cloned().ok_or(StoreError::Closed),
                Ok(Err(malformed)) => Err(self.corrupt(*malformed)),
                Err(error) => Err(error.clone()),
            };
            *lock(&slot.0) = Some(done);
        }
        drop(turn);
        lock(&slot.0).take().unwrap_or(Err(StoreError::Closed))
    }

    /// Leaves a write, and waits until somebody has done it (`None`) or nobody is writing. Who is done
    /// does not wait for the turn: else whoever comes again first would take it for itself alone.
    fn turn(&self, write: Write, slot: &Arc<Slot>) -> Option<Turn<'_>> {
        let mut desk = lock(&self.desk);
        desk.waiting.push((write, Arc::clone(slot)));
        while desk.is_writing {
            desk = self.freed.wait(desk).unwrap_or_else(PoisonError::into_inner);
            if lock(&slot.0).is_some() {
                return None;
            }
        }
        desk.is_writing = true;
        Some(Turn { state: self })
    }

    /// Waits while a copy of the file is being taken, once for each copy and not for long: who is
    /// copying may hang.
    fn keep_quiet(&self, quiet: &mut Quiet) {
        let path = quiet_of(&self.path);
        let is_asked = || {
            self.disk.open(&path, Access::Read).is_ok() && matches!(self.disk.lock(&path), Ok(None))
        };
        let mut left = if matches!(quiet, Quiet::Kept) { QUIET_STEPS } else { 0 };
        while is_asked() {
            if left == 0 {
                *quiet = Quiet::Over;
                return;
            }
            std::thread::sleep(QUIET_STEP);
            left -= 1;
        }
        *quiet = Quiet::Kept;
    }

    /// The id of the state outside that this directory goes by, if it has its state outside.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn outside(&self) -> Result<Option<Uuid>, StoreError> {
        self.with(|database| {
            let meta = database.begin_read()?.open_table(META)?;
            let half = |name| Ok::<_, redb::Error>(meta.get(name)?.map(|half| half.value()));
            let halves = half(OUTSIDE[0])?.zip(half(OUTSIDE[1])?);
            Ok(halves.map(|(upper, lower)| Uuid::from_u64_pair(upper, lower)))
        })
    }

    /// Notes that this directory has its state outside from now on, and which; durable when it returns.
    ///
    /// # Errors
    /// It cannot be written; `Refused` if there are values in the directory: they would be forgotten.
    pub fn set_outside(&self, id: Uuid) -> Result<(), StoreError> {
        let (upper, lower) = id.as_u64_pair();
        let is_empty = self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_two_phase_commit(true);
            let is_empty = transaction.open_table(VALUES)?.is_empty()?;
            if is_empty {
                let mut meta = transaction.open_table(META)?;
                meta.insert(OUTSIDE[0], upper)?;
                meta.insert(OUTSIDE[1], lower)?;
            }
            transaction.commit()?;
            Ok(is_empty)
        })?;
        if is_empty {
            return Ok(());
        }
        let why = format!("`{}` has values in it, which would be forgotten", self.path.display());
        Err(StoreError::Refused { what: "that the state is outside", why })
    }

    /// Whether there is no value in the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.with(|database| Ok(database.begin_read()?.open_table(VALUES)?.is_empty()?))
    }

    /// Gives back what the file does not need.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn compact(&self) -> Result<(), StoreError> {
        self.reopen()?;
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = database.as_mut() else { return Ok(()) };
        let compacted = open.compact().map(drop).map_err(|error| self.error(error.into()));
        if compacted.is_err() {
            *database = None;
        }
        compacted
    }
}

/// Where a value is.
fn place(space: Space, key: &[u8]) -> Vec<u8> {
    [&[space as u8], key].concat()
}

impl State for EmbeddedState {
    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Result<Option<Item>, StoreError> {
        let place = place(space, key);
        let found = self.with(|database| {
            let values = database.begin_read()?.open_table(VALUES)?;
            Ok(values.get(&*place)?.map(|value| value::decode(&place, value.value())))
        })?;
        let item = found.transpose().map_err(|malformed| self.corrupt(malformed))?;
        Ok(item.filter(|item| item.is_there(now)))
    }

    fn put(
        &self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, StoreError> {
        check(key, value)?;
        let (place, value) = (place(space, key), value.to_vec());
        match self.write(Write::Put { place, value, expires_at })? {
            Done::Swapped(Swap::Done(version)) => Ok(version),
            _ => Err(StoreError::Closed),
        }
    }

    fn put_all(&self, puts: &[Put]) -> Result<(), StoreError> {
        puts.iter().try_for_each(|put| check(&put.key, &put.value))?;
        let write = |put: &Put| (place(put.space, &put.key), put.value.clone(), put.expires_at);
        self.write(Write::PutAll(puts.iter().map(write).collect())).map(drop)
    }

    fn compare_and_swap(
        &self,
        space: Space,
        key: &[u8],
        expect: Expect,
        value: &[u8],
        expires_at: Option<ServerTime>,
        now: ServerTime,
    ) -> Result<Swap, StoreError> {
        check(key, value)?;
        let (place, value) = (place(space, key), value.to_vec());
        match self.write(Write::Swap { place, expect, value, expires_at, now })? {
            Done::Swapped(swap) => Ok(swap),
            _ => Err(StoreError::Closed),
        }
    }

    fn delete(&self, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        match self.write(Write::Delete { place: place(space, key) })? {
            Done::Count(count) => Ok(count > 0),
            Done::Swapped(_) => Err(StoreError::Closed),
        }
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Result<Page, StoreError> {
        let (prefix, limit) = (place(space, prefix), limit.max(1));
        let after = after.map(|after| place(space, after)).filter(|after| *after >= prefix);
        let page = self.with(|database| {
            let values = database.begin_read()?.open_table(VALUES)?;
            let mut page = Page::default();
            for entry in values.range(after.as_deref().unwrap_or(&prefix)..)? {
                let (place, value) = entry?;
                let place = place.value();
                if !place.starts_with(&prefix) {
                    break;
                }
                if after.as_deref() == Some(place) {
                    continue;
                }
                match value::decode(place, value.value()) {
                    Err(malformed) => return Ok(Err(malformed)),
                    Ok(item) if !item.is_there(now) => {}
                    Ok(_) if page.items.len() == limit => {
                        page.more = true;
                        break;
                    }
                    Ok(item) => page.items.push(item),
                }
            }
            Ok(Ok(page))
        })?;
        page.map_err(|malformed| self.corrupt(malformed))
    }

    fn expire(&self, now: ServerTime, limit: usize) -> Result<usize, StoreError> {
        match self.write(Write::Expire { now, limit })? {
            Done::Count(count) => Ok(count),
            Done::Swapped(_) => Err(StoreError::Closed),
        }
    }

    fn guarantee(&self) -> Guarantee {
        Guarantee::embedded()
    }
}
