//! Where a long answer goes, and how it ends.
//!
//! An answer that was cut off must say so: without a status of its own the stream would end with OK, and
//! the client would take a part for the whole. So there is always room for how it ends, whatever waits
//! for the client.

use tokio::sync::mpsc;
use tonic::Status;

use super::{Services, draining};

/// Messages of one answer on their way to the client.
pub(super) struct Out<T> {
    out: mpsc::Sender<Result<T, Status>>,
    end: Option<mpsc::OwnedPermit<Result<T, Status>>>,
}

/// The client is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl<T: Send + 'static> Out<T> {
    /// An answer of which so many messages may wait for the client.
    pub(super) fn new(queue: usize) -> (Self, mpsc::Receiver<Result<T, Status>>) {
        let (out, answer) = mpsc::channel(queue + 1);
        // An empty queue has room.
        let end = out.clone().try_reserve_owned().ok();
        (Self { out, end }, answer)
    }

    /// Hands over a message, as soon as there is room.
    pub(super) async fn send(&self, message: T) -> Result<(), Gone> {
        self.out.send(Ok(message)).await.map_err(|_| Gone)
    }

    /// Hands over a message if there is room: a client that is slow does without it.
    pub(super) fn offer(&self, message: T) {
        let _ = self.out.try_send(Ok(message));
    }

    /// Tells until all is told, the client is gone or the server goes down, and ends the answer; what is
    /// on the way arrives first.
    pub(super) async fn tell<E: Into<Status>>(
        self,
        services: &Services,
        telling: impl AsyncFnOnce(&Self) -> Result<(), E>,
    ) {
        let told = tokio::select! {
            biased;
            () = services.draining.cancelled() => Err(draining().into()),
            // Who has gone takes nothing any more: what is looked for has no other use.
            () = self.out.closed() => Ok(()),
            told = telling(&self) => told.map_err(Into::into),
        };
        if let (Err(status), Some(end)) = (told, self.end) {
            drop(end.send(Err(status)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_room_for_the_end_of_an_answer_that_nobody_reads() {
        let (out, mut answer) = Out::new(2);
        out.send(1).await.unwrap();
        out.offer(2);
        out.offer(3);
        drop(out.end.unwrap().send(Err(draining().into())));
        drop(out.out);
        assert_eq!(answer.recv().await.unwrap().unwrap(), 1);
        assert_eq!(answer.recv().await.unwrap().unwrap(), 2);
        let end = answer.recv().await.unwrap().unwrap_err();
        assert_eq!(end.code(), tonic::Code::Unavailable);
        assert!(answer.recv().await.is_none());
    }
}
