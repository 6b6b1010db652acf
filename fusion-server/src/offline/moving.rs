//! Moving all that is stored into other engines: how one server becomes one of several, and back.
//!
//! A copy through the ports, record by record, so that views, sessions and all else are what they were: the same ids,
//! revisions and epochs. The names of views come last, so what was begun and not ended looks like nothing. Must never:
//! write into what is not empty, or change what it copies from.

use std::fmt;

use fusion_core::id::Revision;
use fusion_core::time::ServerTime;
use fusion_store::{
    Loaded, LogPoint, Origin, Put, ReadFrom, RecordHead, Space, StoreError, Ticket, ViewId, ViewRef,
};

use super::{Offline, OfflineError};
use crate::config::Config;
use crate::ids::{Ids as _, RandomIds};
use crate::stores::{Stores, ViewRecord, scan_all};

/// Values of the state that are written at once.
const TOGETHER: usize = 64;
/// The order in which the state is written.
const SPACES: [Space; 5] =
    [Space::Session, Space::Idempotency, Space::Job, Space::Audit, Space::View];

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The views by name, with their last revisions, records, and blocks and named values.
    pub views: Vec<(String, Revision, u64, u64)>,
    /// Values of the state: sessions, jobs, audit records and all else.
    pub values: usize,
}

impl Offline {
    /// Copies everything to where another configuration has it, which must be empty. `from` is the configuration
    /// of what this is.
    ///
    /// # Errors
    /// What is to be copied cannot be read, or is damaged; what is copied to is not empty, or cannot be written.
    pub fn move_to(&self, from: &Config, to: &Config) -> Result<Moved, OfflineError> {
        let from = self.stores.clone().with_change_log(&from.change_log)?;
        let dir =
            to.data_dir.as_deref().ok_or_else(|| refused("it names no data_dir".to_owned()))?;
        let (server, draw) = (self.store.server(), || RandomIds.draw());
        let target = Stores::open_as(dir, server, Some(server), &to.state, draw)?
            .with_change_log(&to.change_log)?;
        self.see_that_it_is_empty(&target)?;
        let mut moved = Moved { views: Vec::new(), values: 0 };
        let stored = from.log.views()?;
        for item in scan_all(&*from.state, Space::View, self.now)? {
            let (named, _) = ViewRecord::read(&item)
                .map_err(|error| refused(format!("what it is moved from: {error}")))?;
            let view = ViewRef { id: ViewId(named.id), name: named.name };
            if stored.iter().any(|stored| stored.id == view.id) {
                let (revision, records) = self.move_log(&from, &target, &view)?;
                let blocks = move_blocks(&from, &target, &view)?;
                moved.views.push((view.name.to_string(), revision, records, blocks));
            }
        }
        for space in SPACES {
            let items = scan_all(&*from.state, space, self.now)?;
            moved.values += items.len();
            let puts = items.into_iter().map(|item| Put {
                space,
                key: item.key,
                value: item.value,
                expires_at: item.expires_at,
            });
            for together in puts.collect::<Vec<_>>().chunks(TOGETHER) {
                target.state.put_all(together)?;
            }
        }
        Ok(moved)
    }

    fn see_that_it_is_empty(&self, target: &Stores) -> Result<(), OfflineError> {
        for space in SPACES {
            let page = target.state.scan(space, b"", None, 1, self.now)?;
            if !page.items.is_empty() {
                return Err(refused(format!("its state has a {} already", space.as_str())).into());
            }
        }
        match target.log.views()?.first() {
            Some(view) => {
                Err(refused(format!("it has a log of view {} already", view.name)).into())
            }
            None => Ok(()),
        }
    }

    /// All records that are kept, and one that says that they were moved: so even a log that was trimmed to its end
    /// has one by which its place is known.
    fn move_log(
        &self,
        from: &Stores,
        target: &Stores,
        view: &ViewRef,
    ) -> Result<(Revision, u64), StoreError> {
        let start = from.log.open(view)?.start;
        let begun = target.log.open_at(view, start)?;
        let mut end = Appended { at: begun.end, last: None };
        let mut records = 0;
        for record in from.log.read(view.id, ReadFrom::Start)? {
            let record = record?;
            end.append(target, view.id, &record.head, &record.changes)?;
            if end.at != record.point {
                let why = format!("a record of view {} ends elsewhere in the copy", view.name);
                return Err(refused(why));
            }
            records += 1;
        }
        let head = RecordHead::new(ServerTime::from_nanos(self.now.as_nanos()), Origin::Operator);
        end.append(target, view.id, &head, &[])?;
        if let Some(last) = end.last {
            last.wait()?;
        }
        Ok((end.at.revision, records))
    }
}

/// Where a copy of a log ends.
struct Appended {
    at: LogPoint,
    last: Option<Ticket>,
}

impl Appended {
    fn append(
        &mut self,
        target: &Stores,
        view: ViewId,
        head: &RecordHead,
        changes: &[fusion_core::change::Change],
    ) -> Result<(), StoreError> {
        let ticket = loop {
            match (target.log.append(view, self.at, head, changes), self.last.take()) {
                // Too much waits to be written: until what was appended last is.
                (Err(StoreError::Behind { .. }), Some(last)) => {
                    last.wait()?;
                }
                (appended, _) => break appended?,
            }
        };
        self.at = ticket.point();
        self.last = Some(ticket);
        Ok(())
    }
}

/// Blocks and named values of the last checkpoint; how many.
fn move_blocks(from: &Stores, target: &Stores, view: &ViewRef) -> Result<u64, StoreError> {
    let Some(contains) = from.blocks.contains(view.id)? else { return Ok(0) };
    let mut writer = target.blocks.begin(view, contains)?;
    writer.follows(None)?;
    let mut values = 0;
    from.blocks.load(view.id, &mut |loaded| {
        values += 1;
        match loaded {
            Loaded::Block(id, bytes) => writer.put(id, bytes),
            Loaded::Named(name, bytes) => writer.put_named(name, bytes),
        }
    })?;
    writer.commit()?;
    Ok(values)
}

fn refused(why: String) -> StoreError {
    StoreError::Refused { what: "the move", why }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, revision, records, blocks) in &self.views {
            writeln!(
                f,
                "view {name}: {records} records up to revision {}, {blocks} blocks",
                revision.0
            )?;
        }
        writeln!(f, "{} values of the state", self.values)?;
        writeln!(f, "what it was moved from is as it was: do not start a server on it again")
    }
}
