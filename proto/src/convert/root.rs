//! Roots: which storage an agent looks at, and how it finds it (R11).

use bytes::Bytes;
use fusion_core::evidence::{RootIdentity, RootState};
use fusion_core::path::check_name;
use fusion_core::time::StorageTime;

use super::{ConvertError, InField as _, bounded};
use crate::pb::root_identity::TopEntry;
use crate::{limits, pb};

/// The root that an agent looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootClaim {
    /// Where it is, as `file://HOST/PATH`; for people only.
    pub uri: String,
    /// Which storage it is.
    pub identity: RootIdentity,
}

/// A root on the wire.
#[must_use]
pub fn root_to_pb(root: &RootClaim) -> pb::Root {
    let RootClaim { uri, identity } = root;
    pb::Root { uri: uri.clone(), identity: Some(identity_to_pb(identity)) }
}

/// A root from the wire.
///
/// # Errors
/// A URI that is too long, or an identity that is missing or malformed.
pub fn root_from_pb(root: pb::Root) -> Result<RootClaim, ConvertError> {
    let pb::Root { uri, identity } = root;
    bounded("uri", &uri, limits::ROOT_URI_MAX)?;
    let identity = identity.ok_or(ConvertError::missing("identity"))?;
    let identity = identity_from_pb(&identity).map_err(|error| error.within("identity"))?;
    Ok(RootClaim { uri, identity })
}

/// An identity on the wire.
#[must_use]
pub fn identity_to_pb(identity: &RootIdentity) -> pb::RootIdentity {
    let RootIdentity { fs_type, inode, born, top } = identity;
    pb::RootIdentity {
        fs_type: fs_type.clone(),
        inode: *inode,
        born_time_ns: born.map(StorageTime::as_nanos),
        top: top
            .iter()
            .map(|(name, inode)| TopEntry { name: Bytes::copy_from_slice(name), inode: *inode })
            .collect(),
    }
}

/// An identity from the wire.
///
/// # Errors
/// More than [`limits::ROOT_TOP_MAX`] top-level entries, one whose name is none, or a type that is
/// too long.
pub fn identity_from_pb(identity: &pb::RootIdentity) -> Result<RootIdentity, ConvertError> {
    let pb::RootIdentity { fs_type, inode, born_time_ns, top } = identity;
    bounded("fs_type", fs_type, limits::FS_TYPE_MAX)?;
    if top.len() > limits::ROOT_TOP_MAX {
        let why = format!("has {} entries, at most {} may be", top.len(), limits::ROOT_TOP_MAX);
        return Err(ConvertError::invalid("top", why));
    }
    let top = top.iter().enumerate().map(|(row, entry)| {
        let TopEntry { name, inode } = entry;
        let checked = check_name(name).in_field("name");
        checked.map_err(|error| error.within(format_args!("top[{row}]")))?;
        Ok((name.to_vec(), *inode))
    });
    Ok(RootIdentity {
        fs_type: fs_type.clone(),
        inode: *inode,
        born: born_time_ns.map(StorageTime::from_nanos),
        top: top.collect::<Result<_, ConvertError>>()?,
    })
}

/// How an agent finds its root, on the wire.
#[must_use]
pub const fn root_state_to_pb(state: RootState) -> pb::RootState {
    match state {
        RootState::Available => pb::RootState::Available,
        RootState::Unavailable => pb::RootState::Unavailable,
        RootState::Doubtful => pb::RootState::Doubtful,
    }
}

/// How an agent finds its root, from the wire.
///
/// # Errors
/// A number that is no state, 0 included.
pub fn root_state_from_pb(field: &'static str, number: i32) -> Result<RootState, ConvertError> {
    match pb::RootState::try_from(number) {
        Ok(pb::RootState::Available) => Ok(RootState::Available),
        Ok(pb::RootState::Unavailable) => Ok(RootState::Unavailable),
        Ok(pb::RootState::Doubtful) => Ok(RootState::Doubtful),
        Ok(pb::RootState::Unspecified) | Err(_) => Err(ConvertError::unknown(field, number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn identities_survive(
            fs_type in "[a-z0-9.]{0,16}",
            inode: u64,
            born: Option<i64>,
            top in prop::collection::vec((prop::collection::vec(48..=122_u8, 1..9), any::<u64>()), 0..64),
            uri in "file://[a-z]{1,9}/[a-z]{0,9}",
        ) {
            let born = born.map(StorageTime::from_nanos);
            let root = RootClaim { uri, identity: RootIdentity { fs_type, inode, born, top } };
            prop_assert_eq!(root_from_pb(root_to_pb(&root)), Ok(root));
        }
    }

    #[test]
    fn a_bad_name_is_found_by_its_place() {
        let entry = |name: &'static [u8]| TopEntry { name: Bytes::from_static(name), inode: 1 };
        let identity =
            pb::RootIdentity { top: vec![entry(b"a"), entry(b"b/c")], ..Default::default() };
        let root = pb::Root { uri: String::new(), identity: Some(identity) };
        assert_eq!(root_from_pb(root).unwrap_err().field, "identity.top[1].name");
    }

    #[test]
    fn limits_hold() {
        let entry = TopEntry { name: Bytes::from_static(b"a"), inode: 1 };
        let identity = pb::RootIdentity { top: vec![entry; 65], ..Default::default() };
        assert_eq!(identity_from_pb(&identity).unwrap_err().field, "top");
        let root = pb::Root { uri: "x".repeat(5_000), identity: None };
        assert_eq!(root_from_pb(root).unwrap_err().field, "uri");
        assert!(root_state_from_pb("state", 0).is_err());
        assert!(root_state_from_pb("state", 9).is_err());
    }
}
