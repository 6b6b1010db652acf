//! Suspects, blind deletions and the trash as lists: below a path, a page at a time.
//!
//! Owns nothing. Called by the view's owner for whoever asks; each iterator begins where it is told,
//! so a page costs what is in it. Must never: begin at the beginning. Tested below.

use crate::change::TrashId;
use crate::id::AgentId;
use crate::path::PathRef;
use crate::time::ServerTime;

use super::View;
use super::confirm::EntryKey;
use super::read::EntryInfo;
use super::trash::TrashRecord;
use super::tree::Tree;

/// A suspect (R7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspect<'a> {
    /// Its path.
    pub path: PathRef<'a>,
    /// What is known of it.
    pub info: EntryInfo,
    /// When it is suspect no longer, if it stays as it is.
    pub quiet_at: ServerTime,
    /// Who saw it last by an event, and when; absent if nobody did lately.
    pub confirmed: Option<(&'a AgentId, ServerTime)>,
}

impl View {
    /// Suspects at a path and below it, by path bytes, those after a path.
    pub fn suspects_within<'a>(
        &'a self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Suspect<'a>> + use<'a> {
        let (tree, ledger): (&Tree, _) = (&self.state.tree, &self.state.ledger);
        ledger.suspects.within(path, after).filter_map(move |(path, quiet_at)| {
            let path = PathRef::new(path).ok()?;
            let (dir, name) = tree.slot(path)?;
            let info = tree.child(dir, name).map(|child| EntryInfo::of_child(&child))?;
            let confirmed = ledger.confirmations.get(EntryKey::new(dir.as_u64(), name));
            let confirmed = confirmed
                .and_then(|confirmed| Some((ledger.agents.agent(confirmed.agent)?, confirmed.at)));
            Some(Suspect { path, info, quiet_at, confirmed })
        })
    }

    /// Blind deletions at a path and below it, by path bytes, those after a path (R8).
    pub fn blind_deletions_within<'a>(
        &'a self,
        path: PathRef<'_>,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a TrashRecord> + use<'a> {
        self.state.ledger.trash.blind_within(path, after)
    }

    /// A record of the trash.
    #[must_use]
    pub fn trash_record(&self, id: TrashId) -> Option<&TrashRecord> {
        self.state.ledger.trash.get(id)
    }

    /// Whether a path waits to be listed again or looked at: what was found there is not settled.
    #[must_use]
    pub fn is_waiting(&self, path: PathRef<'_>) -> bool {
        let ledger = &self.state.ledger;
        ledger.relists.get(path).is_some() || ledger.probes.get(path).is_some()
    }

    /// R11: whether an operator accepts the root that comes next.
    #[must_use]
    pub fn root_accepted(&self) -> bool {
        self.state.settings.accept_root || self.state.ledger.root.accepted
    }
}
