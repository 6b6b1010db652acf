//! Configuration as it was written: in a TOML file, in the environment, as flags. No meaning yet.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use fusion_core::id::ViewName;
use serde::Deserialize;

use super::Fault;

/// What environment variables of the agent begin with.
pub const ENVIRONMENT_PREFIX: &str = "FUSION_AGENT__";

/// A value as written; its key says what it must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number of a file.
    Number(i64),
    /// A text of a file, or anything of the environment or a flag.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// All keys, each as written or absent. The meaning of each is that of the field of the same name in
/// [`super::AgentConfig`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "documented where they are checked")]
pub struct Raw {
    pub server: Option<Value>,
    pub ca: Option<Value>,
    pub client_certificate: Option<Value>,
    pub client_key: Option<Value>,
    pub token_file: Option<Value>,
    pub view: Option<Value>,
    pub root: Option<Value>,
    pub agent_id: Option<Value>,
    pub spool: Option<Value>,
    pub spool_bytes: Option<Value>,
    pub http_listen: Option<Value>,
    pub address_file: Option<Value>,
    pub max_watches: Option<Value>,
    pub scan_workers: Option<Value>,
    pub scan_rate: Option<Value>,
    pub scan_yield_above: Option<Value>,
    pub call_limit: Option<Value>,
    pub placement_rate: Option<Value>,
    pub session_timeout: Option<Value>,
    pub log: Option<Value>,
    /// Several trees in place of one; not in the environment.
    pub tree: Option<Vec<RawTree>>,
}

/// One of several trees, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTree {
    /// The view.
    pub view: Option<Value>,
    /// The directory that is its root.
    pub root: Option<Value>,
}

impl RawTree {
    /// A tree as a flag says it.
    ///
    /// # Errors
    /// It is not VIEW=ROOT.
    pub fn of_flag(text: &str) -> Result<Self, String> {
        let (view, root) = text.split_once('=').ok_or("must be VIEW=ROOT")?;
        Ok(Self { view: Some(view.into()), root: Some(root.into()) })
    }
}

impl Raw {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// It cannot be read, is not TOML, or has a key that does not exist.
    pub fn from_file(path: &Path) -> Result<Self, Fault> {
        let fault = |allowed: String| Fault {
            key: "config".into(),
            value: Some(path.display().to_string()),
            allowed,
        };
        let text = std::fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        toml::from_str(&text).map_err(|error| fault(error.to_string().trim_end().to_owned()))
    }

    /// Takes what the environment says under [`ENVIRONMENT_PREFIX`]; adds a fault per unknown key.
    #[must_use]
    pub fn from_environment(environment: &Environment, faults: &mut Vec<Fault>) -> Self {
        let mut raw = Self::default();
        for (name, value) in &environment.0 {
            let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let key = key.to_ascii_lowercase();
            match raw.fields().into_iter().find(|(field, _)| *field == key) {
                Some((_, slot)) => *slot = Some(Value::Text(value.clone())),
                None => faults.push(Fault {
                    key: name.clone(),
                    value: Some(value.clone()),
                    allowed: "there is no such setting".into(),
                }),
            }
        }
        raw
    }

    /// These values, and where `over` has one, that. A list of trees is one value.
    #[must_use]
    pub fn overlaid_with(mut self, mut over: Self) -> Self {
        for ((_, slot), (_, value)) in self.fields().into_iter().zip(over.fields()) {
            if value.is_some() {
                *slot = value.take();
            }
        }
        self.tree = over.tree.or(self.tree);
        self
    }

    pub(super) fn fields(&mut self) -> [(&'static str, &mut Option<Value>); 20] {
        [
            ("server", &mut self.server),
            ("ca", &mut self.ca),
            ("client_certificate", &mut self.client_certificate),
            ("client_key", &mut self.client_key),
            ("token_file", &mut self.token_file),
            ("view", &mut self.view),
            ("root", &mut self.root),
            ("agent_id", &mut self.agent_id),
            ("spool", &mut self.spool),
            ("spool_bytes", &mut self.spool_bytes),
            ("http_listen", &mut self.http_listen),
            ("address_file", &mut self.address_file),
            ("max_watches", &mut self.max_watches),
            ("scan_workers", &mut self.scan_workers),
            ("scan_rate", &mut self.scan_rate),
            ("scan_yield_above", &mut self.scan_yield_above),
            ("call_limit", &mut self.call_limit),
            ("placement_rate", &mut self.placement_rate),
            ("session_timeout", &mut self.session_timeout),
            ("log", &mut self.log),
        ]
    }
}

/// The environment of the process, as a value: the library never reads the real one by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment(pub BTreeMap<String, String>);

impl Environment {
    /// The environment of this process; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Whether an endpoint for traces is set, by the standard variables.
    #[must_use]
    pub fn exports_traces(&self) -> bool {
        let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        self.get("OTEL_SDK_DISABLED") != Some("true")
            && endpoints.iter().any(|name| self.get(name).is_some())
    }

    /// Where the spool of one tree goes by default: `$STATE_DIRECTORY`, else a folder of the view's name
    /// in [`Environment::state_folder`].
    #[must_use]
    pub fn default_spool(&self, view: &ViewName) -> Option<PathBuf> {
        let folder = self.state_folder()?;
        let is_given = self.get("STATE_DIRECTORY").is_some();
        Some(if is_given { folder } else { folder.join(view.as_str()) })
    }

    /// Where spools go by default: `$STATE_DIRECTORY` (systemd; the first, if it names several), else
    /// `$XDG_STATE_HOME/fusion/agent`, else the same below `~/.local/state`.
    #[must_use]
    pub fn state_folder(&self) -> Option<PathBuf> {
        if let Some(directories) = self.get("STATE_DIRECTORY") {
            return directories.split(':').next().map(PathBuf::from);
        }
        let state = match self.get("XDG_STATE_HOME") {
            Some(state) => PathBuf::from(state),
            None => Path::new(self.get("HOME")?).join(".local/state"),
        };
        Some(state.join("fusion/agent"))
    }
}
