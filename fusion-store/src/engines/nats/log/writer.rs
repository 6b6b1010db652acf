//! The task that writes the log of a view: messages in order, one under way at a time.
//!
//! Each message says which number it must become, so nothing is ever stored twice or out of order. The
//! next one is sent only when it is known that the one before is there: of two under way the first could
//! be refused because another server's message has its number, and the second one then be taken behind
//! that. What is appended meanwhile gathers, and goes with the next message. When an acknowledgement
//! does not come, it is found out by reading what is the last message there: ours, and then it is stored;
//! the one before, and then it is sent again, the very same message under the same number; or somebody
//! else's, and then this log is closed. Must never: send other bytes under a number that it has sent
//! before, advance a ticket past what the engine acknowledged or was seen to have.

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
    /// Cut and not known to be stored, in order.
    ready: VecDeque<Outgoing>,
    /// The first of them was sent.
    sent: Option<Acknowledgement>,
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
        Self { nats, shared, losses, cutter, ready: VecDeque::new(), sent: None, fails: 0 }
    }

    /// Ends when the log is closed and nothing is left, or cannot be written then.
    pub(super) async fn run(mut self) {
        loop {
            let mut outcome = self.send().await;
            if outcome.is_ok() && self.sent.is_none() && self.shared.queue.closed().is_some() {
                return;
            }
            if outcome.is_ok() {
                outcome = match self.news().await {
                    News::Acknowledged(told) => told.map(|()| self.is_stored()),
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

    /// Sends the next message, unless one is under way or nothing waits.
    async fn send(&mut self) -> Result<(), StoreError> {
        if self.sent.is_some() {
            return Ok(());
        }
        if self.ready.is_empty() {
            self.ready.extend(self.cutter.cut(&self.shared.queue, self.nats.message_bytes()));
        }
        let Some(next) = self.ready.front() else { return Ok(()) };
        let (sequence, payload) = (next.sequence, next.payload.clone());
        let sent = self.shared.stream.publish(&self.shared.subject, sequence, payload).await?;
        let stream = self.shared.stream.clone();
        self.sent = Some(async move { stream.acknowledged(sequence, sent).await }.boxed());
        Ok(())
    }

    async fn news(&mut self) -> News {
        let Some(told) = &mut self.sent else {
            return tokio::select! {
                () = self.shared.queue.changed.notified() => News::More,
                _ = self.losses.changed() => News::Lost,
            };
        };
        tokio::select! {
            biased;
            told = told => News::Acknowledged(told),
            _ = self.losses.changed() => News::Lost,
        }
    }

    /// The message that was sent is stored.
    fn is_stored(&mut self) {
        self.sent = None;
        if let Some(first) = self.ready.pop_front() {
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
        self.sent = None;
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
        let is_ours =
            |sent: &mut Outgoing| sent.sequence == last.sequence && sent.head == last.head;
        if let Some(first) = self.ready.pop_front_if(is_ours) {
            self.shared.stored(&first);
        } else if extent.last > known || last.head.after != end {
            let view = self.shared.view.id;
            return Err(StoreError::NotNext { view, after: end, end: last.head.after });
        }
        Ok(())
    }
}
