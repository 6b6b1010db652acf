//! Arbitrary values of the core, for property tests of conversions.

use std::time::Duration;

use fusion_core::evidence::{RootIdentity, RootState, Source};
use fusion_core::id::{AgentId, CorrelationId, ViewName};
use fusion_core::path::{TreePath, check_name};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use super::root::RootClaim;
use super::session::agent::{AgentStatus, ScanProgress};
use super::session::{Capability, ClientInfo};
use super::stat::MODE_BITS;
use super::time::DURATION_SECONDS_MAX;

pub(super) fn server_time() -> impl Strategy<Value = ServerTime> {
    any::<i64>().prop_map(ServerTime::from_nanos)
}

pub(super) fn storage_time() -> impl Strategy<Value = StorageTime> {
    any::<i64>().prop_map(StorageTime::from_nanos)
}

pub(super) fn span() -> impl Strategy<Value = Duration> {
    (0..=DURATION_SECONDS_MAX, 0..1_000_000_000_u32)
        .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

pub(super) fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

pub(super) fn view_name() -> impl Strategy<Value = ViewName> {
    "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?".prop_map(|text| ViewName::new(&text).unwrap())
}

pub(super) fn agent_id() -> impl Strategy<Value = AgentId> {
    "[A-Za-z0-9._-]{1,20}".prop_map(|text| AgentId::new(&text).unwrap())
}

pub(super) fn correlation_id() -> impl Strategy<Value = CorrelationId> {
    "[A-Za-z0-9._:-]{1,128}".prop_map(|text| CorrelationId::new(&text).unwrap())
}

/// A name of any bytes that a disk may have.
pub(super) fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..12).prop_filter("not a name", |name| check_name(name).is_ok())
}

pub(super) fn path() -> impl Strategy<Value = TreePath> {
    vec(name(), 0..5).prop_map(|names| {
        names.iter().fold(TreePath::root(), |path, name| path.join(name).unwrap())
    })
}

pub(super) fn path_below_root() -> impl Strategy<Value = TreePath> {
    path().prop_filter("the root", |path| !path.as_ref().is_root())
}

pub(super) fn kind() -> impl Strategy<Value = Kind> {
    (1..=4_u8).prop_map(|kind| Kind::from_u8(kind).unwrap())
}

prop_compose! {
    pub(super) fn stat()(
        kind in kind(),
        size: u64,
        mtime in storage_time(),
        ctime in storage_time(),
        inode: u64,
        mode in 0..=MODE_BITS,
        ids: (u32, u32, u32),
    ) -> Stat {
        Stat { kind, size, mtime, ctime, inode, mode, uid: ids.0, gid: ids.1, nlink: ids.2 }
    }
}

pub(super) fn directory_stat() -> impl Strategy<Value = Stat> {
    stat().prop_map(|stat| Stat { kind: Kind::Directory, ..stat })
}

pub(super) fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        Just(Source::Snapshot),
        Just(Source::Audit),
        Just(Source::OnDemand),
        Just(Source::Discovery),
    ]
}

pub(super) fn root_state() -> impl Strategy<Value = RootState> {
    prop_oneof![Just(RootState::Available), Just(RootState::Unavailable), Just(RootState::Doubtful),]
}

prop_compose! {
    pub(super) fn identity()(
        fs_type in "[a-z0-9.]{0,16}",
        inode: u64,
        born in option::of(storage_time()),
        top in vec((name(), any::<u64>()), 0..=64),
    ) -> RootIdentity {
        RootIdentity { fs_type, inode, born, top }
    }
}

prop_compose! {
    pub(super) fn root_claim()(uri in "file://[a-z]{1,9}/\\PC{0,20}", identity in identity()) -> RootClaim {
        RootClaim { uri, identity }
    }
}

prop_compose! {
    pub(super) fn client_info()(
        name in "\\PC{0,16}",
        version in "[0-9.]{0,12}",
        hostname in "\\PC{0,60}",
        os in "[a-z]{0,9}",
    ) -> ClientInfo {
        ClientInfo { name, version, hostname, os }
    }
}

pub(super) fn capabilities() -> impl Strategy<Value = Vec<Capability>> {
    vec(prop_oneof![Just(Capability::Realtime), Just(Capability::Scan)], 0..4)
}

prop_compose! {
    fn scan_progress()(
        source in source(),
        started_at in server_time(),
        counts: (u64, u64, u64),
        paused in span(),
        call_latency in span(),
    ) -> ScanProgress {
        let (directories, entries, errors) = counts;
        ScanProgress { source, started_at, directories, entries, errors, paused, call_latency }
    }
}

prop_compose! {
    pub(super) fn agent_status()(
        realtime_ready: bool,
        counts: [u64; 5],
        watch_limit in option::of(1..=u64::MAX),
        oldest_unacknowledged in option::of(span()),
        root_state in root_state(),
        errors in vec("\\PC{0,40}", 0..5),
        scan in option::of(scan_progress()),
        left_out in vec(path(), 0..4),
    ) -> AgentStatus {
        let [watched_directories, unwatched_directories, queue_depth, spool_bytes, file_stats] =
            counts;
        AgentStatus {
            realtime_ready,
            watched_directories,
            watch_limit,
            unwatched_directories,
            queue_depth,
            spool_bytes,
            oldest_unacknowledged,
            root_state,
            errors,
            scan,
            file_stats,
            left_out,
        }
    }
}
