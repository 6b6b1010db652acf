//! Views: which there are, and what is in them.
//!
//! Owns the table of views of a server. Reads go to the tree beside its writer and never wait for
//! it. The table's lock guards the map only: it is held to look up, list or insert, never across an
//! await, and nothing is locked under it.

mod configured;
mod measured;
mod owned;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use fusion_core::id::{LeaderEpoch, ViewName};
use fusion_core::path::{PathRef, notation};
use fusion_core::stat::Kind;
use fusion_core::time::Clock;
use fusion_core::view::{EntryInfo, ReadError, Totals, ViewState, ViewStatus};
use fusion_proto::convert::view::{EntrySort, GetPath, ListEntries, Page, ReadClass};
use fusion_proto::limits;
use fusion_proto::status::Refusal;
use fusion_store::{Expect, Space, Swap, ViewId};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::internal;
use super::paging::PageOf;
use super::watch::Seats;
use crate::access::Reach;
use crate::access::quotas::used_up;
use crate::cluster::Cluster;
use crate::config::{InForce, ViewConfig};
use crate::ids::Ids;
use crate::ops::metrics::{Metrics, gauged};
use crate::spawn::Tasks;
use crate::stores::{LoadError, Stores, ViewRecord, scan_all, unwritten};
use crate::task::view::{
    BeginError, Lanes, Named, ScanNews, ViewDeps, ViewFailed, ViewGone, ViewHandle, quiet_for,
};

/// A page of rows and the token of the next one; the token is empty if this is the last.
pub(crate) type PageOfRows<T> = (Vec<T>, String);

/// Bytes of a page after which it ends: room is left for one more entry of any length.
pub(super) const PAGE_BYTES: usize = limits::MESSAGE_BYTES / 4 * 3;

/// All views of a server; a cheap handle.
#[derive(Clone)]
pub(crate) struct Views {
    shared: Arc<Shared>,
    /// What whoever has this handle may see; to it there is nothing else.
    reach: Reach,
}

/// What views are made with.
pub(crate) struct ViewsDeps {
    pub(crate) config: InForce,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) metrics: Metrics,
    pub(crate) stores: Stores,
    pub(crate) tasks: Tasks,
    /// Ends the views' threads.
    pub(crate) end: CancellationToken,
    /// Learns of scans of whole trees.
    pub(crate) scans: mpsc::UnboundedSender<ScanNews>,
    /// Learns of views that failed.
    pub(crate) failed: mpsc::UnboundedSender<ViewFailed>,
    /// The other servers, if there are any.
    pub(crate) cluster: Option<Cluster>,
}

struct Shared {
    deps: ViewsDeps,
    /// Tells lists of views of this server from those of another.
    id: Uuid,
    table: RwLock<BTreeMap<ViewName, ViewHandle>>,
    /// Held while a view is made.
    making: Arc<Mutex<()>>,
    count: watch::Sender<usize>,
    seats: Seats,
}

/// What an answer is worth.
#[derive(Debug, Clone)]
pub(crate) struct Worth {
    pub(crate) status: ViewStatus,
    pub(crate) quiet_for: Option<std::time::Duration>,
}

impl Views {
    pub(crate) fn new(deps: ViewsDeps) -> Self {
        let (id, table, count) = (deps.ids.draw(), RwLock::default(), watch::Sender::new(0));
        let seats = Seats::new(deps.config.clone());
        let shared = Shared { deps, id, table, making: Arc::default(), count, seats };
        Self { shared: Arc::new(shared), reach: Reach::ALL }
    }

    /// A handle to what is within a reach; a handle never sees more than the one that it is made of.
    pub(crate) fn within(&self, reach: Reach) -> Self {
        let reach = if self.reach == Reach::ALL { reach } else { self.reach.clone() };
        Self { shared: Arc::clone(&self.shared), reach }
    }

    /// What whoever has this handle may see.
    pub(crate) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// The view of that name.
    pub(crate) fn get(&self, name: &ViewName) -> Result<ViewHandle, Refusal> {
        let table = self.shared.table.read().unwrap_or_else(PoisonError::into_inner);
        let seen = table.get(name).filter(|_| self.reach.views.has(name)).cloned();
        seen.ok_or_else(|| Refusal::ViewNotFound { view: name.clone() })
    }

    /// The view of that name; made, if the configuration allows it. It has a task.
    pub(crate) async fn get_or_create(&self, name: &ViewName) -> Result<ViewHandle, Refusal> {
        if let Ok(view) = self.get(name) {
            return if view.is_over() { Err(self.gone(name, &ViewGone)) } else { Ok(view) };
        }
        // Held by who makes it, and not by who asks, who may go.
        let one = Arc::clone(&self.shared.making).lock_owned().await;
        let (views, name) = (self.clone(), name.clone());
        let made = tokio::task::spawn_blocking(move || {
            let _one = one;
            views.make(&name)
        });
        made.await.unwrap_or_else(|panic| Err(internal(&*self.shared.deps.ids, &panic)))
    }

    /// Makes a view unless it is there, if the configuration allows it; writes to disk. No other may be
    /// made at the same time.
    pub(crate) fn make(&self, name: &ViewName) -> Result<ViewHandle, Refusal> {
        if let Ok(view) = self.get(name) {
            return Ok(view);
        }
        let (shared, in_force) = (&*self.shared, self.shared.deps.config.now());
        let config = in_force.view(name).filter(|_| self.reach.views.has(name));
        let Some(config) = config else {
            return Err(Refusal::ViewNotFound { view: name.clone() });
        };
        if *shared.count.borrow() >= in_force.max_views {
            let (metrics, max) = (&shared.deps.metrics, in_force.max_views);
            return Err(used_up(metrics, "max_views", max, FULL_RETRY));
        }
        let (named, epoch) = self.named(name)?;
        let view = self.begin(named, config.clone(), Lanes::default(), epoch)?;
        tracing::info!(view = %name, "view begun");
        if let Some(cluster) = &shared.deps.cluster {
            cluster.nudge();
        }
        let mut table = shared.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(name.clone(), view.clone());
        shared.count.send_replace(table.len());
        Ok(view)
    }

    /// What the store has of a view, one that was not configured for a while; else a new one, which it has from
    /// then on. And the highest epoch of its leaders.
    fn named(&self, name: &ViewName) -> Result<(Named, LeaderEpoch), Refusal> {
        let ViewsDeps { stores, clock, ids, .. } = &self.shared.deps;
        let now = clock.now();
        let known = stores.state.get(Space::View, name.as_str().as_bytes(), now);
        if let Some(item) = known.map_err(|error| unwritten(&error))? {
            return ViewRecord::read(&item).map_err(|error| internal(&**ids, &error));
        }
        let named = Named { name: name.clone(), id: ids.draw(), created_at: now };
        self.note(named)
    }

    /// Notes a new view in the store. Another server may have done so in this moment: then it is that one.
    fn note(&self, view: Named) -> Result<(Named, LeaderEpoch), Refusal> {
        let ViewsDeps { stores, clock, ids, .. } = &self.shared.deps;
        let epoch = LeaderEpoch::default();
        let record = ViewRecord { id: view.id, created_at: view.created_at, epoch }.to_bytes();
        let (key, now) = (view.name.as_str().as_bytes(), clock.now());
        let swap =
            stores.state.compare_and_swap(Space::View, key, Expect::Absent, &record, None, now);
        match swap.map_err(|error| unwritten(&error))? {
            Swap::Conflict(Some(item)) => {
                ViewRecord::read(&item).map_err(|error| internal(&**ids, &error))
            }
            Swap::Done(_) | Swap::Conflict(None) => Ok((view, epoch)),
        }
    }

    /// Loads the views that the store has, save those that the configuration no longer allows: they
    /// keep their data.
    ///
    /// # Errors
    /// What is in the store cannot be read or does not make a view.
    pub(crate) fn load(&self) -> Result<Vec<ViewHandle>, LoadError> {
        let (shared, in_force) = (&*self.shared, self.shared.deps.config.now());
        let mut loaded = Vec::new();
        for item in scan_all(&*shared.deps.stores.state, Space::View, shared.deps.clock.now())? {
            let (named, epoch) = ViewRecord::read(&item)?;
            let Some(config) = in_force.view(&named.name) else {
                tracing::warn!(view = %named.name, "not configured; its data is kept");
                continue;
            };
            loaded.push(self.start(named, config.clone(), Lanes::default(), epoch)?);
        }
        let mut table = self.shared.table.write().unwrap_or_else(PoisonError::into_inner);
        table.extend(loaded.iter().map(|view| (view.name().clone(), view.clone())));
        shared.count.send_replace(table.len());
        Ok(loaded)
    }

    /// Loads the view with that id, whose task is over, anew from the store, as it is configured now; reads
    /// from disk. `None` if it is no view of this server any more.
    pub(super) fn reload(
        &self,
        name: &ViewName,
        id: Uuid,
        lanes: Lanes,
    ) -> Option<Result<ViewHandle, Refusal>> {
        let old = self.get(name).ok().filter(|view| view.id() == id)?;
        let config = self.shared.deps.config.now().view(name)?.clone();
        let named = Named { name: name.clone(), id, created_at: old.created_at() };
        Some(self.begin(named, config, lanes, old.loaded_epoch()))
    }

    /// Puts a new life of a view in the place of the one before.
    pub(super) fn replace(&self, view: ViewHandle) {
        let mut table = self.shared.table.write().unwrap_or_else(PoisonError::into_inner);
        tracing::warn!(view = %view.name(), "view begun anew");
        table.insert(view.name().clone(), view);
        // As many as before, but another one.
        self.shared.count.send_replace(table.len());
    }

    fn begin(
        &self,
        named: Named,
        config: ViewConfig,
        lanes: Lanes,
        epoch: LeaderEpoch,
    ) -> Result<ViewHandle, Refusal> {
        let begun = self.start(named, config, lanes, epoch);
        begun.map_err(|error| internal(&*self.shared.deps.ids, &error))
    }

    fn start(
        &self,
        named: Named,
        config: ViewConfig,
        lanes: Lanes,
        epoch: LeaderEpoch,
    ) -> Result<ViewHandle, BeginError> {
        let shared = &*self.shared;
        let deps = ViewDeps {
            clock: Arc::clone(&shared.deps.clock),
            ids: Arc::clone(&shared.deps.ids),
            metrics: shared.deps.metrics.clone(),
            stores: shared.deps.stores.clone(),
            tasks: shared.deps.tasks.clone(),
            lanes,
            epoch,
            scans: shared.deps.scans.clone(),
            failed: shared.deps.failed.clone(),
            end: shared.deps.end.clone(),
            cluster: shared.deps.cluster.clone(),
        };
        ViewHandle::begin(named, config, deps)
    }

    /// All views by name.
    pub(crate) fn all(&self) -> Vec<ViewHandle> {
        let table = self.shared.table.read().unwrap_or_else(PoisonError::into_inner);
        table.values().filter(|view| self.reach.views.has(view.name())).cloned().collect()
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
        let rest = table.range((after, Bound::Unbounded));
        let mut rest = rest.filter(|(name, _)| self.reach.views.has(name));
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
            // Who demands FRESH has had the path scanned before it comes here.
            ReadClass::Trusted | ReadClass::Any | ReadClass::Fresh => Ok((view, status)),
        }
    }

    /// What the views were made with.
    pub(super) fn deps(&self) -> &ViewsDeps {
        &self.shared.deps
    }

    /// Seats of those who watch or wait.
    pub(super) fn seats(&self) -> &Seats {
        &self.shared.seats
    }

    /// What answers about a view are worth now.
    pub(crate) fn status(&self, view: &ViewHandle) -> ViewStatus {
        view.status(self.shared.deps.clock.now())
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.shared.deps.metrics
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

    /// A page by name of the children of a directory, one after the other to `each`, which says how many bytes
    /// of a message it took for it; then the token of the next page. The page ends early where its
    /// message would be too large. `each` is called under the lock of the directory: it must be short.
    pub(crate) fn children(
        &self,
        request: &ListEntries,
        mut each: impl FnMut(&[u8], &EntryInfo) -> usize,
    ) -> Result<(String, Worth), Refusal> {
        let (view, status) = self.demand(&request.view, request.class)?;
        let path = request.path.as_ref();
        let pages = pages_of(&view, request);
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
        let metrics = &self.shared.deps.metrics;
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
            measured::measure(metrics, &view);
            let now = self.status(&view).state;
            for (state, label) in STATES {
                let is = i64::from(now == state);
                metrics.view_state.with_label_values(&[name, label]).set(is);
            }
            let (log, blocks) = self.shared.deps.stores.bytes_of(ViewId(view.id()));
            metrics.log_bytes.with_label_values(&[name]).set(gauged(log));
            metrics.block_bytes.with_label_values(&[name]).set(gauged(blocks));
        }
    }

    /// Waits until the tasks of all views have ended.
    pub(crate) async fn ended(&self) {
        for view in self.all() {
            view.ended().await;
        }
    }
}

/// When to try again to make a view where there are as many as may be.
const FULL_RETRY: std::time::Duration = std::time::Duration::from_secs(60);

/// Every state with its name in metrics.
const STATES: [(ViewState, &str); 4] = [
    (ViewState::Empty, "empty"),
    (ViewState::Snapshotting, "snapshotting"),
    (ViewState::Ready, "ready"),
    (ViewState::Degraded, "degraded"),
];

/// What a token of a page of children must be of.
pub(super) fn pages_of(view: &ViewHandle, request: &ListEntries) -> PageOf {
    let ListEntries { view: name, path, page: _, order, class } = request;
    let asked = [
        *class as u8,
        u8::from(order.by == EntrySort::Size),
        u8::from(order.by == EntrySort::Mtime),
        u8::from(order.descending),
    ];
    PageOf::new(view.id(), &[b"children", name.as_str().as_bytes(), path.as_bytes(), &asked])
}

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
