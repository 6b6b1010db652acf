//! The blocks of a view, copied beside who writes them: files that were all there at one moment are
//! what a crash would have left, and each of them was written once.

use std::io;
use std::path::Path;

use super::file::number;
use crate::embedded::backup::{Held, hold, make_dir, make_file, sync_dir};
use crate::error::StoreError;

/// Copies the files of one view, if it has any; how many bytes they have.
pub(in crate::embedded) fn copy(from: &Path, to: &Path) -> Result<u64, StoreError> {
    let held = hold(from, |name| number(name).is_some())?;
    if held.is_empty() {
        return Ok(0);
    }
    make_dir(to)?;
    let mut bytes = 0;
    for Held { path, mut file, .. } in held {
        let Some(name) = path.file_name() else { continue };
        let mut copy = make_file(&to.join(name))?;
        bytes += io::copy(&mut file, &mut copy).map_err(StoreError::io("copy", &path))?;
        copy.sync_data().map_err(StoreError::io("sync", &to.join(name)))?;
    }
    sync_dir(to)?;
    Ok(bytes)
}
