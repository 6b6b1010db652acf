//! What stands before gRPC: TLS and tokens, each from files that are followed.

use std::sync::Arc;

use super::ServerError;
use crate::config::Config;
use crate::ops::metrics::Metrics;
use crate::reload::{Files, Follower};
use crate::spawn::Tasks;
use crate::tls::Tls;
use crate::tokens::Keyring;

/// What a connection and a call must pass.
pub(crate) struct Guards {
    /// Absent: plaintext.
    pub(crate) tls: Option<Tls>,
    /// Absent: no token is asked for.
    pub(crate) keyring: Option<Keyring>,
    /// The files of both, to be looked at when told to.
    pub(crate) files: Vec<Arc<dyn Files>>,
}

impl Guards {
    /// Reads the files and begins to follow them.
    pub(super) fn begin(
        config: &Config,
        metrics: &Metrics,
        tasks: &Tasks,
    ) -> Result<Self, ServerError> {
        let mut guards = Self { tls: None, keyring: None, files: Vec::new() };
        if let Some(files) = config.tls.clone() {
            let (tls, seen) = Tls::open(files, metrics.clone()).map_err(|faults| {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                ServerError::Start(format!("TLS: {}", faults.join("; ")))
            })?;
            let follower = Follower::new(tls.clone(), metrics.clone(), seen);
            tasks.spawn("TLS files", follower.clone().follow());
            guards.files.push(Arc::new(follower));
            guards.tls = Some(tls);
        }
        if let Some(file) = config.token_file.clone() {
            let shown = file.display().to_string();
            let (keyring, seen) = Keyring::open(file)
                .map_err(|faults| ServerError::Start(format!("tokens: {shown}: {faults}")))?;
            let follower = Follower::new(keyring.clone(), metrics.clone(), seen);
            tasks.spawn("token file", follower.clone().follow());
            guards.files.push(Arc::new(follower));
            guards.keyring = Some(keyring);
        }
        Ok(guards)
    }
}
