//! Configuration: what was written ([`raw`]) becomes [`ProcessConfig`], which cannot be wrong.
//!
//! Owns every default and every range. Called by `main` ([`load`]) and by whoever embeds an agent
//! ([`AgentConfig::new`]). Must never: report one fault and hide the next, or adjust a value in
//! silence. That a root exists and can be read is found by `agent::build`, which opens it. Tested
//! below, and by the shipped example.

mod access;
mod print;
pub mod raw;
mod settings;
mod trees;

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use fusion_core::id::{AgentId, ViewName};
use fusion_proto::client::ClientTls;

pub use raw::{Environment, Raw, RawTree, Value};
pub use settings::{Setting, settings};

/// Bytes of evidence that a spool holds at most, unless set otherwise.
pub const DEFAULT_SPOOL_BYTES: u64 = 1 << 30;
/// A spool smaller than this could not hold one segment.
const MIN_SPOOL_BYTES: u64 = 1 << 20;
const MAX_SCAN_WORKERS: u64 = 256;
/// Above what any storage gives.
const MAX_SCAN_RATE: u64 = 1_000_000_000;
/// Directories that a follower reads per second to place its watches, unless set otherwise.
pub const DEFAULT_PLACEMENT_RATE: u32 = 2_000;

/// Which log lines are written, unless set otherwise.
const DEFAULT_LOG: &str = "info";

/// Everything that a process needs to know before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfig {
    /// An agent for each tree: at least one. What is said of all agents is the same in each.
    pub agents: Vec<AgentConfig>,
    /// The directory that holds their spools, one for each view; absent where one tree is given by
    /// `view` and `root`, whose spool is the directory itself.
    pub spools: Option<PathBuf>,
    /// Where to serve `/metrics`, `/livez` and `/readyz`; absent: nowhere.
    pub http_listen: Option<SocketAddr>,
    /// Where to write the addresses that were chosen; absent: nowhere.
    pub address_file: Option<PathBuf>,
    /// Which log lines to write, in the notation of `tracing`.
    pub log: String,
}

/// Everything that an agent needs to know before it starts. Where several are in one process, the
/// watches, the rate and the threads of scans are for all of them together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Where the server is, or several that share the views.
    pub servers: ServerUrls,
    /// The files that `https://` needs.
    pub tls: ClientTls,
    /// The file of the token; absent: none is shown.
    pub token_file: Option<PathBuf>,
    /// The view to serve.
    pub view: ViewName,
    /// The directory that is the root of the view.
    pub root: PathBuf,
    /// The agent's name; absent: HOSTNAME-XXXXXXXX, drawn once and kept in the spool.
    pub agent_id: Option<AgentId>,
    /// The directory of the spool.
    pub spool: PathBuf,
    /// Most bytes of evidence in the spool.
    pub spool_bytes: u64,
    /// Most directories to watch; absent: what the kernel allows.
    pub max_watches: Option<u64>,
    /// Threads that read directories.
    pub scan_workers: NonZeroUsize,
    /// Most entries that all scans look at per second; absent: no limit.
    pub scan_rate: Option<NonZeroU32>,
    /// Scans pause in proportion where a call of the storage takes longer than this (the mean of the
    /// last 256); absent: they never do.
    pub scan_yield_above: Option<Duration>,
    /// How long a call of the storage is waited for.
    pub call_limit: Duration,
    /// Directories that a follower reads per second to place its watches.
    pub placement_rate: u32,
    /// The session timeout to ask for; absent: the view's.
    pub session_timeout: Option<Duration>,
}

impl AgentConfig {
    /// A configuration with all defaults, for whoever embeds an agent.
    #[must_use]
    pub fn new(
        servers: impl Into<ServerUrls>,
        view: ViewName,
        root: PathBuf,
        spool: PathBuf,
    ) -> Self {
        Self {
            servers: servers.into(),
            tls: ClientTls::default(),
            token_file: None,
            view,
            root,
            agent_id: None,
            spool,
            spool_bytes: DEFAULT_SPOOL_BYTES,
            max_watches: None,
            scan_workers: default_workers(),
            scan_rate: None,
            scan_yield_above: None,
            call_limit: crate::scan::RootOptions::default().call_limit,
            placement_rate: DEFAULT_PLACEMENT_RATE,
            session_timeout: None,
        }
    }
}

/// The URL of a server: `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Takes `http://HOST:PORT` or `https://HOST:PORT`, with nothing behind it.
    ///
    /// # Errors
    /// What is wrong with it, in words for people.
    pub fn new(text: &str) -> Result<Self, String> {
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), authority)) => {
                (scheme, authority.strip_suffix('/').unwrap_or(authority))
            }
            _ => return Err("must be http://HOST:PORT or https://HOST:PORT".into()),
        };
        let (host, port) = authority.rsplit_once(':').ok_or("the port is missing")?;
        let host_is_good = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte));
        if !host_is_good {
            return Err("the host is missing or malformed: http://HOST:PORT".into());
        }
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self(format!("{scheme}://{host}:{port}"))),
            _ => Err("the port must be a number from 1 to 65535".into()),
        }
    }

    /// Whether it is one of TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The URLs of servers that share the views: at least one, all with TLS or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrls(Vec<ServerUrl>);

impl ServerUrls {
    /// Takes URLs apart by commas.
    ///
    /// # Errors
    /// What is wrong with one of them, or with all together, in words for people.
    pub fn new(text: &str) -> Result<Self, String> {
        let servers = text.split(',').map(|url| ServerUrl::new(url.trim()));
        let servers: Vec<_> = servers.collect::<Result<_, _>>()?;
        if servers.iter().any(|server| server.is_tls() != servers[0].is_tls()) {
            return Err("must be https:// for all servers, or for none".into());
        }
        Ok(Self(servers))
    }

    /// All of them, at least one.
    #[must_use]
    pub fn list(&self) -> &[ServerUrl] {
        &self.0
    }

    /// Whether they are of TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.iter().all(ServerUrl::is_tls)
    }
}

impl From<ServerUrl> for ServerUrls {
    fn from(server: ServerUrl) -> Self {
        Self(vec![server])
    }
}

impl fmt::Display for ServerUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<_> = self.0.iter().map(ServerUrl::as_str).collect();
        f.write_str(&urls.join(","))
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key.
    pub key: String,
    /// What was given; absent if nothing was.
    pub value: Option<String>,
    /// What is allowed.
    pub allowed: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value:?}: {}", self.key, self.allowed),
            None => write!(f, "{}: {}", self.key, self.allowed),
        }
    }
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Fault>);

/// Puts file, environment and flags together, later ones over earlier ones, and checks the whole.
///
/// # Errors
/// All faults at once.
pub fn load(
    file: Option<&std::path::Path>,
    environment: &Environment,
    flags: Raw,
) -> Result<ProcessConfig, ConfigError> {
    let mut faults = Vec::new();
    let from_file = file.map_or_else(Raw::default, |path| {
        Raw::from_file(path).unwrap_or_else(|fault| {
            faults.push(fault);
            Raw::default()
        })
    });
    let from_environment = Raw::from_environment(environment, &mut faults);
    let raw = from_file.overlaid_with(from_environment).overlaid_with(flags);
    let checked = check(&raw, environment, &mut faults);
    match checked {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(ConfigError(faults)),
    }
}

/// Checks every value; `None` only if a fault was added.
fn check(raw: &Raw, environment: &Environment, faults: &mut Vec<Fault>) -> Option<ProcessConfig> {
    let mut checks = Checks { faults };
    let servers = checks.required("server", raw.server.as_ref(), ServerUrls::new);
    let trees = trees::check(raw, environment, &mut checks);
    let http_listen = checks.optional("http_listen", raw.http_listen.as_ref(), socket_address);
    let address_file = checks.optional("address_file", raw.address_file.as_ref(), non_empty_path);
    let log = checks.optional("log", raw.log.as_ref(), log_filter);
    // All are checked before any is missed.
    let options = check_options(raw, &mut checks);
    let (servers, trees) = (servers?, trees?);
    let agent = |tree: trees::Tree| {
        options(AgentConfig::new(servers.clone(), tree.view, tree.root, tree.spool))
    };
    Some(ProcessConfig {
        agents: trees.list.into_iter().map(agent).collect(),
        spools: trees.spools,
        http_listen,
        address_file,
        log: log.unwrap_or_else(|| DEFAULT_LOG.to_owned()),
    })
}

/// Checks what has a default, and gives what puts it in.
fn check_options(
    raw: &Raw,
    checks: &mut Checks<'_>,
) -> impl Fn(AgentConfig) -> AgentConfig + use<> {
    let agent_id = checks.optional("agent_id", raw.agent_id.as_ref(), |text| {
        AgentId::new(text).map_err(|error| error.allowed.to_owned())
    });
    let bytes =
        checks.number("spool_bytes", raw.spool_bytes.as_ref(), MIN_SPOOL_BYTES, u64::MAX >> 1);
    let max_watches = checks.number("max_watches", raw.max_watches.as_ref(), 1, u64::MAX >> 1);
    let workers = checks.number("scan_workers", raw.scan_workers.as_ref(), 1, MAX_SCAN_WORKERS);
    let scan_rate = checks.number("scan_rate", raw.scan_rate.as_ref(), 1, MAX_SCAN_RATE);
    let yield_above = checks.optional("scan_yield_above", raw.scan_yield_above.as_ref(), latency);
    let call_limit = checks.optional("call_limit", raw.call_limit.as_ref(), timeout);
    let rate = checks.number("placement_rate", raw.placement_rate.as_ref(), 1, 1_000_000);
    let session_timeout = checks.optional("session_timeout", raw.session_timeout.as_ref(), timeout);
    let tls = access::tls(raw, checks);
    let token_file = access::token(raw, checks);
    let workers = workers.and_then(|number| NonZeroUsize::new(usize::try_from(number).ok()?));
    let rate = rate.and_then(|number| u32::try_from(number).ok());
    let scan_rate = scan_rate.and_then(|number| NonZeroU32::new(u32::try_from(number).ok()?));
    move |defaults| AgentConfig {
        tls: tls.clone(),
        token_file: token_file.clone(),
        agent_id: agent_id.clone(),
        spool_bytes: bytes.unwrap_or(defaults.spool_bytes),
        max_watches,
        scan_workers: workers.unwrap_or(defaults.scan_workers),
        scan_rate,
        scan_yield_above: yield_above,
        call_limit: call_limit.unwrap_or(defaults.call_limit),
        placement_rate: rate.unwrap_or(defaults.placement_rate),
        session_timeout,
        ..defaults
    }
}

/// Collects faults while values are checked.
struct Checks<'a> {
    faults: &'a mut Vec<Fault>,
}

impl Checks<'_> {
    fn missing(&mut self, key: &str, allowed: &str) {
        self.faults.push(Fault { key: key.into(), value: None, allowed: allowed.into() });
    }

    fn required<T>(
        &mut self,
        key: &str,
        value: Option<&Value>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if value.is_none() {
            let flag = key.replace('_', "-");
            self.missing(key, &format!("is needed (--{flag}, or in the file)"));
        }
        self.optional(key, value, parse)
    }

    fn optional<T>(
        &mut self,
        key: &str,
        value: Option<&Value>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = value?.to_string();
        match parse(&text) {
            Ok(parsed) => Some(parsed),
            Err(allowed) => {
                self.faults.push(Fault { key: key.into(), value: Some(text), allowed });
                None
            }
        }
    }

    fn number(&mut self, key: &str, value: Option<&Value>, min: u64, max: u64) -> Option<u64> {
        self.optional(key, value, |text| match text.parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!("a whole number from {min} to {max}")),
        })
    }
}

fn non_empty_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.into()) }
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "IP:PORT, such as 127.0.0.1:7702; port 0 picks a free one".into())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
    match humantime::parse_duration(text) {
        Ok(span) if bounds.contains(&span) => Ok(span),
        _ => Err("a time from 1s to 10min, with its unit".into()),
    }
}

fn latency(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_micros(10)..=Duration::from_secs(10);
    match humantime::parse_duration(text) {
        Ok(span) if bounds.contains(&span) => Ok(span),
        _ => Err("a time from 10us to 10s, with its unit".into()),
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    match text.parse::<tracing_subscriber::filter::EnvFilter>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("a filter such as info,agent_client=debug: {error}")),
    }
}

fn default_workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests;
