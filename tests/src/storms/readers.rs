//! Readers of class TRUSTED and FRESH in a storm, on a thread of their own: one file after the other is written to the tree's
//! disk, and every server is asked again and again for all of them (TRUSTED) and for the last one (FRESH).
//!
//! They only write, ask and note; what it means is judged by [`super::promises`]. Must never: touch a file again, ask for
//! one before it is on the disk, or take for an answer what was none.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fusion_core::path::TreePath;
use fusion_core::time::ServerTime;
use fusion_proto::client::{CallError, lazy_channel};
use fusion_proto::convert::view::freshness_from_pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use fusion_proto::status::Refusal;
use fusion_proto::views::{EntryAnswer, ReadClass, ViewsClient};
use fusion_proto::{limits, pb};
use futures_util::future::{join_all, join3};
use tonic::transport::Channel;

use super::aside::{Aside, Book};
use super::fleet::{SERVERS, client, url, view};
use super::promises::{Fresh, Notes, Trusted};
use super::witness::Answer;
use crate::process::{now, wall_clock_nanos};

/// Where the files are in the tree: a folder that is there from the beginning, and that nobody else writes to.
pub const FOLDER: &str = "read";
/// Between two files, and between two questions of a class to a server.
const PACE: Duration = Duration::from_millis(200);
/// How long an answer of class TRUSTED is waited for, and one of class FRESH, for which an agent has to look first.
const TRUSTED_LIMIT: Duration = Duration::from_secs(2);
const FRESH_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks whether to end.
const LOOK: Duration = Duration::from_millis(20);

/// The running thread. Once it has ended no file is written any more.
pub type Readers = Aside<Notes>;

/// Begins, in the folder of that name in a tree.
///
/// # Panics
/// There is no thread.
#[must_use]
pub fn begin(tree: &Path) -> Readers {
    let folder = tree.join(FOLDER);
    Aside::begin_waiting("readers", |book| async move {
        let reader = Reader { book, folder };
        let trusted = join_all((0..SERVERS).map(|server| reader.ask_trusted(server)));
        let fresh = join_all((0..SERVERS).map(|server| reader.ask_fresh(server)));
        let all = join3(reader.write(), trusted, fresh);
        // What is asked still is not waited for.
        tokio::select! {
            _ = all => {}
            () = reader.stopped() => {}
        }
    })
}

struct Reader {
    book: Book<Notes>,
    folder: PathBuf,
}

impl Reader {
    async fn stopped(&self) {
        while self.book.goes_on() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Writes one file after the other.
    async fn write(&self) {
        for number in 0.. {
            drop(File::create_new(self.folder.join(name(number))).expect("a new file"));
            self.book.notes().written.push(wall_clock_nanos());
            tokio::time::sleep(PACE).await;
        }
    }

    /// Asks one server for all files, again and again.
    async fn ask_trusted(&self, server: usize) {
        let mut asking = trusting(server);
        loop {
            let request = pb::ListEntriesRequest {
                view: view("tree").to_string(),
                path: format!("/{FOLDER}"),
                page_size: i32::try_from(limits::PAGE_MAX).unwrap_or(i32::MAX),
                read_class: pb::ReadClass::Trusted.into(),
                ..Default::default()
            };
            let asked = now();
            match tokio::time::timeout(TRUSTED_LIMIT, asking.list_entries(request)).await {
                Ok(told) => {
                    let told = told.map_err(CallError::from);
                    match told.and_then(|told| trusted(server, asked, told.into_inner())) {
                        Ok(told) => self.book.notes().trusted.push(told),
                        Err(error) => self.refused(server, "TRUSTED", &error),
                    }
                }
                Err(_) => {
                    self.book.notes().unanswered += 1;
                    asking = trusting(server);
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// Asks one server for the file that was written last, again and again.
    async fn ask_fresh(&self, server: usize) {
        let demanding = || client(server).demanding(ReadClass::Fresh);
        let mut asking: ViewsClient = demanding();
        loop {
            let last = self.book.notes().written.len().checked_sub(1);
            if let Some(file) = last {
                let path = TreePath::new(path(file).into_bytes()).expect("a path");
                match tokio::time::timeout(FRESH_LIMIT, asking.entry(&view("tree"), &path)).await {
                    Ok(told) => match is_found(told) {
                        Ok(found) => self.book.notes().fresh.push(Fresh { server, file, found }),
                        Err(error) => self.refused(server, "FRESH", &error),
                    },
                    Err(_) => {
                        self.book.notes().unanswered += 1;
                        asking = demanding();
                    }
                }
            }
            tokio::time::sleep(PACE).await;
        }
    }

    /// A read that was not answered: for now, or for a reason that must not be.
    fn refused(&self, server: usize, class: &str, error: &CallError) {
        let is_for_now = match error {
            CallError::Refused(refusal) => refusal.retry_after().is_some(),
            error => error.is_lost(),
        };
        let mut notes = self.book.notes();
        if is_for_now {
            notes.refused += 1;
        } else {
            notes.trouble.push(format!("a {class} read at server {server}: {error}"));
        }
    }
}

fn trusting(server: usize) -> ViewServiceClient<Channel> {
    ViewServiceClient::new(lazy_channel(&url(server)).expect("our own address"))
}

/// What a server answered to a TRUSTED read.
fn trusted(
    server: usize,
    asked: Instant,
    told: pb::ListEntriesResponse,
) -> Result<Trusted, CallError> {
    let pb::ListEntriesResponse { entries, next_page_token, freshness, .. } = told;
    if !next_page_token.is_empty() {
        return Err(CallError::malformed("next_page_token", "there are too many files for a page"));
    }
    let freshness = freshness_from_pb(freshness.ok_or(CallError::missing("freshness"))?)?;
    let in_order = entries.iter().enumerate().take_while(|(file, it)| it.path == path(*file));
    let (ready, revision) = (freshness.is_ready(), freshness.revision);
    Ok(Trusted {
        answer: Answer { server, asked, answered: now(), ready, revision },
        at: wall_clock_nanos(),
        horizon: freshness.horizon.map(ServerTime::as_nanos),
        whole: in_order.count(),
    })
}

/// Whether the answer to a FRESH read has the entry; a refusal if it is none.
fn is_found(told: Result<EntryAnswer, CallError>) -> Result<bool, CallError> {
    match told {
        Ok(_) => Ok(true),
        Err(CallError::Refused(Refusal::PathNotFound { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The name of a file; as long as there are not more of them, they are in the order of their names.
fn name(file: usize) -> String {
    format!("{file:06}")
}

fn path(file: usize) -> String {
    format!("/{FOLDER}/{}", name(file))
}
