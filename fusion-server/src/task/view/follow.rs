//! A view that another server owns: kept up by replay, on the same thread that will own it.
//!
//! The thread takes records as a thread of its own reads them, publishes what the owner says of the view as soon as it
//! has replayed as much ([`OwnerSays`]), and answers questions. Told to, it becomes the owner: it reads to the end of the
//! log and appends its epoch there; from then on it is [`super::thread`]'s. Readers and watchers notice nothing of it.
//! Must never: claim more than the owner said, or for longer than that is good.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::{LeaderEpoch, Revision};
use fusion_core::time::{Monotonic, ServerTime};
use fusion_core::view::{Coverage, ViewState};
use fusion_store::{
    Actor, ChangeLog, Origin, OwnerEpoch, ReadFrom, RecordHead, StoreError, StoredRecord, ViewRef,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::journal::lane_key;
use super::operate::NotOperated;
use super::tail::{Tailed, tail};
use super::thread::ViewTask;
use super::{Good, Published, Request};
use crate::cluster::{Cluster, Term};
use crate::stores::Stores;

/// Records that are taken before it is published what came of them.
const TAKEN: usize = 64;
/// Between two tries to append behind somebody whose record is not there to be read yet.
const AGAIN: Duration = Duration::from_millis(5);

/// What a view is to this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// There is no other server.
    Alone,
    /// Another one owns it, or nobody does.
    Follows,
    /// This one owns it, in a term of its lease.
    Owns(OwnerEpoch, Term),
}

/// What the owner of a view says of it, and what else a follower cannot know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OwnerSays {
    pub(crate) epoch: OwnerEpoch,
    /// What it says is as of this revision.
    pub(crate) revision: Revision,
    pub(crate) state: ViewState,
    pub(crate) reasons: Vec<String>,
    pub(crate) coverage: Coverage,
    pub(crate) horizon: Option<ServerTime>,
    /// The owner's server time when it said so.
    pub(crate) at: ServerTime,
    /// When this server heard it; not earlier than it was said.
    pub(crate) heard_at: Monotonic,
    /// Until when it is good.
    pub(crate) until: Monotonic,
}

/// That this server is to own the view.
pub(super) struct Own {
    pub(super) epoch: OwnerEpoch,
    pub(super) term: Term,
    pub(super) answer: oneshot::Sender<Result<(), NotOwned>>,
}

/// Why a server does not own a view that it claimed. It follows it still.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotOwned {
    /// A later owner has been at work already.
    #[error("the log has an owner of epoch {}", .0.0)]
    Outdated(OwnerEpoch),
    /// The log cannot be read or written.
    #[error("{0}")]
    Store(String),
}

/// What the thread has of the others, while it follows.
pub(super) struct Follower {
    pub(super) cluster: Cluster,
    pub(super) stores: Stores,
    pub(super) view: ViewRef,
    pub(super) orders: mpsc::Receiver<Own>,
    pub(super) owner: watch::Receiver<Option<OwnerSays>>,
    /// What the owner said that was replayed.
    pub(super) adopted: Option<OwnerSays>,
}

/// How following ended.
pub(super) enum Followed {
    /// The view is this server's.
    Owned,
    /// The task is told to end.
    Over,
}

impl ViewTask {
    /// Follows until the view is this server's.
    ///
    /// # Errors
    /// The view must be loaded anew: it is too far behind, or the log cannot be understood.
    pub(super) async fn follow(&mut self, follower: &mut Follower) -> Result<Followed, StoreError> {
        let mut tailed = self.tail(follower)?;
        let end = self.end.clone();
        loop {
            self.publish_followed(follower);
            let sleep = follower.until(self.clock.monotonic());
            tokio::select! {
                biased;
                () = end.cancelled() => return Ok(Followed::Over),
                Some(own) = follower.orders.recv() => {
                    // What it would read is read to the end of the log now.
                    drop(tailed);
                    let owned = self.own(follower, &own).await;
                    let is_owned = owned.is_ok();
                    let _ = own.answer.send(owned);
                    if is_owned {
                        return Ok(Followed::Owned);
                    }
                    tailed = self.tail(follower)?;
                }
                record = tailed.recv() => self.take_tailed(record, &mut tailed)?,
                changed = follower.owner.changed() => if changed.is_err() { return Ok(Followed::Over) },
                Some(request) = self.realtime.next() => self.answer_as_follower(request),
                Some(request) = self.scan.next() => self.answer_as_follower(request),
                Some(request) = self.asked.next() => self.answer_as_follower(request),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    fn tail(&self, follower: &Follower) -> Result<mpsc::Receiver<Tailed>, StoreError> {
        let log = Arc::clone(&follower.stores.log);
        tail(log, follower.view.clone(), self.journal.end().0)
    }

    fn take_tailed(
        &mut self,
        first: Option<Tailed>,
        tailed: &mut mpsc::Receiver<Tailed>,
    ) -> Result<(), StoreError> {
        let Some(first) = first else { return Err(StoreError::Closed) };
        self.pulse.begin();
        self.take_record(&first?)?;
        for _ in 1..TAKEN {
            let Ok(record) = tailed.try_recv() else { break };
            self.take_record(&record?)?;
        }
        self.pulse.end();
        Ok(())
    }

    fn take_record(&mut self, record: &StoredRecord) -> Result<(), StoreError> {
        self.journal.is_next(record)?;
        record.changes.iter().for_each(|change| self.view.replay(change));
        if let Some(applied) = &record.head.applied {
            self.lanes.set(lane_key(applied.lane.clone()), applied.sequence);
        }
        self.leads = self.leads.max(record.head.leader_epoch.unwrap_or_default());
        if let Origin::Owner(epoch) = record.head.origin {
            self.owner = self.owner.max(epoch);
        }
        self.journal.follow(record);
        Ok(())
    }

    /// What does not need an owner. All else was to be asked of the owner: who asked here learns nothing.
    fn answer_as_follower(&mut self, request: Request) {
        match request {
            Request::Ask(question) => question.put_to(&self.view),
            Request::InDoubt(path, answer) => {
                let _ = answer.send(self.view.in_doubt(path.as_ref(), self.owner_time()));
            }
            Request::Operate(operating) => operating.refuse(NotOperated::Trouble),
            Request::Open { .. } | Request::Push(..) => {}
        }
    }

    /// What may be due at the owner: later than its time if anything, so that nothing is taken for certain too early.
    fn owner_time(&self) -> ServerTime {
        self.clock.now().max(self.heard_through.unwrap_or_default())
    }

    fn publish_followed(&mut self, follower: &mut Follower) {
        follower.adopt(self.view.revision(), self.owner);
        let now = self.clock.now();
        let mut published = Published::of(&self.view, now);
        published.owner = self.owner;
        let status = &mut published.status;
        match &follower.adopted {
            Some(says) => {
                let passed = self.clock.monotonic().since(says.heard_at);
                let theirs = says.at.plus(passed);
                self.heard_through = Some(theirs.plus(follower.cluster.lease().good_for()));
                // Storage time now, as the owner reckons: by the owner's time.
                status.watermark = self.view.status(theirs).watermark;
                (status.state, status.coverage) = (says.state, says.coverage);
                status.reasons.clone_from(&says.reasons);
                status.horizon = says.horizon;
                published.good = Good::Until(says.until);
            }
            None => {
                if status.state == ViewState::Ready {
                    status.state = ViewState::Degraded;
                }
                status.coverage = Coverage::AuditOnly;
                status.reasons = vec!["its owner has not said yet how it is".to_owned()];
                status.horizon = None;
            }
        }
        let is_good = published.good.is_good(self.clock.monotonic());
        let state = match status.state {
            ViewState::Ready if !is_good => ViewState::Degraded,
            state => state,
        };
        self.epoch.store(self.leads.0, std::sync::atomic::Ordering::Release);
        self.state.send_if_modified(|known| std::mem::replace(known, state) != state);
        self.published.send_replace(published);
    }

    /// Becomes the owner: nothing that an earlier one appends comes after this.
    async fn own(&mut self, follower: &Follower, own: &Own) -> Result<(), NotOwned> {
        let store = |error: StoreError| NotOwned::Store(error.to_string());
        let (log, view) = (&follower.stores.log, follower.view.id);
        loop {
            // A log is appended to behind the end that it had when it was opened, and another server has appended since.
            log.open(&follower.view).map_err(store)?;
            self.catch_up(&**log, follower).map_err(store)?;
            if self.owner >= own.epoch {
                return Err(NotOwned::Outdated(self.owner));
            }
            let now = self.clock.now().max(self.view.time());
            let by = format!("server {}", follower.cluster.address());
            let head = RecordHead {
                actor: Some(Actor::Principal(by.into())),
                ..RecordHead::new(now, Origin::Owner(own.epoch))
            };
            let ticket = match log.append(view, self.journal.end().0, &head, &[]) {
                Ok(ticket) => tokio::select! {
                    durable = ticket.clone() => durable.map(|_| ticket),
                    () = self.end.cancelled() => Err(StoreError::Closed),
                },
                Err(error) => Err(error),
            };
            match ticket {
                Ok(ticket) => {
                    self.owner = own.epoch;
                    self.journal.owned(ticket);
                    break;
                }
                Err(StoreError::NotNext { .. }) => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(store(error)),
            }
        }
        self.begin_as_owner(follower, own.term);
        Ok(())
    }

    /// Takes what is in the log.
    fn catch_up(&mut self, log: &dyn ChangeLog, follower: &Follower) -> Result<(), StoreError> {
        for record in log.read(follower.view.id, ReadFrom::After(self.journal.end().0))? {
            self.take_record(&record?)?;
        }
        Ok(())
    }

    /// As a view that was loaded and is begun by a server that is alone.
    fn begin_as_owner(&mut self, follower: &Follower, term: Term) {
        let lease = follower.cluster.lease().clone();
        self.good = Good::While(lease, term);
        self.heard_through = None;
        self.epoch.store(self.leads.0, std::sync::atomic::Ordering::Release);
        follower.cluster.clock().at_least(self.view.time());
        self.commands.rewind(self.view.revision());
        self.whole.begin_anew(&self.view);
        let stored = follower.stores.blocks.contains(follower.view.id);
        self.flusher.own(stored.ok().flatten());
        self.publish();
    }
}

impl Follower {
    /// Takes over what the owner says, once as much is replayed as it says it of.
    fn adopt(&mut self, replayed: Revision, newest: OwnerEpoch) {
        let says = self.owner.borrow_and_update();
        match &*says {
            // A later owner is at work already.
            Some(says) if says.epoch < newest => {}
            Some(says) if says.revision <= replayed => self.adopted = Some(says.clone()),
            Some(_) => {}
            None => self.adopted = None,
        }
        drop(says);
        if self.adopted.as_ref().is_some_and(|adopted| adopted.epoch < newest) {
            self.adopted = None;
        }
    }

    /// For how long what was published is good.
    fn until(&self, now: Monotonic) -> Duration {
        let until = self.adopted.as_ref().map(|adopted| adopted.until.since(now));
        until.filter(|left| !left.is_zero()).unwrap_or(Duration::from_secs(60))
    }
}

/// The highest epoch of leaders that a view's thread has read of, for who is outside.
pub(super) fn epoch_of(shared: &std::sync::atomic::AtomicU64) -> LeaderEpoch {
    LeaderEpoch(shared.load(std::sync::atomic::Ordering::Acquire))
}
