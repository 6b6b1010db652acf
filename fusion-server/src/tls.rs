//! TLS of the gRPC listener: which certificate is shown, and whose clients are let in.
//!
//! Owns how the files become what handshakes go by; they are followed ([`crate::reload`]). Each
//! handshake goes by what was in force when it began; connections that stand are not touched. Must
//! never: put a file that is wrong in place of one that was right, or serve plaintext in place of TLS.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use fusion_proto::tls::tokio_rustls::rustls::pki_types::CertificateDer;
use fusion_proto::tls::tokio_rustls::rustls::server::WebPkiClientVerifier;
use fusion_proto::tls::tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use fusion_proto::tls::{self, ALPN, FileProblem};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::ops::metrics::Metrics;
use crate::reload::Followed;

/// The files, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// The server's certificate, with what leads to the CA that clients know.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who signs the certificates of clients. With it, a client without one is not let in.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with one of the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: it {problem}", .file.display())]
pub struct TlsFault {
    /// The setting that names it.
    pub key: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// The bytes of the files, as they were when they were read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    certificate: Result<Vec<u8>, FileProblem>,
    key: Result<Vec<u8>, FileProblem>,
    client_ca: Option<Result<Vec<u8>, FileProblem>>,
}

/// What handshakes go by.
struct Material {
    server: Arc<ServerConfig>,
    /// When the server's certificate expires, in seconds since 1970.
    expires: u64,
}

impl TlsConfig {
    /// Whether a server can be had from the files.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn check(&self) -> Result<(), Vec<TlsFault>> {
        self.make(&self.read()).map(drop)
    }

    fn read(&self) -> Contents {
        Contents {
            certificate: tls::read(&self.certificate),
            key: tls::read(&self.key),
            client_ca: self.client_ca.as_deref().map(tls::read),
        }
    }

    fn make(&self, contents: &Contents) -> Result<Material, Vec<TlsFault>> {
        let mut faults = Vec::new();
        let mut keep = |fault: TlsFault| faults.push(fault);
        let chain = self.chain(contents).map_err(&mut keep).ok();
        let key = contents.key.as_ref().map_err(Clone::clone).and_then(|pem| tls::private_key(pem));
        let key = key.map_err(|problem| keep(self.fault("tls.key", &problem))).ok();
        let roots = self.roots(contents).map_err(&mut keep).ok();
        let (Some((chain, expires)), Some(key), Some(roots)) = (chain, key, roots) else {
            return Err(faults);
        };
        let server = server_config(chain, key, roots).map_err(|error| match error {
            Unfit::Key(problem) => vec![self.fault("tls.key", &problem)],
            Unfit::ClientCa(problem) => vec![self.fault("tls.client_ca", &problem)],
        })?;
        Ok(Material { server: Arc::new(server), expires })
    }

    /// The server's certificate with its chain, and when it expires.
    fn chain(&self, contents: &Contents) -> Result<(Vec<CertificateDer<'static>>, u64), TlsFault> {
        let key = "tls.certificate";
        let pem = contents.certificate.as_ref().map_err(|problem| self.fault(key, problem))?;
        let chain = tls::certificates(pem).map_err(|problem| self.fault(key, &problem))?;
        let parsed = chain.first().map(|first| Certificate::from_der(first));
        match parsed {
            Some(Ok(certificate)) => {
                let end = certificate.tbs_certificate.validity.not_after;
                Ok((chain, end.to_unix_duration().as_secs()))
            }
            Some(Err(error)) => Err(self.fault(key, &format!("is no certificate: {error}"))),
            None => Err(self.fault(key, &FileProblem::Without("certificate"))),
        }
    }

    /// Who may sign the certificates of clients; absent if they need none.
    fn roots(&self, contents: &Contents) -> Result<Option<RootCertStore>, TlsFault> {
        let Some(pem) = &contents.client_ca else { return Ok(None) };
        let key = "tls.client_ca";
        let pem = pem.as_ref().map_err(|problem| self.fault(key, problem))?;
        let mut roots = RootCertStore::empty();
        for certificate in tls::certificates(pem).map_err(|problem| self.fault(key, &problem))? {
            let added = roots.add(certificate);
            added.map_err(|error| self.fault(key, &format!("is no certificate: {error}")))?;
        }
        Ok(Some(roots))
    }

    fn fault(&self, key: &'static str, problem: &dyn std::fmt::Display) -> TlsFault {
        let file = match (key, &self.client_ca) {
            ("tls.certificate", _) => &self.certificate,
            ("tls.client_ca", Some(file)) => file,
            _ => &self.key,
        };
        TlsFault { key, file: file.clone(), problem: problem.to_string() }
    }
}

/// The DNS names and URIs that a certificate is for; none, if it cannot be read.
pub(crate) fn names_of(certificate: &CertificateDer<'_>) -> Vec<String> {
    let parsed = Certificate::from_der(certificate).ok();
    let names = parsed.and_then(|it| it.tbs_certificate.get::<SubjectAltName>().ok().flatten());
    let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let named = names.into_iter().filter_map(|name| match name {
        GeneralName::DnsName(name) | GeneralName::UniformResourceIdentifier(name) => {
            Some(name.to_string())
        }
        _ => None,
    });
    named.collect()
}

/// Which file does not fit in with the others, and why.
enum Unfit {
    Key(String),
    ClientCa(String),
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: rustls::pki_types::PrivateKeyDer<'static>,
    roots: Option<RootCertStore>,
) -> Result<ServerConfig, Unfit> {
    let of_key = |error: rustls::Error| {
        Unfit::Key(match error {
            rustls::Error::InconsistentKeys(_) => "is not the key of tls.certificate".to_owned(),
            other => format!("cannot be used with tls.certificate: {other}"),
        })
    };
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(of_key)?;
    let config = match roots {
        None => config.with_no_client_auth(),
        Some(roots) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider());
            let verifier = verifier
                .build()
                .map_err(|error| Unfit::ClientCa(format!("cannot be used: {error}")))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config.with_single_cert(chain, key).map_err(of_key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// What is in force; a cheap handle.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Arc<TlsConfig>,
    in_force: Arc<RwLock<Arc<ServerConfig>>>,
    metrics: Metrics,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn open(
        files: TlsConfig,
        metrics: Metrics,
    ) -> Result<(Self, Contents), Vec<TlsFault>> {
        let contents = files.read();
        let Material { server, expires } = files.make(&contents)?;
        let in_force = Arc::new(RwLock::new(server));
        let tls = Self { files: Arc::new(files), in_force, metrics };
        tls.expires(expires);
        Ok((tls, contents))
    }

    /// What a handshake that begins now goes by.
    pub(crate) fn in_force(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where handshakes are counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn expires(&self, at: u64) {
        let gauge = self.metrics.certificate_expiry.with_label_values::<&str>(&[]);
        gauge.set(crate::ops::metrics::gauged(at));
    }
}

impl Followed for Tls {
    type Contents = Contents;
    const WHAT: &'static str = "tls";

    fn read(&self) -> Contents {
        self.files.read()
    }

    fn take(&self, contents: &Contents) -> Result<(), Vec<String>> {
        let made = self.files.make(contents);
        let Material { server, expires } =
            made.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = server;
        self.expires(expires);
        Ok(())
    }
}
