//! What can be set, for docs/configuration.md: told by the types and by the checks themselves, so that it cannot
//! come apart from them.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::raw::{
    RawAuth, RawChangeLog, RawCluster, RawConfig, RawListen, RawListener, RawLog, RawQuotas,
    RawSession, RawState, RawTls, RawView,
};
use super::{ClusterConfig, Config, Fault, ViewConfig, check, in_force};

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key, as a dotted path.
    pub key: String,
    /// What it may be.
    pub allowed: String,
    /// What it is if it is not set, as TOML writes it; absent: nothing.
    pub default: Option<String>,
    /// Whether a running server takes another value.
    pub is_live: bool,
}

/// Every setting; those of a view as `views.NAME`.
#[must_use]
pub fn settings() -> Vec<Setting> {
    let defaults = defaults();
    let faults = check::check(wrong_everywhere()).err().map(|faults| faults.0).unwrap_or_default();
    let mut settings: Vec<Setting> = Vec::new();
    for Fault { key, allowed, .. } in faults {
        let key = key.replace("views.name.", "views.NAME.");
        let key = match key.as_str() {
            "listen.grpc" | "listen.http" => format!("{key}.address"),
            _ => key,
        };
        let allowed = allowed.strip_prefix("must be ").unwrap_or(&allowed).to_owned();
        // The first fault of a key is about its form.
        if settings.iter().all(|known| known.key != key) {
            let default = defaults.get(&key).cloned();
            settings.push(Setting { is_live: in_force::is_live(&key), key, allowed, default });
        }
    }
    settings.sort_by(|one, other| one.key.cmp(&other.key));
    settings
}

/// A tree in which every setting has a value that none may have, so that each says what it may be.
fn wrong_everywhere() -> Table {
    let sections = [
        ("tls", RawTls::FIELDS),
        ("auth", RawAuth::FIELDS),
        ("log", RawLog::FIELDS),
        ("session", RawSession::FIELDS),
        ("quotas", RawQuotas::FIELDS),
        ("state", RawState::FIELDS),
        ("change_log", RawChangeLog::FIELDS),
        ("cluster", RawCluster::FIELDS),
    ];
    let mut tree = wrong(RawConfig::FIELDS);
    for (section, fields) in sections {
        tree.insert(section.to_owned(), Value::Table(wrong(fields)));
    }
    let listener = || Value::Table(wrong(RawListener::FIELDS));
    let mut listen = wrong(RawListen::FIELDS);
    listen.extend(["grpc", "http"].map(|name| (name.to_owned(), listener())));
    tree.insert("listen".to_owned(), Value::Table(listen));
    let view = Table::from_iter([("name".to_owned(), Value::Table(wrong(RawView::FIELDS)))]);
    tree.insert("views".to_owned(), Value::Table(view));
    tree.remove("view_defaults");
    tree
}

fn wrong(fields: &[&str]) -> Table {
    // No setting is a fraction.
    fields.iter().map(|&name| (name.to_owned(), Value::Float(0.5))).collect()
}

fn defaults() -> BTreeMap<String, String> {
    let mut config = Config { cluster: Some(ClusterConfig::default()), ..Config::default() };
    let name = fusion_core::id::ViewName::new("name");
    config.views.extend(name.map(|name| (name, ViewConfig::default())));
    let mut leaves = BTreeMap::new();
    in_force::walk(String::new(), Value::Table(super::print::tree(&config)), &mut leaves);
    leaves
        .into_iter()
        .map(|(key, value)| (key.replace("views.name.", "views.NAME."), value))
        .collect()
}
