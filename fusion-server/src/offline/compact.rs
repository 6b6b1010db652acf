//! Giving back space: what later checkpoints made useless, what the log need not keep, and views that
//! are named.

use std::fmt;

use fusion_store::{Blocks as _, ChangeLog as _, LogPoint, Space, StoreError};

use super::{Known, Offline, OfflineError, bytes_text};
use crate::config::Config;
use crate::service::sessions;
use crate::stores::scan_all;

/// Values of the state that are swept at once.
const SWEPT: usize = 10_000;

/// What was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compacted {
    /// The views, in the order of [`Report`](super::check::Report).
    pub views: Vec<ViewCompacted>,
    /// Bytes of the state before and after.
    pub state: (u64, u64),
    /// What is wrong with the state, and what to do.
    pub faults: Vec<String>,
}

/// What was given back of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewCompacted {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Bytes before and after.
    pub bytes: (u64, u64),
    /// What became of it, or why nothing did.
    pub outcome: Outcome,
}

/// What became of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is smaller, or was small already.
    Compacted,
    /// The same, and a server with this configuration would not have it.
    Unused,
    /// It is gone, as was asked for.
    Removed,
    /// It cannot be read or written; what to do.
    Failed(String),
}

impl Compacted {
    /// Whether all was done.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let failed = |view: &ViewCompacted| matches!(view.outcome, Outcome::Failed(_));
        self.faults.is_empty() && !self.views.iter().any(failed)
    }
}

impl Offline {
    /// Compacts everything, and removes the views that are named (by name or id).
    ///
    /// # Errors
    /// A named view is not there or is configured: nothing is done then. The directory cannot be
    /// read or written.
    pub fn compact(&self, config: &Config, remove: &[String]) -> Result<Compacted, OfflineError> {
        for name in remove {
            let wanted = |view: &&Known| view.is_live && config.views.contains_key(&view.view.name);
            if self.called(name)?.iter().any(|view| wanted(&view)) {
                return Err(OfflineError::Configured { name: name.clone() });
            }
        }
        let (known, mut faults) = self.views()?;
        let mut views = Vec::new();
        for view in &known {
            let before = self.store.view_bytes(view.view.id)?;
            let is_named = remove.iter().any(|name| view.is_called(name));
            let done = if is_named { self.remove(view) } else { self.compact_view(view, config) };
            let unused = !view.is_live || config.view(&view.view.name).is_none();
            let outcome = match done {
                Err(error) => Outcome::Failed(error.to_string()),
                Ok(()) if is_named => Outcome::Removed,
                Ok(()) if unused => Outcome::Unused,
                Ok(()) => Outcome::Compacted,
            };
            let bytes = (before, self.store.view_bytes(view.view.id)?);
            let (name, id) = (view.view.name.to_string(), view.view.id.to_string());
            views.push(ViewCompacted { name, id, bytes, outcome });
        }
        let before = self.store.state_bytes()?;
        if let Err(error) = self.compact_state() {
            faults.push(error.to_string());
        }
        Ok(Compacted { views, state: (before, self.store.state_bytes()?), faults })
    }

    fn compact_view(&self, known: &Known, config: &Config) -> Result<(), StoreError> {
        let retention = &config.view(&known.view.name).unwrap_or(&config.view_defaults).retention;
        let (log, blocks, id) = (self.store.log(), self.store.blocks(), known.view.id);
        let mut contains = LogPoint::default();
        if known.blocks {
            blocks.compact(id)?;
            contains = blocks.contains(id)?.unwrap_or_default();
        }
        if known.log {
            log.open(&known.view)?;
            log.trim(id, contains, retention, self.now)?;
            log.give_back(id)?;
        }
        Ok(())
    }

    /// The server forgets it first: what a crash leaves after that is left over, and can be removed.
    fn remove(&self, known: &Known) -> Result<(), StoreError> {
        let (state, view) = (self.state(), &known.view);
        if known.is_live {
            state.delete(Space::View, view.name.as_str().as_bytes())?;
            for item in scan_all(state, Space::Session, self.now)? {
                if sessions::view_of(&item).is_ok_and(|name| name == view.name) {
                    state.delete(Space::Session, &item.key)?;
                }
            }
        }
        // The log last: blocks without a log would be taken for damage.
        self.store.blocks().remove(view.id)?;
        self.store.log().remove(view.id)
    }

    fn compact_state(&self) -> Result<(), StoreError> {
        while self.state().expire(self.now, SWEPT)? == SWEPT {}
        self.store.state().compact()
    }
}

impl fmt::Display for Compacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.views.iter().try_for_each(|view| view.fmt(f))?;
        line(f, "state", self.state)?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "  FAULT    {fault}"))?;
        let sum = |side: fn(&(u64, u64)) -> u64| {
            self.views.iter().map(|view| side(&view.bytes)).sum::<u64>() + side(&self.state)
        };
        line(f, "together", (sum(|bytes| bytes.0), sum(|bytes| bytes.1)))
    }
}

impl fmt::Display for ViewCompacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, id, bytes, outcome } = self;
        line(f, &format!("view {name} ({id})"), *bytes)?;
        match outcome {
            Outcome::Compacted => Ok(()),
            Outcome::Unused => writeln!(
                f,
                "  note     not in use with this configuration; --remove-view {id} removes it"
            ),
            Outcome::Removed => writeln!(f, "  removed"),
            Outcome::Failed(fault) => writeln!(f, "  FAULT    {fault}"),
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, (before, after): (u64, u64)) -> fmt::Result {
    writeln!(f, "{what}: {} before, {} after", bytes_text(before), bytes_text(after))
}
