//! Reads and answers, there and back, and whatever may arrive instead.

mod lists;

use fusion_core::id::ViewName;
use fusion_core::stat::Kind;
use fusion_core::view::{Coverage, Totals, ViewState};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;

use super::{
    AgeTally, Breakdown, BreakdownPart, CompareViews, ComparedView, Entry, EntryFilter, EntryOrder,
    EntrySort, FindEntries, Freshness, GetBreakdown, GetPath, ListEntries, Page, ReadClass, Tally,
    ViewInfo, ViewOwner, ViewOwnership, ViewRank, coverage_from_pb, coverage_to_pb, entry_from_pb,
    freshness_from_pb, page, read_class_from_pb, state_from_pb, state_from_text, state_to_pb,
    state_to_text, totals_from_pb, totals_to_pb, view_from_pb, view_to_pb,
};
use crate::convert::arbitrary as any_of;
use crate::convert::stat::path_to_text;
use crate::{limits, pb};

/// Whatever arrives is read or refused.
fn read<M: Message + Default, T: TryFrom<M>>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let _ = T::try_from(message);
    }
}

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
    fn filter()(
        patterns in prop::array::uniform3(option::of("\\PC{1,20}")),
        kinds in vec(any_of::kind(), 0..4),
        extensions in vec("[a-z]{1,4}(\\.gz)?", 0..3),
        size in option::of((any::<u64>(), any::<u64>())),
        times in prop::array::uniform2(option::of((any_of::storage_time(), any_of::storage_time()))),
        owners in prop::array::uniform2(vec(any::<u32>(), 0..3)),
        depths in (option::of(1..9_u32), option::of(9..99_u32)),
        flags: (bool, bool),
    ) -> EntryFilter {
        let [name_glob, name_regex, path_regex] = patterns;
        let [mtime, ctime] = times.map(|range| range.map(|(a, b)| a.min(b)..=a.max(b)));
        let [uids, gids] = owners;
        let files = kinds.is_empty() || kinds.contains(&Kind::File);
        EntryFilter {
            name_glob,
            name_regex,
            path_regex,
            kinds,
            extensions,
            size: size.filter(|_| files).map(|(a, b)| a.min(b)..=a.max(b)),
            mtime,
            ctime,
            uids,
            gids,
            min_depth: depths.0,
            max_depth: depths.1,
            only_suspect: flags.0,
            only_blind: flags.1,
        }
    }
}

prop_compose! {
    fn ownership()(
        owner in option::of((any_of::uuid(), "[a-z]{0,9}")),
        epoch: u64,
        owned: bool,
        lag in option::of(any::<u64>()),
    ) -> ViewOwnership {
        let owner = owner.map(|(server, address)| ViewOwner { server, address });
        ViewOwnership { owner, epoch, owned, lag }
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
        ownership in option::of(ownership()),
    ) -> ViewInfo {
        ViewInfo {
            name, totals, freshness, leader_agent_id, leader_epoch, sessions, created_at, ownership,
        }
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
        by in prop::sample::select(&[EntrySort::Name, EntrySort::Size, EntrySort::Mtime]),
        descending: bool,
    ) {
        let asked = GetPath { view: view.clone(), path: path.clone(), class };
        prop_assert_eq!(GetPath::try_from(pb::GetEntryRequest::from(&asked)), Ok(asked.clone()));
        prop_assert_eq!(GetPath::try_from(pb::GetStatsRequest::from(&asked)), Ok(asked));

        let page = Page { size, token };
        let order = EntryOrder { by, descending };
        let asked = ListEntries { view, path, page, order, class };
        prop_assert_eq!(ListEntries::try_from(pb::ListEntriesRequest::from(&asked)), Ok(asked));

    }

    #[test]
    fn searches_survive(
        view in any_of::view_name(),
        path in any_of::path(),
        class in class(),
        filter in filter(),
        limit in option::of(1..=limits::SORTED_MAX as u64),
        by in option::of(prop::sample::select(&[EntrySort::Name, EntrySort::Size, EntrySort::Mtime])),
        more in vec(any_of::view_name(), 0..3),
        flags: (bool, bool),
    ) {
        let order = by.map(|by| EntryOrder { by, descending: flags.0 });
        let mut more_views: Vec<_> = more.into_iter().filter(|name| *name != view).collect();
        more_views.sort();
        more_views.dedup();
        let asked = FindEntries {
            view,
            path,
            filter,
            limit: if order.is_some() { limit.or(Some(1)) } else { limit },
            order,
            more_views,
            with_totals: flags.1,
            class,
        };
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
    assert_eq!(read_class_from_pb(fresh), Ok(ReadClass::Fresh));
}

#[test]
fn filters_that_nothing_passes_are_refused_by_their_field() {
    let filter = |filter: pb::EntryFilter| pb::FindEntriesRequest {
        view: "v".to_owned(),
        path: "/".to_owned(),
        filter: Some(filter),
        ..Default::default()
    };
    let empty = pb::EntryFilter::default;
    let ext = |text: &str| pb::EntryFilter { extensions: vec![text.to_owned()], ..empty() };
    let good = filter(empty());
    let sized = pb::EntryFilter { size_min: Some(1), ..empty() };
    let sort = |sort, limit| pb::FindEntriesRequest { sort, limit, ..good.clone() };
    let views = |names: &[&str]| pb::FindEntriesRequest {
        more_views: names.iter().map(|name| (*name).to_owned()).collect(),
        ..good.clone()
    };
    let bad = [
        (
            "filter.size_max",
            filter(pb::EntryFilter { size_min: Some(2), size_max: Some(1), ..empty() }),
        ),
        (
            "filter.mtime_max_time_ns",
            filter(pb::EntryFilter {
                mtime_min_time_ns: Some(2),
                mtime_max_time_ns: Some(1),
                ..empty()
            }),
        ),
        (
            "filter.ctime_max_time_ns",
            filter(pb::EntryFilter {
                ctime_min_time_ns: Some(2),
                ctime_max_time_ns: Some(-1),
                ..empty()
            }),
        ),
        ("filter.max_depth", filter(pb::EntryFilter { min_depth: 3, max_depth: 2, ..empty() })),
        ("filter.extensions", filter(ext(".gz"))),
        ("filter.extensions", filter(ext(""))),
        ("filter.extensions", filter(ext("a/b"))),
        ("filter.name_regex", filter(pb::EntryFilter { name_regex: "x".repeat(1_025), ..empty() })),
        ("filter.path_regex", filter(pb::EntryFilter { path_regex: "x".repeat(1_025), ..empty() })),
        ("filter.uids", filter(pb::EntryFilter { uids: vec![0; 1_001], ..empty() })),
        ("filter.gids", filter(pb::EntryFilter { gids: vec![0; 1_001], ..empty() })),
        ("kinds", pb::FindEntriesRequest { kinds: vec![2], ..filter(sized) }),
        ("sort", sort(9, 1)),
        ("limit", sort(2, 0)),
        ("limit", sort(2, 10_001)),
        ("limit", sort(1, u64::MAX)),
        ("descending", pb::FindEntriesRequest { descending: true, ..good.clone() }),
        ("more_views", views(&["v"])),
        ("more_views", views(&["w", "w"])),
        ("more_views", views(&["-"])),
        ("more_views", views(&["w"; 100])),
    ];
    assert!(FindEntries::try_from(good.clone()).is_ok());
    for (field, bad) in bad {
        assert_eq!(FindEntries::try_from(bad).unwrap_err().field, field);
    }
}

prop_compose! {
    fn breakdown()(
        numbers: [u64; 8],
        owners in vec((any::<u32>(), any::<(u64, u64)>()), 0..3),
        extensions in vec(("[a-z]{0,4}", any::<(u64, u64)>()), 0..3),
        others_mixed: bool,
        ages in vec((option::of(any_of::span()), any::<(u64, u64)>()), 0..3),
        sizes in vec((any::<u64>(), any::<(u64, u64)>()), 0..3),
        entries in prop::array::uniform2(vec(entry(), 0..2)),
        directories in vec((entry(), totals()), 0..2),
    ) -> Breakdown {
        let tally = |(files, bytes)| Tally { files, bytes };
        let [a, b, c, d, e, f, ..] = numbers;
        let [largest_files, newest_directories] = entries;
        Breakdown {
            all: tally((a, b)),
            owners: owners.into_iter().map(|(uid, of)| (uid, tally(of))).collect(),
            other_owners: tally((c, d)),
            extensions: extensions.into_iter().map(|(name, of)| (name, tally(of))).collect(),
            other_extensions: tally((e, f)),
            others_mixed,
            ages: ages
                .into_iter()
                .map(|(least_age, of)| AgeTally { least_age, tally: tally(of) })
                .collect(),
            sizes: sizes.into_iter().map(|(least, of)| (least, tally(of))).collect(),
            largest_files,
            largest_directories: directories,
            newest_directories,
        }
    }
}

proptest! {
    #[test]
    fn counts_and_comparisons_survive(
        view in any_of::view_name(),
        path in any_of::path(),
        class in class(),
        top in 1..=limits::TOP_MAX,
        rank in prop::sample::select(&[
            ViewRank::Completeness, ViewRank::Files, ViewRank::Bytes, ViewRank::Newest,
        ]),
        breakdown in breakdown(),
        bytes in vec(any::<u8>(), 0..300),
    ) {
        let asked = GetBreakdown { view: view.clone(), path: path.clone(), class, top };
        prop_assert_eq!(GetBreakdown::try_from(pb::GetBreakdownRequest::from(&asked)), Ok(asked));
        let asked = CompareViews { views: vec![view], path, class, rank };
        prop_assert_eq!(CompareViews::try_from(pb::CompareViewsRequest::from(&asked)), Ok(asked));
        let told = pb::Breakdown::try_from(&breakdown).unwrap();
        prop_assert_eq!(Breakdown::try_from(told), Ok(breakdown));
        read::<pb::GetBreakdownRequest, GetBreakdown>(&bytes);
        read::<pb::CompareViewsRequest, CompareViews>(&bytes);
        read::<pb::GetBreakdownResponse, BreakdownPart>(&bytes);
        read::<pb::ViewComparison, ComparedView>(&bytes);
    }
}
