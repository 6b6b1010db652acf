//! What ownership must do.

use std::time::Duration;

use uuid::Uuid;

use super::Reopen;
use crate::error::StoreError;
use crate::ports::{
    Claim, Claimed, Member, OwnerEpoch, Ownership, Roll, SAID_MAX, ServerId, Stamp, Stamped,
    WORD_MAX,
};
use crate::sample;

type Port = dyn Ownership;

/// Everything that is asked of ownership. `make` makes an empty store.
///
/// # Panics
/// It does not conform.
pub fn ownership(make: &mut dyn FnMut() -> Box<dyn Reopen<Port>>) {
    members_come_live_and_go(&mut *make());
    claims_go_by_versions(&mut *make());
    epochs_only_grow(&mut *make());
    one_of_many_claims_wins(&mut *make());
    who_waits_for_a_claim_is_woken(&mut *make());
}

fn server(number: u128) -> ServerId {
    ServerId(Uuid::from_u128(number))
}

fn member(number: u128, said: &[u8]) -> Member {
    Member {
        id: server(number),
        address: format!("http://server-{number}:7700"),
        version: "1.2.3".to_owned(),
        memory: 8 << 30,
        said: said.to_vec(),
    }
}

fn claim(view: u64, owner: Option<u128>, epoch: u64) -> Claim {
    let owner = owner.map(server);
    Claim { view: sample::view(view), owner, epoch: OwnerEpoch(epoch), next: None }
}

fn done(claimed: Result<Claimed, StoreError>) -> Stamp {
    match claimed.unwrap() {
        Claimed::Done(stamp) => stamp,
        Claimed::Conflict(there) => unreachable!("{there:?}"),
    }
}

fn conflict(claimed: Result<Claimed, StoreError>) -> Option<Stamped<Claim>> {
    match claimed.unwrap() {
        Claimed::Conflict(there) => there,
        Claimed::Done(stamp) => unreachable!("{stamp:?}"),
    }
}

fn members_come_live_and_go(store: &mut dyn Reopen<Port>) {
    assert_eq!(store.port().roll().unwrap().members, []);
    let said = vec![7; SAID_MAX];
    let first = store.port().renew(&member(2, &said)).unwrap();
    let other = store.port().renew(&member(1, b"")).unwrap();
    let again = store.port().renew(&member(2, b"more")).unwrap();
    assert!(first < other && other < again, "versions grow");
    store.reopen();
    let roll = store.port().roll().unwrap();
    let told = |number, said: &[u8], stamp| Stamped { it: member(number, said), stamp };
    assert_eq!(roll.members, [told(1, b"", other), told(2, b"more", again)], "by id");
    assert!(roll.stamp >= again);
    assert!(!store.port().strike(server(2), first).unwrap(), "it has told of itself since");
    assert!(store.port().strike(server(2), again).unwrap());
    assert!(!store.port().strike(server(2), again).unwrap());
    assert!(!store.port().strike(server(9), again).unwrap());
    store.reopen();
    assert_eq!(store.port().roll().unwrap().members, [told(1, b"", other)]);
    assert!(store.port().roll().unwrap().stamp >= roll.stamp, "what is read never goes back");
    let back = store.port().renew(&member(2, b"")).unwrap();
    assert!(back > again, "also after it was struck off");
    let long = Member { address: "a".repeat(WORD_MAX + 1), ..member(1, b"") };
    for large in [long, member(1, &vec![0; SAID_MAX + 1])] {
        assert!(matches!(store.port().renew(&large), Err(StoreError::Refused { .. })));
    }
}

fn claims_go_by_versions(store: &mut dyn Reopen<Port>) {
    let mine = claim(1, Some(1), 1);
    assert_eq!(conflict(store.port().claim(&mine, Some(Stamp(1)))), None, "there is none");
    let first = done(store.port().claim(&mine, None));
    let other = done(store.port().claim(&claim(2, Some(2), 5), None));
    assert!(first < other);
    store.reopen();
    let there = Stamped { it: mine, stamp: first };
    assert_eq!(conflict(store.port().claim(&claim(1, Some(2), 2), None)), Some(there.clone()));
    let stale = store.port().claim(&claim(1, Some(2), 2), Some(other));
    assert_eq!(conflict(stale), Some(there));
    let taken = claim(1, Some(2), 2);
    let second = done(store.port().claim(&taken, Some(first)));
    assert!(second > other);
    let Roll { claims, stamp, .. } = store.port().roll().unwrap();
    assert_eq!(claims[0], Stamped { it: taken, stamp: second });
    assert_eq!(claims[1], Stamped { it: claim(2, Some(2), 5), stamp: other });
    assert!(claims.len() == 2 && stamp >= second);
    store.port().forget(sample::view(1).id).unwrap();
    store.port().forget(sample::view(1).id).unwrap();
    store.reopen();
    assert_eq!(store.port().roll().unwrap().claims.len(), 1);
    assert!(done(store.port().claim(&claim(1, Some(3), 3), None)) > second);
}

fn epochs_only_grow(store: &mut dyn Reopen<Port>) {
    let port = store.port();
    let refused = |claim: &Claim, expect| {
        let refused = port.claim(claim, expect);
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
    };
    refused(&claim(1, Some(1), 0), None);
    let mut stamp = done(port.claim(&claim(1, Some(1), 4), None));
    refused(&claim(1, Some(1), 3), Some(stamp));
    refused(&claim(1, Some(2), 4), Some(stamp));
    refused(&claim(1, None, 3), Some(stamp));
    // What may be: to say who is next, to give it away, to have it again, to be taken over.
    let next = Claim { next: Some(server(2)), ..claim(1, Some(1), 4) };
    let away = Claim { next: Some(server(2)), ..claim(1, None, 4) };
    for step in [next, away.clone(), claim(1, Some(2), 5), claim(1, Some(2), 6)] {
        stamp = done(port.claim(&step, Some(stamp)));
    }
    stamp = done(port.claim(&claim(1, None, 6), Some(stamp)));
    refused(&claim(1, Some(1), 6), Some(stamp));
    refused(&away, Some(stamp));
    let there = port.roll().unwrap().claims;
    assert_eq!(there, [Stamped { it: claim(1, None, 6), stamp }], "what is refused leaves nothing");
}

fn one_of_many_claims_wins(store: &mut dyn Reopen<Port>) {
    let port = store.port();
    let mut last = None;
    for round in 1..=20 {
        let wins: Vec<(u128, Stamp)> = std::thread::scope(|scope| {
            let tries: Vec<_> = (1..=4)
                .map(|by| scope.spawn(move || (by, port.claim(&claim(1, Some(by), round), last))))
                .collect();
            let tries = tries.into_iter().map(|tried| tried.join().unwrap());
            let won = tries.filter_map(|(by, claimed)| match claimed.unwrap() {
                Claimed::Done(stamp) => Some((by, stamp)),
                Claimed::Conflict(_) => None,
            });
            won.collect()
        });
        let [(by, stamp)] = wins[..] else { unreachable!("{wins:?} in round {round}") };
        let there = port.roll().unwrap().claims;
        assert_eq!(there, [Stamped { it: claim(1, Some(by), round), stamp }]);
        last = Some(stamp);
    }
}

fn who_waits_for_a_claim_is_woken(store: &mut dyn Reopen<Port>) {
    let port = store.port();
    let before = port.roll().unwrap().stamp;
    // Nothing comes: it ends by itself.
    port.wait(before, Duration::from_millis(10)).unwrap();
    let long = Duration::from_secs(600);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            // It may be woken for nothing.
            while port.roll().unwrap().claims.is_empty() {
                port.wait(before, long).unwrap();
            }
        });
        done(port.claim(&claim(1, Some(1), 1), None));
        waiting.join().unwrap();
    });
    // What was written before is not waited for.
    port.wait(before, long).unwrap();
}
