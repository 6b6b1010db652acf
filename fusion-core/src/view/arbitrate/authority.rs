//! R4 "First, who may", and the leader-only evidence of 4-consistency §1.

use crate::evidence::{Listing, Source, Witness};
use crate::time::ServerTime;
use crate::view::View;
use crate::view::verdict::Reject;

impl View {
    /// "what is leader-only from the view's leader with the current leader epoch".
    pub(super) fn must_lead(&self, by: &Witness) -> Result<(), Reject> {
        match self.leadership {
            Some(leader) if leader.session == by.session && leader.epoch == by.epoch => Ok(()),
            Some(leader) if leader.session == by.session => Err(Reject::LeaderEpochStale),
            _ => Err(Reject::NotLeader),
        }
    }

    /// R11: scans and probes of a root that is away yield no evidence.
    pub(super) fn must_be_there(&self, by: &Witness, at: ServerTime) -> Result<(), Reject> {
        if self.state.ledger.root.was_away(&by.agent, at) { Err(Reject::RootAway) } else { Ok(()) }
    }

    /// R4: SNAPSHOT and AUDIT from the leader, "ON_DEMAND from the session that the scan was given
    /// to; DISCOVERY from any".
    pub(super) fn may_list(
        &self,
        by: &Witness,
        listing: &Listing<'_>,
        started_at: ServerTime,
    ) -> Result<(), Reject> {
        match listing.source {
            Source::Snapshot | Source::Audit => self.must_lead(by)?,
            Source::OnDemand if !self.given.cover(by.session, listing.dir) => {
                return Err(Reject::NotAssigned);
            }
            Source::OnDemand | Source::Discovery => {}
        }
        if self.state.ledger.scans.get(by.session, listing.scan).is_some_and(|scan| scan.doubtful) {
            return Err(Reject::RootMismatch);
        }
        self.must_not_be_doubted(by)?;
        self.must_be_there(by, started_at)
    }

    /// R11: what an agent sees of storage that it saw to be another's is not taken, in whatever scan: a
    /// relist carries no identity that could disagree. One that agrees ends the doubt first.
    fn must_not_be_doubted(&self, by: &Witness) -> Result<(), Reject> {
        if self.state.ledger.root.doubts.contains_key(&by.agent) {
            return Err(Reject::RootMismatch);
        }
        Ok(())
    }

    /// Sentinel probes are the leader's: who claims to lead must. A probe without a leader epoch is
    /// one that somebody asked any agent for; the rules bear it as they bear an on-demand scan.
    pub(super) fn may_probe(&self, by: &Witness, at: ServerTime) -> Result<(), Reject> {
        if by.epoch.0 != 0 {
            self.must_lead(by)?;
        }
        self.must_not_be_doubted(by)?;
        self.must_be_there(by, at)
    }
}
