//! One line of an export.

use std::io::{self, Write};

use fusion_core::change::{AgendaKind, Cause, Change, ChangeKind, Note};
use fusion_core::path::{TreePath, notation};
use fusion_core::stat::Stat;
use fusion_core::view::EntryInfo;
use fusion_store::{Actor, Origin, RecordHead};
use serde_json::{Value, json};

/// Writes a line.
pub(super) fn write(line: &Value, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// A change that is no listing of rows, or one row of one.
pub(super) fn change(head: &RecordHead, change: &Change) -> Value {
    let mut line = json!({
        "revision": change.revision.0,
        "time": time(change.at.as_nanos()),
        "cause": cause(change.cause),
        "origin": origin(head.origin),
    });
    match &head.actor {
        Some(Actor::Agent(agent, session)) => {
            line["agent"] = json!(agent.as_str());
            line["session"] = json!(session.to_string());
        }
        Some(Actor::Principal(name)) => line["principal"] = json!(name),
        None => {}
    }
    for (key, id) in [("correlation", &head.correlation), ("causation", &head.causation)] {
        if let Some(id) = id {
            line[key] = json!(id.as_str());
        }
    }
    kind(&mut line, &change.kind);
    line
}

fn kind(line: &mut Value, kind: &ChangeKind) {
    let mut set = |name: &str, at: &TreePath, from: Option<&Stat>, to: Option<&Stat>| {
        line["kind"] = json!(name);
        line["path"] = path(at.as_bytes());
        if let Some(from) = from {
            line["from"] = stat(from);
        }
        if let Some(to) = to {
            line["to"] = stat(to);
        }
    };
    match kind {
        ChangeKind::Created { path, stat, .. } => set("created", path, None, Some(stat)),
        ChangeKind::Modified { path, before, after, .. } => {
            set("modified", path, Some(before), Some(after));
        }
        ChangeKind::Touched { path, .. } => set("touched", path, None, None),
        ChangeKind::Removed { path, stat, .. } => set("removed", path, Some(stat), None),
        ChangeKind::Moved { from, to, before, stat, .. } => {
            set("moved", to, Some(before), Some(stat));
            line["from_path"] = path(from.as_bytes());
        }
        ChangeKind::Listed(listed) => set("listed", &listed.dir, None, None),
        ChangeKind::Buried { path, .. } => set("buried", path, None, None),
        ChangeKind::Restored { path, stat, .. } => set("restored", path, None, Some(stat)),
        ChangeKind::Purged { path, stat, .. } => set("purged", path, Some(stat), None),
        ChangeKind::Noted(noted) => {
            let (text, about) = note(noted);
            line["kind"] = json!("noted");
            line["note"] = json!(text);
            if let Some(about) = about {
                line["path"] = path(about.as_bytes());
            }
        }
        ChangeKind::Reset => line["kind"] = json!("reset"),
    }
}

fn note(note: &Note) -> (&'static str, Option<&TreePath>) {
    match note {
        Note::Waits { agenda: AgendaKind::Relist, path, .. } => ("relist_waits", Some(path)),
        Note::Waits { agenda: AgendaKind::Probe, path, .. } => ("probe_waits", Some(path)),
        Note::Done { agenda: AgendaKind::Relist, path } => ("relist_done", Some(path)),
        Note::Done { agenda: AgendaKind::Probe, path } => ("probe_done", Some(path)),
        Note::Held { row, .. } => ("held", Some(&row.path)),
        Note::Released { .. } => ("released", None),
        Note::ScanBegan(_) => ("scan_began", None),
        Note::ScanEnded { .. } => ("scan_ended", None),
        Note::Parts { dir, .. } => ("parts", Some(dir)),
        Note::Lost(_) => ("events_lost", None),
        Note::RootAway { .. } => ("root_away", None),
        Note::RootDoubt(_) => ("root_doubt", None),
        Note::RootAgreed { .. } => ("root_agreed", None),
        Note::Operated { .. } => ("operated", None),
        Note::RootAccepted(_) => ("root_accepted", None),
        Note::Unreadable { dir, .. } => ("unreadable", Some(dir)),
        Note::TombstonesExpired => ("tombstones_expired", None),
        Note::ConfirmationsForgotten => ("confirmations_forgotten", None),
    }
}

/// An entry of the view.
pub(super) fn entry(at: &[u8], entry: &EntryInfo) -> Value {
    let mut line = stat(&entry.stat);
    line["path"] = path(at);
    line["suspect"] = json!(entry.suspect);
    line["blind"] = json!(entry.blind);
    line
}

fn path(bytes: &[u8]) -> Value {
    Value::String(notation::to_text(bytes))
}

fn stat(stat: &Stat) -> Value {
    let Stat { kind, size, mtime, ctime, inode, mode, uid, gid, nlink } = *stat;
    let (mtime, ctime) = (time(mtime.as_nanos()), time(ctime.as_nanos()));
    json!({
        "kind": kind.as_str(), "size": size, "mtime": mtime, "ctime": ctime, "inode": inode,
        "mode": mode, "uid": uid, "gid": gid, "nlink": nlink,
    })
}

fn time(nanos: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => nanos.to_string(),
    }
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Realtime => "realtime",
        Cause::Baseline => "baseline",
        Cause::Audit => "audit",
        Cause::Probe => "probe",
        Cause::RenamedOver => "renamed_over",
        Cause::Expiry => "expiry",
        Cause::Operator => "operator",
    }
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Realtime => "realtime",
        Origin::Snapshot => "snapshot",
        Origin::Discovery => "discovery",
        Origin::Audit => "audit",
        Origin::OnDemand => "on_demand",
        Origin::Probe => "probe",
        Origin::Report => "report",
        Origin::Time => "time",
        Origin::Operator => "operator",
        Origin::Election => "election",
        Origin::Owner(_) => "owner",
    }
}
