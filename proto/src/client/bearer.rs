//! The bearer token of a client: from a file, and only to a server that nobody can listen in on.
//!
//! Must never: be printed, or go over a network in plaintext.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use http::Uri;

use super::CallMetadata;
use crate::tls;

/// Longest token in bytes.
const TOKEN_MAX: usize = 1_024;

/// A token that is shown with every call; a cheap handle.
#[derive(Clone)]
pub struct Bearer(Arc<Shown>);

struct Shown {
    file: PathBuf,
    /// As it stands in the metadata.
    value: RwLock<String>,
}

/// Why a token cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BearerFault {
    /// Whoever is on the way could take it.
    #[error(
        "a token is shown over https:// or to this machine only, and {server} is neither: anyone on \
         the way could take it"
    )]
    Plaintext {
        /// The server's URL.
        server: String,
    },
    /// The file cannot be read.
    #[error("{} {problem}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        problem: tls::FileProblem,
    },
    /// What stands in it is no token.
    #[error("{} must have one token in it and nothing else", .file.display())]
    NotOne {
        /// The file.
        file: PathBuf,
    },
}

impl Bearer {
    /// The token of a file, for the server at `url`. Space around it is left out.
    ///
    /// # Errors
    /// [`BearerFault`].
    pub fn for_server(url: &str, file: &Path) -> Result<Self, BearerFault> {
        if !is_private(url) {
            return Err(BearerFault::Plaintext { server: url.to_owned() });
        }
        let value = RwLock::new(read(file)?);
        Ok(Self(Arc::new(Shown { file: file.to_owned(), value })))
    }

    /// Reads the file again; whether there is another token in it, which is shown from now on. Blocks.
    ///
    /// # Errors
    /// [`BearerFault`]: the token stays as it was.
    pub fn reread(&self) -> Result<bool, BearerFault> {
        let new = read(&self.0.file)?;
        let mut value = self.0.value.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = *value != new;
        *value = new;
        Ok(is_other)
    }

    /// Writes it onto a call.
    pub fn show(&self, metadata: &mut CallMetadata<'_>) {
        let value = self.0.value.read().unwrap_or_else(PoisonError::into_inner);
        metadata.set_secret("authorization", &value);
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bearer({})", self.0.file.display())
    }
}

fn read(file: &Path) -> Result<String, BearerFault> {
    let bytes =
        tls::read(file).map_err(|problem| BearerFault::File { file: file.to_owned(), problem })?;
    let token = bytes.trim_ascii();
    let is_one = (1..=TOKEN_MAX).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(token) {
        Ok(token) if is_one => Ok(format!("Bearer {token}")),
        _ => Err(BearerFault::NotOne { file: file.to_owned() }),
    }
}

/// Whether what is sent there is encrypted or does not leave this machine.
fn is_private(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host.parse::<IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback());
    uri.scheme_str() == Some("https") || is_here
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataMap;

    #[test]
    fn a_token_is_shown_to_who_is_private_and_to_nobody_else() {
        for url in ["https://far:1", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
            assert!(is_private(url), "{url}");
        }
        for url in ["http://far:1", "http://10.0.0.1:1", "http://localhost.far:1", "http://", "x y"]
        {
            assert!(!is_private(url), "{url}");
            let told = Bearer::for_server(url, Path::new("/none")).unwrap_err();
            assert_eq!(told, BearerFault::Plaintext { server: url.to_owned() });
        }
    }

    #[test]
    fn a_file_is_read_again_and_a_bad_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("fusion.a.SECRET\n");
        let bearer = Bearer::for_server("https://far:1", &file).unwrap();
        let shown = || {
            let mut metadata = MetadataMap::new();
            bearer.show(&mut CallMetadata(&mut metadata));
            let value = metadata.get("authorization").unwrap();
            assert!(value.is_sensitive());
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(shown(), "Bearer fusion.a.SECRET");
        assert_eq!(bearer.reread(), Ok(false));
        for bad in ["", " \n", "two tokens", "a\nb", &"x".repeat(1_025)] {
            write(bad);
            let fault = BearerFault::NotOne { file: file.clone() };
            assert_eq!(bearer.reread(), Err(fault.clone()), "{bad}");
            assert_eq!(Bearer::for_server("https://far:1", &file).unwrap_err(), fault);
        }
        assert_eq!(shown(), "Bearer fusion.a.SECRET");
        write("fusion.b.OTHER");
        assert_eq!(bearer.reread(), Ok(true));
        assert_eq!(shown(), "Bearer fusion.b.OTHER");
        assert!(!format!("{bearer:?}").contains("OTHER"));
    }
}
