//! Configuration in force, as a file. A secret is printed as `***`.

use std::time::Duration;

use fusion_proto::convert::session::Withheld;
use fusion_store::engines::nats::NatsSync;
use toml::{Table, Value};

use super::{
    ChangeLogConfig, ClusterConfig, Config, ListenerConfig, QuotaConfig, SessionConfig,
    StateConfig, StateEngine, ViewConfig,
};
use crate::tls::TlsConfig;

/// What stands for a secret.
pub(super) const HIDDEN: &str = "***";

pub(super) fn tree(config: &Config) -> Table {
    let mut tree = Table::new();
    let path = |path: &std::path::Path| Value::String(path.display().to_string());
    if let Some(dir) = &config.data_dir {
        tree.insert("data_dir".to_owned(), path(dir));
    }
    if let Some(id) = config.server_id {
        tree.insert("server_id".to_owned(), id.to_string().into());
    }
    if let Some(file) = &config.address_file {
        tree.insert("address_file".to_owned(), path(file));
    }
    tree.insert("shutdown_grace".to_owned(), span(config.shutdown_grace));
    tree.insert("idempotency_ttl".to_owned(), span(config.idempotency_ttl));
    tree.insert("job_ttl".to_owned(), span(config.job_ttl));
    tree.insert("audit_ttl".to_owned(), span(config.audit_ttl));
    tree.insert("max_open_jobs".to_owned(), count(config.max_open_jobs));
    tree.insert("auto_create_views".to_owned(), config.auto_create_views.into());
    tree.insert("max_views".to_owned(), count(config.max_views));
    tree.insert("max_connections".to_owned(), count(config.max_connections));
    tree.insert("max_watchers".to_owned(), count(config.max_watchers));
    tree.insert("max_queries".to_owned(), count(config.max_queries));
    let mut listen = table([("grpc", listener(&config.grpc)), ("http", listener(&config.http))]);
    if let (Value::Table(listen), Some(health)) = (&mut listen, config.health) {
        listen.insert("health".to_owned(), health.to_string().into());
    }
    tree.insert("listen".to_owned(), listen);
    if let Some(TlsConfig { certificate, key, client_ca }) = &config.tls {
        let mut files = table([("certificate", path(certificate)), ("key", path(key))]);
        if let (Value::Table(files), Some(ca)) = (&mut files, client_ca) {
            files.insert("client_ca".to_owned(), path(ca));
        }
        tree.insert("tls".to_owned(), files);
    }
    let mut auth = table([("allow_anonymous", config.allow_anonymous.into())]);
    if let (Value::Table(auth), Some(file)) = (&mut auth, &config.token_file) {
        auth.insert("token_file".to_owned(), path(file));
    }
    tree.insert("auth".to_owned(), auth);
    tree.insert(
        "log".to_owned(),
        table([
            ("filter", config.log.filter.clone().into()),
            ("format", config.log.format.as_str().into()),
        ]),
    );
    tree.insert("session".to_owned(), session(&config.session));
    tree.insert("quotas".to_owned(), quotas(&config.quotas));
    tree.insert("state".to_owned(), state(&config.state));
    tree.insert("change_log".to_owned(), change_log(&config.change_log));
    tree.extend(config.cluster.iter().map(|it| ("cluster".to_owned(), cluster(it))));
    tree.insert("view_defaults".to_owned(), view(&config.view_defaults));
    let views = config.views.iter().map(|(name, config)| (name.to_string(), view(config)));
    tree.insert("views".to_owned(), Value::Table(views.collect()));
    tree
}

fn session(session: &SessionConfig) -> Value {
    table([
        ("timeout_min", span(session.timeout_min)),
        ("timeout_max", span(session.timeout_max)),
        ("max", count(session.max)),
    ])
}

fn quotas(quotas: &QuotaConfig) -> Value {
    table([
        ("requests_per_second", count(quotas.requests_per_second)),
        ("max_calls", count(quotas.max_calls)),
        ("max_queries", count(quotas.max_queries)),
        ("max_watchers", count(quotas.max_watchers)),
        ("max_open_jobs", count(quotas.max_open_jobs)),
    ])
}

fn state(state: &StateConfig) -> Value {
    if state.engine == StateEngine::Nats {
        // All else is in the section of the logs.
        return table([("engine", state.engine.as_str().into())]);
    }
    let mut all = table([
        ("engine", state.engine.as_str().into()),
        ("connections", count(state.connections)),
        ("connect_timeout", span(state.connect_timeout)),
        ("timeout", span(state.timeout)),
        ("key_prefix", state.key_prefix.clone().into()),
    ]);
    let path = |file: &Option<std::path::PathBuf>| file.as_ref().map(|it| it.display().to_string());
    let hidden = state.password.as_ref().filter(|_| state.password_file.is_none());
    let some = [
        ("url", state.url.clone()),
        ("password", hidden.map(|_| HIDDEN.to_owned())),
        ("password_file", path(&state.password_file)),
        ("ca_file", path(&state.ca_file)),
        ("certificate_file", path(&state.certificate_file)),
        ("key_file", path(&state.key_file)),
    ];
    if let Value::Table(all) = &mut all {
        let some = some.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?.into())));
        all.extend(some);
    }
    all
}

fn change_log(config: &ChangeLogConfig) -> Value {
    let sync = match config.sync {
        NatsSync::Always => "always",
        NatsSync::Interval => "interval",
    };
    let mut all = Table::from_iter([
        ("engine".to_owned(), config.engine.as_str().into()),
        ("prefix".to_owned(), config.prefix.clone().into()),
        ("replicas".to_owned(), count(config.replicas)),
        ("sync".to_owned(), sync.into()),
        ("timeout".to_owned(), span(config.timeout)),
    ]);
    if !config.servers.is_empty() {
        let servers = config.servers.iter().map(|server| server.clone().into());
        all.insert("servers".to_owned(), Value::Array(servers.collect()));
    }
    all.extend(config.max_bytes.map(|bytes| ("max_bytes".to_owned(), count(bytes))));
    let files = [
        ("credentials_file", &config.credentials_file),
        ("ca_file", &config.ca_file),
        ("certificate_file", &config.certificate_file),
        ("key_file", &config.key_file),
    ];
    for (name, file) in files {
        all.extend(file.iter().map(|file| (name.to_owned(), file.display().to_string().into())));
    }
    Value::Table(all)
}

fn cluster(config: &ClusterConfig) -> Value {
    let mut all = Table::from_iter([("lease".to_owned(), span(config.lease))]);
    let address = Some(&config.advertise).filter(|address| !address.is_empty());
    all.extend(address.map(|address| ("advertise".to_owned(), address.clone().into())));
    all.extend(
        config.memory.map(|bytes| ("memory".to_owned(), super::bytes::written(bytes).into())),
    );
    all.extend(
        config.ca_file.iter().map(|file| ("ca_file".to_owned(), file.display().to_string().into())),
    );
    Value::Table(all)
}

fn listener(config: &ListenerConfig) -> Value {
    table([
        ("address", config.address.to_string().into()),
        ("allow_plaintext", config.allow_plaintext.into()),
    ])
}

fn view(config: &ViewConfig) -> Value {
    let settings = &config.settings;
    table([
        ("session_timeout", span(config.session_timeout)),
        ("exclusive", config.exclusive.into()),
        ("max_sessions", count(config.max_sessions)),
        ("max_entries", number(settings.max_entries)),
        ("audit_interval", span(config.audit_interval)),
        ("exclude", texts(config.exclude.iter().cloned())),
        ("withhold", texts(withheld(config.withheld))),
        ("cache_horizon", span(settings.cache_horizon)),
        ("hot_threshold", span(settings.hot_threshold)),
        ("deep_audit_one_in", i64::from(settings.deep_audit_one_in).into()),
        ("trash_ttl", span(settings.trash_ttl)),
        ("tombstone_ttl", span(settings.tombstone_ttl)),
        ("confirm_keep", span(settings.confirm_keep)),
        ("relist_overdue", span(settings.relist_overdue)),
        ("change_retention", span(config.retention.age)),
        ("change_retention_changes", number(config.retention.changes)),
        ("change_retention_bytes", number(config.retention.bytes)),
    ])
}

fn table<const N: usize>(values: [(&str, Value); N]) -> Value {
    Value::Table(values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn texts(texts: impl Iterator<Item = String>) -> Value {
    Value::Array(texts.map(Value::String).collect())
}

fn withheld(withheld: Withheld) -> impl Iterator<Item = String> {
    let fields = [("owner", withheld.owner), ("mode", withheld.mode)];
    fields.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned())
}

fn span(span: Duration) -> Value {
    Value::String(written(span))
}

/// A duration as people write it: whole days as days, and not as months of 30.44 of them.
pub(super) fn written(span: Duration) -> String {
    const DAY: u64 = 24 * 3600;
    match span.as_secs() {
        days if days > 0 && days % DAY == 0 && span.subsec_nanos() == 0 => {
            format!("{}d", days / DAY)
        }
        _ => humantime::format_duration(span).to_string(),
    }
}

fn number(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn count(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
