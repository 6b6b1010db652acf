//! Suspects, blind spots, the trash, refreshes.

use fusion_core::id::CorrelationId;
use fusion_core::path::notation;
use fusion_proto::views::{
    BlindSpot, RefreshPath, Refreshed, SuspectCause, SuspectInfo, TrashInfo,
};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::{Printer, json, rfc3339, table};
use crate::exit::Failure;

impl Printer {
    /// The head of a table of suspects; nothing in JSON.
    pub(crate) fn suspects_head(&mut self) -> Result<(), Failure> {
        self.head(&format!("{:<7}  {:<19}  {:<16}  PATH", "CAUSE", "QUIET AT (UTC)", "SEEN BY"))
    }

    /// One suspect.
    pub(crate) fn suspect(&mut self, suspect: &SuspectInfo) -> Result<(), Failure> {
        let SuspectInfo { entry, cause, quiet_at, confirmed } = suspect;
        let cause = match cause {
            SuspectCause::Written => "WRITTEN",
            SuspectCause::Found => "FOUND",
        };
        let by = confirmed.as_ref().map(|(agent, _)| agent.as_str());
        if self.is_json() {
            let mut row = json::entry(entry);
            row["cause"] = json!(cause);
            row["quiet_at"] = json!(rfc3339(quiet_at.as_nanos()));
            row["agent_id"] = json!(by);
            let at = confirmed.as_ref().map(|(_, at)| rfc3339(at.as_nanos()));
            row["confirmed_at"] = json!(at);
            return self.document(&row);
        }
        let at = table::short_time(quiet_at.as_nanos());
        self.text(&format!("{cause:<7}  {at}  {:<16}  {}", by.unwrap_or("-"), entry.path))
    }

    /// The head of a table of blind spots; nothing in JSON.
    pub(crate) fn blind_head(&mut self) -> Result<(), Failure> {
        self.head(&format!("{:<8}  {:<19}  {:>8}  PATH", "WHAT", "FOUND (UTC)", "TRASH ID"))
    }

    /// One blind spot.
    pub(crate) fn blind(&mut self, blind: &BlindSpot) -> Result<(), Failure> {
        match blind {
            BlindSpot::Entry { entry, listed_at } => {
                if self.is_json() {
                    let mut row = json::entry(entry);
                    row["what"] = json!("entry");
                    row["listed_at"] = json!(listed_at.map(|at| rfc3339(at.as_nanos())));
                    return self.document(&row);
                }
                let at = listed_at.map(|at| table::short_time(at.as_nanos()));
                let at = at.unwrap_or_else(|| "-".to_owned());
                self.text(&format!("{:<8}  {at:<19}  {:>8}  {}", "entry", "-", entry.path))
            }
            BlindSpot::Deletion(record) => {
                if self.is_json() {
                    let mut row = trash(record);
                    row["what"] = json!("deletion");
                    return self.document(&row);
                }
                let at = table::short_time(record.deleted_at.as_nanos());
                let TrashInfo { id, path, .. } = record;
                self.text(&format!("{:<8}  {at}  {:>8}  {path}", "deletion", id.0))
            }
        }
    }

    /// The head of a table of the trash; nothing in JSON.
    pub(crate) fn trash_head(&mut self) -> Result<(), Failure> {
        self.head(&format!(
            "{:>8}  {:<19}  {:<12}  {:<16}  {:>9}  {:>11}  PATH",
            "ID", "GONE (UTC)", "CAUSE", "SEEN BY", "FILES", "BYTES"
        ))
    }

    /// One record, and what was `done` to it.
    pub(crate) fn trash(&mut self, record: &TrashInfo, done: Option<&str>) -> Result<(), Failure> {
        if self.is_json() {
            let mut row = trash(record);
            if let Some(done) = done {
                row["done"] = json!(done);
            }
            return self.document(&row);
        }
        if let Some(done) = done {
            return self.text(&format!("{done} {} {}", record.id.0, record.path));
        }
        self.text(&format!(
            "{:>8}  {}  {:<12}  {:<16}  {:>9}  {:>11}  {}",
            record.id.0,
            table::short_time(record.deleted_at.as_nanos()),
            record.cause.as_str(),
            record.agent.as_ref().map_or("-", |agent| agent.as_str()),
            HumanCount(record.totals.files).to_string(),
            HumanBytes(record.totals.bytes).to_string(),
            record.path,
        ))
    }

    /// What a refresh found.
    pub(crate) fn refreshed(
        &mut self,
        asked: &RefreshPath,
        refreshed: &Refreshed,
        chain: Option<&CorrelationId>,
    ) -> Result<(), Failure> {
        let path = notation::to_text(asked.path.as_bytes());
        let Refreshed { entry, totals, directories, entries, errors, .. } = refreshed;
        let took = refreshed.took.as_secs_f64();
        if self.is_json() {
            return self.document(&json!({
                "view": asked.view.as_str(),
                "path": path,
                "entry": entry.as_ref().map(json::entry),
                "totals": totals.as_ref().map(json::totals),
                "directories": directories,
                "entries": entries,
                "errors": errors,
                "complete": refreshed.complete,
                "settled": refreshed.settled,
                "agent_id": refreshed.agent.as_str(),
                "started_at": rfc3339(refreshed.started_at.as_nanos()),
                "took_seconds": took,
                "joined": refreshed.joined,
                "correlation_id": chain.map(CorrelationId::as_str),
                "freshness": json::freshness(&refreshed.freshness),
            }));
        }
        let what = entry.as_ref().map_or("not there", |entry| entry.stat.kind.as_str());
        let by = refreshed.agent.as_str();
        self.text(&format!("{path}: {what}, as agent {by} found it in {took:.3} s"))?;
        self.text(&format!(
            "  {} directories listed, {} entries seen, {} not to be read",
            HumanCount(*directories),
            HumanCount(*entries),
            HumanCount(*errors)
        ))?;
        if !refreshed.settled {
            self.text(
                "  it changed, or was told of otherwise, a moment ago: the leader looks again",
            )?;
        }
        if let Some(chain) = chain {
            self.text(&format!("  what it changed: fusionctl trace {chain}"))?;
        }
        Ok(())
    }

    /// A line of a table's head; nothing in JSON.
    pub(super) fn head(&mut self, line: &str) -> Result<(), Failure> {
        if self.is_json() { Ok(()) } else { self.text(line) }
    }
}

fn trash(record: &TrashInfo) -> Value {
    let time = |at: fusion_core::time::ServerTime| rfc3339(at.as_nanos());
    json!({
        "trash_id": record.id.0,
        "path": record.path,
        "kind": record.stat.kind.as_str(),
        "size": record.stat.size,
        "mtime": rfc3339(record.stat.mtime.as_nanos()),
        "deleted_at": time(record.deleted_at),
        "learned_at": time(record.learned_at),
        "expires_at": time(record.expires_at),
        "cause": record.cause.as_str(),
        "agent_id": record.agent.as_ref().map(|agent| agent.as_str()),
        "blind": record.blind,
        "totals": json::totals(&record.totals),
    })
}
