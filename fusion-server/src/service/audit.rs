//! Audit records: who asked for which change or administrative act, and what came of it.
//!
//! Owns the records in the store, which are added and expire and never change. Called by the edge, around
//! the handlers of changing calls ([`crate::grpc`]), never by them, and by who lists them. A record is left
//! to the saver together with all else that is written at that time. While the disk is away so many may
//! wait; then changing calls are refused before anything is done ([`Audit::room`]): no change without its
//! record. Must never: keep a credential or an idempotency key. Tested in `tests/grpc/audit.rs`.

mod denied;
mod record;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fusion_core::id::CorrelationId;
use fusion_core::path::notation;
use fusion_core::session::Principal;
use fusion_core::time::{Clock, ServerTime};
use fusion_proto::convert::audit::{
    AuditOutcome, AuditRecord, AuditTarget, ListAuditRecords, ValueChange,
};
use fusion_proto::limits;
use fusion_proto::status::Refusal;
use fusion_store::{Item, Put, Space, State, StoreError};
use uuid::{Builder, Uuid};

use self::denied::Denials;
pub(crate) use self::record::check;
use super::internal;
use super::paging::{PageOf, time_field};
use super::views::PageOfRows;
use crate::ids::Ids;
use crate::ops::metrics::Metrics;
use crate::stores::{RecordError, SavePoint, Saver, unwritten_yet};

/// Records that may wait for the disk.
const UNWRITTEN: usize = 10_000;
/// Records that one call looks at, about, and those that are read at a time.
const LOOKED: usize = 10_000;
const READ: usize = 500;
/// Bytes of a page after which it ends.
const PAGE_BYTES: usize = limits::MESSAGE_BYTES / 2;
/// Longest text of a record, in bytes: the longest path.
const TEXT: usize = limits::PATH_TEXT_MAX;
/// Most changes of a record, and the longest value of one in bytes.
const CHANGES: usize = 32;
const VALUE: usize = 256;

/// Keeps and lists audit records; a cheap handle.
#[derive(Clone)]
pub(crate) struct Audit {
    shared: Arc<Shared>,
}

/// What it is made with.
pub(crate) struct AuditDeps {
    pub(crate) state: Arc<dyn State>,
    pub(crate) saver: Saver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) metrics: Metrics,
    /// Tells pages of this server from those of another.
    pub(crate) server: Uuid,
    /// How long a record is kept.
    pub(crate) ttl: Duration,
}

struct Shared {
    deps: AuditDeps,
    /// Orders records of the same time.
    made: AtomicU64,
    /// Those that were made and are not yet written.
    unwritten: AtomicUsize,
    /// Locked for one look; nothing is locked under it.
    denials: Mutex<Denials>,
}

/// A call that is over.
#[derive(Debug, Clone)]
pub(crate) struct EndedCall {
    /// When it came.
    pub(crate) asked_at: ServerTime,
    pub(crate) principal: Principal,
    pub(crate) method: &'static str,
    pub(crate) target: AuditTarget,
    pub(crate) version: u64,
    pub(crate) correlation: Option<CorrelationId>,
    pub(crate) key_digest: String,
    pub(crate) resumed: bool,
    /// The name of its code.
    pub(crate) code: &'static str,
    pub(crate) reason: String,
    pub(crate) changes: Vec<ValueChange>,
}

impl Audit {
    pub(crate) fn new(deps: AuditDeps) -> Self {
        let (made, unwritten, denials) = Default::default();
        Self { shared: Arc::new(Shared { deps, made, unwritten, denials }) }
    }

    /// The time, for when a call came.
    pub(crate) fn now(&self) -> ServerTime {
        self.shared.deps.clock.now()
    }

    /// Whether there is room for the record of a call that is to begin.
    ///
    /// # Errors
    /// STORE_UNAVAILABLE: too many wait for the disk.
    pub(crate) fn room(&self) -> Result<(), Refusal> {
        let unwritten = self.shared.unwritten.load(Ordering::Relaxed);
        if unwritten < UNWRITTEN { Ok(()) } else { Err(unwritten_yet()) }
    }

    /// Whether to record a call that was denied; if so, how many of the same principal and method were not
    /// since the last that was.
    pub(crate) fn records_denial(
        &self,
        principal: &Principal,
        method: &'static str,
    ) -> Option<u64> {
        let now = self.shared.deps.clock.monotonic();
        let mut denials = self.shared.denials.lock().unwrap_or_else(PoisonError::into_inner);
        self.room().ok().and_then(|()| denials.next(principal, method, now))
    }

    /// The record of a call that is over now, to be written: by [`Audit::leave`], or together with
    /// something else and then told by [`Audit::left`].
    pub(crate) fn record(&self, call: EndedCall) -> Put {
        let AuditDeps { clock, ids, metrics, ttl, .. } = &self.shared.deps;
        let time = clock.now();
        metrics.audit_records.with_label_values(&[call.method, call.code]).inc();
        let place = self.shared.made.fetch_add(1, Ordering::Relaxed);
        self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
        let AuditTarget { view, path, id: target } = call.target;
        let record = AuditRecord {
            id: id(time, ids.draw()),
            time,
            asked_at: call.asked_at,
            principal: call.principal,
            method: call.method.to_owned(),
            target: AuditTarget {
                view: clipped(view, TEXT),
                path: clipped(path, TEXT),
                id: clipped(target, TEXT),
            },
            version: call.version,
            correlation: call.correlation,
            key_digest: call.key_digest,
            resumed: call.resumed,
            code: call.code.to_owned(),
            reason: call.reason,
            changes: call.changes.into_iter().take(CHANGES).map(clipped_change).collect(),
        };
        Put {
            space: Space::Audit,
            key: record::key(time, place, record.id),
            value: record::to_bytes(&record),
            expires_at: Some(time.plus(*ttl)),
        }
    }

    /// Leaves a record to be written.
    pub(crate) fn leave(&self, record: Put) -> SavePoint {
        let point = self.shared.deps.saver.put_all([record]);
        self.left();
        point
    }

    /// A record was left to be written.
    pub(crate) fn left(&self) {
        let shared = Arc::clone(&self.shared);
        self.shared.deps.saver.then(move || {
            shared.unwritten.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Waits until a record that was left is written. A disk that is away does not take back what was
    /// done: the record is written when it is there again, and the log says so.
    pub(crate) async fn written(&self, point: SavePoint) {
        if let Err(refusal) = self.shared.deps.saver.written(point).await {
            tracing::error!(%refusal, "an audit record is not written yet");
        }
    }

    /// A page of records, the newest first.
    ///
    /// # Errors
    /// A token of another list; STORE_UNAVAILABLE.
    pub(crate) async fn list(
        &self,
        asked: ListAuditRecords,
    ) -> Result<PageOfRows<AuditRecord>, Refusal> {
        let AuditDeps { state, clock, ids, server, .. } = &self.shared.deps;
        let pages = page_of(*server, &asked);
        let from = pages.key(&asked.page.token)?;
        let from = from.or_else(|| asked.until.map(record::key_before));
        let (state, now) = (Arc::clone(state), clock.now());
        let reading = Reading { path: asked.path.as_ref().map(text_of), asked, now };
        let read = tokio::task::spawn_blocking(move || reading.page(&*state, from)).await;
        let (rows, next) =
            read.map_err(|error| internal(&**ids, &error))?.map_err(|error| match error {
                Unread::Store(error) => {
                    tracing::error!(%error, "audit records cannot be read from the store");
                    unwritten_yet()
                }
                Unread::Record(error) => internal(&**ids, &error),
            })?;
        Ok((rows, next.map(|key| pages.token(&key)).unwrap_or_default()))
    }
}

/// The pages of a request.
fn page_of(server: Uuid, asked: &ListAuditRecords) -> PageOf {
    let ListAuditRecords {
        principal,
        method,
        view,
        path,
        correlation,
        outcome,
        since,
        until,
        page: _,
    } = asked;
    let outcome = match outcome {
        None => 0,
        Some(AuditOutcome::Done) => 1,
        Some(AuditOutcome::Failed) => 2_u8,
    };
    PageOf::new(
        server,
        &[
            b"audit",
            principal.as_bytes(),
            method.as_bytes(),
            view.as_ref().map_or(&[][..], |view| view.as_str().as_bytes()),
            path.as_ref().map_or(&[][..], |path| path.as_bytes()),
            &[u8::from(path.is_some()), outcome],
            correlation.as_ref().map_or(&[][..], |id| id.as_str().as_bytes()),
            &time_field(*since),
            &time_field(*until),
        ],
    )
}

/// A page that is being read.
struct Reading {
    asked: ListAuditRecords,
    /// The path that is asked for, as records have it.
    path: Option<String>,
    now: ServerTime,
}

/// Why a page cannot be read.
enum Unread {
    Store(StoreError),
    Record(RecordError),
}

impl Reading {
    /// Reads until the page is full or enough was looked at; then also after which key the next one begins.
    fn page(
        &self,
        state: &dyn State,
        mut after: Option<Vec<u8>>,
    ) -> Result<(Vec<AuditRecord>, Option<Vec<u8>>), Unread> {
        let (mut rows, mut bytes, mut looked) = (Vec::new(), 0, 0);
        loop {
            let page = state.scan(Space::Audit, b"", after.as_deref(), READ, self.now);
            let page = page.map_err(Unread::Store)?;
            for Item { key, value, .. } in page.items {
                if rows.len() >= self.asked.page.size || bytes > PAGE_BYTES || looked >= LOOKED {
                    return Ok((rows, after));
                }
                looked += 1;
                after = Some(key);
                let record = record::from_bytes(&value).map_err(Unread::Record)?;
                if self.asked.since.is_some_and(|since| record.time < since) {
                    return Ok((rows, None));
                }
                if self.wants(&record) {
                    // No text is longer in a message than in what is stored.
                    bytes += value.len();
                    rows.push(record);
                }
            }
            if !page.more {
                return Ok((rows, None));
            }
        }
    }

    fn wants(&self, record: &AuditRecord) -> bool {
        let ListAuditRecords { principal, method, view, correlation, outcome, .. } = &self.asked;
        let target = &record.target;
        (principal.is_empty() || record.principal.as_str() == principal)
            && (method.is_empty() || is_method(&record.method, method))
            && view.as_ref().is_none_or(|view| target.view == view.as_str())
            && self.path.as_ref().is_none_or(|path| is_within(&target.path, path))
            && (correlation.is_none() || record.correlation == *correlation)
            && outcome.is_none_or(|outcome| (outcome == AuditOutcome::Done) == record.is_done())
    }
}

/// Whether a method is called so, in full or without its service.
fn is_method(full: &str, asked: &str) -> bool {
    full == asked || full.rsplit_once('/').is_some_and(|(_, last)| last == asked)
}

/// Whether a path is `above` or lies below it, both in the notation of answers, in which a path has one
/// spelling.
fn is_within(path: &str, above: &str) -> bool {
    let above = above.strip_suffix('/').unwrap_or(above);
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() && !path.is_empty() || rest.starts_with('/'))
}

fn text_of(path: &fusion_core::path::TreePath) -> String {
    notation::to_text(path.as_bytes())
}

/// A UUID v7 of a time, with what was drawn.
fn id(time: ServerTime, drawn: Uuid) -> Uuid {
    let millis = u64::try_from(time.as_nanos() / 1_000_000).unwrap_or(0);
    let mut random = [0; 10];
    // Not the two bytes of a drawn one that say its version and variant.
    random[..6].copy_from_slice(&drawn.as_bytes()[..6]);
    random[6..].copy_from_slice(&drawn.as_bytes()[12..]);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

fn clipped_change(change: ValueChange) -> ValueChange {
    let ValueChange { name, before, after } = change;
    ValueChange { name, before: clipped(before, VALUE), after: clipped(after, VALUE) }
}

/// A text of at most so many bytes; what was cut off is shown by `…`.
fn clipped(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most - '…'.len_utf8()).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_store::flaky::{FlakyState, Moods};
    use fusion_store::memory::MemoryState;

    use crate::stores::Stores;

    #[test]
    fn while_the_disk_is_away_so_many_wait_and_then_nothing_is_begun() {
        let moods = Moods::new(1);
        moods.fail(1000);
        let state: Arc<dyn State> =
            Arc::new(FlakyState::new(Arc::new(MemoryState::default()), moods.clone()));
        let mut stores = Stores::memory();
        stores.state = Arc::clone(&state);
        let audit = Audit::new(AuditDeps {
            saver: Saver::begin(stores, None).unwrap(),
            state,
            clock: Arc::new(crate::clock::RuntimeClock::new()),
            ids: Arc::new(crate::ids::RandomIds),
            metrics: Metrics::new().unwrap(),
            server: Uuid::nil(),
            ttl: Duration::from_secs(1),
        });
        for _ in 0..UNWRITTEN {
            assert!(audit.room().is_ok());
            audit.leave(audit.record(EndedCall {
                asked_at: audit.now(),
                principal: Principal::anonymous(),
                method: "m",
                target: AuditTarget::default(),
                version: 0,
                correlation: None,
                key_digest: String::new(),
                resumed: false,
                code: "OK",
                reason: String::new(),
                changes: Vec::new(),
            }));
        }
        assert_eq!(audit.room(), Err(unwritten_yet()));
        moods.fail(0);
        while audit.room().is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn paths_lie_within_others_by_whole_names() {
        for (path, above) in [("/", "/"), ("/a", "/"), ("/a", "/a"), ("/a/b", "/a")] {
            assert!(is_within(path, above), "{path} in {above}");
        }
        for (path, above) in [("", "/"), ("", "/a"), ("/ab", "/a"), ("/", "/a"), ("x/a", "/a")] {
            assert!(!is_within(path, above), "{path} in {above}");
        }
    }

    #[test]
    fn methods_are_named_in_full_or_by_their_last_part() {
        let full = "fusion.v1.AdminService/EvictSession";
        assert!(is_method(full, full) && is_method(full, "EvictSession"));
        assert!(!is_method(full, "Session") && !is_method(full, "AdminService/EvictSession"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(clipped("abc".to_owned(), 3), "abc");
        assert_eq!(clipped("aäää".to_owned(), 6), "aä…");
        assert_eq!(clipped("aäää".to_owned(), 5), "a…");
    }

    #[test]
    fn ids_are_of_version_7_and_grow_with_time() {
        let of = |millis: i64| id(ServerTime::from_nanos(millis * 1_000_000), Uuid::new_v4());
        assert_eq!(of(1).get_version_num(), 7);
        assert!(of(1) < of(2) && of(2) < of(1_700_000_000_000));
    }
}
