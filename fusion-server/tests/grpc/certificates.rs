//! An authority that signs what a test needs, and the files that go with it.

use std::path::{Path, PathBuf};

use fusion_proto::client::ClientTls;
use fusion_server::tls::TlsConfig;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// An authority with a directory for its files, in which each has a name of its own.
pub(crate) struct Authority {
    dir: PathBuf,
    name: &'static str,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Whether a certificate is one of today.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Valid {
    Now,
    /// Until the first day of 2020.
    Before,
}

impl Authority {
    pub(crate) fn new(dir: &Path, name: &'static str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), own.pem()).unwrap();
        Self { dir: dir.to_owned(), name, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join(format!("{}.pem", self.name))
    }

    /// Signs a certificate for a name and writes it, with its key, over what was there.
    pub(crate) fn sign(&self, file: &str, host: &str, valid: Valid) -> Pair {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let year = if valid == Valid::Now { 2100 } else { 2020 };
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let at = |kind: &str| self.dir.join(format!("{file}.{kind}.pem"));
        let pair = Pair { certificate: at("certificate"), key: at("key") };
        std::fs::write(&pair.certificate, signed.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    /// A client that trusts it and has no certificate.
    pub(crate) fn trusted(&self) -> ClientTls {
        ClientTls { ca: Some(self.file()), ..ClientTls::default() }
    }

    /// A client that trusts it and shows a certificate.
    pub(crate) fn trusted_with(&self, own: Pair) -> ClientTls {
        ClientTls { certificate: Some(own.certificate), key: Some(own.key), ..self.trusted() }
    }
}

impl Pair {
    /// A server with it.
    pub(crate) fn server(self, client_ca: Option<&Authority>) -> TlsConfig {
        TlsConfig {
            certificate: self.certificate,
            key: self.key,
            client_ca: client_ca.map(Authority::file),
        }
    }
}
