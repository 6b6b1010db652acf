//! What both ends of a TLS connection need: the files, and the one provider of cryptography.
//!
//! Owns how certificates and keys are read. Used by [`crate::client`] and by the server.
//! Must never: put a part of a key into an error.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub use tokio_rustls;

/// What a connection of ours speaks.
pub const ALPN: &[u8] = b"h2";

/// Largest file of certificates or of a key in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Why a file is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It is no PEM, or has a part that is none.
    #[error("is not PEM: {0}")]
    NotPem(String),
    /// There is nothing of the kind in it.
    #[error("has no {0} in it")]
    Without(&'static str),
}

/// The cryptography: that of ring, whatever else is linked in.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The bytes of a file of at most 1 MiB.
///
/// # Errors
/// [`FileProblem::Unreadable`].
pub fn read(file: &Path) -> Result<Vec<u8>, FileProblem> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(FileProblem::Unreadable(error.to_string())),
        Ok(_) if bytes.len() as u64 > FILE_MAX => {
            Err(FileProblem::Unreadable(format!("it is larger than {FILE_MAX} bytes")))
        }
        Ok(_) => Ok(bytes),
    }
}

/// The certificates of a PEM file, in their order; at least one.
///
/// # Errors
/// [`FileProblem`].
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileProblem> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Err(error) => Err(FileProblem::NotPem(error.to_string())),
        Ok(found) if found.is_empty() => Err(FileProblem::Without("certificate")),
        Ok(found) => Ok(found),
    }
}

/// The first private key of a PEM file.
///
/// # Errors
/// [`FileProblem`].
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, FileProblem> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => FileProblem::Without("private key"),
        // The text of others may quote what stands in the file.
        _ => FileProblem::NotPem("the private key is malformed".to_owned()),
    })
}
