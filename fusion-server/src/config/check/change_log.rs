//! `[change_log]`: an engine, and how it is reached.

use std::time::Duration;

use fusion_store::engines::nats::NatsSync;
use toml::Value;

use super::leaf::Checker;
use super::section;
use crate::config::raw::RawChangeLog;
use crate::config::{ChangeLogConfig, ChangeLogEngine};

const SERVERS_MAX: usize = 32;
const TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
const MAX_BYTES: std::ops::RangeInclusive<usize> = 64 << 20..=1 << 50;

pub(super) fn change_log(
    check: &mut Checker,
    value: Option<Value>,
    default: ChangeLogConfig,
) -> ChangeLogConfig {
    let raw: RawChangeLog = section(check, "change_log", value);
    check.unknown("change_log", &raw.unknown);
    let key = |name: &str| format!("change_log.{name}");
    let choices = [("always", NatsSync::Always), ("interval", NatsSync::Interval)];
    let replicas = [("1", 1), ("3", 3), ("5", 5)];
    let count = raw.replicas.map(|value| match value {
        Value::Integer(number) => Value::String(number.to_string()),
        other => other,
    });
    let config = ChangeLogConfig {
        engine: check.choice(&key("engine"), raw.engine, default.engine, &ChangeLogEngine::ALL),
        servers: check.servers(&key("servers"), raw.servers.clone(), SERVERS_MAX),
        prefix: check.prefix(&key("prefix"), raw.prefix, default.prefix),
        replicas: check.choice(&key("replicas"), count, default.replicas, &replicas),
        max_bytes: raw
            .max_bytes
            .map(|bytes| check.count(&key("max_bytes"), Some(bytes), 0, MAX_BYTES)),
        sync: check.choice(&key("sync"), raw.sync, default.sync, &choices),
        credentials_file: check.path(&key("credentials_file"), raw.credentials_file),
        ca_file: check.path(&key("ca_file"), raw.ca_file),
        certificate_file: check.path(&key("certificate_file"), raw.certificate_file),
        key_file: check.path(&key("key_file"), raw.key_file),
        timeout: check.duration(&key("timeout"), raw.timeout, default.timeout, TIMEOUT),
    };
    fits(check, &config, raw.servers);
    config
}

/// Whether what is set goes together.
fn fits(check: &mut Checker, config: &ChangeLogConfig, servers: Option<Value>) {
    let none = Value::Array(Vec::new());
    match (config.engine, &servers) {
        (ChangeLogEngine::Nats, None) => {
            let allowed = "set, because change_log.engine is outside of the server";
            check.fault("change_log.servers", &none, allowed);
        }
        (ChangeLogEngine::Embedded, Some(given)) => {
            let allowed = "left out, because change_log.engine is embedded: name the engine too";
            check.fault("change_log.servers", given, allowed);
        }
        _ => {}
    }
    let pair = [
        ("certificate_file", &config.certificate_file, &config.key_file, "key_file"),
        ("key_file", &config.key_file, &config.certificate_file, "certificate_file"),
    ];
    for (name, file, other, beside) in pair {
        if let (Some(file), None) = (file, other) {
            let allowed = format!("left out, or beside change_log.{beside}");
            let shown = Value::String(file.display().to_string());
            check.fault(&format!("change_log.{name}"), &shown, &allowed);
        }
    }
}
