//! Raw values into checked configuration; every fault is kept and told.

mod change_log;
mod cluster;
mod leaf;
mod state;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::view::ViewSettings;
use fusion_store::Retention;
use serde::Deserialize;
use toml::{Table, Value};

use super::raw::{
    RawAuth, RawConfig, RawListen, RawListener, RawLog, RawQuotas, RawSession, RawTls, RawView,
};
use super::{
    Config, ConfigFaults, ListenerConfig, LogConfig, LogFormat, QuotaConfig, SessionConfig,
    ViewConfig,
};
use crate::tls::TlsConfig;
use crate::tokens;
use leaf::Checker;

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const DECADE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// What the number of connections and of watchers can be bounded to.
const CONNECTIONS: std::ops::RangeInclusive<usize> = 1..=1_000_000;
const WATCHERS: std::ops::RangeInclusive<usize> = 1..=100_000;
/// What the number of open jobs can be bounded to.
const JOBS: std::ops::RangeInclusive<usize> = 1..=100_000;
/// What the number of queries at work can be bounded to.
const QUERIES: std::ops::RangeInclusive<usize> = 1..=100_000;
const MILLI: Duration = Duration::from_millis(1);
/// Changes of a log that are kept whatever their age, at most.
const CHANGES_MAX: usize = 1_000_000_000;
/// Entries of a view; at 100 bytes each the most would be 100 TB of memory.
const ENTRIES: usize = 1_000_000_000_000;
/// What the size of a log can be bounded to.
const LOG_BYTES: std::ops::RangeInclusive<usize> = 64 << 20..=1 << 40;

/// Checks a whole tree.
pub(super) fn check(tree: Table) -> Result<Config, ConfigFaults> {
    let mut checker = Checker::default();
    let config = config(&mut checker, tree);
    cluster::fits(&mut checker, &config);
    checker.finish(config)
}

fn config(check: &mut Checker, tree: Table) -> Config {
    let default = Config::default();
    let raw: RawConfig = section(check, "", Some(Value::Table(tree)));
    let listen: RawListen = section(check, "listen", raw.listen);
    check.unknown("", &raw.unknown);
    check.unknown("listen", &listen.unknown);
    let (tls, (token_file, allow_anonymous)) = (tls(check, raw.tls), auth(check, raw.auth));
    let grpc = listener(check, "listen.grpc", listen.grpc, default.grpc, tls.is_some());
    if let (Some(tls), None, false) = (&tls, &token_file, allow_anonymous) {
        closed(check, tls, grpc.address);
    }
    let (given, own) = (raw.view_defaults, ViewConfig::default());
    let view_defaults = view(check, "view_defaults", given, &own, &default.session);
    let session = session(check, raw.session, &default.session);
    let own = default.idempotency_ttl;
    let idempotency_ttl = check.duration("idempotency_ttl", raw.idempotency_ttl, own, MILLI..=YEAR);
    let views = views(check, raw.views, &view_defaults, &session);
    let change_log = change_log::change_log(check, raw.change_log, default.change_log);
    Config {
        grpc,
        http: listener(check, "listen.http", listen.http, default.http, false),
        health: health(check, listen.health),
        tls,
        token_file,
        allow_anonymous,
        data_dir: check.path("data_dir", raw.data_dir),
        server_id: check.id("server_id", raw.server_id),
        address_file: check.path("address_file", raw.address_file),
        shutdown_grace: check.duration(
            "shutdown_grace",
            raw.shutdown_grace,
            default.shutdown_grace,
            MILLI..=DAY,
        ),
        idempotency_ttl,
        job_ttl: check.duration("job_ttl", raw.job_ttl, default.job_ttl, MILLI..=YEAR),
        audit_ttl: check.duration("audit_ttl", raw.audit_ttl, default.audit_ttl, MILLI..=DECADE),
        max_open_jobs: check.count("max_open_jobs", raw.max_open_jobs, default.max_open_jobs, JOBS),
        log: log(check, raw.log, default.log),
        session,
        auto_create_views: check.truth(
            "auto_create_views",
            raw.auto_create_views,
            views.is_empty(),
        ),
        max_views: check.count("max_views", raw.max_views, default.max_views, 1..=10_000),
        max_connections: check.count(
            "max_connections",
            raw.max_connections,
            default.max_connections,
            CONNECTIONS,
        ),
        max_watchers: check.count("max_watchers", raw.max_watchers, default.max_watchers, WATCHERS),
        max_queries: check.count("max_queries", raw.max_queries, default.max_queries, QUERIES),
        quotas: quotas(check, raw.quotas, &default.quotas),
        state: state::state(check, raw.state, default.state, &change_log),
        view_defaults,
        views,
        change_log,
        cluster: cluster::cluster(check, raw.cluster),
    }
}

/// Reads a section; what is no table is a fault.
fn section<T: for<'a> Deserialize<'a> + Default>(
    check: &mut Checker,
    key: &str,
    value: Option<Value>,
) -> T {
    match value {
        None => T::default(),
        Some(value @ Value::Table(_)) => value.try_into().unwrap_or_default(),
        Some(value) => {
            check.fault(key, &value, "a table of settings");
            T::default()
        }
    }
}

fn listener(
    check: &mut Checker,
    key: &str,
    value: Option<Value>,
    default: ListenerConfig,
    has_tls: bool,
) -> ListenerConfig {
    let raw = match value {
        None => return default,
        Some(Value::Table(table)) => section(check, key, Some(Value::Table(table))),
        Some(short) => RawListener { address: Some(short), ..RawListener::default() },
    };
    check.unknown(key, &raw.unknown);
    let allow_plaintext =
        check.truth(&format!("{key}.allow_plaintext"), raw.allow_plaintext, false);
    let address = check.address(key, raw.address, default.address);
    if !address.ip().is_loopback() && !allow_plaintext && !has_tls {
        let tls = if key == "listen.grpc" { "[tls] is not set" } else { "it has no TLS" };
        check.fault(
            key,
            &Value::String(address.to_string()),
            &format!(
                "a loopback address, because {tls}; to listen in plaintext where others can reach it, say that it is meant with {key}.allow_plaintext = true"
            ),
        );
    }
    ListenerConfig { address, allow_plaintext }
}

/// Plaintext is what it is for, on any address.
fn health(check: &mut Checker, value: Option<Value>) -> Option<SocketAddr> {
    let stands_in = SocketAddr::from(([127, 0, 0, 1], 0));
    value.map(|given| check.address("listen.health", Some(given), stands_in))
}

/// The files are read and tried: what is wrong with them is told before anything starts.
fn tls(check: &mut Checker, value: Option<Value>) -> Option<TlsConfig> {
    let given = value.clone()?;
    let raw: RawTls = section(check, "tls", value);
    check.unknown("tls", &raw.unknown);
    let mut needed = |key: &str, value: Option<Value>| {
        if value.is_none() && given.is_table() {
            check.fault(
                key,
                &Value::String(String::new()),
                "the path of a PEM file: it is missing",
            );
        }
        check.path(key, value)
    };
    let certificate = needed("tls.certificate", raw.certificate);
    let key = needed("tls.key", raw.key);
    let client_ca = check.path("tls.client_ca", raw.client_ca);
    let tls = TlsConfig { certificate: certificate?, key: key?, client_ca };
    for fault in tls.check().err().into_iter().flatten() {
        let file = Value::String(fault.file.display().to_string());
        check.fault(fault.key, &file, &format!("a PEM file that fits: it {}", fault.problem));
    }
    Some(tls)
}

/// The file of tokens is read and checked too.
fn auth(check: &mut Checker, value: Option<Value>) -> (Option<PathBuf>, bool) {
    let raw: RawAuth = section(check, "auth", value);
    check.unknown("auth", &raw.unknown);
    let allow_anonymous = check.truth("auth.allow_anonymous", raw.allow_anonymous, false);
    let file = check.path("auth.token_file", raw.token_file);
    for fault in file.iter().flat_map(|file| tokens::check(file).err()).flat_map(|all| all.0) {
        let shown = Value::String(file.as_deref().unwrap_or(Path::new("")).display().to_string());
        check.fault("auth.token_file", &shown, &format!("a file of tokens in order: {fault}"));
    }
    (file, allow_anonymous)
}

/// Without tokens, a listener that others reach must ask for client certificates.
fn closed(check: &mut Checker, tls: &TlsConfig, address: SocketAddr) {
    if !address.ip().is_loopback() && tls.client_ca.is_none() {
        let unset = Value::String(String::new());
        let allowed = "set, because others reach listen.grpc and [tls] has no client_ca; that whoever connects may do everything is said with auth.allow_anonymous = true";
        check.fault("auth.token_file", &unset, allowed);
    }
}

fn log(check: &mut Checker, value: Option<Value>, default: LogConfig) -> LogConfig {
    let raw: RawLog = section(check, "log", value);
    check.unknown("log", &raw.unknown);
    LogConfig {
        filter: check.filter("log.filter", raw.filter, default.filter),
        format: check.choice("log.format", raw.format, default.format, &LogFormat::ALL),
    }
}

fn session(check: &mut Checker, value: Option<Value>, default: &SessionConfig) -> SessionConfig {
    let raw: RawSession = section(check, "session", value);
    check.unknown("session", &raw.unknown);
    let timeout_max =
        check.duration("session.timeout_max", raw.timeout_max, default.timeout_max, MILLI..=DAY);
    SessionConfig {
        timeout_min: check.duration(
            "session.timeout_min",
            raw.timeout_min,
            default.timeout_min.min(timeout_max),
            MILLI..=timeout_max,
        ),
        timeout_max,
        max: check.count("session.max", raw.max, default.max, 1..=1_000_000),
    }
}

fn quotas(check: &mut Checker, value: Option<Value>, default: &QuotaConfig) -> QuotaConfig {
    let raw: RawQuotas = section(check, "quotas", value);
    check.unknown("quotas", &raw.unknown);
    let mut count = |key: &str, value, default, range| {
        check.count(&format!("quotas.{key}"), value, default, range)
    };
    let (rate, calls) = (raw.requests_per_second, raw.max_calls);
    QuotaConfig {
        requests_per_second: count(
            "requests_per_second",
            rate,
            default.requests_per_second,
            1..=1_000_000,
        ),
        max_calls: count("max_calls", calls, default.max_calls, 1..=1_000_000),
        max_queries: count("max_queries", raw.max_queries, default.max_queries, QUERIES),
        max_watchers: count("max_watchers", raw.max_watchers, default.max_watchers, WATCHERS),
        max_open_jobs: count("max_open_jobs", raw.max_open_jobs, default.max_open_jobs, JOBS),
    }
}

fn views(
    check: &mut Checker,
    value: Option<Value>,
    defaults: &ViewConfig,
    session: &SessionConfig,
) -> BTreeMap<ViewName, ViewConfig> {
    let table: Table = section(check, "views", value);
    let mut views = BTreeMap::new();
    for (name, value) in table {
        let key = format!("views.{name}");
        let config = view(check, &key, Some(value), defaults, session);
        match ViewName::new(&name) {
            Ok(name) => drop(views.insert(name, config)),
            Err(error) => check.fault("views", &Value::String(name), error.allowed),
        }
    }
    views
}

fn view(
    check: &mut Checker,
    key: &str,
    value: Option<Value>,
    default: &ViewConfig,
    session: &SessionConfig,
) -> ViewConfig {
    let raw: RawView = section(check, key, value);
    check.unknown(key, &raw.unknown);
    let own = &default.settings;
    let max_entries = entries(check, key, raw.max_entries, own.max_entries);
    let mut span = |field: &str, value, default, range| {
        check.duration(&format!("{key}.{field}"), value, default, range)
    };
    let cache_horizon = span("cache_horizon", raw.cache_horizon, own.cache_horizon, MILLI..=DAY);
    let shortest_tombstone = cache_horizon * 10;
    let settings = ViewSettings {
        cache_horizon,
        hot_threshold: span("hot_threshold", raw.hot_threshold, own.hot_threshold, MILLI..=DAY),
        trash_ttl: span("trash_ttl", raw.trash_ttl, own.trash_ttl, MILLI..=YEAR),
        tombstone_ttl: span(
            "tombstone_ttl",
            raw.tombstone_ttl,
            own.tombstone_ttl,
            shortest_tombstone..=YEAR,
        ),
        confirm_keep: span("confirm_keep", raw.confirm_keep, own.confirm_keep, MILLI..=DAY),
        relist_overdue: span("relist_overdue", raw.relist_overdue, own.relist_overdue, MILLI..=DAY),
        deep_audit_one_in: own.deep_audit_one_in,
        held_max: own.held_max,
        max_entries,
        accept_root: own.accept_root,
    };
    let session_timeout = span(
        "session_timeout",
        raw.session_timeout,
        default.session_timeout.clamp(session.timeout_min, session.timeout_max),
        session.timeout_min..=session.timeout_max,
    );
    let audit_interval =
        span("audit_interval", raw.audit_interval, default.audit_interval, MILLI..=YEAR);
    let raw_retention =
        [raw.change_retention, raw.change_retention_changes, raw.change_retention_bytes];
    let retention = retention(check, key, raw_retention, &default.retention);
    let deep = own.deep_audit_one_in as usize;
    let deep =
        check.count(&format!("{key}.deep_audit_one_in"), raw.deep_audit_one_in, deep, 1..=1_000);
    ViewConfig {
        session_timeout,
        exclusive: check.truth(&format!("{key}.exclusive"), raw.exclusive, default.exclusive),
        max_sessions: check.count(
            &format!("{key}.max_sessions"),
            raw.max_sessions,
            default.max_sessions,
            1..=1_000_000,
        ),
        audit_interval,
        retention,
        exclude: check.patterns(&format!("{key}.exclude"), raw.exclude, &default.exclude),
        withheld: check.withheld(&format!("{key}.withhold"), raw.withhold, default.withheld),
        settings: ViewSettings {
            deep_audit_one_in: u32::try_from(deep).unwrap_or(u32::MAX),
            ..settings
        },
    }
}

fn entries(check: &mut Checker, key: &str, value: Option<Value>, default: u64) -> u64 {
    let default = usize::try_from(default).unwrap_or(usize::MAX);
    check.count(&format!("{key}.max_entries"), value, default, 1..=ENTRIES) as u64
}

fn retention(
    check: &mut Checker,
    key: &str,
    [age, changes, bytes]: [Option<Value>; 3],
    default: &Retention,
) -> Retention {
    let key = format!("{key}.change_retention");
    let age = check.duration(&key, age, default.age, Duration::ZERO..=YEAR);
    let mut number = |field: &str, value, default: u64, range| {
        let default = usize::try_from(default).unwrap_or(usize::MAX);
        check.count(&format!("{key}_{field}"), value, default, range) as u64
    };
    Retention {
        age,
        changes: number("changes", changes, default.changes, 0..=CHANGES_MAX),
        bytes: number("bytes", bytes, default.bytes, LOG_BYTES),
    }
}
