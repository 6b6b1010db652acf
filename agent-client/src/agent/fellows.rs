//! What an agent has together with the other agents of its process.
//!
//! Owns where their roots stand, so that none lies within another: what is below both would be told of
//! twice. Must never: let one agent wait for another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fusion_core::id::ViewName;

use super::AgentError;
use crate::config::AgentConfig;
use crate::ops::metrics::{Exposition, Metrics};
use crate::scan::{Budgets, FileId, Root};
use crate::watch::WatchPart;

/// What is given to each agent of a process; kept over its lives.
#[derive(Clone)]
pub(crate) struct Fellows {
    /// The rate and the threads of all scans.
    pub(crate) budgets: Budgets,
    /// This agent's part in the watches.
    pub(crate) watches: WatchPart,
    /// Of this agent.
    pub(crate) metrics: Arc<Metrics>,
    /// The spools of all, which are left out of every tree.
    pub(crate) spools: Vec<PathBuf>,
    /// Where the roots are.
    pub(crate) roots: Roots,
}

impl Fellows {
    /// Of an agent that is alone.
    pub(crate) fn alone(config: &AgentConfig) -> Result<Self, AgentError> {
        let shown = Exposition::new().map_err(|error| AgentError::Internal(error.to_string()))?;
        let (budgets, watches) = (budgets(config), WatchPart::default());
        Self::one(config, &shown, budgets, watches, Vec::new(), Roots::default())
    }

    /// Of one agent among others.
    pub(crate) fn one(
        config: &AgentConfig,
        shown: &Exposition,
        budgets: Budgets,
        watches: WatchPart,
        spools: Vec<PathBuf>,
        roots: Roots,
    ) -> Result<Self, AgentError> {
        let metrics = Metrics::new(shown, &config.view);
        let metrics = Arc::new(metrics.map_err(|error| AgentError::Internal(error.to_string()))?);
        Ok(Self { budgets, watches, metrics, spools, roots })
    }

    /// The spools that are there.
    pub(crate) fn own_directories(&self, spool: &std::path::Path) -> Vec<FileId> {
        let all = self.spools.iter().map(PathBuf::as_path).chain([spool]);
        let mut own: Vec<_> = all.filter_map(|spool| FileId::of(spool).ok()).collect();
        own.dedup();
        own
    }
}

/// What the settings allow the scans of a process.
pub(crate) fn budgets(config: &AgentConfig) -> Budgets {
    Budgets::new(config.scan_rate, config.scan_workers)
}

/// Where the roots of a process stand, by their views. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roots(Arc<Mutex<BTreeMap<ViewName, (PathBuf, FileId)>>>);

impl Roots {
    /// Notes where the root of a view stands, as the kernel names it whatever way led to it.
    ///
    /// # Errors
    /// It is the root of another view, or one lies within the other.
    pub(crate) fn claim(&self, view: &ViewName, root: &Root) -> Result<(), String> {
        let (path, id) = (root.real_path(), root.id());
        let mut roots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (other, (theirs, their_id)) in roots.iter().filter(|(other, _)| *other != view) {
            let relation = if id == *their_id || path == *theirs {
                "is"
            } else if path.starts_with(theirs) {
                "lies within"
            } else if theirs.starts_with(&path) {
                "holds"
            } else {
                continue;
            };
            let theirs = theirs.display();
            return Err(format!(
                "{} {relation} the root of view {other}, {theirs}",
                path.display()
            ));
        }
        roots.insert(view.clone(), (path, id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scan::RootOptions;

    #[test]
    fn a_root_within_another_is_refused_whatever_way_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir(at("ab")).unwrap();
        std::os::unix::fs::symlink(at("a/b"), at("link")).unwrap();
        let root = |path: &Path| Root::open(path, RootOptions::default()).unwrap();
        let view = |name| ViewName::new(name).unwrap();
        let roots = Roots::default();
        roots.claim(&view("a"), &root(&at("a"))).unwrap();
        roots.claim(&view("a"), &root(&at("a"))).unwrap();
        roots.claim(&view("beside"), &root(&at("ab"))).unwrap();
        for (path, says) in [("link", "lies within"), ("", "holds"), ("a", "is the root of view a")]
        {
            let refused = roots.claim(&view("other"), &root(&at(path))).unwrap_err();
            assert!(refused.contains(says), "{path}: {refused}");
        }
    }
}
