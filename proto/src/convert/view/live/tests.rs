//! What is asked for and told, there and back, and what is refused.

use fusion_core::id::{CorrelationId, Revision, ViewName};
use fusion_core::path::TreePath;
use fusion_core::stat::Kind;
use fusion_core::time::ServerTime;

use super::{EventFilter, ListChanges, NotQuiet, Quiet, WaitQuiet, WatchView};
use crate::convert::event::EventType;
use crate::convert::view::Page;
use crate::{limits, pb};

fn wait() -> pb::WaitQuietRequest {
    pb::WaitQuietRequest {
        view: "v".into(),
        path: "/a".into(),
        quiet_for: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        marker: r"done\xFF".into(),
        ..Default::default()
    }
}

#[test]
fn requests_survive() {
    let filter = EventFilter { types: vec![EventType::EntryMoved], kinds: vec![Kind::File] };
    let (view, path) = (ViewName::new("v").unwrap(), TreePath::new(&b"/a\xff"[..]).unwrap());
    for after in [None, Some(Revision(0)), Some(Revision(9))] {
        let asked =
            WatchView { view: view.clone(), path: path.clone(), after, filter: filter.clone() };
        assert_eq!(WatchView::try_from(pb::WatchViewRequest::from(&asked)), Ok(asked));
    }
    let asked = ListChanges {
        view,
        path,
        after: Some(Revision(3)),
        through: Some(Revision(4)),
        since: Some(ServerTime::from_nanos(5)),
        until: Some(ServerTime::from_nanos(6)),
        filter,
        correlation: Some(CorrelationId::new("c").unwrap()),
        page: Page { size: 7, token: "ab".into() },
        itself: true,
    };
    assert_eq!(ListChanges::try_from(pb::ListChangesRequest::from(&asked)), Ok(asked));
    let asked = WaitQuiet::try_from(wait()).unwrap();
    assert_eq!(asked.marker_path().unwrap().as_bytes(), b"/a/done\xff");
    assert_eq!(asked.progress, limits::PROGRESS_DEFAULT);
    let again = pb::WaitQuietRequest::try_from(&asked).unwrap();
    assert_eq!(WaitQuiet::try_from(again), Ok(asked));
}

#[test]
fn bad_waits_are_refused_by_field() {
    type Spoil = fn(&mut pb::WaitQuietRequest);
    let cases: [(Spoil, &str); 9] = [
        (|asked| asked.view = "V".into(), "view"),
        (|asked| asked.path = "a".into(), "path"),
        (|asked| asked.quiet_for = None, "quiet_for"),
        (|asked| asked.quiet_for = Some(prost_types::Duration::default()), "quiet_for"),
        (
            |asked| {
                asked.quiet_for = Some(prost_types::Duration { seconds: 604_801, nanos: 0 });
            },
            "quiet_for",
        ),
        (|asked| asked.marker = "/x".into(), "marker"),
        (|asked| asked.marker = "../x".into(), "marker"),
        (|asked| asked.marker = "x\n".into(), "marker"),
        (
            |asked| asked.progress_interval = Some(prost_types::Duration::default()),
            "progress_interval",
        ),
    ];
    for (spoil, field) in cases {
        let mut bad = wait();
        spoil(&mut bad);
        assert_eq!(WaitQuiet::try_from(bad).unwrap_err().field, field);
    }
}

#[test]
fn contradictory_bounds_are_refused_by_field() {
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let good = pb::ListChangesRequest { view: "v".into(), path: "/".into(), ..Default::default() };
    assert!(ListChanges::try_from(good.clone()).is_ok());
    let cases = [
        (pb::ListChangesRequest { since: at(2), until: at(2), ..good.clone() }, "until"),
        (
            pb::ListChangesRequest { after_revision: 5, through_revision: 5, ..good.clone() },
            "through_revision",
        ),
        (pb::ListChangesRequest { page_size: -1, ..good.clone() }, "page_size"),
        (pb::ListChangesRequest { correlation_id: "a b".into(), ..good.clone() }, "correlation_id"),
        (
            pb::ListChangesRequest {
                filter: Some(pb::EventFilter { event_types: vec![99], kinds: vec![] }),
                ..good.clone()
            },
            "filter.event_types",
        ),
        (
            pb::ListChangesRequest {
                filter: Some(pb::EventFilter { event_types: vec![], kinds: vec![1; 65] }),
                ..good
            },
            "filter.kinds",
        ),
    ];
    for (bad, field) in cases {
        assert_eq!(ListChanges::try_from(bad).unwrap_err().field, field);
    }
}

#[test]
fn an_answer_that_contradicts_itself_is_refused() {
    let freshness = pb::Freshness { state: 3, coverage: 1, ..Default::default() };
    let told = pb::WaitQuietResponse { freshness: Some(freshness), ..Default::default() };
    let busy = pb::WaitQuietResponse { reasons: vec![3], ..told.clone() };
    let read = Quiet::try_from(busy.clone()).unwrap();
    assert_eq!(read.reasons, [NotQuiet::Suspects]);
    assert_eq!(pb::WaitQuietResponse::try_from(&read), Ok(busy.clone()));
    assert!(Quiet::try_from(told).is_err());
    assert!(Quiet::try_from(pb::WaitQuietResponse { quiet: true, ..busy }).is_err());
}
