//! The configuration, read anew while the server runs.
//!
//! Owns the order in which a new one is put in force: first it is checked whole, then the files that it names
//! are looked at, then what needs to act on it is told. Called by the edge and on SIGHUP, one at a time.
//! Must never: put a part of a configuration in force that has a fault.

use std::sync::Arc;

use fusion_core::session::Principal;
use fusion_proto::convert::admin::ConfigChange;
use fusion_proto::convert::audit::{AuditTarget, ValueChange};
use fusion_proto::status::{Code, Refusal, Violation};
use tokio::sync::Mutex;

use super::audit::{Audit, EndedCall};
use super::internal;
use super::sessions::Sessions;
use crate::config::{Config, ConfigFaults, Fault, InForce, Reread};
use crate::ids::Ids;
use crate::ops::log_filter::LogFilter;
use crate::ops::metrics::Metrics;
use crate::reload::{Files, Look};

/// Reads the configuration anew; a cheap handle.
#[derive(Clone)]
pub struct Reloader {
    shared: Arc<Shared>,
}

struct Shared {
    deps: ReloaderDeps,
    /// Held by the reload that is under way.
    one: Mutex<()>,
}

/// What it is made with.
pub(crate) struct ReloaderDeps {
    pub(crate) reread: Reread,
    pub(crate) config: InForce,
    /// What the configuration names and may change by itself.
    pub(crate) files: Vec<Arc<dyn Files>>,
    pub(crate) sessions: Sessions,
    pub(crate) log: LogFilter,
    pub(crate) audit: Audit,
    pub(crate) metrics: Metrics,
    pub(crate) ids: Arc<dyn Ids>,
}

impl Reloader {
    pub(crate) fn new(deps: ReloaderDeps) -> Self {
        Self { shared: Arc::new(Shared { deps, one: Mutex::default() }) }
    }

    /// Reads the configuration and what it names, and puts in force what has changed; tells that.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with all that is wrong, and nothing changed; STORE_UNAVAILABLE where a view cannot
    /// be made.
    pub(crate) async fn reload(&self) -> Result<Vec<ConfigChange>, Refusal> {
        let _one = self.shared.one.lock().await;
        let reloaded = self.put_in_force().await;
        let outcome = match &reloaded {
            Ok(changes) if changes.is_empty() => "unchanged",
            Ok(_) => "taken",
            Err(_) => "refused",
        };
        self.shared.deps.metrics.reloads.with_label_values(&["configuration", outcome]).inc();
        match &reloaded {
            Ok(changes) => {
                for ConfigChange { key, before, after } in changes {
                    tracing::warn!(key, before, after, "the configuration changed");
                }
                tracing::info!(changes = changes.len(), "the configuration was read anew");
            }
            Err(refusal) => tracing::error!(%refusal, "the configuration was not put in force"),
        }
        reloaded
    }

    /// The same at the wish of who may send the process a signal; what came of it is in the log and in an
    /// audit record.
    pub async fn reload_by_signal(&self) {
        let audit = &self.shared.deps.audit;
        let asked_at = audit.now();
        let reloaded = self.reload().await;
        let (code, reason, changes) = match reloaded {
            Ok(changes) => (Code::Ok, String::new(), changes),
            Err(refusal) => (refusal.code(), refusal.reason().as_str().to_owned(), Vec::new()),
        };
        let changed =
            |ConfigChange { key, before, after }| ValueChange { name: key, before, after };
        let record = audit.record(EndedCall {
            asked_at,
            principal: Principal::new(SIGNAL),
            method: METHOD,
            target: AuditTarget { id: "configuration".to_owned(), ..AuditTarget::default() },
            version: 0,
            correlation: None,
            key_digest: String::new(),
            resumed: false,
            code: crate::grpc::code_name(code),
            reason,
            changes: changes.into_iter().map(changed).collect(),
        });
        let point = audit.leave(record);
        audit.written(point).await;
    }

    async fn put_in_force(&self) -> Result<Vec<ConfigChange>, Refusal> {
        let ReloaderDeps { config, sessions, log, ids, .. } = &self.shared.deps;
        let read = tokio::task::spawn_blocking({
            let reread = Arc::clone(&self.shared.deps.reread);
            move || reread()
        });
        let read = read.await.map_err(|panic| internal(&**ids, &panic))?;
        let next = read.map_err(|ConfigFaults(faults)| refused(&faults))?;
        let before = config.now();
        let mut changes = before.changes_to(&next).map_err(|faults| refused(&faults))?;
        room(&next)?;
        changes.extend(self.look_at_files().await?);
        if before.log.filter != next.log.filter {
            log.configure(&next.log.filter).map_err(|error| internal(&**ids, &error))?;
        }
        config.set(next);
        sessions.reconfigure().await?;
        Ok(changes)
    }

    /// Looks at the files that the configuration names.
    async fn look_at_files(&self) -> Result<Vec<ConfigChange>, Refusal> {
        let shared = Arc::clone(&self.shared);
        let looked = tokio::task::spawn_blocking(move || {
            let files = &shared.deps.files;
            files.iter().map(|files| (files.what(), files.look())).collect::<Vec<_>>()
        });
        let looked = looked.await.map_err(|panic| internal(&*self.shared.deps.ids, &panic))?;
        let (mut changes, mut faults) = (Vec::new(), Vec::new());
        for (what, look) in looked {
            match look {
                Look::Same => {}
                Look::Taken => changes.push(ConfigChange {
                    key: what.to_owned(),
                    before: String::new(),
                    after: "read anew".to_owned(),
                }),
                Look::Refused(wrong) => faults.extend(
                    wrong
                        .into_iter()
                        .map(|why| Violation { field: what.to_owned(), description: why }),
                ),
            }
        }
        if faults.is_empty() {
            Ok(changes)
        } else {
            Err(Refusal::InvalidArgument { violations: faults })
        }
    }
}

/// On whose account a reload is that a signal asked for.
const SIGNAL: &str = "SIGHUP";
/// What it is recorded as.
const METHOD: &str = "fusion.v1.AdminService/ReloadConfig";

/// More views than there may be are refused before anything is changed.
fn room(next: &Config) -> Result<(), Refusal> {
    let (views, most) = (next.views.len(), next.max_views);
    if views <= most {
        return Ok(());
    }
    Err(Refusal::invalid("max_views", format!("{views} views are configured, and {most} may be")))
}

fn refused(faults: &[Fault]) -> Refusal {
    for fault in faults {
        tracing::error!("{fault}");
    }
    let violation = |fault: &Fault| Violation {
        field: fault.key.clone(),
        description: format!("{}: {}", fault.value, fault.allowed),
    };
    Refusal::InvalidArgument { violations: faults.iter().map(violation).collect() }
}
