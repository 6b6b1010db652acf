//! Whether an agent's root is the tree that the view knows (R11).

use fusion_core::evidence::RootIdentity;
use fusion_core::path::{PathRef, TreePath};
use fusion_proto::status::Refusal;

use crate::task::view::ViewHandle;

/// Names told in a refusal at most.
const SHOWN: usize = 5;

/// Refuses a root of which no top-level entry agrees by name and inode with one of the view. A view
/// that has no top-level entry takes any root, and so does one of which an operator said so.
pub(super) fn check(view: &ViewHandle, identity: &RootIdentity) -> Result<(), Refusal> {
    if view.root_accepted() {
        return Ok(());
    }
    let Ok((known, _)) = view.reader().list(PathRef::ROOT, None, SHOWN) else { return Ok(()) };
    if known.is_empty() {
        return Ok(());
    }
    let agrees = |(name, inode): &(Vec<u8>, u64)| {
        TreePath::root()
            .join(name)
            .ok()
            .and_then(|path| view.reader().entry(path.as_ref()))
            .is_some_and(|entry| entry.stat.inode == *inode)
    };
    if identity.top.iter().any(agrees) {
        return Ok(());
    }
    let known = known.iter().map(|entry| (entry.name.as_slice(), entry.stat.inode));
    let found = identity.top.iter().map(|(name, inode)| (name.as_slice(), *inode));
    Err(Refusal::RootMismatch { known: shown(known.take(SHOWN)), found: shown(found.take(SHOWN)) })
}

fn shown<'a>(entries: impl Iterator<Item = (&'a [u8], u64)>) -> String {
    let entries: Vec<String> = entries
        .map(|(name, inode)| {
            format!("{} (inode {inode})", fusion_core::path::notation::to_text(name))
        })
        .collect();
    if entries.is_empty() { "an empty root".to_owned() } else { entries.join(", ") }
}
