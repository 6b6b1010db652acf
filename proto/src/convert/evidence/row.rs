//! Single pieces of evidence, both ways. Paths are borrowed from the message.

use bytes::Bytes;
use fusion_core::evidence::{Evidence, ScanId};
use fusion_core::path::PathRef;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;

use super::{source_from_pb, source_to_pb};
use crate::convert::root::{
    identity_from_pb, identity_to_pb, root_state_from_pb, root_state_to_pb,
};
use crate::convert::stat::{stat_from_pb, stat_to_pb};
use crate::convert::time::{server_time_from_pb, server_time_to_pb};
use crate::convert::{ConvertError, InField as _};
use crate::pb;
use crate::pb::evidence::Evidence as PbEvidence;

/// A piece of evidence from the wire.
///
/// # Errors
/// A field that is missing, malformed or unknown.
pub fn evidence_from_pb(row: &pb::Evidence) -> Result<Evidence<'_>, ConvertError> {
    let pb::Evidence { observed_at, evidence } = row;
    let at = observed_at.as_ref().ok_or(ConvertError::missing("observed_at"))?;
    let at = server_time_from_pb(at).in_field("observed_at")?;
    match evidence.as_ref().ok_or(ConvertError::missing("evidence"))? {
        PbEvidence::Upsert(upsert) => upsert_from_pb(upsert, at),
        PbEvidence::Remove(pb::Remove { path: gone, parent }) => Ok(Evidence::Remove {
            path: below_root("remove.path", gone)?,
            parent: directory("remove.parent", parent.as_ref())?,
            observed_at: at,
        }),
        PbEvidence::Rename(rename) => rename_from_pb(rename, at),
        PbEvidence::Unchanged(pb::Unchanged { dir, dir_stat }) => Ok(Evidence::Unchanged {
            dir: path("unchanged.dir", dir)?,
            dir_stat: needed(
                "unchanged.dir_stat",
                directory("unchanged.dir_stat", dir_stat.as_ref())?,
            )?,
            observed_at: at,
        }),
        PbEvidence::Probe(pb::Probe { path: probed, found, parent }) => Ok(Evidence::Probe {
            path: path("probe.path", probed)?,
            found: stat("probe.found", found.as_ref())?,
            parent: directory("probe.parent", parent.as_ref())?,
            observed_at: at,
        }),
        PbEvidence::ScanStarted(started) => scan_started_from_pb(started, at),
        PbEvidence::ScanFinished(pb::ScanFinished {
            scan_id,
            complete,
            directories,
            entries,
            errors,
        }) => Ok(Evidence::ScanFinished {
            scan: ScanId(*scan_id),
            complete: *complete,
            directories: *directories,
            entries: *entries,
            errors: *errors,
            finished_at: at,
        }),
        PbEvidence::Unreadable(pb::Unreadable { dir, errno }) => Ok(Evidence::Unreadable {
            dir: path("unreadable.dir", dir)?,
            errno: *errno,
            observed_at: at,
        }),
        PbEvidence::Root(pb::RootReport { state, identity }) => Ok(Evidence::Root {
            state: root_state_from_pb("root.state", *state)?,
            identity: identity
                .as_ref()
                .map(identity_from_pb)
                .transpose()
                .map_err(|error| error.within("root.identity"))?,
            observed_at: at,
        }),
        PbEvidence::Overflow(pb::Overflow { since }) => {
            let since = since.as_ref().ok_or(ConvertError::missing("overflow.since"))?;
            let since = server_time_from_pb(since).in_field("overflow.since")?;
            Ok(Evidence::Overflow { since, observed_at: at })
        }
    }
}

fn upsert_from_pb(upsert: &pb::Upsert, at: ServerTime) -> Result<Evidence<'_>, ConvertError> {
    let pb::Upsert { path: upserted, stat: of, parent, atomic } = upsert;
    let path = path("upsert.path", upserted)?;
    let parent = directory("upsert.parent", parent.as_ref())?;
    if parent.is_none() && !path.is_root() {
        return Err(ConvertError::missing("upsert.parent"));
    }
    Ok(Evidence::Upsert {
        path,
        stat: needed("upsert.stat", stat("upsert.stat", of.as_ref())?)?,
        parent,
        atomic: *atomic,
        observed_at: at,
    })
}

fn rename_from_pb(rename: &pb::Rename, at: ServerTime) -> Result<Evidence<'_>, ConvertError> {
    let pb::Rename { from, to, stat: of, from_parent, to_parent } = rename;
    let to_parent = directory("rename.to_parent", to_parent.as_ref())?;
    Ok(Evidence::Rename {
        from: below_root("rename.from", from)?,
        to: below_root("rename.to", to)?,
        stat: needed("rename.stat", stat("rename.stat", of.as_ref())?)?,
        from_parent: directory("rename.from_parent", from_parent.as_ref())?,
        to_parent: Some(needed("rename.to_parent", to_parent)?),
        observed_at: at,
    })
}

fn scan_started_from_pb(
    started: &pb::ScanStarted,
    at: ServerTime,
) -> Result<Evidence<'_>, ConvertError> {
    let pb::ScanStarted { scan_id, source, path: below, root } = started;
    Ok(Evidence::ScanStarted {
        scan: ScanId(*scan_id),
        source: source_from_pb(*source).map_err(|error| error.within("scan_started"))?,
        path: path("scan_started.path", below)?,
        started_at: at,
        root: root
            .as_ref()
            .map(identity_from_pb)
            .transpose()
            .map_err(|error| error.within("scan_started.root"))?,
    })
}

fn path<'a>(field: &'static str, bytes: &'a Bytes) -> Result<PathRef<'a>, ConvertError> {
    PathRef::new(bytes).in_field(field)
}

/// A path that is not `/`: the root of a view neither goes nor moves, it becomes unavailable.
fn below_root<'a>(field: &'static str, bytes: &'a Bytes) -> Result<PathRef<'a>, ConvertError> {
    let path = path(field, bytes)?;
    if path.is_root() {
        return Err(ConvertError::invalid(field, "the root neither goes nor moves: report `root`"));
    }
    Ok(path)
}

fn stat(field: &'static str, stat: Option<&pb::Stat>) -> Result<Option<Stat>, ConvertError> {
    stat.map(stat_from_pb).transpose().map_err(|error| error.within(field))
}

/// The stat of a directory; that of anything else is refused.
fn directory(field: &'static str, of: Option<&pb::Stat>) -> Result<Option<Stat>, ConvertError> {
    match stat(field, of)? {
        Some(stat) if stat.kind != Kind::Directory => {
            Err(ConvertError::invalid(field, "is not the stat of a directory"))
        }
        stat => Ok(stat),
    }
}

fn needed<T>(field: &'static str, value: Option<T>) -> Result<T, ConvertError> {
    value.ok_or(ConvertError::missing(field))
}

/// A piece of evidence on the wire; `None` for a listing, which travels as columns.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one table; split up it could not be read as one")]
pub fn evidence_to_pb(evidence: &Evidence<'_>) -> Option<pb::Evidence> {
    let (at, evidence) = match evidence {
        Evidence::Upsert { path, stat, parent, atomic, observed_at } => {
            let (stat, parent) = (Some(stat_to_pb(stat)), parent.as_ref().map(stat_to_pb));
            let upsert = pb::Upsert { path: bytes(*path), stat, parent, atomic: *atomic };
            (*observed_at, PbEvidence::Upsert(upsert))
        }
        Evidence::Remove { path, parent, observed_at } => {
            let parent = parent.as_ref().map(stat_to_pb);
            (*observed_at, PbEvidence::Remove(pb::Remove { path: bytes(*path), parent }))
        }
        Evidence::Rename { from, to, stat, from_parent, to_parent, observed_at } => {
            let rename = pb::Rename {
                from: bytes(*from),
                to: bytes(*to),
                stat: Some(stat_to_pb(stat)),
                from_parent: from_parent.as_ref().map(stat_to_pb),
                to_parent: to_parent.as_ref().map(stat_to_pb),
            };
            (*observed_at, PbEvidence::Rename(rename))
        }
        Evidence::Listing(_) => return None,
        Evidence::Unchanged { dir, dir_stat, observed_at } => {
            let dir_stat = Some(stat_to_pb(dir_stat));
            (*observed_at, PbEvidence::Unchanged(pb::Unchanged { dir: bytes(*dir), dir_stat }))
        }
        Evidence::Probe { path, found, parent, observed_at } => {
            let (found, parent) = (found.as_ref().map(stat_to_pb), parent.as_ref().map(stat_to_pb));
            (*observed_at, PbEvidence::Probe(pb::Probe { path: bytes(*path), found, parent }))
        }
        Evidence::Unreadable { dir, errno, observed_at } => {
            let unreadable = pb::Unreadable { dir: bytes(*dir), errno: *errno };
            (*observed_at, PbEvidence::Unreadable(unreadable))
        }
        Evidence::Overflow { since, observed_at } => {
            let since = Some(server_time_to_pb(*since));
            (*observed_at, PbEvidence::Overflow(pb::Overflow { since }))
        }
        Evidence::ScanStarted { scan, source, path, started_at, root } => {
            let started = pb::ScanStarted {
                scan_id: scan.0,
                source: source_to_pb(*source).into(),
                path: bytes(*path),
                root: root.as_ref().map(identity_to_pb),
            };
            (*started_at, PbEvidence::ScanStarted(started))
        }
        Evidence::ScanFinished { scan, complete, directories, entries, errors, finished_at } => {
            let finished = pb::ScanFinished {
                scan_id: scan.0,
                complete: *complete,
                directories: *directories,
                entries: *entries,
                errors: *errors,
            };
            (*finished_at, PbEvidence::ScanFinished(finished))
        }
        Evidence::Root { state, identity, observed_at } => {
            let state = root_state_to_pb(*state).into();
            let identity = identity.as_ref().map(identity_to_pb);
            (*observed_at, PbEvidence::Root(pb::RootReport { state, identity }))
        }
    };
    Some(pb::Evidence { observed_at: Some(server_time_to_pb(at)), evidence: Some(evidence) })
}

fn bytes(path: PathRef<'_>) -> Bytes {
    Bytes::copy_from_slice(path.as_bytes())
}
