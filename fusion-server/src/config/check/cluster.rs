//! `[cluster]`: present, the server takes part among several; then its log and its state are not its own.

use std::time::Duration;

use toml::Value;

use super::leaf::Checker;
use super::section;
use crate::config::raw::RawCluster;
use crate::config::{ChangeLogEngine, ClusterConfig, Config, StateEngine};

/// Longest address, in bytes.
const ADDRESS_MAX: usize = 512;
const LEASE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
const MEMORY: std::ops::RangeInclusive<u64> = 1 << 20..=1 << 50;

pub(super) fn cluster(check: &mut Checker, value: Option<Value>) -> Option<ClusterConfig> {
    let is_table = value.as_ref()?.is_table();
    let raw: RawCluster = section(check, "cluster", value);
    check.unknown("cluster", &raw.unknown);
    let default = ClusterConfig::default();
    let allowed = "http://HOST:PORT or https://HOST:PORT, as other servers and agents reach this one; the port is not 0";
    // What is missing is told as what is wrong.
    let given = raw.advertise.or_else(|| is_table.then(|| Value::String(String::new())));
    Some(ClusterConfig {
        advertise: check
            .text("cluster.advertise", given, allowed, is_advertisable)
            .unwrap_or(default.advertise),
        lease: check.duration("cluster.lease", raw.lease, default.lease, LEASE),
        memory: check.bytes("cluster.memory", raw.memory, MEMORY),
        ca_file: check.path("cluster.ca_file", raw.ca_file),
    })
}

/// Whether others can come by it: a scheme, a host that is one, and a port.
fn is_advertisable(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let is_any = |host: &str| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    };
    let has_place = uri.host().is_some_and(|host| !host.is_empty() && !is_any(host))
        && uri.port_u16().is_some_and(|port| port != 0);
    let is_bare = uri.authority().is_some_and(|authority| {
        let scheme = uri.scheme_str().unwrap_or_default();
        ["http", "https"].contains(&scheme) && text == format!("{scheme}://{authority}")
    });
    has_place && is_bare && !text.contains('@') && text.len() <= ADDRESS_MAX
}

/// Whether what it needs is there: several servers share what is not in a data directory.
pub(super) fn fits(check: &mut Checker, config: &Config) {
    let Some(cluster) = &config.cluster else { return };
    let text = |text: &str| Value::String(text.to_owned());
    if config.change_log.engine != ChangeLogEngine::Nats {
        let engine = text(config.change_log.engine.as_str());
        check.fault("change_log.engine", &engine, "nats, because [cluster] is set");
    }
    if config.state.engine == StateEngine::Embedded {
        let allowed = "outside of the server (nats, postgres, redis), because [cluster] is set";
        check.fault("state.engine", &text(config.state.engine.as_str()), allowed);
    }
    if config.tls.is_some() && cluster.advertise.starts_with("http://") {
        let allowed = "https://HOST:PORT, because [tls] is set";
        check.fault("cluster.advertise", &text(&cluster.advertise), allowed);
    }
    let Some(ca) = &cluster.ca_file else { return };
    let ca = text(&ca.display().to_string());
    if !cluster.advertise.starts_with("https://") {
        let allowed = "left out, or beside cluster.advertise = \"https://HOST:PORT\"";
        check.fault("cluster.ca_file", &ca, allowed);
    } else if let Err(problem) = cluster.peers(config.tls.as_ref()).load() {
        check.fault("cluster.ca_file", &ca, &format!("files of TLS that fit: {problem}"));
    }
}
