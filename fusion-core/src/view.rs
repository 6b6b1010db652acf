//! A view: the picture of one tree, and what it believes of the evidence.
//!
//! Owns the tree, the verdict on every piece of evidence, the readiness, and the revision. Called
//! by the one task that owns the view ([`View`] is the writer) and, beside it, by any number of
//! readers ([`ViewReader`]). The door is narrow: [`View::apply`] takes evidence, the time and the
//! witness, and yields numbered changes. Must never: wait, read a clock, or trust an agent's.

mod read;
mod settings;
mod status;
mod tree;

use std::sync::{Arc, RwLock};

use crate::change::{Cause, Change, ChangeKind};
use crate::evidence::{Evidence, Listing, ScanId, Source, Witness};
use crate::id::{AgentId, LeaderEpoch, Revision, SessionId};
use crate::path::{PathRef, TreePath};
use crate::stat::Stat;
use crate::time::ServerTime;

pub use read::{EntryInfo, FindCursor, ListedEntry, ReadError, Totals, ViewReader};
pub use settings::ViewSettings;
pub use status::{AgentReport, Coverage, ViewState, ViewStatus};

use status::Standing;
use tree::Tree;

/// Who leads a view, and under which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// The leading session.
    pub session: SessionId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

/// Why a row was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reject {
    /// Leader-only evidence from a session that does not lead.
    NotLeader,
    /// Leader-only evidence from an earlier leadership of the session.
    LeaderEpochStale,
}

/// What a piece of evidence was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It changed the view.
    Applied,
    /// It said what was known.
    Unchanged,
    /// Something newer is known.
    Stale,
    /// It told of something that is known to be gone.
    Ghost,
    /// It was refused.
    Rejected(Reject),
}

/// Something that the view wants done by an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// List these directories, not below them (leader, as AUDIT).
    Relist(Vec<TreePath>),
    /// Look at these names (leader).
    Probe(Vec<TreePath>),
}

/// The writer's side of a view; one per view.
#[derive(Debug)]
pub struct View {
    tree: Arc<RwLock<Tree>>,
    standing: Standing,
    leadership: Option<Leadership>,
}

impl View {
    /// An empty view.
    #[must_use]
    pub fn new(settings: ViewSettings) -> Self {
        let _ = settings;
        Self { tree: Arc::default(), standing: Standing::default(), leadership: None }
    }

    /// A handle for readers; cheap to clone, usable beside the writer.
    #[must_use]
    pub fn reader(&self) -> ViewReader {
        ViewReader::new(Arc::clone(&self.tree))
    }

    /// The number of the last change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        read::locked(&self.tree).revision
    }

    /// Says who leads from now on.
    pub fn set_leadership(&mut self, leadership: Option<Leadership>) {
        self.leadership = leadership;
    }

    /// Takes what an agent says of itself in a heartbeat.
    pub fn hear(&mut self, agent: &AgentId, report: &AgentReport, now: ServerTime) {
        self.standing.hear(agent, report, now);
    }

    /// Says that an agent's session is over; `ended` if by EndSession, else it was lost (R10).
    pub fn lose(&mut self, agent: &AgentId, ended: bool, now: ServerTime) {
        self.standing.lose(agent, ended, now);
    }

    /// How far the view can be believed now.
    #[must_use]
    pub fn status(&self, now: ServerTime) -> ViewStatus {
        self.standing.status(self.leadership.is_some(), self.revision(), now)
    }

    /// What the view wants done by its leader, at most `limit` paths; an order is repeated with
    /// back-off until evidence answers it.
    pub fn orders(&mut self, now: ServerTime, limit: usize) -> Vec<Order> {
        let _ = (now, limit);
        Vec::new()
    }

    /// Lets time pass: suspects become quiet, records expire. Changes are added to `changes`.
    pub fn tick(&mut self, now: ServerTime, changes: &mut Vec<Change>) {
        let _ = (now, changes);
    }

    /// When [`View::tick`] or [`View::orders`] next has something to do; `None` if nothing waits.
    #[must_use]
    pub fn next_wake_up(&self) -> Option<ServerTime> {
        None
    }

    /// Decides what a piece of evidence is worth and applies it (R1 to R4). Changes are numbered
    /// and added to `changes`. A listing gets one verdict: `Applied` if any of its rows was.
    pub fn apply(
        &mut self,
        witness: &Witness,
        evidence: &Evidence<'_>,
        now: ServerTime,
        changes: &mut Vec<Change>,
    ) -> Verdict {
        let tree = Arc::clone(&self.tree);
        let mut tree = tree.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut edit = Edit { tree: &mut tree, now, changes };
        match evidence {
            Evidence::Upsert { path, stat, .. } => edit.upsert(*path, stat, Cause::Realtime),
            Evidence::Remove { path, .. } => edit.remove(*path, Cause::Realtime),
            Evidence::Rename { from, to, stat, .. } => edit.rename(*from, *to, stat),
            Evidence::Listing(listing) => match self.may(witness, listing.source) {
                Err(reject) => Verdict::Rejected(reject),
                Ok(()) => edit.listing(listing),
            },
            Evidence::Probe { path, found, .. } => match found {
                Some(stat) => edit.upsert(*path, stat, Cause::Probe),
                None => edit.remove(*path, Cause::Probe),
            },
            Evidence::ScanStarted { scan, source, path, .. } => {
                self.scan_started(witness, *scan, *source, *path)
            }
            Evidence::ScanFinished { scan, complete, finished_at, .. } => {
                self.standing.scan_finished(witness.session, *scan, *complete, *finished_at);
                Verdict::Applied
            }
            Evidence::Unchanged { .. }
            | Evidence::Unreadable { .. }
            | Evidence::Root { .. }
            | Evidence::Overflow { .. } => Verdict::Unchanged,
        }
    }

    fn scan_started(
        &mut self,
        witness: &Witness,
        scan: ScanId,
        source: Source,
        path: PathRef<'_>,
    ) -> Verdict {
        if let Err(reject) = self.may(witness, source) {
            return Verdict::Rejected(reject);
        }
        self.standing.scan_started(witness.session, scan, source, path.is_root());
        Verdict::Applied
    }

    fn may(&self, witness: &Witness, source: Source) -> Result<(), Reject> {
        if !source.is_leader_only() {
            return Ok(());
        }
        match self.leadership {
            Some(leader) if leader.session == witness.session => {
                if leader.epoch == witness.epoch {
                    Ok(())
                } else {
                    Err(Reject::LeaderEpochStale)
                }
            }
            _ => Err(Reject::NotLeader),
        }
    }
}

/// One edit of the tree: the simple half of R1 to R4, by the order of arrival.
struct Edit<'a> {
    tree: &'a mut Tree,
    now: ServerTime,
    changes: &'a mut Vec<Change>,
}

impl Edit<'_> {
    fn note(&mut self, cause: Cause, kind: ChangeKind) {
        self.tree.revision.0 += 1;
        self.changes.push(Change { revision: self.tree.revision, cause, kind });
    }

    fn upsert(&mut self, path: PathRef<'_>, stat: &Stat, cause: Cause) -> Verdict {
        match self.tree.put(path, stat, self.now) {
            tree::Put::Unknown => Verdict::Stale,
            tree::Put::Same => Verdict::Unchanged,
            tree::Put::New => {
                self.note(cause, ChangeKind::Created { path: path.to_owned(), stat: *stat });
                Verdict::Applied
            }
            tree::Put::Changed(before) => {
                let path = path.to_owned();
                self.note(cause, ChangeKind::Modified { path, before, after: *stat });
                Verdict::Applied
            }
        }
    }

    fn remove(&mut self, path: PathRef<'_>, cause: Cause) -> Verdict {
        match self.tree.remove(path, self.now) {
            None => Verdict::Unchanged,
            Some(stat) => {
                self.note(cause, ChangeKind::Removed { path: path.to_owned(), stat });
                Verdict::Applied
            }
        }
    }

    fn rename(&mut self, from: PathRef<'_>, to: PathRef<'_>, stat: &Stat) -> Verdict {
        let known = self
            .tree
            .stat(from)
            .is_some_and(|known| known.inode == stat.inode && known.kind == stat.kind);
        let nested = from.is_within(to) || to.is_within(from);
        if known && !nested && self.tree.parent_is_known(to) {
            self.remove(to, Cause::RenamedOver);
            self.tree.rename(from, to, stat, self.now);
            let (from, to) = (from.to_owned(), to.to_owned());
            self.note(Cause::Realtime, ChangeKind::Moved { from, to, stat: *stat });
            return Verdict::Applied;
        }
        self.remove(from, Cause::Realtime);
        self.upsert(to, stat, Cause::Realtime)
    }

    fn listing(&mut self, listing: &Listing<'_>) -> Verdict {
        let cause = match listing.source {
            Source::Snapshot | Source::Discovery => Cause::Baseline,
            Source::Audit | Source::OnDemand => Cause::Audit,
        };
        if self.upsert(listing.dir, &listing.dir_stat, cause) == Verdict::Stale {
            return Verdict::Stale;
        }
        let before = self.changes.len();
        if listing.complete {
            for gone in self.tree.missing(listing, listing.started_at) {
                self.remove(gone.as_ref(), cause);
            }
        }
        for (name, stat) in listing.children.iter() {
            if let Ok(path) = listing.dir.to_owned().join(name)
                && !self.tree.touched_after(path.as_ref(), listing.started_at)
            {
                self.upsert(path.as_ref(), &stat, cause);
            }
        }
        if self.changes.len() > before { Verdict::Applied } else { Verdict::Unchanged }
    }
}
