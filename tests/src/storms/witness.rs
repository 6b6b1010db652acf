//! Who sees a storm from outside, on a thread of their own: a watcher, one that asks each server again and again, and
//! one that sends evidence and remembers what was acknowledged.
//!
//! They only call and write down; what it means is judged afterwards, in `checks`. Must never: send evidence anew that
//! was acknowledged, or forget what was told.

use std::time::{Duration, Instant};

use fusion_core::id::Revision;
use fusion_core::path::TreePath;
use fusion_proto::client::{CallError, lazy_channel};
use fusion_proto::pb;
use fusion_proto::pb::event_service_client::EventServiceClient;
use fusion_proto::pb::session_service_client::SessionServiceClient;
use fusion_proto::views::live::{EventFilter, WatchView, may_go_on};
use futures_util::future::join_all;
use uuid::Uuid;

use super::aside::{Aside, Book};
use super::fleet::{SERVERS, client, url, view};
use crate::bench::load;
use crate::process::now;

/// The view that evidence is sent to; nothing of it is on a disk.
pub const ACKNOWLEDGED: &str = "acknowledged";
/// Between two questions to a server.
const PACE: Duration = Duration::from_millis(100);
/// How long an answer is waited for before another server is asked.
const LIMIT: Duration = Duration::from_secs(2);
/// A watch that says nothing for so long is begun at another server; servers say something more often.
const SILENCE: Duration = Duration::from_secs(5);

/// A change that the watcher was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Instant,
    /// As the server numbers it.
    pub revision: Revision,
    /// The same whenever it is told.
    pub id: Uuid,
}

/// What a server said of the tree.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Which server.
    pub server: usize,
    /// When it was asked.
    pub asked: Instant,
    /// When it had answered.
    pub answered: Instant,
    /// Whether it said that the view is READY.
    pub ready: bool,
    /// As of which revision.
    pub revision: u64,
}

/// Evidence that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged {
    /// When it was sent for the first time.
    pub sent: Instant,
    /// When it was acknowledged.
    pub at: Instant,
    /// The server that was called.
    pub server: usize,
    /// The file that it told of.
    pub file: u64,
}

/// All that they saw so far.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// What the watcher was told, in that order.
    pub told: Vec<Told>,
    /// All up to this revision was told.
    pub through: Revision,
    /// The servers' answers.
    pub answers: Vec<Answer>,
    /// What was acknowledged.
    pub acknowledged: Vec<Acknowledged>,
    /// What must not happen, in words.
    pub trouble: Vec<String>,
}

/// The running thread.
pub type Witness = Aside<Seen>;

/// Begins: watches the tree after this revision.
///
/// # Panics
/// There is no thread.
#[must_use]
pub fn begin(after: Revision) -> Witness {
    Aside::begin_waiting("witness", move |book| async move {
        let eyes = Eyes(book);
        let probes = join_all((0..SERVERS).map(|server| eyes.ask(server)));
        tokio::join!(eyes.watch(after), probes, eyes.send());
    })
}

struct Eyes(Book<Seen>);

impl Eyes {
    /// Watches through one server after the other, each after what the one before told.
    async fn watch(&self, mut after: Revision) {
        for server in (0..SERVERS).cycle() {
            if !self.0.goes_on() {
                return;
            }
            let asked = WatchView {
                view: view("tree"),
                path: TreePath::root(),
                after: Some(after),
                filter: EventFilter::default(),
            };
            let mut client = client(server);
            let Ok(begun) = tokio::time::timeout(LIMIT, client.watch(&asked)).await else {
                continue;
            };
            let mut error = begun.as_ref().err().map(|error| (may_go_on(error), error.to_string()));
            if let Ok(mut watched) = begun {
                while self.0.goes_on() {
                    match tokio::time::timeout(SILENCE, watched.next()).await {
                        Ok(Ok(Some(part))) => after = self.note(part),
                        Ok(Err(broken)) => {
                            error = Some((may_go_on(&broken), broken.to_string()));
                            break;
                        }
                        Ok(Ok(None)) | Err(_) => break,
                    }
                }
            }
            if let Some((None, error)) = error {
                self.trouble(format!("the watch after {} on server {server}: {error}", after.0));
            }
            tokio::time::sleep(PACE).await;
        }
    }

    fn note(&self, part: fusion_proto::views::live::WatchedPart) -> Revision {
        let (at, mut seen) = (now(), self.0.notes());
        let told = |event: fusion_proto::views::live::Event| Told {
            at,
            revision: event.revision,
            id: event.id,
        };
        seen.told.extend(part.events.into_iter().map(told));
        seen.through = part.revision;
        part.revision
    }

    /// Asks one server what its view is, again and again.
    async fn ask(&self, server: usize) {
        let mut asking = client(server);
        while self.0.goes_on() {
            let asked = now();
            match tokio::time::timeout(LIMIT, asking.view(&view("tree"))).await {
                Ok(Ok(told)) => self.0.notes().answers.push(Answer {
                    server,
                    asked,
                    answered: now(),
                    ready: told.freshness.is_ready(),
                    revision: told.freshness.revision,
                }),
                Ok(Err(_)) => {}
                // The connection may be one that leads nowhere any more.
                Err(_) => asking = client(server),
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Sends one piece of evidence after the other, each until it is acknowledged.
    async fn send(&self) {
        let Some(mut sender) = self.begin().await else { return };
        let mut file = 1;
        while self.0.goes_on() {
            let sent = now();
            while self.0.goes_on() {
                match sender.push(file).await {
                    Ok(()) => {
                        let (at, server) = (now(), sender.server);
                        self.0.notes().acknowledged.push(Acknowledged { sent, at, server, file });
                        break;
                    }
                    Err(Some(trouble)) => return self.trouble(trouble),
                    Err(None) => sender.turn(),
                }
                tokio::time::sleep(PACE / 2).await;
            }
            file += 1;
            tokio::time::sleep(PACE / 2).await;
        }
    }

    async fn begin(&self) -> Option<Sender> {
        let asks = load::asks(ACKNOWLEDGED);
        for server in (0..SERVERS).cycle() {
            if !self.0.goes_on() {
                break;
            }
            let channel = lazy_channel(&url(server)).expect("our own address");
            let mut sessions = SessionServiceClient::new(channel);
            let begun = sessions.create_session(asks.clone());
            if let Ok(Ok(created)) = tokio::time::timeout(LIMIT, begun).await {
                let session = created.into_inner().session_id;
                return Some(Sender { server, session, spool: asks.spool_id });
            }
            tokio::time::sleep(PACE).await;
        }
        None
    }

    fn trouble(&self, text: String) {
        self.0.notes().trouble.push(text);
    }
}

/// Sends evidence to one server or another.
struct Sender {
    server: usize,
    session: String,
    spool: String,
}

impl Sender {
    fn turn(&mut self) {
        self.server = (self.server + 1) % SERVERS;
    }

    /// One new file under its own number. Not taken: with a reason if it must not be so, without one if nobody could.
    async fn push(&self, file: u64) -> Result<(), Option<String>> {
        let channel = lazy_channel(&url(self.server)).expect("our own address");
        let root = load::stat(pb::EntryKind::Directory, 1, 0);
        let upsert = |path: String, stat, parent| {
            let path = path.into_bytes().into();
            let upsert = pb::Upsert { path, stat: Some(stat), parent, atomic: true };
            load::evidence(pb::evidence::Evidence::Upsert(upsert))
        };
        let stat = load::stat(pb::EntryKind::File, 100 + file, 0);
        // The root is told each time: it costs a row, and nobody has listed it.
        let rows = vec![upsert("/".to_owned(), root, None), upsert(path(file), stat, Some(root))];
        let request = pb::PushEventBatchRequest {
            session_id: self.session.clone(),
            lane: pb::Lane::Realtime.into(),
            spool_id: self.spool.clone(),
            batch: Some(pb::EvidenceBatch { sequence: file, rows, ..Default::default() }),
        };
        let mut events = EventServiceClient::new(channel);
        let Ok(answer) = tokio::time::timeout(LIMIT, events.push_event_batch(request)).await else {
            return Err(None);
        };
        let told = match answer {
            Ok(answer) => answer.into_inner().acknowledgement.unwrap_or_default(),
            Err(status) if may_go_on(&CallError::from(status.clone())).is_some() => {
                return Err(None);
            }
            Err(status) => return Err(Some(format!("evidence was refused: {status}"))),
        };
        if told.through_sequence < file || !told.rejected.is_empty() {
            return Err(Some(format!("file {file} was answered with {told:?}")));
        }
        Ok(())
    }
}

/// Where a file of the evidence is.
#[must_use]
pub fn path(file: u64) -> String {
    format!("/file{file}")
}
