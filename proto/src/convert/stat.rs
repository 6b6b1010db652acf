//! Stats, kinds and paths as answers and requests have them.

use fusion_core::path::{PathRef, TreePath, notation};
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;

use super::{ConvertError, InField as _, bounded};
use crate::{limits, pb};

/// The permission bits that a stat may have: the low 12 of `st_mode`.
pub const MODE_BITS: u32 = 0o7777;

/// A kind on the wire.
#[must_use]
pub const fn kind_to_pb(kind: Kind) -> pb::EntryKind {
    match kind {
        Kind::File => pb::EntryKind::File,
        Kind::Directory => pb::EntryKind::Directory,
        Kind::Symlink => pb::EntryKind::Symlink,
        Kind::Other => pb::EntryKind::Other,
    }
}

/// A kind from the wire.
///
/// # Errors
/// A number that is no kind, 0 included.
pub fn kind_from_pb(field: &'static str, number: i32) -> Result<Kind, ConvertError> {
    match pb::EntryKind::try_from(number) {
        Ok(pb::EntryKind::File) => Ok(Kind::File),
        Ok(pb::EntryKind::Directory) => Ok(Kind::Directory),
        Ok(pb::EntryKind::Symlink) => Ok(Kind::Symlink),
        Ok(pb::EntryKind::Other) => Ok(Kind::Other),
        Ok(pb::EntryKind::Unspecified) | Err(_) => Err(ConvertError::unknown(field, number)),
    }
}

/// A stat on the wire.
#[must_use]
pub fn stat_to_pb(stat: &Stat) -> pb::Stat {
    let Stat { kind, size, mtime, ctime, inode, mode, uid, gid, nlink } = *stat;
    pb::Stat {
        kind: kind_to_pb(kind).into(),
        size,
        mtime_time_ns: mtime.as_nanos(),
        ctime_time_ns: ctime.as_nanos(),
        inode,
        mode,
        uid,
        gid,
        nlink,
    }
}

/// A stat from the wire.
///
/// # Errors
/// A kind that is none, or mode bits other than [`MODE_BITS`].
pub fn stat_from_pb(stat: &pb::Stat) -> Result<Stat, ConvertError> {
    let pb::Stat { kind, size, mtime_time_ns, ctime_time_ns, inode, mode, uid, gid, nlink } = *stat;
    if mode & !MODE_BITS != 0 {
        return Err(ConvertError::invalid("mode", "only the low 12 bits of st_mode may be set"));
    }
    Ok(Stat {
        kind: kind_from_pb("kind", kind)?,
        size,
        mtime: StorageTime::from_nanos(mtime_time_ns),
        ctime: StorageTime::from_nanos(ctime_time_ns),
        inode,
        mode,
        uid,
        gid,
        nlink,
    })
}

/// An entry on the wire.
#[must_use]
pub fn entry_to_pb(path: PathRef<'_>, stat: &Stat, suspect: bool, blind: bool) -> pb::Entry {
    pb::Entry { path: path_to_text(path), stat: Some(stat_to_pb(stat)), suspect, blind }
}

/// A path in the notation of answers.
#[must_use]
pub fn path_to_text(path: PathRef<'_>) -> String {
    notation::to_text(path.as_bytes())
}

/// A path from a request, in the notation of answers.
///
/// # Errors
/// A spelling that is not the one of the notation, or bytes that are no path.
pub fn path_from_text(field: &'static str, text: &str) -> Result<TreePath, ConvertError> {
    bounded(field, text, limits::PATH_TEXT_MAX)?;
    let bytes = notation::parse(text).in_field(field)?;
    TreePath::new(bytes).in_field(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::Problem;
    use proptest::prelude::*;

    prop_compose! {
        fn stats()(
            kind in 1..=4_u8,
            size: u64,
            times: (i64, i64),
            inode: u64,
            mode in 0..=MODE_BITS,
            ids: (u32, u32, u32),
        ) -> Stat {
            Stat {
                kind: Kind::from_u8(kind).unwrap(),
                size,
                mtime: StorageTime::from_nanos(times.0),
                ctime: StorageTime::from_nanos(times.1),
                inode,
                mode,
                uid: ids.0,
                gid: ids.1,
                nlink: ids.2,
            }
        }
    }

    proptest! {
        #[test]
        fn stats_survive(stat in stats()) {
            prop_assert_eq!(stat_from_pb(&stat_to_pb(&stat)), Ok(stat));
        }

        #[test]
        fn paths_survive(names in prop::collection::vec("[^/\0]{1,8}", 0..4)) {
            let text = format!("/{}", names.join("/"));
            if let Ok(path) = TreePath::new(text.into_bytes()) {
                let told = path_to_text(path.as_ref());
                prop_assert_eq!(path_from_text("path", &told), Ok(path));
            }
        }
    }

    #[test]
    fn kinds_have_the_numbers_of_the_core() {
        for kind in [Kind::File, Kind::Directory, Kind::Symlink, Kind::Other] {
            assert_eq!(kind_to_pb(kind) as u8, kind as u8);
        }
        for number in [0, 5, -1, i32::MAX] {
            let error = kind_from_pb("kind", number).unwrap_err();
            assert_eq!(error.problem, Problem::UnknownVariant(number));
        }
    }

    #[test]
    fn what_is_no_path_is_refused_with_its_field() {
        for bad in ["", "a", "/a/", "/a//b", "/..", r"/\x41", r"/\q", "/a\n", r"/\x00"] {
            let error = path_from_text("path", bad).unwrap_err();
            assert_eq!(error.field, "path", "{bad}");
        }
        let long = "/a".repeat(10_000);
        assert!(path_from_text("path", &long).is_err());
    }
}
