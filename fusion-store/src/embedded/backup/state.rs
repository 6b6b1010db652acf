//! The state, copied beside who writes it.
//!
//! A commit changes the first page of the engine's file, and until then nothing that the commit
//! before can reach; so a copy between two looks at the same first page is what was committed. The
//! writer is asked to be quiet meanwhile, or it might commit all the time.

use std::fs::File;
use std::io::{self, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{make_file, too_fast};
use crate::disk::{Disk as _, RealDisk};
use crate::embedded::EmbeddedState;
use crate::error::StoreError;

/// What a commit changes.
const HEAD: usize = 4_096;
/// How often it is copied because it was written meanwhile, and how long to wait before the next time.
const TRIES: usize = 200;
const PAUSE: Duration = Duration::from_millis(5);

/// The file whose lock asks the writer of the state for quiet.
pub(in crate::embedded) fn quiet_of(state: &Path) -> PathBuf {
    state.with_extension("quiet")
}

/// Copies the file; how many bytes it has.
pub(super) fn copy(from: &Path, to: &Path) -> Result<u64, StoreError> {
    let quiet = quiet_of(from);
    let lock = lock(&quiet)?;
    let copied = copy_quietly(from, to);
    // While the lock is held, so that nobody waits for a file that is left over.
    RealDisk.remove(&quiet).map_err(StoreError::io("remove", &quiet))?;
    drop(lock);
    let bytes = copied?;
    // Whatever is wrong with it is found now.
    drop(EmbeddedState::open(Arc::new(RealDisk), to.to_path_buf())?);
    Ok(bytes)
}

/// Who writes the state has the lock for a moment when it looks.
fn lock(quiet: &Path) -> Result<Box<dyn Send + Sync>, StoreError> {
    for _ in 0..TRIES {
        if let Some(lock) = RealDisk.lock(quiet).map_err(StoreError::io("lock", quiet))? {
            return Ok(lock);
        }
        std::thread::sleep(PAUSE);
    }
    let why = "another one is being taken".to_owned();
    Err(StoreError::Refused { what: "a back-up", why })
}

fn copy_quietly(from: &Path, to: &Path) -> Result<u64, StoreError> {
    let read = StoreError::io("read", from);
    let mut source = File::open(from).map_err(read)?;
    let mut copy = make_file(to)?;
    for _ in 0..TRIES {
        if let Some(bytes) =
            try_copy(&mut source, &mut copy).map_err(StoreError::io("copy", from))?
        {
            return Ok(bytes);
        }
        std::thread::sleep(PAUSE);
    }
    Err(too_fast("the state is written"))
}

/// `None` if there was a commit meanwhile.
fn try_copy(source: &mut File, copy: &mut File) -> io::Result<Option<u64>> {
    let head = head(source)?;
    copy.set_len(0)?;
    source.rewind()?;
    copy.rewind()?;
    let bytes = io::copy(source, copy)?;
    if head != self::head(source)? || bytes != source.metadata()?.len() {
        return Ok(None);
    }
    copy.sync_data()?;
    Ok(Some(bytes))
}

fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    file.read_exact_at(&mut head, 0)?;
    Ok(head)
}
