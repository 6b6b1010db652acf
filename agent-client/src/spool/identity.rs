//! Which spool this is: drawn once, kept beside the segments, readable by people.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use fusion_core::id::SpoolId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::segment::sync_dir;
use super::{Recovery, SpoolError};

const NAME: &str = "identity";
const VERSION: u32 = 1;

/// The identity of a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Tells this spool from all others.
    pub spool_id: SpoolId,
    /// Eight hexadecimal digits: the end of the agent's name where none is configured.
    pub agent_suffix: String,
}

/// As written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    version: u32,
    spool_id: String,
    agent_suffix: String,
}

/// Reads it; draws and writes a new one if there is none, or none that can be read. That of a later
/// version is refused: with a new one all that is held would go.
pub(super) fn load_or_make(
    dir: &Path,
    draw: &mut dyn FnMut() -> Uuid,
    recovery: &mut Recovery,
) -> Result<Identity, SpoolError> {
    let path = dir.join(NAME);
    match std::fs::read(&path) {
        Ok(bytes) => match (parse(&bytes), version(&bytes)) {
            (Some(identity), _) => return Ok(identity),
            (None, Some(found)) if found > VERSION => {
                let (what, known) = ("the identity of the spool", VERSION);
                return Err(SpoolError::FutureFormat { what, path, found, known });
            }
            (None, _) => recovery.identity_lost = true,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => recovery.created = true,
        Err(error) => return Err(SpoolError::io("read the spool's identity")(error)),
    }
    let spool_id = SpoolId::new(draw());
    let mut agent_suffix = draw().simple().to_string();
    agent_suffix.truncate(8);
    let identity = Identity { spool_id, agent_suffix };
    save(dir, &identity)?;
    Ok(identity)
}

/// Writes it as a whole or not at all.
pub(super) fn save(dir: &Path, identity: &Identity) -> Result<(), SpoolError> {
    let doing = || SpoolError::io("write the spool's identity");
    let raw = RawIdentity {
        version: VERSION,
        spool_id: identity.spool_id.to_string(),
        agent_suffix: identity.agent_suffix.clone(),
    };
    let text = toml::to_string(&raw).map_err(io::Error::other).map_err(doing())?;
    let new = dir.join("identity.new");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
    let write = |mut file: File| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, dir.join(NAME))?;
        sync_dir(dir)
    };
    file.and_then(write).map_err(doing())
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let raw: RawIdentity = toml::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    let is_suffix = raw.agent_suffix.len() == 8
        && raw.agent_suffix.bytes().all(|byte| byte.is_ascii_hexdigit());
    let spool_id = SpoolId::parse(&raw.spool_id).ok()?;
    (raw.version == VERSION && is_suffix)
        .then_some(Identity { spool_id, agent_suffix: raw.agent_suffix })
}

/// The version of what is written, whatever else there is.
fn version(bytes: &[u8]) -> Option<u32> {
    let table: toml::Table = toml::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    u32::try_from(table.get("version")?.as_integer()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stored format of version 1. Another text is another version.
    #[test]
    fn version_1_is_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let golden = "version = 1\nspool_id = \"00000000-0000-0001-0000-000000000002\"\nagent_suffix = \"0123abcd\"\n";
        let spool_id = SpoolId::new(Uuid::from_u64_pair(1, 2));
        let identity = Identity { spool_id, agent_suffix: "0123abcd".to_owned() };
        save(dir.path(), &identity).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join(NAME)).unwrap(), golden);
        assert_eq!(parse(golden.as_bytes()), Some(identity));
    }
}
