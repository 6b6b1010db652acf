//! Who owns the tree, written down from the engine itself, on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fusion_store::{OwnerEpoch, Ownership, Roll, ServerId, ViewId};

use super::aside::{Aside, Book};
use super::fleet::{Owner, SERVERS, url};
use crate::process::now;

/// Between two looks.
const PACE: Duration = Duration::from_millis(50);

/// What a view's claim was, and since when.
pub type Claims = Vec<(Instant, Owner)>;

/// The running thread.
#[derive(Debug)]
pub struct Clerk(Aside<Claims>);

impl Clerk {
    /// Begins.
    ///
    /// # Panics
    /// There is no thread. The thread does, and with it [`Clerk::end`], if an epoch has two owners.
    #[must_use]
    pub fn begin(ownership: Arc<impl Ownership + 'static>) -> Self {
        Self(Aside::begin("clerk", move |book: Book<Claims>| {
            let mut owners = BTreeMap::new();
            while book.goes_on() {
                // An engine that is away says nothing; nobody owns anything new meanwhile.
                if let Ok(roll) = ownership.roll() {
                    one_owner_for_each(&roll, &mut owners);
                    let owner = owner(&roll, "tree");
                    let mut claims = book.notes();
                    if let Some(owner) =
                        owner.filter(|now| claims.last().map(|it| it.1) != Some(*now))
                    {
                        claims.push((now(), owner));
                    }
                }
                std::thread::sleep(PACE);
            }
        }))
    }

    /// Ends it; gives what was written.
    ///
    /// # Panics
    /// An epoch had two owners, or came after a larger one.
    #[must_use]
    pub fn end(self) -> Claims {
        let claims = self.0.end();
        let epochs: Vec<_> = claims.iter().map(|(_, owner)| owner.epoch).collect();
        assert!(epochs.is_sorted(), "epochs went back: {epochs:?}");
        claims
    }
}

fn one_owner_for_each(roll: &Roll, owners: &mut BTreeMap<(ViewId, OwnerEpoch), ServerId>) {
    for claim in &roll.claims {
        let Some(owner) = claim.it.owner else { continue };
        let first = *owners.entry((claim.it.view.id, claim.it.epoch)).or_insert(owner);
        assert_eq!(first, owner, "the owner of {:?} in epoch {}", claim.it.view, claim.it.epoch.0);
    }
}

/// Who owns a view, by its claim.
#[must_use]
pub fn owner(roll: &Roll, view: &str) -> Option<Owner> {
    let claim = roll.claims.iter().find(|claim| claim.it.view.name.as_str() == view)?;
    let member = roll.members.iter().find(|member| Some(member.it.id) == claim.it.owner);
    let server = member.and_then(|it| (0..SERVERS).find(|one| url(*one) == it.it.address));
    Some(Owner { epoch: claim.it.epoch.0, server })
}
