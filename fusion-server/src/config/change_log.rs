//! `[change_log]`: where the logs and the checkpoints of views are kept.

use std::path::PathBuf;
use std::time::Duration;

use fusion_store::engines::nats::{NatsSettings, NatsSync, NatsTls};

/// What keeps the logs and the checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChangeLogEngine {
    /// The data directory.
    #[default]
    Embedded,
    /// NATS JetStream.
    Nats,
}

impl ChangeLogEngine {
    /// All, by name.
    pub(super) const ALL: [(&str, Self); 2] = [("embedded", Self::Embedded), ("nats", Self::Nats)];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Nats => "nats",
        }
    }
}

/// Where the logs and the checkpoints of views are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeLogConfig {
    /// What keeps them.
    pub engine: ChangeLogEngine,
    /// The servers of NATS, as URLs; without a secret.
    pub servers: Vec<String>,
    /// What the names of streams begin with.
    pub prefix: String,
    /// On how many servers each message is kept.
    pub replicas: usize,
    /// Bytes that the log of one view may take; no bound if none.
    pub max_bytes: Option<usize>,
    /// What the operator says of the servers' disks.
    pub sync: NatsSync,
    /// The file with the credentials.
    pub credentials_file: Option<PathBuf>,
    /// Who signs the servers' certificates.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the servers.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// How long a call waits.
    pub timeout: Duration,
}

impl Default for ChangeLogConfig {
    fn default() -> Self {
        let settings = NatsSettings::new(Vec::new());
        Self {
            engine: ChangeLogEngine::default(),
            servers: settings.servers,
            prefix: settings.prefix,
            replicas: settings.replicas,
            max_bytes: None,
            sync: settings.sync,
            credentials_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            timeout: settings.timeout,
        }
    }
}

impl ChangeLogConfig {
    /// What the adapter is told.
    #[must_use]
    pub fn settings(&self) -> NatsSettings {
        let speaks_tls = self.servers.iter().any(|server| server.starts_with("tls://"));
        let identity = self.certificate_file.clone().zip(self.key_file.clone());
        let has_files = self.ca_file.is_some() || identity.is_some();
        let tls = NatsTls { ca: self.ca_file.clone(), identity };
        NatsSettings {
            credentials: self.credentials_file.clone(),
            tls: (speaks_tls || has_files).then_some(tls),
            prefix: self.prefix.clone(),
            replicas: self.replicas,
            log_max_bytes: self.max_bytes.map(|bytes| bytes as u64),
            sync: self.sync,
            timeout: self.timeout,
            ..NatsSettings::new(self.servers.clone())
        }
    }
}
