//! JSON, for programs. Names of fields are those of the contract.

use fusion_core::id::ViewName;
use fusion_core::stat::Stat;
use fusion_core::view::Totals;
use fusion_proto::views::{Entry, EntryAnswer, Freshness, ViewInfo, ViewOwnership};
use serde_json::{Value, json};

use super::rfc3339;

pub(super) fn entry(entry: &Entry) -> Value {
    let mut document = facts(&entry.stat);
    document["path"] = json!(entry.path);
    document["suspect"] = json!(entry.suspect);
    document["blind"] = json!(entry.blind);
    document
}

/// What a stat says.
pub(super) fn facts(stat: &Stat) -> Value {
    json!({
        "kind": stat.kind.as_str(),
        "size": stat.size,
        "mtime": rfc3339(stat.mtime.as_nanos()),
        "ctime": rfc3339(stat.ctime.as_nanos()),
        "inode": stat.inode,
        "mode": stat.mode,
        "uid": stat.uid,
        "gid": stat.gid,
        "nlink": stat.nlink,
    })
}

pub(super) fn stat(view: &ViewName, answer: &EntryAnswer) -> Value {
    let mut document = entry(&answer.entry);
    document["view"] = json!(view.as_str());
    if let Some(below) = &answer.totals {
        document["totals"] = totals(below);
    }
    document["freshness"] = freshness(&answer.freshness);
    document
}

pub(super) fn view(info: &ViewInfo) -> Value {
    let mut document = json!({
        "view": info.name.as_str(),
        "totals": totals(&info.totals),
        "freshness": freshness(&info.freshness),
        "leader_agent_id": info.leader_agent_id,
        "leader_epoch": info.leader_epoch,
        "sessions": info.sessions,
    });
    // A server that is alone has nothing to say of it.
    if let Some(ViewOwnership { owner, epoch, owned, lag }) = &info.ownership {
        document["ownership"] = json!({
            "owner_id": owner.as_ref().map(|owner| owner.server.to_string()),
            "owner_address": owner.as_ref().map(|owner| &owner.address),
            "epoch": epoch,
            "owned": owned,
            "lag": lag,
        });
    }
    document
}

pub(super) fn totals(totals: &Totals) -> Value {
    json!({
        "files": totals.files,
        "directories": totals.directories,
        "others": totals.others,
        "bytes": totals.bytes,
        "suspects": totals.suspects,
        "blind": totals.blind,
        "newest_mtime": totals.newest_mtime.map(|time| rfc3339(time.as_nanos())),
        "last_change": totals.last_change.map(|time| rfc3339(time.as_nanos())),
    })
}

pub(super) fn freshness(freshness: &Freshness) -> Value {
    let time = |time: Option<fusion_core::time::ServerTime>| time.map(|at| rfc3339(at.as_nanos()));
    json!({
        "state": freshness.state_text(),
        "reasons": freshness.reasons,
        "revision": freshness.revision,
        "coverage": freshness.coverage_text(),
        "last_snapshot": time(freshness.last_snapshot),
        "last_audit": time(freshness.last_audit),
        "horizon": time(freshness.horizon),
        "quiet_for_seconds": freshness.quiet_for.map(|span| span.as_secs_f64()),
    })
}
