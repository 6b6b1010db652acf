//! The configuration in force, and what another one would change of it.
//!
//! What can be changed while the server runs is listed here, once ([`LIVE`]); whoever needs such a value reads it
//! anew each time. All else is read once, at the start, and a change of it is refused by its key.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use fusion_proto::convert::admin::ConfigChange;
use toml::Value;

use super::{Config, Fault, print};

/// What can be changed while the server runs: a key, or with a dot at its end all below it.
const LIVE: [&str; 9] = [
    "auto_create_views",
    "log.filter",
    "max_open_jobs",
    "max_views",
    "max_watchers",
    "quotas.",
    "session.max",
    "view_defaults.",
    "views.",
];

/// Whether a setting can be changed while the server runs.
pub(super) fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| match live.strip_suffix('.') {
        Some(_) => key.starts_with(live),
        None => key == *live,
    })
}

/// The configuration in force; a cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct InForce(Arc<RwLock<Arc<Config>>>);

impl InForce {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }

    /// As it is now.
    pub(crate) fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in its place.
    pub(crate) fn set(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

impl Config {
    /// What changes if another takes its place, by key.
    ///
    /// # Errors
    /// All that cannot be changed while the server runs.
    pub(crate) fn changes_to(&self, next: &Self) -> Result<Vec<ConfigChange>, Vec<Fault>> {
        let (before, mut after) = (leaves(self, next), leaves(next, self));
        let mut changes = Vec::new();
        for (key, before) in before {
            let after = after.remove(&key).unwrap_or_default();
            if before != after {
                changes.push(ConfigChange { key, before, after });
            }
        }
        let added = after.into_iter();
        changes.extend(added.map(|(key, after)| ConfigChange {
            key,
            before: String::new(),
            after,
        }));
        changes.sort_by(|one, other| one.key.cmp(&other.key));
        let fixed: Vec<Fault> =
            changes.iter().filter(|change| !is_live(&change.key)).map(refused).collect();
        if fixed.is_empty() { Ok(changes) } else { Err(fixed) }
    }
}

fn refused(change: &ConfigChange) -> Fault {
    let shown = |text: &str| if text.is_empty() { "not set".to_owned() } else { text.to_owned() };
    let before = shown(&change.before);
    let allowed =
        format!("it is {before}, which cannot be changed while the server runs: restart it");
    Fault { key: change.key.clone(), value: shown(&change.after), allowed }
}

/// Every setting with its value. Of a view that only one of the two has, its name says it all.
fn leaves(config: &Config, other: &Config) -> BTreeMap<String, String> {
    let mut tree = print::tree(config);
    let mut leaves = BTreeMap::new();
    if let Some(Value::Table(views)) = tree.remove("views") {
        for (name, view) in views {
            let key = format!("views.{name}");
            if other.views.keys().any(|known| known.as_str() == name) {
                walk(key, view, &mut leaves);
            } else {
                leaves.insert(key, "configured".to_owned());
            }
        }
    }
    walk(String::new(), Value::Table(tree), &mut leaves);
    leaves
}

/// Every value below a key, by its key.
pub(super) fn walk(key: String, value: Value, leaves: &mut BTreeMap<String, String>) {
    let Value::Table(table) = value else {
        leaves.insert(key, value.to_string());
        return;
    };
    for (name, value) in table {
        let below = if key.is_empty() { name } else { format!("{key}.{name}") };
        walk(below, value, leaves);
    }
}
