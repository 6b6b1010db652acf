//! Paths and names as the disk has them: bytes, relative to the view's root.
//!
//! Owns the one definition of a valid path and name, and (in [`notation`]) the one printable
//! spelling of them. Called by everybody who takes a path from outside. Must never: normalise; a
//! path that breaks a rule is refused, not mended. Tested below, and by property tests.

pub mod notation;

use std::fmt;

/// Longest accepted path in bytes, the leading `/` included.
pub const PATH_MAX: usize = 4096;
/// Longest accepted name (one component) in bytes.
pub const NAME_MAX: usize = 255;

/// Why bytes are not a path or a name of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A path begins with `/`, the view's root.
    #[error("a path must begin with `/`, the root of the view")]
    NotRooted,
    /// `//`, or a trailing `/`.
    #[error("a path must not have an empty component (`//` or a trailing `/`)")]
    EmptyComponent,
    /// `.` or `..` as a component.
    #[error("a path must not have `.` or `..` as a component")]
    DotComponent,
    /// The path is longer than [`PATH_MAX`].
    #[error("a path has at most {PATH_MAX} bytes")]
    PathTooLong,
    /// A component is longer than [`NAME_MAX`].
    #[error("a name has at most {NAME_MAX} bytes")]
    NameTooLong,
    /// A name with `/`.
    #[error("a name must not contain `/`")]
    SlashInName,
    /// A NUL byte.
    #[error("a path must not contain a NUL byte")]
    Nul,
}

/// Checks one name: not empty, not `.` or `..`, at most [`NAME_MAX`] bytes, no `/`, no NUL.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_name(name: &[u8]) -> Result<(), PathError> {
    match name {
        [] => return Err(PathError::EmptyComponent),
        b"." | b".." => return Err(PathError::DotComponent),
        _ => {}
    }
    if name.len() > NAME_MAX {
        return Err(PathError::NameTooLong);
    }
    for &byte in name {
        match byte {
            b'/' => return Err(PathError::SlashInName),
            0 => return Err(PathError::Nul),
            _ => {}
        }
    }
    Ok(())
}

/// Checks a whole path: `/`, or `/name[/name…]`, at most [`PATH_MAX`] bytes.
///
/// # Errors
/// The first rule that the path breaks.
pub fn check_path(path: &[u8]) -> Result<(), PathError> {
    let Some((b'/', rest)) = path.split_first() else {
        return Err(PathError::NotRooted);
    };
    if path.len() > PATH_MAX {
        return Err(PathError::PathTooLong);
    }
    if rest.is_empty() {
        return Ok(());
    }
    rest.split(|&byte| byte == b'/').try_for_each(check_name)
}

/// A checked path, borrowed. `/` is the root of the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathRef<'a>(&'a [u8]);

impl<'a> PathRef<'a> {
    /// The root of every view.
    pub const ROOT: PathRef<'static> = PathRef(b"/");

    /// Takes bytes that are a valid path.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PathError> {
        check_path(bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes, with the leading `/`.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(self) -> bool {
        self.0.len() == 1
    }

    /// The components from the root down; none for `/`.
    pub fn names(self) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone {
        let rest = &self.0[1..];
        rest.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// The parent and the last name; `None` for `/`.
    #[must_use]
    pub fn split_last(self) -> Option<(PathRef<'a>, &'a [u8])> {
        if self.is_root() {
            return None;
        }
        let slash = self.0.iter().rposition(|&byte| byte == b'/')?;
        let parent = if slash == 0 { PathRef::ROOT } else { PathRef(&self.0[..slash]) };
        Some((parent, &self.0[slash + 1..]))
    }

    /// Whether `self` is `ancestor` or lies below it.
    #[must_use]
    pub fn is_within(self, ancestor: PathRef<'_>) -> bool {
        ancestor.is_root()
            || (self.0.starts_with(ancestor.0)
                && matches!(self.0.get(ancestor.0.len()), None | Some(b'/')))
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> TreePath {
        TreePath(self.0.into())
    }
}

/// A checked path, owned. `/` is the root of the view.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// Takes bytes that are a valid path.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        check_path(&bytes)?;
        Ok(Self(bytes))
    }

    /// The root of every view.
    #[must_use]
    pub fn root() -> Self {
        PathRef::ROOT.to_owned()
    }

    /// The path, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> PathRef<'_> {
        PathRef(&self.0)
    }

    /// The bytes, with the leading `/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path of a child.
    ///
    /// # Errors
    /// The name, or the whole, breaks a rule.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_name(name)?;
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if self.0.len() > 1 {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        if bytes.len() > PATH_MAX {
            return Err(PathError::PathTooLong);
        }
        Ok(Self(bytes.into()))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", notation::to_text(&self.0))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&notation::to_text(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_path() {
        for good in ["/", "/a", "/a/b", "/...", "/a b"] {
            assert_eq!(check_path(good.as_bytes()), Ok(()), "{good}");
        }
        let cases: [(&[u8], PathError); 9] = [
            (b"", PathError::NotRooted),
            (b"a", PathError::NotRooted),
            (b"//", PathError::EmptyComponent),
            (b"/a/", PathError::EmptyComponent),
            (b"/a//b", PathError::EmptyComponent),
            (b"/.", PathError::DotComponent),
            (b"/a/../b", PathError::DotComponent),
            (b"/a\0", PathError::Nul),
            (&[b'/'; PATH_MAX + 1], PathError::PathTooLong),
        ];
        for (bad, why) in cases {
            assert_eq!(check_path(bad), Err(why), "{bad:?}");
        }
        assert_eq!(check_name(&[b'a'; NAME_MAX + 1]), Err(PathError::NameTooLong));
        assert_eq!(check_name(&[b'a'; NAME_MAX]), Ok(()));
        assert_eq!(check_name(b"a/b"), Err(PathError::SlashInName));
    }

    #[test]
    fn parts_of_a_path() {
        let path = PathRef::new(b"/a/b").unwrap();
        let (parent, name) = path.split_last().unwrap();
        assert_eq!((parent.as_bytes(), name), (&b"/a"[..], &b"b"[..]));
        assert_eq!(parent.split_last().unwrap().0, PathRef::ROOT);
        assert!(PathRef::ROOT.split_last().is_none());
        assert_eq!(path.names().collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(PathRef::ROOT.names().count(), 0);
        assert!(path.is_within(parent) && path.is_within(PathRef::ROOT) && path.is_within(path));
        assert!(!PathRef::new(b"/ab").unwrap().is_within(parent));
        assert_eq!(TreePath::root().join(b"a").unwrap().join(b"b").unwrap().as_ref(), path);
    }
}
