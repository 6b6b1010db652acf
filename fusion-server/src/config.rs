//! Configuration: what a server does, checked whole before anything starts.
//!
//! Owns every default and every range. A file (TOML) is overridden by the environment, that by
//! flags; all three become one tree ([`overlay`]), which is read as raw values ([`raw`]) and turned
//! into [`Config`] ([`check`]) with all faults at once. Must never: give a value a hidden meaning,
//! or adjust one in silence.

mod bytes;
mod change_log;
mod check;
mod cluster;
mod in_force;
mod overlay;
mod print;
mod raw;
mod settings;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::view::ViewSettings;
use fusion_proto::convert::session::Withheld;
use fusion_store::Retention;
use uuid::Uuid;

use crate::tls::TlsConfig;
pub use fusion_store::engines::nats::NatsSync;

pub use change_log::{ChangeLogConfig, ChangeLogEngine};
pub use cluster::ClusterConfig;
pub(crate) use in_force::InForce;
pub use overlay::{ENV_PREFIX, Sources};
pub use settings::{Setting, settings};
pub use state::{StateConfig, StateEngine};

/// Everything that can be set; see `fusion-server.example.toml` for what each means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The listener for gRPC.
    pub grpc: ListenerConfig,
    /// The listener for `/metrics`, `/livez` and `/readyz`.
    pub http: ListenerConfig,
    /// Where only `grpc.health.v1` is served, in plaintext, for probes that know no TLS; absent: nowhere.
    pub health: Option<SocketAddr>,
    /// TLS of the listener for gRPC; absent: plaintext.
    pub tls: Option<TlsConfig>,
    /// The file of tokens; absent: no token is asked for, and whoever connects may do everything.
    pub token_file: Option<PathBuf>,
    /// That whoever connects from elsewhere may do everything is meant.
    pub allow_anonymous: bool,
    /// Where state is kept. The binary always has one; `None`, for tests, keeps it in memory.
    pub data_dir: Option<PathBuf>,
    /// The id that the data directory must have; any, if it is not set.
    pub server_id: Option<Uuid>,
    /// Where the chosen addresses are written.
    pub address_file: Option<PathBuf>,
    /// Hard limit of a graceful end.
    pub shutdown_grace: Duration,
    /// How long the answer to a call under an idempotency key is kept.
    pub idempotency_ttl: Duration,
    /// How long a job that is over is kept.
    pub job_ttl: Duration,
    /// How long an audit record is kept.
    pub audit_ttl: Duration,
    /// Most jobs that are not over.
    pub max_open_jobs: usize,
    /// Logging.
    pub log: LogConfig,
    /// Bounds of sessions.
    pub session: SessionConfig,
    /// Whether the first session of an unknown view creates it.
    pub auto_create_views: bool,
    /// Most views; each has a thread.
    pub max_views: usize,
    /// Most connections for gRPC; each is a descriptor.
    pub max_connections: usize,
    /// Most calls that watch a view or wait for quiet, over all views.
    pub max_watchers: usize,
    /// Most queries at work at once, of all callers.
    pub max_queries: usize,
    /// What each principal may ask for.
    pub quotas: QuotaConfig,
    /// Where sessions, jobs, audit records and names of views are kept.
    pub state: StateConfig,
    /// Where the logs and the checkpoints of views are kept.
    pub change_log: ChangeLogConfig,
    /// How it takes part among several servers; absent: it is alone.
    pub cluster: Option<ClusterConfig>,
    /// Settings of views that are created when an agent names them.
    pub view_defaults: ViewConfig,
    /// Configured views.
    pub views: BTreeMap<ViewName, ViewConfig>,
}

/// One listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Plaintext on an address that others can reach is meant.
    pub allow_plaintext: bool,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Directives as `tracing_subscriber::EnvFilter` takes them.
    pub filter: String,
    /// How lines are written.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    const ALL: [(&str, Self); 3] =
        [("auto", Self::Auto), ("text", Self::Text), ("json", Self::Json)];

    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Bounds of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Shortest timeout.
    pub timeout_min: Duration,
    /// Longest timeout.
    pub timeout_max: Duration,
    /// Most live sessions.
    pub max: usize,
}

/// What each principal may ask for, where tokens tell who that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaConfig {
    /// Requests in a second; as many at once after a second without.
    pub requests_per_second: usize,
    /// Calls under way, streams and watches included.
    pub max_calls: usize,
    /// Queries at work.
    pub max_queries: usize,
    /// Calls that watch a view, a job or the health of the server, or wait for quiet.
    pub max_watchers: usize,
    /// Jobs that are not over.
    pub max_open_jobs: usize,
}

/// One view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewConfig {
    /// Timeout of its sessions, unless a longer one is proposed.
    pub session_timeout: Duration,
    /// Whether it takes one session at a time.
    pub exclusive: bool,
    /// Most live sessions.
    pub max_sessions: usize,
    /// Between the starts of two audits, before jitter.
    pub audit_interval: Duration,
    /// How much of its log is kept that its blocks contain.
    pub retention: Retention,
    /// Names of which its agents tell nothing.
    pub exclude: Vec<String>,
    /// Fields that its agents do not tell.
    pub withheld: Withheld,
    /// What its rules go by.
    pub settings: ViewSettings,
}

impl Default for ViewConfig {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(30),
            exclusive: false,
            max_sessions: 20_000,
            audit_interval: Duration::from_secs(3600),
            retention: Retention::default(),
            exclude: Vec::new(),
            withheld: Withheld::default(),
            settings: ViewSettings::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let listener = |port| ListenerConfig {
            address: ([127, 0, 0, 1], port).into(),
            allow_plaintext: false,
        };
        Self {
            grpc: listener(7700),
            http: listener(7701),
            health: None,
            tls: None,
            token_file: None,
            allow_anonymous: false,
            data_dir: None,
            server_id: None,
            address_file: None,
            shutdown_grace: Duration::from_secs(30),
            idempotency_ttl: Duration::from_hours(24),
            job_ttl: Duration::from_hours(7 * 24),
            audit_ttl: Duration::from_hours(90 * 24),
            max_open_jobs: 10_000,
            log: LogConfig { filter: "info".to_owned(), format: LogFormat::Auto },
            session: SessionConfig {
                timeout_min: Duration::from_secs(1),
                timeout_max: Duration::from_secs(600),
                max: 20_000,
            },
            auto_create_views: true,
            max_views: 256,
            max_connections: 30_000,
            max_watchers: 5_000,
            max_queries: 4_000,
            quotas: QuotaConfig {
                requests_per_second: 10_000,
                max_calls: 50_000,
                max_queries: 1_000,
                max_watchers: 1_000,
                max_open_jobs: 1_000,
            },
            state: StateConfig::default(),
            change_log: ChangeLogConfig::default(),
            cluster: None,
            view_defaults: ViewConfig::default(),
            views: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads, overlays and checks.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(sources: &Sources) -> Result<Self, ConfigFaults> {
        let tree = sources.overlaid()?;
        check::check(tree)
    }

    /// What is in force, as a file that [`Config::load`] reads back to the same.
    #[must_use]
    pub fn to_toml(&self) -> String {
        print::tree(self).to_string()
    }

    /// The settings of a view, if it may exist.
    #[must_use]
    pub fn view(&self, name: &ViewName) -> Option<&ViewConfig> {
        match self.views.get(name) {
            Some(view) => Some(view),
            None => self.auto_create_views.then_some(&self.view_defaults),
        }
    }
}

/// Reads the configuration anew, as it was read at the start. Blocks.
pub type Reread = Arc<dyn Fn() -> Result<Config, ConfigFaults> + Send + Sync>;

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which setting, as a dotted path.
    pub key: String,
    /// What was given.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.key, self.value, self.allowed)
    }
}

/// All that is wrong with the configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<Fault>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s)", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for ConfigFaults {}

#[cfg(test)]
mod tests;
