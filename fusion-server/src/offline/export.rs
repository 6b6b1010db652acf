//! What is stored of a view as JSON, a line each: its changes, or its entries.
//!
//! Every revision has exactly one line: a listing is told row by row, and what the view notes for
//! itself has a line that says so. Paths are in the notation of answers, times RFC 3339.

mod line;

use std::io::{self, Write};

use fusion_core::id::Revision;
use fusion_core::path::PathRef;
use fusion_core::view::View;
use fusion_store::{ChangeLog as _, ReadFrom, StoredRecord};

use super::{Known, Offline, OfflineError};
use crate::config::Config;

/// Entries that are looked at before what was found is written.
const SLICE: usize = 4_096;

impl Offline {
    /// Writes the changes of a view from a revision on, or all that are kept.
    ///
    /// # Errors
    /// There is no such view, the revision is not kept any more or was never given, the log cannot be
    /// read, the output cannot be written.
    pub fn export_changes(
        &self,
        view: &str,
        from: Option<u64>,
        out: &mut dyn Write,
    ) -> Result<(), OfflineError> {
        let known = self.one(view)?;
        known.must_have_log()?;
        if !known.log {
            return Ok(());
        }
        self.store.log().open(&known.view)?;
        let start = from.map_or(ReadFrom::Start, |from| ReadFrom::Revision(Revision(from)));
        let first = Revision(from.unwrap_or(0));
        for record in self.store.log().read(known.view.id, start)? {
            write_record(&record?, first, out).map_err(OfflineError::Write)?;
        }
        out.flush().map_err(OfflineError::Write)
    }

    /// Writes the entries of a view as of the last durable change: the root, then directories before
    /// what is in them, names by bytes.
    ///
    /// # Errors
    /// There is no such view, it cannot be rebuilt, the output cannot be written.
    pub fn export_entries(
        &self,
        view: &str,
        config: &Config,
        out: &mut dyn Write,
    ) -> Result<(), OfflineError> {
        let known = self.one(view)?;
        let view = self.rebuild(&known, config)?;
        write_entries(&view, out).map_err(OfflineError::Write)?;
        out.flush().map_err(OfflineError::Write)
    }

    /// The live view of this name, else what is left over of one.
    fn one(&self, name: &str) -> Result<Known, OfflineError> {
        let found = self.called(name)?;
        let live = found.iter().find(|view| view.is_live).or(found.first()).cloned();
        live.ok_or_else(|| OfflineError::NoView { name: name.to_owned(), known: String::new() })
    }
}

fn write_record(record: &StoredRecord, first: Revision, out: &mut dyn Write) -> io::Result<()> {
    for change in &record.changes {
        if change.last_revision() < first {
            continue;
        }
        let mut rows = change.entries().peekable();
        if rows.peek().is_none() {
            line::write(&line::change(&record.head, change), out)?;
        }
        for row in rows.filter(|row| row.revision >= first) {
            line::write(&line::change(&record.head, &row), out)?;
        }
    }
    Ok(())
}

fn write_entries(view: &View, out: &mut dyn Write) -> io::Result<()> {
    let reader = view.reader();
    let Some(entry) = reader.entry(PathRef::ROOT) else { return Ok(()) };
    line::write(&line::entry(b"/", &entry), out)?;
    let Ok(mut cursor) = reader.find(PathRef::ROOT) else { return Ok(()) };
    let mut is_done = false;
    while !is_done {
        let mut lines = Vec::new();
        is_done = reader.find_next(
            &mut cursor,
            SLICE,
            |_, _| true,
            |path, entry| lines.push(line::entry(path, entry)),
        );
        lines.iter().try_for_each(|entry| line::write(entry, out))?;
    }
    Ok(())
}
