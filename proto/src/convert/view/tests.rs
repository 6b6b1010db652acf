//! Reads and answers, there and back, and whatever may arrive instead.

mod lists;

use fusion_core::id::ViewName;
use fusion_core::view::{Coverage, Totals, ViewState};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::{
    Entry, FindEntries, Freshness, GetPath, ListEntries, Page, ReadClass, ViewInfo,
    coverage_from_pb, coverage_to_pb, entry_from_pb, freshness_from_pb, page, read_class_from_pb,
    read_class_with_fresh_from_pb, state_from_pb, state_from_text, state_to_pb, state_to_text,
    totals_from_pb, totals_to_pb, view_from_pb, view_to_pb,
};
use crate::convert::arbitrary as any_of;
use crate::convert::stat::path_to_text;
use crate::{limits, pb};

const STATES: [ViewState; 4] =
    [ViewState::Empty, ViewState::Snapshotting, ViewState::Ready, ViewState::Degraded];
const COVERAGES: [Coverage; 3] =
    [Coverage::RealtimeAndAudit, Coverage::AuditOnly, Coverage::WatchDegraded];

fn class() -> impl Strategy<Value = ReadClass> {
    prop_oneof![Just(ReadClass::Any), Just(ReadClass::Trusted), Just(ReadClass::Fresh)]
}

prop_compose! {
    fn totals()(
        counts: [u64; 6],
        newest_mtime in option::of(any_of::storage_time()),
        last_change in option::of(any_of::server_time()),
    ) -> Totals {
        let [files, directories, others, bytes, suspects, blind] = counts;
        Totals { files, directories, others, bytes, suspects, blind, newest_mtime, last_change }
    }
}

prop_compose! {
    fn freshness()(
        state in prop::sample::select(&STATES[..]),
        coverage in prop::sample::select(&COVERAGES[..]),
        reasons in vec("\\PC{0,20}", 0..3),
        revision: u64,
        watermark in option::of(any_of::storage_time()),
        calibrated: bool,
        times in (
            option::of(any_of::server_time()),
            option::of(any_of::server_time()),
            option::of(any_of::server_time()),
        ),
        quiet_for in option::of(any_of::span()),
    ) -> Freshness {
        let (last_snapshot, last_audit, horizon) = times;
        Freshness {
            state,
            reasons,
            revision,
            watermark,
            calibrated,
            coverage,
            last_snapshot,
            last_audit,
            horizon,
            quiet_for,
        }
    }
}

prop_compose! {
    fn entry()(path in any_of::path(), stat in any_of::stat(), flags: (bool, bool)) -> Entry {
        Entry { path: path_to_text(path.as_ref()), stat, suspect: flags.0, blind: flags.1 }
    }
}

prop_compose! {
    fn view_info()(
        name in any_of::view_name(),
        totals in totals(),
        freshness in freshness(),
        leader_agent_id in "[a-z]{0,9}",
        leader_epoch: u64,
        sessions: u32,
        created_at in option::of(any_of::server_time()),
    ) -> ViewInfo {
        ViewInfo { name, totals, freshness, leader_agent_id, leader_epoch, sessions, created_at }
    }
}

proptest! {
    #[test]
    fn requests_survive(
        view in any_of::view_name(),
        path in any_of::path(),
        class in class(),
        size in 1..=limits::PAGE_MAX,
        token in "[a-zA-Z0-9_-]{0,40}",
        name_glob in option::of("\\PC{1,20}"),
        kinds in vec(any_of::kind(), 0..4),
        limit in option::of(1..=u64::MAX),
    ) {
        let asked = GetPath { view: view.clone(), path: path.clone(), class };
        prop_assert_eq!(GetPath::try_from(pb::GetEntryRequest::from(&asked)), Ok(asked.clone()));
        prop_assert_eq!(GetPath::try_from(pb::GetStatsRequest::from(&asked)), Ok(asked));

        let page = Page { size, token };
        let asked = ListEntries { view: view.clone(), path: path.clone(), page, class };
        prop_assert_eq!(ListEntries::try_from(pb::ListEntriesRequest::from(&asked)), Ok(asked));

        let asked = FindEntries { view, path, name_glob, kinds, limit, class };
        prop_assert_eq!(FindEntries::try_from(pb::FindEntriesRequest::from(&asked)), Ok(asked));
    }

    #[test]
    fn answers_survive(
        entry in entry(),
        totals in totals(),
        freshness in freshness(),
        view in view_info(),
    ) {
        prop_assert_eq!(entry_from_pb(pb::Entry::from(&entry)), Ok(entry));
        prop_assert_eq!(totals_from_pb(totals_to_pb(&totals)), Ok(totals));
        let sent = pb::Freshness::try_from(&freshness).unwrap();
        prop_assert_eq!(freshness_from_pb(sent), Ok(freshness));
        prop_assert_eq!(view_from_pb(view_to_pb(&view).unwrap()), Ok(view));
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        fn read<M: Message + Default, T: TryFrom<M>>(bytes: &[u8]) {
            if let Ok(message) = M::decode(bytes) {
                let _ = T::try_from(message);
            }
        }
        read::<pb::ListViewsRequest, Page>(&bytes);
        read::<pb::GetViewRequest, ViewName>(&bytes);
        read::<pb::GetEntryRequest, GetPath>(&bytes);
        read::<pb::GetStatsRequest, GetPath>(&bytes);
        read::<pb::ListEntriesRequest, ListEntries>(&bytes);
        read::<pb::FindEntriesRequest, FindEntries>(&bytes);
        let _ = pb::View::decode(&*bytes).map(view_from_pb);
        let _ = pb::Entry::decode(&*bytes).map(entry_from_pb);
    }
}

#[test]
fn states_and_coverages_survive() {
    for state in STATES {
        assert_eq!(state_from_pb(state_to_pb(state).into()), Ok(state));
        assert_eq!(state_from_text(state_to_text(state)), Some(state));
    }
    for coverage in COVERAGES {
        assert_eq!(coverage_from_pb(coverage_to_pb(coverage).into()), Ok(coverage));
    }
    assert!(state_from_pb(0).is_err() && state_from_pb(99).is_err());
    assert!(coverage_from_pb(0).is_err() && coverage_from_pb(99).is_err());
    assert_eq!(state_from_text("ready"), None);
}

#[test]
fn pages_are_default_bounded_or_refused() {
    assert_eq!(page(0, "").unwrap().size, limits::PAGE_DEFAULT);
    assert_eq!(page(i32::MAX, "").unwrap().size, limits::PAGE_MAX);
    assert_eq!(page(7, "t").unwrap(), Page { size: 7, token: "t".to_owned() });
    assert_eq!(page(-1, "").unwrap_err().field, "page_size");
    let long = "x".repeat(limits::PAGE_TOKEN_MAX + 1);
    assert_eq!(page(0, &long).unwrap_err().field, "page_token");
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let good = pb::FindEntriesRequest {
        view: "home".to_owned(),
        path: "/".to_owned(),
        ..Default::default()
    };
    assert!(FindEntries::try_from(good.clone()).is_ok());
    for (field, bad) in [
        ("view", pb::FindEntriesRequest { view: String::new(), ..good.clone() }),
        ("path", pb::FindEntriesRequest { path: "a".to_owned(), ..good.clone() }),
        ("kinds", pb::FindEntriesRequest { kinds: vec![1, 5], ..good.clone() }),
        ("read_class", pb::FindEntriesRequest { read_class: 9, ..good.clone() }),
        ("name_glob", pb::FindEntriesRequest { name_glob: "x".repeat(2_000), ..good.clone() }),
    ] {
        assert_eq!(FindEntries::try_from(bad).unwrap_err().field, field);
    }
    assert_eq!(read_class_from_pb(0), Ok(ReadClass::Any));
    let fresh = pb::ReadClass::Fresh.into();
    assert_eq!(read_class_from_pb(fresh).unwrap_err().field, "read_class", "not by every call");
    assert_eq!(read_class_with_fresh_from_pb(fresh), Ok(ReadClass::Fresh));
}
