//! What a server knows of the others, and who of them lives.
//!
//! Made by the member's thread of each roll that it reads. A member lives while its record changes: the time of the last
//! change is when the reading began that found it, by this server's monotonic clock, so it is never earlier than the
//! change. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::time::Monotonic;
use fusion_store::{Claim, Member, Roll, ServerId, Stamp, Stamped, ViewId};

use super::Said;

/// A member that is gone is struck off after so many leases.
const STRUCK_AFTER: u32 = 20;

/// What was known at the last look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(super) members: BTreeMap<ServerId, Known1>,
    pub(super) claims: BTreeMap<ViewId, Stamped<Claim>>,
    /// The version of the roll.
    pub(super) stamp: Stamp,
}

/// What is known of a server.
#[derive(Debug, Clone)]
pub(super) struct Known1 {
    pub(super) member: Member,
    pub(super) said: Said,
    stamp: Stamp,
    /// When its record was seen to have changed.
    pub(super) changed_at: Monotonic,
    /// Its record has changed since this server reads: what it says is of now. Of one that was there at the first look
    /// it is not known when it was written.
    is_heard: bool,
    /// Since when it has lived without a pause, as far as this server has seen.
    live_since: Monotonic,
    pub(super) is_live: bool,
}

impl Known1 {
    /// Whether it lives still at a later time, as long as nothing was read meanwhile.
    pub(super) fn is_live_at(&self, now: Monotonic, lease: Duration) -> bool {
        self.is_live && now.since(self.changed_at) < lease
    }
}

/// The owner of a view, who lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) server: ServerId,
    pub(crate) address: String,
}

impl Known {
    /// After another reading, which began then. Gives those that are to be struck off, too.
    pub(super) fn after(
        &self,
        roll: Roll,
        begun: Monotonic,
        lease: Duration,
    ) -> (Self, Vec<(ServerId, Stamp)>) {
        let (mut members, mut gone) = (BTreeMap::new(), Vec::new());
        for Stamped { it: member, stamp } in roll.members {
            let known = self.members.get(&member.id).filter(|known| known.stamp == stamp);
            let changed_at = known.map_or(begun, |known| known.changed_at);
            let silent = begun.since(changed_at);
            if silent >= lease * STRUCK_AFTER {
                gone.push((member.id, stamp));
                continue;
            }
            let said = match known {
                Some(known) => known.said.clone(),
                None => Said::read(&member.said).unwrap_or_else(|error| {
                    tracing::warn!(server = %member.id, %error, "what another server says of its views");
                    Said::default()
                }),
            };
            let is_live = silent < lease;
            let is_heard = match self.members.get(&member.id) {
                Some(known) => known.is_heard || known.stamp != stamp,
                None => self.stamp != Stamp::default(),
            };
            let lived = self.live(member.id);
            let live_since = lived.map_or(begun, |known| known.live_since);
            members.insert(
                member.id,
                Known1 { member, said, stamp, changed_at, is_heard, live_since, is_live },
            );
        }
        let claims = roll.claims.into_iter().map(|claim| (claim.it.view.id, claim)).collect();
        (Self { members, claims, stamp: roll.stamp }, gone)
    }

    /// A server that lives.
    pub(super) fn live(&self, server: ServerId) -> Option<&Known1> {
        self.members.get(&server).filter(|known| known.is_live)
    }

    /// A server that lives and was heard: what it says is as old as `changed_at` tells, and no older.
    pub(super) fn heard(&self, server: ServerId) -> Option<&Known1> {
        self.live(server).filter(|known| known.is_heard)
    }

    /// Whether a server has lived for so long without a pause.
    pub(super) fn has_lived(&self, server: ServerId, span: Duration) -> bool {
        self.live(server).is_some_and(|known| known.changed_at.since(known.live_since) >= span)
    }

    /// Whether a server lives, and takes views.
    pub(super) fn takes(&self, server: ServerId) -> bool {
        self.live(server).is_some_and(|known| !known.said.draining)
    }

    /// Where a server that lives is reached.
    pub(super) fn address_of(&self, server: ServerId) -> Option<String> {
        self.live(server).map(|known| known.member.address.clone())
    }

    /// All servers but one.
    pub(super) fn others(&self, than: ServerId) -> impl Iterator<Item = ServerId> {
        self.members.keys().copied().filter(move |server| *server != than)
    }

    /// Whether some server has a view of this name, or nothing is known yet.
    pub(super) fn may_have(&self, view: &ViewName) -> bool {
        self.members.is_empty() || self.claims.values().any(|claim| claim.it.view.name == *view)
    }

    /// Who owns a view, if somebody does who lives.
    pub(crate) fn owner(&self, view: ViewId) -> Option<Owner> {
        let server = self.claims.get(&view)?.it.owner?;
        let address = self.live(server)?.member.address.clone();
        Some(Owner { server, address })
    }
}

#[cfg(test)]
mod tests {
    use fusion_store::ViewRef;
    use uuid::Uuid;

    use super::*;

    const LEASE: Duration = Duration::from_nanos(100);

    fn server(number: u128) -> ServerId {
        ServerId(Uuid::from_u128(number))
    }

    fn member(number: u128, stamp: u64) -> Stamped<Member> {
        let (address, version, said) = (format!("http://{number}"), String::new(), Vec::new());
        let it = Member { id: server(number), address, version, memory: 1, said };
        Stamped { it, stamp: Stamp(stamp) }
    }

    fn roll(members: Vec<Stamped<Member>>) -> Roll {
        let name = fusion_core::id::ViewName::new("v").unwrap();
        let view = ViewRef { id: ViewId(Uuid::from_u128(7)), name };
        let epoch = fusion_store::OwnerEpoch(1);
        let it = Claim { view, owner: Some(server(1)), epoch, next: None };
        Roll { members, claims: vec![Stamped { it, stamp: Stamp(1) }], stamp: Stamp(9) }
    }

    #[test]
    fn who_says_nothing_for_the_lease_is_dead_and_later_struck_off() {
        let view = ViewId(Uuid::from_u128(7));
        let look = |known: &Known, members, at| {
            known.after(roll(members), Monotonic::from_nanos(at), LEASE)
        };
        let (known, _) = look(&Known::default(), vec![member(1, 1), member(2, 2)], 1_000);
        assert_eq!(
            known.owner(view).unwrap().address,
            "http://1",
            "who was never seen has the lease"
        );
        assert!(known.heard(server(2)).is_none(), "nor is it known when it spoke");
        let (known, _) = look(&known, vec![member(1, 1), member(2, 3)], 1_099);
        assert!(known.owner(view).is_some());
        assert!(known.heard(server(1)).is_none() && known.heard(server(2)).is_some());
        let (came, _) = look(&known, vec![member(2, 3), member(3, 6)], 1_099);
        assert!(came.heard(server(3)).is_some(), "it came since the look before");
        let (known, gone) = look(&known, vec![member(1, 1), member(2, 3)], 1_100);
        assert!(known.owner(view).is_none() && known.live(server(2)).is_some() && gone.is_empty());
        let lives_at = |number, at| {
            known.members[&server(number)].is_live_at(Monotonic::from_nanos(at), LEASE)
        };
        assert!(lives_at(2, 1_198) && !lives_at(1, 1_100));
        assert!(!lives_at(2, 1_199), "nothing was read meanwhile");
        let (back, _) = look(&known, vec![member(1, 4), member(2, 3)], 1_150);
        assert!(back.owner(view).is_some(), "it says something again");
        let (long, short) = (Duration::from_nanos(99), Duration::from_nanos(1));
        assert!(back.has_lived(server(2), long) && !back.has_lived(server(1), short));
        let (known, gone) = look(&known, vec![member(1, 1), member(2, 5)], 3_000);
        assert_eq!((gone, known.members.len()), (vec![(server(1), Stamp(1))], 1));
    }

    #[test]
    fn a_view_may_be_there_until_it_is_known_who_has_which() {
        let (v, w) = (ViewName::new("v").unwrap(), ViewName::new("w").unwrap());
        let known = Known::default();
        assert!(known.may_have(&v) && known.may_have(&w), "nothing is known yet");
        let (known, _) = known.after(roll(vec![member(1, 1)]), Monotonic::default(), LEASE);
        assert!(known.may_have(&v) && !known.may_have(&w));
    }
}
