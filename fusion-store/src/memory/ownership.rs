//! Servers and claims in memory: for several servers in one process.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::StoreError;
use crate::ports::{
    Claim, Claimed, Member, Ownership, Roll, ServerId, Stamp, Stamped, ViewId, check_member,
};

/// Servers and claims, in memory.
#[derive(Debug, Default)]
pub struct MemoryOwnership {
    kept: Mutex<Kept>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Kept {
    members: BTreeMap<ServerId, Stamped<Member>>,
    claims: BTreeMap<ViewId, Stamped<Claim>>,
    last: Stamp,
    /// When a claim was written last.
    claimed: Stamp,
}

impl Kept {
    fn next(&mut self) -> Stamp {
        self.last.0 += 1;
        self.last
    }
}

impl MemoryOwnership {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ownership for MemoryOwnership {
    fn renew(&self, member: &Member) -> Result<Stamp, StoreError> {
        check_member(member)?;
        let mut kept = self.lock();
        let stamp = kept.next();
        kept.members.insert(member.id, Stamped { it: member.clone(), stamp });
        Ok(stamp)
    }

    fn strike(&self, server: ServerId, stamp: Stamp) -> Result<bool, StoreError> {
        let mut kept = self.lock();
        let is_there = kept.members.get(&server).is_some_and(|member| member.stamp == stamp);
        if is_there {
            kept.next();
            kept.members.remove(&server);
        }
        Ok(is_there)
    }

    fn claim(&self, claim: &Claim, expect: Option<Stamp>) -> Result<Claimed, StoreError> {
        let mut kept = self.lock();
        let there = kept.claims.get(&claim.view.id);
        if there.map(|there| there.stamp) != expect {
            return Ok(Claimed::Conflict(there.cloned()));
        }
        claim.may_follow(there.map(|there| &there.it))?;
        let stamp = kept.next();
        kept.claimed = stamp;
        kept.claims.insert(claim.view.id, Stamped { it: claim.clone(), stamp });
        drop(kept);
        self.news.notify_all();
        Ok(Claimed::Done(stamp))
    }

    fn forget(&self, view: ViewId) -> Result<(), StoreError> {
        let mut kept = self.lock();
        if kept.claims.remove(&view).is_some() {
            kept.claimed = kept.next();
            drop(kept);
            self.news.notify_all();
        }
        Ok(())
    }

    fn roll(&self) -> Result<Roll, StoreError> {
        let kept = self.lock();
        Ok(Roll {
            members: kept.members.values().cloned().collect(),
            claims: kept.claims.values().cloned().collect(),
            stamp: kept.last,
        })
    }

    fn wait(&self, after: Stamp, limit: Duration) -> Result<(), StoreError> {
        let is_old = |kept: &mut Kept| kept.claimed <= after;
        let waited = self.news.wait_timeout_while(self.lock(), limit, is_old);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}
