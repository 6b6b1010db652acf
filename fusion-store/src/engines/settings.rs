//! How an engine outside is reached, and what of it is secret.
//!
//! Made by whoever reads a configuration, checked by the adapter's `check`. Must never: print a secret.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

/// What is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text to itself.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// For the client of the engine alone.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How an engine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// Where it is, as its own programs write it; without a password.
    pub url: String,
    /// What it asks for.
    pub password: Option<Secret>,
    /// The files of TLS; absent: plaintext.
    pub tls: Option<TlsFiles>,
    /// Most connections at once.
    pub connections: usize,
    /// The limit of connecting, TLS and login included.
    pub connect_timeout: Duration,
    /// The limit of a call, whatever happens in it.
    pub timeout: Duration,
    /// What the names of keys begin with, where keys are shared with others.
    pub prefix: String,
}

/// Files of TLS, all PEM. They are read when the adapter is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Who signs the certificate of the engine, which must also be for the name in the URL.
    pub ca: PathBuf,
    /// The certificate and the key that the engine asks for, if it does.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// What connections are made with; the other side's certificate and name are always verified.
    ///
    /// # Errors
    /// Which file is wrong, and how.
    pub fn client(&self) -> Result<Arc<ClientConfig>, String> {
        let wrong = |file: &PathBuf| {
            let file = file.display().to_string();
            move |error: pem::Error| format!("`{file}` cannot be read as PEM: {error}")
        };
        let certificates = |file: &PathBuf| -> Result<Vec<CertificateDer<'static>>, String> {
            let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
            let read: Vec<_> = read.map_err(wrong(file))?;
            let none = || format!("`{}` has no certificate in it", file.display());
            if read.is_empty() { Err(none()) } else { Ok(read) }
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            let added = roots.add(certificate);
            added.map_err(|error| format!("`{}` is no certificate: {error}", self.ca.display()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let private = PrivateKeyDer::from_pem_file(key).map_err(wrong(key))?;
                let unfit = |error| format!("`{}` does not fit: {error}", key.display());
                builder.with_client_auth_cert(chain, private).map_err(unfit)?
            }
        };
        Ok(Arc::new(config))
    }
}
