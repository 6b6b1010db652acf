//! Bad evidence: whether a listing can be what it claims.

use crate::evidence::Listing;
use crate::path::NAME_MAX;
use crate::stat::Kind;

use super::is_directory;

/// Whether a listing can be what it claims: columns of one length, names sorted, unique and valid,
/// kinds that are kinds, a directory that is one. A listing that breaks this is refused as a whole:
/// which of its names are missing could not be said.
pub(super) fn is_sound(listing: &Listing<'_>) -> bool {
    let rows = &listing.children;
    let count = rows.len();
    let same_length = rows.kinds.len() == count
        && rows.sizes.len() == count
        && rows.mtimes.len() == count
        && rows.ctimes.len() == count
        && rows.inodes.len() == count
        && rows.modes.len() == count
        && rows.uids.len() == count
        && rows.gids.len() == count
        && rows.nlinks.len() == count;
    is_directory(&listing.dir_stat)
        && same_length
        && rows.kinds.iter().all(|kind| Kind::from_u8(*kind).is_some())
        && (listing.last || count > 0)
        && are_names(rows.names, rows.name_lengths)
}

fn are_names(names: &[u8], lengths: &[u32]) -> bool {
    // One pass without branches: almost every listing is sound.
    let bad = names.iter().fold(false, |bad, byte| bad | (*byte == b'/') | (*byte == 0));
    let total: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
    if bad || total != names.len() as u64 {
        return false;
    }
    let mut rest = names;
    let mut before: &[u8] = b"";
    for length in lengths {
        let (name, tail) = rest.split_at(*length as usize);
        let valid = name.len() <= NAME_MAX && before < name && name != b"." && name != b"..";
        if !valid {
            return false;
        }
        (before, rest) = (name, tail);
    }
    true
}
