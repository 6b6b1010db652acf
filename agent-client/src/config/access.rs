//! How the server is reached safely: the files of TLS and of the token, tried before anything starts.

use std::path::PathBuf;

use fusion_proto::client::{Bearer, ClientTls};

use super::{Checks, Raw, ServerUrls, non_empty_path};

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
    let servers = raw.server.as_ref().and_then(|urls| ServerUrls::new(&urls.to_string()).ok());
    let is_tls = servers.is_some_and(|urls| urls.is_tls());
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
    let servers = raw.server.as_ref().and_then(|urls| ServerUrls::new(&urls.to_string()).ok());
    checks.optional("token_file", raw.token_file.as_ref(), |text| {
        let file = non_empty_path(text)?;
        // What is wrong with a server is told with it.
        for server in servers.iter().flat_map(|servers| servers.list()) {
            Bearer::for_server(server.as_str(), &file).map_err(|fault| fault.to_string())?;
        }
        Ok(file)
    })
}
