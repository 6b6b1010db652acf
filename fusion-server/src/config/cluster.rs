//! `[cluster]`: how the server takes part among several on one log and one state.

use std::path::PathBuf;
use std::time::Duration;

use fusion_proto::client::ClientTls;

use crate::tls::TlsConfig;

/// How the server takes part among several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Where other servers and agents reach this one: `http://HOST:PORT`, or `https://HOST:PORT`.
    pub advertise: String,
    /// A view whose owner says nothing for so long is taken over.
    pub lease: Duration,
    /// Bytes of memory, the weight where views are placed; what the machine or its cgroup allows, if not set.
    pub memory: Option<u64>,
    /// Who signs the certificates of the other servers; without it no call is sent on to one at `https://`.
    pub ca_file: Option<PathBuf>,
}

impl ClusterConfig {
    /// What this server shows to others when it sends calls on over TLS, and whom it trusts. Where clients need a
    /// certificate it is a client of the others by its own.
    #[must_use]
    pub fn peers(&self, tls: Option<&TlsConfig>) -> ClientTls {
        let own = tls.filter(|tls| tls.client_ca.is_some());
        ClientTls {
            ca: self.ca_file.clone(),
            certificate: own.map(|tls| tls.certificate.clone()),
            key: own.map(|tls| tls.key.clone()),
        }
    }
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            advertise: String::new(),
            lease: Duration::from_secs(3),
            memory: None,
            ca_file: None,
        }
    }
}
