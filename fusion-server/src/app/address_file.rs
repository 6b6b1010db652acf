//! The file that tells scripts where a server listens.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::ServerError;

/// Writes the addresses, a line each. By rename: who reads the file reads all of it or none.
pub(super) fn write(file: &Path, addresses: &str) -> Result<(), ServerError> {
    let unwritten = |source| ServerError::Write { path: file.to_owned(), source };
    let mut temporary = file.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = Path::new(&temporary);
    let written = fs::File::create(temporary)
        .and_then(|mut out| out.write_all(addresses.as_bytes()))
        .and_then(|()| fs::rename(temporary, file));
    written.map_err(|source| {
        let _ = fs::remove_file(temporary);
        unwritten(source)
    })
}
