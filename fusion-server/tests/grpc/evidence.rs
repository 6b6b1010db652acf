//! Evidence as an agent would send it.

use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence as Said;
use prost_types::Timestamp;

pub(crate) const DIR: u8 = 2;
pub(crate) const FILE: u8 = 1;

pub(crate) fn stat(kind: u8, size: u64, inode: u64) -> pb::Stat {
    pb::Stat { kind: kind.into(), size, inode, nlink: 1, ctime_time_ns: 1, ..Default::default() }
}

pub(crate) fn row(said: Said) -> pb::Evidence {
    let observed_at = Some(Timestamp { seconds: 4_000_000_000, nanos: 0 });
    pb::Evidence { observed_at, evidence: Some(said) }
}

/// Inode of `/`, and of every directory that lies in it.
pub(crate) const ROOT_INODE: u64 = 1;
pub(crate) const DIR_INODE: u64 = 2;

pub(crate) fn file(path: &str, size: u64) -> pb::Evidence {
    let in_root = path.rfind('/').is_none_or(|slash| slash == 0);
    let parent = if in_root { ROOT_INODE } else { DIR_INODE };
    row(Said::Upsert(pb::Upsert {
        path: path.as_bytes().to_vec().into(),
        stat: Some(stat(FILE, size, 7)),
        parent: Some(stat(DIR, 0, parent)),
        atomic: true,
    }))
}

pub(crate) fn root() -> pb::Evidence {
    row(Said::Upsert(pb::Upsert {
        path: "/".into(),
        stat: Some(stat(DIR, 0, ROOT_INODE)),
        parent: None,
        atomic: true,
    }))
}

pub(crate) fn batch(sequence: u64, rows: Vec<pb::Evidence>) -> pb::EvidenceBatch {
    pb::EvidenceBatch { sequence, rows, ..Default::default() }
}

/// Begin and end of a whole first scan by the leader.
pub(crate) fn scan_started() -> pb::Evidence {
    row(Said::ScanStarted(pb::ScanStarted {
        scan_id: 1,
        source: pb::ScanSource::Snapshot.into(),
        path: "/".into(),
        root: Some(pb::RootIdentity { inode: ROOT_INODE, ..Default::default() }),
    }))
}

pub(crate) fn scan_finished() -> pb::Evidence {
    row(Said::ScanFinished(pb::ScanFinished { scan_id: 1, complete: true, ..Default::default() }))
}

/// One part of a listing of `dir`: files of one byte each, in order.
pub(crate) fn listing(dir: &str, names: &[String], part: u32, last: bool) -> pb::Listings {
    let n = names.len();
    pb::Listings {
        scan_id: 1,
        source: pb::ScanSource::Snapshot.into(),
        directory_paths: dir.as_bytes().to_vec().into(),
        directory_path_lengths: vec![dir.len() as u32],
        directory_stats: Some(columns(&[DIR], 0)),
        started_at_time_ns: vec![4_000_000_000_000_000_000],
        finished_at_time_ns: vec![4_000_000_000_000_000_001],
        directory_rows: vec![n as u32],
        parts: vec![part],
        directory_flags: vec![u8::from(last) | 2].into(),
        names: names.concat().into_bytes().into(),
        name_lengths: names.iter().map(|name| name.len() as u32).collect(),
        stats: Some(columns(&vec![FILE; n], 1)),
    }
}

fn columns(kinds: &[u8], size: u64) -> pb::StatColumns {
    let n = kinds.len();
    pb::StatColumns {
        kinds: kinds.to_vec().into(),
        sizes: vec![size; n],
        mtimes_time_ns: vec![1; n],
        ctimes_time_ns: vec![1; n],
        inodes: (1..=n as u64).collect(),
        modes: vec![0o644; n],
        uids: vec![0; n],
        gids: vec![0; n],
        nlinks: vec![1; n],
    }
}
