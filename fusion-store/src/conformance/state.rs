//! What state must do.

use fusion_core::time::ServerTime;

use super::Reopen;
use crate::error::StoreError;
use crate::ports::{Expect, KEY_MAX, Put, Space, State, Swap, VALUE_MAX};

type Port = dyn State;

/// Everything that is asked of state. `make` makes an empty store.
///
/// # Panics
/// It does not conform.
pub fn state(make: &mut dyn FnMut() -> Box<dyn Reopen<Port>>) {
    what_is_put_is_there(&mut *make());
    many_are_put_at_once(&mut *make());
    swaps_go_by_versions(&mut *make());
    what_expired_is_not_there(&mut *make());
    scans_go_by_pages(&mut *make());
    one_of_many_swaps_wins(&mut *make());
}

fn at(nanos: i64) -> ServerTime {
    ServerTime::from_nanos(nanos)
}

fn what_is_put_is_there(store: &mut dyn Reopen<Port>) {
    let mut versions = Vec::new();
    for (number, space) in (0..).zip(Space::ALL) {
        let version = store.port().put(space, b"key", &[number], None).unwrap();
        versions.push(version);
    }
    let large = vec![7; VALUE_MAX];
    versions.push(store.port().put(Space::Job, &[255; KEY_MAX], &large, None).unwrap());
    assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "versions grow");
    store.reopen();
    let state = store.port();
    for (number, space) in (0..).zip(Space::ALL) {
        let item = state.get(space, b"key", at(0)).unwrap().unwrap();
        assert_eq!((item.value, item.version), (vec![number], versions[number as usize]));
        assert_eq!((item.key, item.expires_at), (b"key".to_vec(), None));
    }
    assert!(state.get(Space::Job, &[255; KEY_MAX], at(0)).unwrap().unwrap().value == large);
    let again = state.put(Space::Session, b"key", b"", None).unwrap();
    assert!(again > versions[5], "also after it was opened again");
    assert!(state.delete(Space::Session, b"key").unwrap());
    assert!(!state.delete(Space::Session, b"key").unwrap());
    for (key, value) in
        [(&b""[..], &b""[..]), (&[1; KEY_MAX + 1], b""), (b"k", &[0; VALUE_MAX + 1])]
    {
        let refused = state.put(Space::Job, key, value, None);
        assert!(matches!(refused, Err(StoreError::Refused { .. })));
    }
    store.reopen();
    assert_eq!(store.port().get(Space::Session, b"key", at(0)).unwrap(), None);
}

fn many_are_put_at_once(store: &mut dyn Reopen<Port>) {
    let put = |key: &[u8], value: &[u8], expires_at| Put {
        space: Space::Session,
        key: key.to_vec(),
        value: value.to_vec(),
        expires_at,
    };
    let before = store.port().put(Space::Session, b"b", b"0", Some(at(5))).unwrap();
    let puts = [put(b"a", b"1", None), put(b"b", b"2", Some(at(9))), put(b"a", b"3", None)];
    store.port().put_all(&puts).unwrap();
    store.port().put_all(&[]).unwrap();
    let refused = store.port().put_all(&[put(b"a", b"4", None), put(b"", b"", None)]);
    assert!(matches!(refused, Err(StoreError::Refused { .. })));
    store.reopen();
    let items = store.port().scan(Space::Session, b"", None, 9, at(6)).unwrap().items;
    let told: Vec<_> = items.iter().map(|it| (&it.key[..], &it.value[..])).collect();
    assert_eq!(told, [(&b"a"[..], &b"3"[..]), (b"b", b"2")], "in order, and all or none");
    assert!(items.iter().all(|item| item.version > before));
}

fn swaps_go_by_versions(store: &mut dyn Reopen<Port>) {
    let swap = |state: &Port, expect, value: &[u8], expires, now| {
        state.compare_and_swap(Space::Job, b"k", expect, value, expires, at(now)).unwrap()
    };
    let Swap::Done(first) = swap(store.port(), Expect::Absent, b"1", None, 0) else {
        unreachable!("nothing was there")
    };
    let Swap::Conflict(Some(there)) = swap(store.port(), Expect::Absent, b"2", None, 0) else {
        unreachable!("something was there")
    };
    assert_eq!((there.value.as_slice(), there.version), (&b"1"[..], first));
    store.reopen();
    let state = store.port();
    let Swap::Done(second) = swap(state, Expect::Version(first), b"3", Some(at(50)), 0) else {
        unreachable!("the version was the right one")
    };
    assert!(second > first);
    assert!(matches!(swap(state, Expect::Version(first), b"4", None, 0), Swap::Conflict(Some(_))));
    let gone = swap(state, Expect::Version(second), b"5", None, 50);
    assert_eq!(gone, Swap::Conflict(None), "what expired is not there");
    assert!(matches!(swap(state, Expect::Absent, b"6", None, 50), Swap::Done(_)));
    assert_eq!(state.get(Space::Job, b"k", at(50)).unwrap().unwrap().value, b"6");
}

fn what_expired_is_not_there(store: &mut dyn Reopen<Port>) {
    for number in 0..10_u8 {
        let expires = (number > 0).then(|| at(i64::from(number) * 10 - 50));
        store.port().put(Space::Audit, &[number], b"v", expires).unwrap();
    }
    store.port().put(Space::Audit, &[5], b"longer", Some(at(1000))).unwrap();
    store.reopen();
    let state = store.port();
    let keys = |now| {
        let page = state.scan(Space::Audit, b"", None, 100, at(now)).unwrap();
        page.items.iter().map(|item| item.key[0]).collect::<Vec<_>>()
    };
    assert_eq!(keys(-100), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(keys(10), [0, 5, 7, 8, 9]);
    assert_eq!(state.get(Space::Audit, &[6], at(10)).unwrap(), None);
    assert_eq!(state.expire(at(10), 3).unwrap(), 3);
    assert_eq!(state.expire(at(10), 100).unwrap(), 2);
    assert_eq!(state.expire(at(10), 100).unwrap(), 0);
    assert_eq!(keys(-100), [0, 5, 7, 8, 9], "swept is gone at any time");
    assert_eq!(state.get(Space::Audit, &[5], at(999)).unwrap().unwrap().value, b"longer");
    state.delete(Space::Audit, &[9]).unwrap();
    state.put(Space::Audit, &[8], b"stays", None).unwrap();
    assert_eq!(state.expire(at(2000), 100).unwrap(), 2, "7 and 5");
    assert_eq!(keys(2000), [0, 8]);
}

fn scans_go_by_pages(store: &mut dyn Reopen<Port>) {
    for key in ["a/1", "a/2", "a/3", "a/30", "a/4", "b/1", "a"] {
        store.port().put(Space::Session, key.as_bytes(), key.as_bytes(), None).unwrap();
    }
    store.port().put(Space::Idempotency, b"a/0", b"other", None).unwrap();
    store.port().put(Space::Session, &[255, 255], b"last", None).unwrap();
    store.reopen();
    let pages = |prefix: &[u8], limit| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.port().scan(Space::Session, prefix, after.as_deref(), limit, at(0));
            let page = page.unwrap();
            assert!(page.items.len() <= limit);
            after = page.items.last().map(|item| item.key.clone());
            found.extend(page.items.into_iter().map(|item| item.key));
            if !page.more {
                break found;
            }
        }
    };
    for limit in [1, 2, 100] {
        let expected = ["a/1", "a/2", "a/3", "a/30", "a/4"].map(|key| key.as_bytes().to_vec());
        assert_eq!(pages(b"a/", limit), expected);
        assert_eq!(pages(b"", limit).len(), 8);
        assert_eq!(pages(&[255], limit), [[255, 255]]);
        assert!(pages(b"c", limit).is_empty());
    }
    let page = store.port().scan(Space::Session, b"b", Some(b"a/4"), 9, at(0)).unwrap();
    assert_eq!(page.items.len(), 1, "a place before the prefix is its beginning");
}

fn one_of_many_swaps_wins(store: &mut dyn Reopen<Port>) {
    let state = store.port();
    let won: usize = std::thread::scope(|scope| {
        let swap = |value: u8| {
            let swapped =
                state.compare_and_swap(Space::Job, b"k", Expect::Absent, &[value], None, at(0));
            usize::from(matches!(swapped.unwrap(), Swap::Done(_)))
        };
        let all: Vec<_> = (0..8).map(|value| scope.spawn(move || swap(value))).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
}
