//! Whether a data directory is whole: everything in it is read, and every view is rebuilt as a start
//! of the server would do it.

use std::fmt;

use fusion_core::path::PathRef;
use fusion_core::view::{Totals, View};
use fusion_store::{Blocks as _, ChangeLog as _, Item, ReadFrom, Space, StoreError};
use serde::Serialize;

use super::{Known, Offline, OfflineError, bytes_text};
use crate::config::Config;
use crate::service::{audit, idempotency, jobs, sessions};
use crate::stores::{LoadError, scan_all};

/// What there is, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The directory.
    pub data_dir: String,
    /// The server that it belongs to.
    pub server: String,
    /// Whether nothing is wrong.
    pub in_order: bool,
    /// Its views, those that the server knows first.
    pub views: Vec<ViewReport>,
    /// Sessions and all else.
    pub state: StateReport,
}

/// One view.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub struct ViewReport {
    /// Its name; its id if nothing that can be read tells it.
    pub name: String,
    /// Its id, which the directories below `log` and `blocks` are called by.
    pub id: String,
    /// What is kept of its changes.
    pub log: Option<LogReport>,
    /// Its last checkpoint.
    pub blocks: Option<BlocksReport>,
    /// How many entries it has, the root not counted; absent if it cannot be rebuilt.
    pub entries: Option<u64>,
    /// Bytes of the blocks for each entry.
    pub bytes_per_entry: Option<f64>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<String>,
    /// What is wrong, and what to do.
    pub faults: Vec<String>,
}

/// What is kept of the changes of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// The first revision that is kept; one more than the last if none is.
    pub first_revision: u64,
    /// The last one.
    pub last_revision: u64,
    /// Records that were read.
    pub records: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The last checkpoint of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlocksReport {
    /// The last revision in it.
    pub revision: u64,
    /// Blocks and tables.
    pub values: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Bytes on disk.
    pub stored_bytes: u64,
}

/// Sessions and all else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct StateReport {
    /// Bytes on disk.
    pub bytes: u64,
    /// How many records there are of each kind.
    pub records: Vec<(&'static str, usize)>,
    /// What is wrong, and what to do.
    pub faults: Vec<String>,
}

impl Offline {
    /// Reads everything. What is torn at the end of a log, and was never acknowledged, is cut off as
    /// a start of the server would do it; else nothing changes.
    ///
    /// # Errors
    /// The directory itself cannot be read; what is wrong in it is in the report.
    pub fn check(&self, config: &Config) -> Result<Report, OfflineError> {
        let (known, faults) = self.views()?;
        let views: Vec<_> = known.iter().map(|known| self.check_view(known, config)).collect();
        let state = self.check_state(faults)?;
        let in_order = state.faults.is_empty() && views.iter().all(|view| view.faults.is_empty());
        let (data_dir, server) =
            (self.store.dir().display().to_string(), self.store.server().to_string());
        Ok(Report { data_dir, server, in_order, views, state })
    }

    fn check_view(&self, known: &Known, config: &Config) -> ViewReport {
        let Known { view, is_live, .. } = known;
        let mut report = ViewReport {
            name: view.name.to_string(),
            id: view.id.to_string(),
            ..ViewReport::default()
        };
        if !is_live {
            report.notes.push(format!(
                "no server knows it: it is left over; `store compact --remove-view {}` gives the space back",
                view.id
            ));
        }
        report.blocks = report.take(self.check_blocks(known)).flatten();
        if let Some((log, cut)) = report.take(self.check_log(known)).flatten() {
            report.log = Some(log);
            report.notes.extend(cut);
        }
        if let Some(rebuilt) = report.take(self.rebuild(known, config)) {
            report.describe(&rebuilt);
        }
        report
    }

    fn check_blocks(&self, known: &Known) -> Result<Option<BlocksReport>, StoreError> {
        let (blocks, id) = (self.store.blocks(), known.view.id);
        let Some(contains) = blocks.contains(id)?.filter(|_| known.blocks) else {
            return Ok(None);
        };
        let figures = blocks.figures(id)?;
        Ok(Some(BlocksReport {
            revision: contains.revision.0,
            values: figures.values,
            live_bytes: figures.live_bytes,
            stored_bytes: figures.stored_bytes,
        }))
    }

    /// Reads every record, also those that no start would read; and what was cut off.
    fn check_log(&self, known: &Known) -> Result<Option<(LogReport, Option<String>)>, StoreError> {
        let (log, id) = (self.store.log(), known.view.id);
        if !known.log {
            return Ok(None);
        }
        let opened = log.open(&known.view)?;
        let mut records = 0;
        for record in log.read(id, ReadFrom::Start)? {
            record?;
            records += 1;
        }
        let report = LogReport {
            first_revision: opened.start.revision.0 + 1,
            last_revision: opened.end.revision.0,
            records,
            bytes: log.status(id)?.bytes,
        };
        let cut = opened.cut.map(|cut| format!("{cut}; it was never acknowledged, and is cut off"));
        Ok(Some((report, cut)))
    }

    fn check_state(&self, faults: Vec<String>) -> Result<StateReport, StoreError> {
        let bytes = self.store.state_bytes()?;
        let mut report = StateReport { bytes, faults, ..StateReport::default() };
        for space in Space::ALL {
            match scan_all(self.state(), space, self.now) {
                Err(error) if report.faults.iter().any(|fault| *fault == error.to_string()) => {}
                Err(error) => report.faults.push(error.to_string()),
                Ok(items) => {
                    report.records.push((space.as_str(), items.len()));
                    let wrong = items.iter().filter_map(|item| read(space, item).err());
                    report.faults.extend(wrong.map(|error| error.to_string()));
                }
            }
        }
        Ok(report)
    }
}

/// Reads a record as whoever needs it would.
fn read(space: Space, item: &Item) -> Result<(), LoadError> {
    match space {
        // They were read with the views.
        Space::View => Ok(()),
        Space::Session => sessions::view_of(item).map(drop),
        Space::Idempotency => idempotency::check(item),
        Space::Job => jobs::home_of(item).map(drop),
        Space::Audit => audit::check(item),
    }
}

impl ViewReport {
    fn take<T>(&mut self, outcome: Result<T, StoreError>) -> Option<T> {
        let tell = |error: StoreError| {
            let fault = error.to_string();
            // Whoever came to it again tells it again.
            if !self.faults.contains(&fault) {
                self.faults.push(fault);
            }
        };
        outcome.map_err(tell).ok()
    }

    /// Looks at a view that could be rebuilt.
    fn describe(&mut self, view: &View) {
        if let Err(broken) = view.check_invariants() {
            self.faults.push(format!(
                "what is stored contradicts itself: {broken}; keep a copy for a report, then move `log/{id}` and `blocks/{id}` away and let the agents list anew",
                id = self.id
            ));
        }
        let totals = view.reader().totals(PathRef::ROOT).unwrap_or_default();
        let Totals { files, directories, others, .. } = totals;
        let entries = files + directories + others;
        self.entries = Some(entries);
        let stored = self.blocks.as_ref().filter(|_| entries > 0);
        self.bytes_per_entry = stored.map(|blocks| blocks.stored_bytes as f64 / entries as f64);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "data directory {} of server {}", self.data_dir, self.server)?;
        self.views.iter().try_for_each(|view| view.fmt(f))?;
        self.state.fmt(f)?;
        let faults = self.views.iter().map(|view| view.faults.len()).sum::<usize>();
        match faults + self.state.faults.len() {
            0 => writeln!(f, "everything is in order"),
            faults => writeln!(f, "{faults} fault(s)"),
        }
    }
}

impl fmt::Display for ViewReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, id, log, blocks, notes, faults, .. } = self;
        writeln!(f, "view {name} ({id})")?;
        if let Some(LogReport { first_revision, last_revision, records, bytes }) = log {
            let bytes = bytes_text(*bytes);
            let kept = format!("revisions {first_revision} to {last_revision}");
            writeln!(f, "  log      {kept} in {records} records, {bytes}")?;
        }
        if let Some(BlocksReport { revision, values, live_bytes, stored_bytes }) = blocks {
            let (live, stored) = (bytes_text(*live_bytes), bytes_text(*stored_bytes));
            writeln!(f, "  blocks   {values} as of revision {revision}, {stored}, {live} in use")?;
        }
        if let Some(entries) = self.entries {
            write!(f, "  entries  {entries}")?;
            let each = self.bytes_per_entry;
            each.map_or(Ok(()), |each| write!(f, ", {each:.1} bytes of blocks each"))?;
            writeln!(f)?;
        }
        notes.iter().try_for_each(|note| writeln!(f, "  note     {note}"))?;
        faults.iter().try_for_each(|fault| writeln!(f, "  FAULT    {fault}"))
    }
}

impl fmt::Display for StateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "state")?;
        let records: Vec<_> =
            self.records.iter().map(|(space, count)| format!("{count} {space}")).collect();
        writeln!(f, "  records  {}; {}", records.join(", "), bytes_text(self.bytes))?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  FAULT    {fault}"))
    }
}
