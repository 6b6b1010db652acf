//! What an operator does with a data directory that no server has: look whether it is whole
//! ([`check`]), give back space ([`compact`]), write out what is in it ([`export`]), have it elsewhere
//! ([`moving`]); and copy one, whoever has it ([`back_up`]).
//!
//! Called by the binary's `store` commands. Must never: work in a directory that a server has, make
//! one, or remove what was not asked for by name. Tested by `tests/store_commands.rs`.

pub mod check;
pub mod compact;
pub mod export;
pub mod moving;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use fusion_core::id::ViewName;
use fusion_core::time::ServerTime;
use fusion_core::view::View;
use fusion_store::disk::RealDisk;
use fusion_store::embedded::{BackedUp, EmbeddedState, Store, StoredView};
use fusion_store::{Space, State, StoreError, ViewId, ViewRef};

use crate::config::{Config, StateConfig};
use crate::ids::{Ids as _, RandomIds};
use crate::stores::{Stores, ViewRecord, options, scan_all};
use crate::task::view::rebuild;

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such view.
    #[error("the data directory has no view `{name}`; it has {known}")]
    NoView {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The view is in the configuration.
    #[error(
        "view `{name}` is in the configuration and would be made anew; take it out of the configuration first"
    )]
    Configured {
        /// The view.
        name: String,
    },
    /// The output cannot be written.
    #[error("write the output: {0}")]
    Write(io::Error),
}

/// A data directory that this process has for itself.
pub struct Offline {
    store: Arc<Store>,
    stores: Stores,
    now: ServerTime,
}

/// A view of which anything is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    view: ViewRef,
    log: bool,
    blocks: bool,
    /// The server knows it; if not, it is left over from a removal.
    is_live: bool,
}

impl Known {
    /// That it has a log if it has anything.
    fn must_have_log(&self) -> Result<(), StoreError> {
        if self.log || !self.blocks {
            return Ok(());
        }
        let place = format!("the log of view {}", self.view.id);
        let why = "it is missing, and the blocks follow from it".to_owned();
        Err(StoreError::Corrupt { place, at: 0, why })
    }

    fn is_called(&self, name: &str) -> bool {
        self.view.name.as_str() == name || self.view.id.to_string() == name
    }
}

impl Offline {
    /// Takes a data directory, and its state where that is outside. `who` is told to who finds it
    /// taken; what expired before `now` is not there.
    ///
    /// # Errors
    /// There is none, a server has it, or it cannot be read or written; its state is another one than
    /// the configuration names, or its engine is away.
    pub fn open(
        dir: &Path,
        state: &StateConfig,
        who: &str,
        now: ServerTime,
    ) -> Result<Self, OfflineError> {
        let store = Arc::new(Store::open_existing(dir, &options(RandomIds.draw(), who))?);
        // A directory that no server has begun in goes by the state in itself until one does.
        let goes_by = match store.state().outside()? {
            None => &StateConfig::default(),
            Some(_) => state,
        };
        let stores = Stores::of(Arc::clone(&store)).with_state(goes_by, || RandomIds.draw())?;
        Ok(Self { stores, store, now })
    }

    /// Sessions and all else, wherever they are.
    fn state(&self) -> &dyn State {
        &*self.stores.state
    }

    /// All views, live ones first; and what is wrong with the records that name them.
    fn views(&self) -> Result<(Vec<Known>, Vec<String>), StoreError> {
        let mut stored: BTreeMap<ViewId, StoredView> =
            self.store.views()?.into_iter().map(|view| (view.id, view)).collect();
        let (mut views, mut faults) = (Vec::new(), Vec::new());
        match scan_all(self.state(), Space::View, self.now) {
            Err(error) => faults.push(error.to_string()),
            Ok(items) => {
                for item in items {
                    match ViewRecord::read(&item) {
                        Err(error) => faults.push(error.to_string()),
                        Ok((named, _)) => {
                            let view = ViewRef { id: ViewId(named.id), name: named.name };
                            let found = stored.remove(&view.id);
                            let (log, blocks) =
                                found.map_or((false, false), |found| (found.log, found.blocks));
                            views.push(Known { view, log, blocks, is_live: true });
                        }
                    }
                }
            }
        }
        for StoredView { id, name, log, blocks } in stored.into_values() {
            // The text of an id is a name as well.
            let Some(name) = name.or_else(|| ViewName::new(&id.to_string()).ok()) else { continue };
            views.push(Known { view: ViewRef { id, name }, log, blocks, is_live: false });
        }
        Ok((views, faults))
    }

    /// A view as a start of the server would have it.
    fn rebuild(&self, known: &Known, config: &Config) -> Result<View, StoreError> {
        let settings = &config.view(&known.view.name).unwrap_or(&config.view_defaults).settings;
        known.must_have_log()?;
        match known.log {
            true => rebuild(&self.stores, &known.view, settings),
            false => Ok(View::new(settings.clone())),
        }
    }

    /// The views of this name or id; at least one.
    fn called(&self, name: &str) -> Result<Vec<Known>, OfflineError> {
        let (views, _) = self.views()?;
        let found: Vec<_> = views.iter().filter(|view| view.is_called(name)).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let mut known: Vec<_> = views.iter().map(|known| known.view.name.to_string()).collect();
        known.dedup();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(OfflineError::NoView { name: name.to_owned(), known })
    }
}

/// Copies a data directory, also one that a server is writing; what was copied, in words.
///
/// # Errors
/// See [`fusion_store::embedded::back_up`].
pub fn back_up(from: &Path, to: &Path) -> Result<String, OfflineError> {
    let BackedUp { server, views, bytes } = fusion_store::embedded::back_up(from, to)?;
    let what = format!("{views} view(s), {}", bytes_text(bytes));
    let copied = format!("copied {what} of server {server} to {}", to.display());
    let state = EmbeddedState::open(Arc::new(RealDisk), to.join("state"))?;
    Ok(match state.outside()? {
        None => copied,
        Some(id) => format!(
            "{copied}\nNOT in it: sessions, jobs, audit records and names of views, which are in the state {id} outside; a back-up of that, taken by the means of its engine before this one, belongs to it"
        ),
    })
}

/// A number of bytes for people.
fn bytes_text(bytes: u64) -> String {
    const STEP: f64 = 1024.0;
    let mut left = bytes as f64;
    for unit in ["bytes", "KiB", "MiB", "GiB"] {
        if left < STEP {
            let digits = usize::from(unit != "bytes");
            return format!("{left:.digits$} {unit}");
        }
        left /= STEP;
    }
    format!("{left:.1} TiB")
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_read_well() {
        let text = super::bytes_text;
        assert_eq!((text(0), text(1023)), ("0 bytes".to_owned(), "1023 bytes".to_owned()));
        assert_eq!((text(1536), text(5 << 40)), ("1.5 KiB".to_owned(), "5.0 TiB".to_owned()));
    }
}
