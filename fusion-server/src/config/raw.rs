//! Configuration as written: every value optional and unread, unknown keys kept to be refused.
//!
//! `flatten` takes what no field names. Serde's own refusal of unknown keys would end at the first
//! one; ours are reported all at once with everything else.

use serde::Deserialize;
use toml::{Table, Value};

macro_rules! raw {
    ($(#[$doc:meta])* $name:ident { $($field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        pub(super) struct $name {
            $(#[serde(default)] pub(super) $field: Option<Value>,)*
            #[serde(flatten)]
            pub(super) unknown: Table,
        }

        impl $name {
            /// What can stand in it.
            pub(super) const FIELDS: &[&str] = &[$(stringify!($field)),*];
        }
    };
}

raw! {
    /// The whole file.
    RawConfig {
        data_dir, server_id, address_file, shutdown_grace, idempotency_ttl, auto_create_views,
        max_views, max_connections, max_watchers, max_queries, max_open_jobs, job_ttl, audit_ttl,
        listen, tls, auth, log, session, quotas, state, change_log, cluster,
        view_defaults, views,
    }
}
raw! {
    /// `[listen]`: each an address, or (not health) a table with an address.
    RawListen { grpc, http, health }
}
raw! {
    /// `[listen.grpc]` in its long form.
    RawListener { address, allow_plaintext }
}
raw! {
    /// `[tls]`.
    RawTls { certificate, key, client_ca }
}
raw! {
    /// `[auth]`.
    RawAuth { token_file, allow_anonymous }
}
raw! {
    /// `[log]`.
    RawLog { filter, format }
}
raw! {
    /// `[session]`.
    RawSession { timeout_min, timeout_max, max }
}
raw! {
    /// `[quotas]`.
    RawQuotas { requests_per_second, max_calls, max_queries, max_watchers, max_open_jobs }
}
raw! {
    /// `[state]`.
    RawState {
        engine, url, password, password_file, ca_file, certificate_file, key_file, connections,
        connect_timeout, timeout, key_prefix,
    }
}
raw! {
    /// `[change_log]`.
    RawChangeLog {
        engine, servers, prefix, replicas, max_bytes, sync, credentials_file, ca_file,
        certificate_file, key_file, timeout,
    }
}
raw! {
    /// `[cluster]`.
    RawCluster { advertise, lease, memory, ca_file }
}
raw! {
    /// `[view_defaults]` and each `[views.NAME]`.
    RawView {
        session_timeout, exclusive, max_sessions, max_entries, audit_interval, cache_horizon, hot_threshold,
        deep_audit_one_in, trash_ttl, tombstone_ttl, confirm_keep, relist_overdue,
        change_retention, change_retention_changes, change_retention_bytes,
        exclude, withhold,
    }
}
