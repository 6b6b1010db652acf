//! Events: there and back, their ids, and which concern a path.

use fusion_core::change::{Cause, Change, ChangeKind, Facts, Tombstone, TrashId, Version};
use fusion_core::evidence::Witness;
use fusion_core::id::{AgentId, CorrelationId, LeaderEpoch, Revision, SessionId, ViewName};
use fusion_core::path::TreePath;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Account, EVENT_TYPES, EntryChange, Event, EventType, EventView, Side, event_from_pb, event_id,
    names_outside,
};
use crate::pb;

fn stat(size: u64) -> Stat {
    let time = StorageTime::from_nanos(7);
    let (mode, uid, gid, nlink, inode) = (0o644, 1, 2, 1, 9);
    Stat { kind: Kind::File, size, mtime: time, ctime: time, inode, mode, uid, gid, nlink }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn tombstone() -> Tombstone {
    Tombstone {
        deleted_at: ServerTime::from_nanos(3),
        seen_in: None,
        since: ServerTime::from_nanos(3),
    }
}

fn moved(from: &str, to: &str) -> ChangeKind {
    ChangeKind::Moved {
        from: path(from),
        to: path(to),
        before: stat(1),
        stat: stat(1),
        facts: Facts::default(),
        tombstone: tombstone(),
    }
}

fn every_kind() -> Vec<(ChangeKind, EventType)> {
    let facts = Facts {
        suspect_until: Some(ServerTime::from_nanos(5)),
        blind: true,
        seen_in: None::<Version>,
        ..Facts::default()
    };
    let (at, trash) = (path("/a/\u{e9}\n"), TrashId(4));
    let removed =
        ChangeKind::Removed { path: at.clone(), stat: stat(2), tombstone: None, blind: true };
    let until = ServerTime::from_nanos(9);
    let restored =
        ChangeKind::Restored { path: at.clone(), stat: stat(2), trash, suspect_until: until };
    vec![
        (ChangeKind::Created { path: at.clone(), stat: stat(2), facts }, EventType::EntryCreated),
        (
            ChangeKind::Modified { path: at.clone(), before: stat(1), after: stat(2), facts },
            EventType::EntryModified,
        ),
        (moved("/a/x", "/a/y"), EventType::EntryMoved),
        (removed, EventType::NodeSoftDeleted),
        (restored, EventType::NodeRestored),
        (ChangeKind::Purged { path: at, stat: stat(2), trash }, EventType::NodePermanentlyDeleted),
        (ChangeKind::Reset, EventType::ViewReset),
    ]
}

fn change(kind: ChangeKind) -> Change {
    let agent = AgentId::new("host").unwrap();
    let session = SessionId::new(Uuid::from_u128(8));
    let by = Some(Witness { agent, session, epoch: LeaderEpoch(1) });
    let at = ServerTime::from_nanos(1_700_000_000_123_456_789);
    Change { revision: Revision(42), at, cause: Cause::Realtime, by, kind }
}

fn view() -> EventView {
    EventView { id: Uuid::from_u128(77), name: ViewName::new("v").unwrap() }
}

#[test]
fn every_change_that_is_told_survives_the_wire() {
    let correlation = Some(CorrelationId::new("c:1").unwrap());
    let account = Account { correlation, ..Account::default() };
    for (kind, event_type) in every_kind() {
        let change = change(kind);
        let event = Event::of(&view(), &account, &change, Side::Within).unwrap();
        assert_eq!(event.event_type, event_type);
        assert_eq!(event.account.agent.as_ref().unwrap().as_str(), "host");
        let told = pb::EventEnvelope::from(event.clone());
        assert_eq!((told.version, told.correlation_id.as_str()), (42, "c:1"));
        assert_eq!(event_from_pb(told), Ok(event));
    }
    let touched = ChangeKind::Touched { path: path("/a"), facts: Facts::default() };
    assert_eq!(Event::of(&view(), &account, &change(touched), Side::Within), None);
}

#[test]
fn a_change_has_one_id_and_it_is_a_uuid_v7_of_its_time() {
    let told = |side| {
        let change = change(moved("/a/x", "/b/x"));
        Event::of(&view(), &Account::default(), &change, side).unwrap()
    };
    let (entered, left) = (told(Side::In), told(Side::Out));
    assert_eq!(
        (entered.event_type, left.event_type),
        (EventType::EntryMovedIn, EventType::EntryMovedOut)
    );
    assert_eq!((entered.path.as_str(), left.path.as_str()), ("/b/x", "/a/x"));
    assert_eq!(entered.id, left.id);
    // Golden: consumers keep ids, so they must be the same in every version.
    assert_eq!(entered.id.to_string(), "018bcfe5-687b-74f2-9222-db3e45603f45");
    assert_eq!(entered.id.get_version_num(), 7);
}

proptest! {
    #[test]
    fn no_two_revisions_of_a_view_have_one_id(view: u128, first: u64, second: u64, at: i64) {
        let (view, at) = (Uuid::from_u128(view), ServerTime::from_nanos(at));
        let one = event_id(view, Revision(first), at);
        let two = event_id(view, Revision(second), at);
        prop_assert_eq!(one == two, first == second);
        prop_assert_eq!(one.get_version_num(), 7);
    }
}

#[test]
fn what_concerns_a_path() {
    let within = Some(Side::Within);
    let asked = path("/w/d");
    let cases = [
        (moved("/w/d/a", "/w/d/b"), within),
        (moved("/x", "/w/d/b"), Some(Side::In)),
        (moved("/w/d/a", "/x"), Some(Side::Out)),
        (moved("/w", "/x"), Some(Side::Out)),
        (moved("/x", "/w"), Some(Side::In)),
        (moved("/x", "/w/d"), Some(Side::In)),
        (moved("/w/e", "/w/f"), None),
        (moved("/w/dd", "/w/de"), None),
    ];
    for (kind, side) in cases {
        assert_eq!(Side::of(&kind, asked.as_ref()), side, "{kind:?}");
    }
    let created =
        |at: &str| ChangeKind::Created { path: path(at), stat: stat(1), facts: Facts::default() };
    let removed = |at: &str| ChangeKind::Removed {
        path: path(at),
        stat: stat(1),
        tombstone: None,
        blind: false,
    };
    for (at, is_created, is_removed) in
        [("/w/d/e", true, true), ("/w/d", true, true), ("/w", false, true), ("/w/x", false, false)]
    {
        assert_eq!(Side::of(&created(at), asked.as_ref()).is_some(), is_created, "{at}");
        assert_eq!(Side::of(&removed(at), asked.as_ref()).is_some(), is_removed, "{at}");
    }
    assert_eq!(Side::of(&ChangeKind::Reset, asked.as_ref()), within);
    // The path itself: what takes it along concerns it, what lies below it does not.
    let itself = |kind: &ChangeKind| Side::of_itself(kind, asked.as_ref());
    for (at, is_created, is_removed) in
        [("/w/d/e", false, false), ("/w/d", true, true), ("/w", false, true), ("/", false, true)]
    {
        assert_eq!(itself(&created(at)).is_some(), is_created, "{at}");
        assert_eq!(itself(&removed(at)).is_some(), is_removed, "{at}");
    }
    assert_eq!(itself(&moved("/w/d/a", "/w/d/b")), None);
    assert_eq!(itself(&moved("/w", "/x")), Some(Side::Out));
    assert_eq!(itself(&moved("/x", "/w/d")), Some(Side::In));
    assert_eq!(itself(&ChangeKind::Reset), within);
}

#[test]
fn types_have_one_word_each() {
    for (kind, text) in EVENT_TYPES {
        assert_eq!((kind.as_str(), EventType::parse(text)), (text, Some(kind)));
        let number = super::event_type_to_pb(kind);
        assert_eq!(number.as_str_name(), format!("EVENT_TYPE_{text}"));
        assert_eq!(super::event_type_from_pb("t", number.into()), Ok(kind));
    }
    assert!(super::event_type_from_pb("t", 0).is_err());
    assert!(super::event_type_from_pb("t", 99).is_err());
}

#[test]
fn what_is_malformed_is_refused_with_its_field() {
    let account = Account::default();
    let good = Event::of(&view(), &account, &change(moved("/a", "/b")), Side::Within).unwrap();
    let good = pb::EventEnvelope::from(good);
    type Spoil = fn(&mut pb::EventEnvelope);
    let cases: [(Spoil, &str); 6] = [
        (|event| event.event_id = "x".into(), "event_id"),
        (|event| event.event_type = 0, "event_type"),
        (|event| event.target = None, "target"),
        (|event| event.time = None, "time"),
        (|event| event.cause = 99, "cause"),
        (|event| event.correlation_id = "a b".into(), "correlation_id"),
    ];
    for (spoil, field) in cases {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert_eq!(event_from_pb(bad).unwrap_err().field, field);
    }
}

/// What somebody is told of a change who asks for all, and may see only what lies at `/a/b` and below it.
fn told_below(kind: ChangeKind) -> Option<(EventType, String, Option<EntryChange>)> {
    let top = path("/a/b");
    let side = Side::of(&kind, top.as_ref())?;
    let change = Change {
        revision: Revision(3),
        at: ServerTime::from_nanos(1),
        cause: Cause::Realtime,
        by: None,
        kind,
    };
    let view = EventView { id: Uuid::nil(), name: ViewName::new("v").unwrap() };
    let mut event = Event::of(&view, &Account::default(), &change, side)?;
    let whole = event.clone();
    event.cut(&change.kind, top.as_ref());
    assert_eq!(event != whole, names_outside(&change.kind, top.as_ref()));
    let again = event.clone();
    event.cut(&change.kind, top.as_ref());
    assert_eq!(event, again, "what is cut stays cut");
    Some((event.event_type, event.path, event.entry))
}

#[test]
fn what_lies_outside_a_path_is_in_no_event_of_who_is_bound_to_it() {
    let entry = |before: Option<u64>, after: Option<u64>| EntryChange {
        before: before.map(stat),
        after: after.map(stat),
        ..EntryChange::default()
    };
    use EventType::{EntryMoved, EntryMovedIn, EntryMovedOut, NodeSoftDeleted};
    let whole = EntryChange {
        moved: Some(("/a/b/x".to_owned(), "/a/b/y".to_owned())),
        ..entry(Some(1), Some(1))
    };
    let none = EntryChange::default;
    let cases = [
        (moved("/a/b/x", "/a/b/y"), EntryMoved, "/a/b/y", whole),
        (moved("/a/b/x", "/secret"), EntryMovedOut, "/a/b/x", entry(Some(1), None)),
        (moved("/a/secret", "/a/b/x"), EntryMovedIn, "/a/b/x", entry(None, Some(1))),
        (moved("/a/bc", "/a/b"), EntryMovedIn, "/a/b", entry(None, Some(1))),
        (moved("/a", "/secret"), EntryMovedOut, "/a/b", none()),
        (moved("/secret", "/a"), EntryMovedIn, "/a/b", none()),
    ];
    for (kind, event_type, at, entry) in cases {
        let told = told_below(kind.clone()).unwrap();
        assert_eq!(told, (event_type, at.to_owned(), Some(entry)), "{kind:?}");
    }
    for kind in [moved("/secret", "/a/bc"), moved("/a/secret", "/secret")] {
        assert_eq!(told_below(kind), None);
    }
    let removed = |at: &str| {
        let mut kinds = every_kind().into_iter().map(|(kind, _)| kind);
        let mut kind = kinds.find(|kind| matches!(kind, ChangeKind::Removed { .. })).unwrap();
        if let ChangeKind::Removed { path: of, .. } = &mut kind {
            *of = path(at);
        }
        told_below(kind)
    };
    assert_eq!(removed("/a"), Some((NodeSoftDeleted, "/a/b".to_owned(), Some(none()))));
    assert_eq!(removed("/a/secret"), None);
    let (_, at, entry) = removed("/a/b/x").unwrap();
    assert!(at == "/a/b/x" && entry.is_some_and(|entry| entry.trash == Some(TrashId(3))));
}
