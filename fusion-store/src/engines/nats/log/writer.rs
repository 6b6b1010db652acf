//! The task that writes the log of a view: messages in order, several under way at once.
//!
//! Each message says which number it must become; so what follows one that was lost or refused is
//! refused as well, and nothing is ever stored twice or out of order. When an acknowledgement does
//! not come, it is found out by reading what is the last message there: one of ours, and then all
//! up to it is stored, and the rest is sent again, the very same messages under the same numbers; or
//! somebody else's, and then this log is closed. Must never: send other bytes under a number that it
//! has sent before, advance a ticket past what the engine acknowledged or was seen to have.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::message::Message;
use super::queue::{Cutter, Outgoing};
use super::view::Shared;
use crate::engines::nats::Nats;
use crate::engines::nats::stream::ASK;
use crate::error::StoreError;
use crate::ports::Health;

/// Messages under way at most.
const UNDER_WAY: usize = 16;
/// While so many are under way, only full ones follow: so what is small gathers.
const SMALL: usize = 2;
/// The first and the longest wait before the engine is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What comes of a message that was sent.
type Acknowledgement = BoxFuture<'static, Result<(), StoreError>>;

/// Writes the log of one view.
pub(super) struct Writer {
    nats: Arc<Nats>,
    shared: Arc<Shared>,
    losses: watch::Receiver<u64>,
    cutter: Cutter,
    /// Cut and not sent, or to be sent again.
    ready: VecDeque<Outgoing>,
    /// Sent and not acknowledged, in order.
    sent: VecDeque<(Outgoing, Acknowledgement)>,
    fails: u32,
}

/// What the writer waits for.
enum News {
    Acknowledged(Result<(), StoreError>),
    More,
    Lost,
}

impl Writer {
    pub(super) fn new(nats: Arc<Nats>, shared: Arc<Shared>, cutter: Cutter) -> Self {
        let losses = nats.losses();
        let (ready, sent) = (VecDeque::new(), VecDeque::new());
        Self { nats, shared, losses, cutter, ready, sent, fails: 0 }
    }

    /// Ends when the log is closed and nothing is left, or cannot be written then.
    pub(super) async fn run(mut self) {
        loop {
            let mut outcome = self.send().await;
            if outcome.is_ok() && self.sent.is_empty() && self.shared.queue.closed().is_some() {
                return;
            }
            if outcome.is_ok() {
                outcome = match self.news().await {
                    News::Acknowledged(told) => told.map(|()| self.first_is_stored()),
                    News::Lost => {
                        Err(self.shared.stream.odd("write to", "the connection was lost"))
                    }
                    News::More => Ok(()),
                };
            }
            if let Err(error) = outcome
                && !self.recover(error).await
            {
                return;
            }
        }
    }

    /// Sends what there is room for.
    async fn send(&mut self) -> Result<(), StoreError> {
        while self.sent.len() < UNDER_WAY {
            if self.ready.is_empty() {
                let (bytes, full) = (self.nats.message_bytes(), self.sent.len() >= SMALL);
                self.ready.extend(self.cutter.cut(&self.shared.queue, bytes, full));
            }
            let Some(next) = self.ready.front() else { return Ok(()) };
            let (sequence, payload) = (next.sequence, next.payload.clone());
            let sent = self.shared.stream.publish(&self.shared.subject, sequence, payload).await?;
            let stream = self.shared.stream.clone();
            let told = async move { stream.acknowledged(sequence, sent).await }.boxed();
            self.sent.extend(self.ready.pop_front().map(|next| (next, told)));
        }
        Ok(())
    }

    async fn news(&mut self) -> News {
        let changed = self.shared.queue.changed.notified();
        let Some((_, told)) = self.sent.front_mut() else {
            return tokio::select! {
                () = changed => News::More,
                _ = self.losses.changed() => News::Lost,
            };
        };
        tokio::select! {
            biased;
            told = told => News::Acknowledged(told),
            _ = self.losses.changed() => News::Lost,
            () = changed => News::More,
        }
    }

    /// The first message that was sent is stored.
    fn first_is_stored(&mut self) {
        if let Some((first, _)) = self.sent.pop_front() {
            self.shared.stored(&first);
        }
        if self.fails > 0 {
            self.fails = 0;
            self.shared.set_health(Health::Well);
        }
    }

    /// Something failed: finds out what is stored, until that is known; whether the log goes on.
    async fn recover(&mut self, mut error: StoreError) -> bool {
        // What is under way is the same under the same number as what is sent again.
        let under_way: Vec<_> = self.sent.drain(..).map(|(outgoing, _)| outgoing).collect();
        under_way.into_iter().rev().for_each(|outgoing| self.ready.push_front(outgoing));
        loop {
            tracing::debug!(view = %self.shared.view.name, %error, "the log cannot be written");
            self.shared.set_health(Health::Failing(error.clone()));
            let is_last = self.shared.queue.closed().is_some();
            if is_last && self.fails > 0 {
                self.shared.progress.close(error);
                return false;
            }
            if self.fails > 0 {
                self.pause().await;
            }
            self.fails = self.fails.saturating_add(1);
            self.losses.mark_unchanged();
            match self.find_stored().await {
                Ok(()) if self.ready.is_empty() => {
                    self.fails = 0;
                    self.shared.set_health(Health::Well);
                    return true;
                }
                Ok(()) => return true,
                Err(fenced @ StoreError::NotNext { .. }) => {
                    self.shared.fence(fenced);
                    return false;
                }
                Err(again) => error = again,
            }
        }
    }

    /// Waits before the next try, or until the log is closed.
    async fn pause(&mut self) {
        let span = RETRY.0.saturating_mul(1 << self.fails.min(16)).min(RETRY.1);
        let closed = async {
            while self.shared.queue.closed().is_none() {
                self.shared.queue.changed.notified().await;
            }
        };
        // Either way it is tried again.
        let _ = tokio::time::timeout(span, closed).await;
    }

    /// Looks what the last message is, and takes as stored what is up to it.
    ///
    /// A leader that was cut off from the others can say less than is stored, so less is no answer;
    /// and what it says is no more than what was stored once.
    async fn find_stored(&mut self) -> Result<(), StoreError> {
        let stream = self.shared.stream.within(ASK * 2);
        let (known, end) = self.shared.written();
        let extent = stream.extent().await?;
        let extent = extent.ok_or_else(|| stream.odd("write to", "it is gone"))?;
        if extent.last < known {
            let why = format!("it ends at message {}, and had {known}", extent.last);
            return Err(stream.odd("write to", &why));
        }
        if extent.last == 0 {
            return Ok(());
        }
        let stored = stream.get(extent.last).await?;
        let stored = stored.ok_or_else(|| stream.odd("read from", "its last message is gone"))?;
        let last = Message::of(stored.sequence, stored.payload, self.shared.view.id);
        let last = last.map_err(self.shared.corrupt(extent.last))?;
        let ours = self
            .ready
            .iter()
            .any(|outgoing| outgoing.sequence == last.sequence && outgoing.head == last.head);
        if !ours && (extent.last > known || last.head.after != end) {
            let view = self.shared.view.id;
            return Err(StoreError::NotNext { view, after: end, end: last.head.after });
        }
        while let Some(first) = self.ready.pop_front_if(|first| first.sequence <= last.sequence) {
            self.shared.stored(&first);
        }
        Ok(())
    }
}
