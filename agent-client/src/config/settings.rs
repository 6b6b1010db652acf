//! What can be set, for docs/configuration.md: told by the checks themselves, so that it cannot come apart from
//! them.

use super::{AgentConfig, Environment, Raw, ServerUrl, Value, check, print};
use fusion_core::id::ViewName;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// What it may be.
    pub allowed: String,
    /// What it is if it is not set, as TOML writes it; absent: nothing, or what depends on the machine.
    pub default: Option<String>,
}

/// Every setting but the list of trees.
#[must_use]
pub fn settings() -> Vec<Setting> {
    let defaults = print::of(&usual());
    let keys: Vec<&'static str> = Raw::default().fields().iter().map(|(key, _)| *key).collect();
    let setting = |key: &'static str| Setting {
        key,
        allowed: allowed(key),
        default: defaults
            .get(key)
            .filter(|_| !OF_THE_MACHINE.contains(&key))
            .map(ToString::to_string),
    };
    keys.into_iter().map(setting).collect()
}

/// What is needed, or is as the machine has it.
const OF_THE_MACHINE: [&str; 5] = ["server", "view", "root", "spool", "scan_workers"];

/// What a value that none may have is told.
fn allowed(key: &str) -> String {
    let told = ["", "a=b=c"].iter().find_map(|wrong| {
        let mut raw = Raw::default();
        for (_, slot) in raw.fields().into_iter().filter(|(name, _)| *name == key) {
            *slot = Some(Value::from(*wrong));
        }
        let mut faults = Vec::new();
        let _ = check(&raw, &Environment::default(), &mut faults);
        faults.into_iter().find(|fault| fault.key == key && fault.value.is_some())
    });
    let told = told.map(|fault| fault.allowed).unwrap_or_default();
    // Why this value in particular is none.
    let told = told.split(": ").next().unwrap_or(&told).to_owned();
    match told.strip_prefix("must ") {
        Some("not be empty") => "a path".to_owned(),
        Some(rest) => rest.trim_start_matches("be ").to_owned(),
        None => told,
    }
}

/// An agent with nothing set but what is needed.
fn usual() -> Option<AgentConfig> {
    let server = ServerUrl::new("http://localhost:7700").ok()?;
    let view = ViewName::new("view").ok()?;
    Some(AgentConfig::new(server, view, "/".into(), "/".into()))
}
