//! How the server is reached safely: the files of TLS and of the token, tried before anything starts.

use std::path::PathBuf;

use fusion_proto::client::{Bearer, ClientTls};

use super::{Checks, Raw, ServerUrl, non_empty_path};

/// Checks the files of TLS by reading them; whether there are too few or too many for the server.
pub(super) fn tls(raw: &Raw, checks: &mut Checks<'_>) -> ClientTls {
    let tls = ClientTls {
        ca: checks.optional("ca", raw.ca.as_ref(), non_empty_path),
        certificate: checks.optional(
            "client_certificate",
            raw.client_certificate.as_ref(),
            non_empty_path,
        ),
        key: checks.optional("client_key", raw.client_key.as_ref(), non_empty_path),
    };
    let server = raw.server.as_ref().and_then(|url| ServerUrl::new(&url.to_string()).ok());
    let is_tls = server.is_some_and(|url| url.is_tls());
    if is_tls {
        if let Err(fault) = tls.load() {
            checks.missing("ca, client_certificate, client_key", &fault.to_string());
        }
    } else if tls != ClientTls::default() {
        checks.missing(
            "ca, client_certificate, client_key",
            "are for https://HOST:PORT; the server is given without TLS",
        );
    }
    tls
}

/// Reads the token, to tell now that it cannot be shown.
pub(super) fn token(raw: &Raw, checks: &mut Checks<'_>) -> Option<PathBuf> {
    let server = raw.server.as_ref().and_then(|url| ServerUrl::new(&url.to_string()).ok());
    checks.optional("token_file", raw.token_file.as_ref(), |text| {
        let file = non_empty_path(text)?;
        match server.map(|server| Bearer::for_server(server.as_str(), &file)) {
            Some(Err(fault)) => Err(fault.to_string()),
            // What is wrong with the server is told with it.
            Some(Ok(_)) | None => Ok(file),
        }
    })
}
