//! What happens, for people and for programs.

use std::io::{self, Write};

use fusion_core::id::ViewName;
use fusion_core::stat::{Kind, Stat};
use fusion_proto::views::live::{Event, Quiet};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::{Printer, json as documents, rfc3339};
use crate::exit::Failure;

impl Printer {
    /// One change on a line.
    pub(crate) fn event(&mut self, event: &Event) -> Result<(), Failure> {
        if self.is_json() {
            self.document(&event_json(event))
        } else {
            Ok(event_line(&mut self.out, event)?)
        }
    }

    /// That a path is quiet.
    pub(crate) fn quiet(
        &mut self,
        view: &ViewName,
        path: &str,
        quiet: &Quiet,
    ) -> Result<(), Failure> {
        if self.is_json() {
            let mut document = json!({
                "view": view.as_str(),
                "path": path,
                "quiet": quiet.is_quiet(),
                "last_change": quiet.last_change.map(|time| rfc3339(time.as_nanos())),
                "freshness": documents::freshness(&quiet.freshness),
            });
            if let Some(totals) = &quiet.totals {
                document["totals"] = documents::totals(totals);
            }
            return self.document(&document);
        }
        let totals = quiet.totals.unwrap_or_default();
        let span = quiet.freshness.quiet_for.unwrap_or_default().as_secs_f64();
        let (files, bytes) = (HumanCount(totals.files), HumanBytes(totals.bytes));
        self.text(&format!("{path}: quiet for {span:.1} s, {files} files, {bytes}"))
    }
}

fn event_line(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let time = rfc3339(event.time.as_nanos());
    let time = time.get(..23).unwrap_or(&time).replace('T', " ");
    let stat = event.entry.as_ref().and_then(|entry| entry.after.or(entry.before));
    let size = match stat {
        Some(Stat { kind: Kind::File, size, .. }) => HumanBytes(size).to_string(),
        Some(_) | None => "-".to_owned(),
    };
    let moved = event.entry.as_ref().and_then(|entry| entry.moved.as_ref());
    let other = match moved {
        Some((from, to)) if *to == event.path => format!("  from {from}"),
        Some((_, to)) => format!("  to {to}"),
        None => String::new(),
    };
    writeln!(
        out,
        "{time}  {:>10}  {:<24}  {size:>10}  {}{other}",
        event.revision.0,
        event.event_type.as_str(),
        event.path
    )
}

pub(super) fn event_json(event: &Event) -> Value {
    let account = &event.account;
    let mut document = json!({
        "event_id": event.id.to_string(),
        "event_type": event.event_type.as_str(),
        "view": event.view.as_str(),
        "path": event.path,
        "time": rfc3339(event.time.as_nanos()),
        "revision": event.revision.0,
        "cause": event.cause.as_str(),
        "principal": account.principal,
        "agent_id": account.agent.as_ref().map(ToString::to_string),
        "session_id": account.session.map(|session| session.to_string()),
        "correlation_id": account.correlation.as_ref().map(ToString::to_string),
        "causation_id": account.causation.as_ref().map(ToString::to_string),
    });
    if let Some(entry) = &event.entry {
        document["before"] = entry.before.as_ref().map_or(Value::Null, documents::facts);
        document["after"] = entry.after.as_ref().map_or(Value::Null, documents::facts);
        document["suspect"] = entry.suspect.into();
        document["blind"] = entry.blind.into();
        if let Some((from, to)) = &entry.moved {
            document["from_path"] = from.as_str().into();
            document["to_path"] = to.as_str().into();
        }
        if let Some(trash) = entry.trash {
            document["trash_revision"] = trash.0.into();
        }
    }
    document
}
