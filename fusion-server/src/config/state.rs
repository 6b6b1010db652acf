//! Where the state is kept, as configured.

use std::path::PathBuf;
use std::time::Duration;

use fusion_store::engines::nats::NatsSettings;
use fusion_store::engines::{EngineSettings, Secret, TlsFiles};

/// Where sessions, jobs, audit records, results of calls and names of views are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConfig {
    /// By which engine.
    pub engine: StateEngine,
    /// Where an engine outside is; without a password.
    pub url: Option<String>,
    /// What it asks for; never printed.
    pub password: Option<Secret>,
    /// The file that the password was read from.
    pub password_file: Option<PathBuf>,
    /// Who signs the certificate of the engine; absent: no TLS.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the engine.
    pub certificate_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
    /// Most connections to PostgreSQL; Redis has one.
    pub connections: usize,
    /// The limit of connecting.
    pub connect_timeout: Duration,
    /// The limit of a call.
    pub timeout: Duration,
    /// What the names of keys in Redis begin with.
    pub key_prefix: String,
    /// How NATS is reached, as `[change_log]` says it, if the state is there.
    pub nats: Option<NatsSettings>,
}

/// An engine of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateEngine {
    /// The data directory.
    Embedded,
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
    /// A key-value bucket of NATS JetStream.
    Nats,
}

impl StateEngine {
    pub(super) const ALL: [(&str, Self); 4] = [
        ("embedded", Self::Embedded),
        ("postgres", Self::Postgres),
        ("redis", Self::Redis),
        ("nats", Self::Nats),
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Nats => "nats",
        }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            engine: StateEngine::Embedded,
            url: None,
            password: None,
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            connections: 8,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            key_prefix: "fusion:".to_owned(),
            nats: None,
        }
    }
}

impl StateConfig {
    /// What an adapter is opened with.
    pub(crate) fn settings(&self) -> EngineSettings {
        let own = self.certificate_file.clone().zip(self.key_file.clone());
        EngineSettings {
            url: self.url.clone().unwrap_or_default(),
            password: self.password.clone(),
            tls: self.ca_file.clone().map(|ca| TlsFiles { ca, own }),
            connections: self.connections,
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            prefix: self.key_prefix.clone(),
        }
    }
}
