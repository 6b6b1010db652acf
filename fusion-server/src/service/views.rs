//! Views: which there are, and what is in them.
//!
//! Owns the table of views of a server. Reads go to the tree beside its writer and never wait for
//! it. The table's lock guards the map only: it is held to look up, list or insert, never across an
//! await, and nothing is locked under it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use fusion_core::id::ViewName;
use fusion_core::path::{PathRef, notation};
use fusion_core::stat::Kind;
use fusion_core::time::Clock;
use fusion_core::view::{EntryInfo, ReadError, Totals, ViewState, ViewStatus};
use fusion_proto::convert::view::{GetPath, ListEntries, Page, ReadClass};
use fusion_proto::limits;
use fusion_proto::status::Refusal;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::internal;
use super::paging::PageOf;
use crate::config::{Config, ViewConfig};
use crate::ids::Ids;
use crate::ops::metrics::{Metrics, gauged};
use crate::task::view::{Lanes, ViewDeps, ViewFailed, ViewHandle, quiet_for};

/// A page of rows and the token of the next one; the token is empty if this is the last.
pub(crate) type PageOfRows<T> = (Vec<T>, String);

/// Bytes of a page after which it ends: room is left for one more entry of any length.
const PAGE_BYTES: usize = limits::MESSAGE_BYTES / 4 * 3;

/// All views of a server; a cheap handle.
#[derive(Clone)]
pub(crate) struct Views {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    metrics: Metrics,
    end: CancellationToken,
    /// Tells lists of views of this server from those of another.
    id: Uuid,
    table: RwLock<BTreeMap<ViewName, ViewHandle>>,
    count: watch::Sender<usize>,
    failed: mpsc::UnboundedSender<ViewFailed>,
}

/// What an answer is worth.
#[derive(Debug, Clone)]
pub(crate) struct Worth {
    pub(crate) status: ViewStatus,
    pub(crate) quiet_for: Option<std::time::Duration>,
}

impl Views {
    pub(crate) fn new(
        config: Arc<Config>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        metrics: Metrics,
        end: CancellationToken,
        failed: mpsc::UnboundedSender<ViewFailed>,
    ) -> Self {
        let (id, table, count) = (ids.draw(), RwLock::default(), watch::Sender::new(0));
        let shared = Shared { config, clock, ids, metrics, end, id, table, count, failed };
        Self { shared: Arc::new(shared) }
    }

    /// The view of that name.
    pub(crate) fn get(&self, name: &ViewName) -> Result<ViewHandle, Refusal> {
        let table = self.shared.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(name).cloned().ok_or_else(|| Refusal::ViewNotFound { view: name.clone() })
    }

    /// The view of that name; made, if the configuration allows it.
    pub(crate) fn get_or_create(&self, name: &ViewName) -> Result<ViewHandle, Refusal> {
        if let Ok(view) = self.get(name) {
            return Ok(view);
        }
        let shared = &*self.shared;
        let Some(config) = shared.config.view(name) else {
            return Err(Refusal::ViewNotFound { view: name.clone() });
        };
        let mut table = shared.table.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = table.get(name) {
            return Ok(view.clone());
        }
        if table.len() >= shared.config.max_views {
            return Err(Refusal::QuotaExceeded {
                quota: "max_views".to_owned(),
                limit: shared.config.max_views as u64,
                retry_after: std::time::Duration::from_secs(60),
            });
        }
        let view = self.begin(name, config.clone(), Lanes::default())?;
        tracing::info!(view = %name, "view created");
        table.insert(name.clone(), view.clone());
        shared.count.send_replace(table.len());
        Ok(view)
    }

    /// Puts a new, empty life of a view in the place of the one with that id, which failed.
    pub(super) fn begin_anew(
        &self,
        name: &ViewName,
        id: Uuid,
        lanes: Lanes,
    ) -> Result<(), Refusal> {
        let mut table = self.shared.table.write().unwrap_or_else(PoisonError::into_inner);
        let Some(failed) = table.get(name).filter(|view| view.id() == id) else { return Ok(()) };
        let view = self.begin(name, failed.config().clone(), lanes)?;
        tracing::warn!(view = %name, "view begun anew");
        table.insert(name.clone(), view);
        // As many as before, but another one.
        self.shared.count.send_replace(table.len());
        Ok(())
    }

    fn begin(
        &self,
        name: &ViewName,
        config: ViewConfig,
        lanes: Lanes,
    ) -> Result<ViewHandle, Refusal> {
        let shared = &*self.shared;
        let deps = ViewDeps {
            clock: Arc::clone(&shared.clock),
            ids: Arc::clone(&shared.ids),
            metrics: shared.metrics.clone(),
            lanes,
            failed: shared.failed.clone(),
            end: shared.end.clone(),
        };
        ViewHandle::begin(name.clone(), shared.ids.draw(), config, deps)
            .map_err(|error| internal(&*shared.ids, &error))
    }

    /// All views by name.
    pub(crate) fn all(&self) -> Vec<ViewHandle> {
        let table = self.shared.table.read().unwrap_or_else(PoisonError::into_inner);
        table.values().cloned().collect()
    }

    /// How many there are, to be waited on.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.shared.count.subscribe()
    }

    /// A page of views by name.
    pub(crate) fn list(&self, page: &Page) -> Result<PageOfRows<ViewHandle>, Refusal> {
        let pages = PageOf::new(self.shared.id, &[b"views"]);
        let after = match pages.key(&page.token)? {
            None => Bound::Unbounded,
            Some(key) => Bound::Excluded(name_from_key(&key)?),
        };
        let table = self.shared.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut rest = table.range((after, Bound::Unbounded));
        let rows: Vec<ViewHandle> =
            rest.by_ref().take(page.size).map(|(_, view)| view.clone()).collect();
        let token = match (rest.next(), rows.last()) {
            (Some(_), Some(last)) => pages.token(last.name().as_str().as_bytes()),
            _ => String::new(),
        };
        Ok((rows, token))
    }

    /// A view for a read of a class, and what its answers are worth from now on.
    pub(crate) fn demand(
        &self,
        name: &ViewName,
        class: ReadClass,
    ) -> Result<(ViewHandle, ViewStatus), Refusal> {
        let view = self.get(name)?;
        let status = self.status(&view);
        match class {
            ReadClass::Trusted if status.state != ViewState::Ready => Err(Refusal::ViewNotReady {
                view: name.clone(),
                state: status.state,
                reasons: status.reasons,
                retry_after: limits::NOT_READY_RETRY_MIN,
            }),
            ReadClass::Trusted | ReadClass::Any => Ok((view, status)),
        }
    }

    /// What answers about a view are worth now.
    pub(crate) fn status(&self, view: &ViewHandle) -> ViewStatus {
        view.status(self.shared.clock.now())
    }

    /// One entry.
    pub(crate) fn entry(&self, request: &GetPath) -> Result<(EntryInfo, Worth), Refusal> {
        let (view, status) = self.demand(&request.view, request.class)?;
        let path = request.path.as_ref();
        let entry = view.reader().entry(path).ok_or_else(|| not_found(&request.view, path))?;
        let last_change = entry.totals.and_then(|totals| totals.last_change);
        Ok((entry, worth(status, last_change)))
    }

    /// Totals of what lies below a path.
    pub(crate) fn totals(&self, request: &GetPath) -> Result<(Totals, Worth), Refusal> {
        let (view, status) = self.demand(&request.view, request.class)?;
        let path = request.path.as_ref();
        let totals =
            view.reader().totals(path).map_err(|error| unread(error, &request.view, path))?;
        Ok((totals, worth(status, totals.last_change)))
    }

    /// A page of the children of a directory, one after the other to `each`, which says how many bytes
    /// of a message it took for it; then the token of the next page. The page ends early where its
    /// message would be too large. `each` is called under the lock of the directory: it must be short.
    pub(crate) fn children(
        &self,
        request: &ListEntries,
        mut each: impl FnMut(&[u8], &EntryInfo) -> usize,
    ) -> Result<(String, Worth), Refusal> {
        let (view, status) = self.demand(&request.view, request.class)?;
        let path = request.path.as_ref();
        let class = [u8::from(request.class == ReadClass::Trusted)];
        let pages = PageOf::new(
            view.id(),
            &[b"children", request.view.as_str().as_bytes(), path.as_bytes(), &class],
        );
        let after = pages.key(&request.page.token)?;
        let (mut last, mut bytes, mut full) = (Vec::new(), 0, false);
        let more = view
            .reader()
            .list_with(path, after.as_deref(), request.page.size, |name, entry| {
                full |= bytes > PAGE_BYTES;
                if !full {
                    bytes += each(name, entry);
                    last.clear();
                    last.extend_from_slice(name);
                }
            })
            .map_err(|error| unread(error, &request.view, path))?;
        let token = if more || full { pages.token(&last) } else { String::new() };
        let last_change = view.reader().totals(path).ok().and_then(|totals| totals.last_change);
        Ok((token, worth(status, last_change)))
    }

    /// Sets the gauges of what views own.
    pub(crate) fn measure(&self) {
        let metrics = &self.shared.metrics;
        for view in self.all() {
            let name = view.name().as_str();
            let totals = view.reader().totals(PathRef::ROOT).unwrap_or_default();
            let kinds = [
                ("file", totals.files),
                ("directory", totals.directories),
                ("other", totals.others),
            ];
            for (kind, count) in kinds {
                metrics.view_entries.with_label_values(&[name, kind]).set(gauged(count));
            }
            metrics.view_bytes.with_label_values(&[name]).set(gauged(totals.bytes));
            let (realtime, scan) = view.queued();
            for (lane, waiting) in [("realtime", realtime), ("scan", scan)] {
                metrics.queue_batches.with_label_values(&[name, lane]).set(gauged(waiting as u64));
            }
            let now = self.status(&view).state;
            for (state, label) in STATES {
                let is = i64::from(now == state);
                metrics.view_state.with_label_values(&[name, label]).set(is);
            }
        }
    }

    /// Waits until the tasks of all views have ended.
    pub(crate) async fn ended(&self) {
        for view in self.all() {
            view.ended().await;
        }
    }
}

/// Every state with its name in metrics.
const STATES: [(ViewState, &str); 4] = [
    (ViewState::Empty, "empty"),
    (ViewState::Snapshotting, "snapshotting"),
    (ViewState::Ready, "ready"),
    (ViewState::Degraded, "degraded"),
];

pub(super) fn worth(
    status: ViewStatus,
    last_change: Option<fusion_core::time::ServerTime>,
) -> Worth {
    let quiet_for = quiet_for(&status, last_change);
    Worth { status, quiet_for }
}

pub(super) fn not_found(view: &ViewName, path: PathRef<'_>) -> Refusal {
    Refusal::PathNotFound { view: view.clone(), path: notation::to_text(path.as_bytes()) }
}

pub(super) fn unread(error: ReadError, view: &ViewName, path: PathRef<'_>) -> Refusal {
    match error {
        ReadError::NotFound => not_found(view, path),
        ReadError::NotADirectory => {
            Refusal::NotADirectory { view: view.clone(), path: notation::to_text(path.as_bytes()) }
        }
    }
}

fn name_from_key(key: &[u8]) -> Result<ViewName, Refusal> {
    std::str::from_utf8(key)
        .ok()
        .and_then(|text| ViewName::new(text).ok())
        .ok_or_else(|| Refusal::invalid("page_token", "is not a token of this list"))
}

/// Whether a kind is among those asked for; an empty list asks for all.
pub(super) fn wanted(kinds: &[Kind], kind: Kind) -> bool {
    kinds.is_empty() || kinds.contains(&kind)
}
