//! What stands before gRPC: TLS and tokens, each from files that are followed.

use super::ServerError;
use crate::config::Config;
use crate::grpc::Services;
use crate::reload::follow;
use crate::tls::Tls;
use crate::tokens::Keyring;

/// What a connection and a call must pass.
pub(crate) struct Guards {
    /// Absent: plaintext.
    pub(crate) tls: Option<Tls>,
    /// Absent: no token is asked for.
    pub(crate) keyring: Option<Keyring>,
}

impl Guards {
    /// Reads the files and begins to follow them.
    pub(super) fn begin(config: &Config, services: &Services) -> Result<Self, ServerError> {
        let metrics = &services.metrics;
        let mut guards = Self { tls: None, keyring: None };
        if let Some(files) = config.tls.clone() {
            let (tls, seen) = Tls::open(files, metrics.clone()).map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                ServerError::Start(format!("TLS: {}", faults.join("; ")))
            })?;
            services.tasks.spawn("TLS files", follow(tls.clone(), metrics.clone(), seen));
            guards.tls = Some(tls);
        }
        if let Some(file) = config.token_file.clone() {
            let shown = file.display().to_string();
            let (keyring, seen) = Keyring::open(file)
                .map_err(|faults| ServerError::Start(format!("tokens: {shown}: {faults}")))?;
            services.tasks.spawn("token file", follow(keyring.clone(), metrics.clone(), seen));
            guards.keyring = Some(keyring);
        }
        Ok(guards)
    }
}
