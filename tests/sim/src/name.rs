//! Names and paths of the simulated storage: numbers that sort as their bytes do.

use std::fmt;

use fusion_core::path::TreePath;

/// The names that a schedule may use, sorted by bytes; few, so that they meet again and again.
const NAMES: [&[u8]; 12] = [
    b"a",
    b"b",
    b"c",
    b"c.tmp",
    b"d",
    b"e",
    b"f g",
    b"keep",
    b"run42.dat",
    b"x\n",
    b"\xc3\xa4",
    b"\xff",
];

/// The top-level directory that no operation replaces, so that the root stays recognisable (R11).
pub(crate) const KEEP: Name = Name(7);

/// A name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) u8);

impl Name {
    /// How many names there are.
    pub(crate) const COUNT: usize = NAMES.len();

    /// As the disk has it.
    pub(crate) fn bytes(self) -> &'static [u8] {
        NAMES[usize::from(self.0)]
    }

    /// The name with these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        NAMES.iter().position(|name| *name == bytes).map(|index| Self(index as u8))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes().escape_ascii())
    }
}

/// A path: the names from the root down; none for the root.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Path(Vec<Name>);

impl Path {
    /// The root.
    pub(crate) const fn root() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> &[Name] {
        &self.0
    }

    pub(crate) fn join(&self, name: Name) -> Self {
        let mut names = Vec::with_capacity(self.0.len() + 1);
        names.extend_from_slice(&self.0);
        names.push(name);
        Self(names)
    }

    /// The parent's names and the last name; `None` for the root.
    pub(crate) fn split(&self) -> Option<(&[Name], Name)> {
        self.0.split_last().map(|(last, rest)| (rest, *last))
    }

    /// Whether this is `ancestor` or lies below it.
    pub(crate) fn is_within(&self, ancestor: &Self) -> bool {
        self.0.starts_with(&ancestor.0)
    }

    /// This path with the prefix `from` replaced by `to`.
    pub(crate) fn moved(&self, from: &Self, to: &Self) -> Self {
        let mut names = to.0.clone();
        names.extend_from_slice(&self.0[from.0.len()..]);
        Self(names)
    }

    /// As the view spells it.
    pub(crate) fn to_tree(&self) -> TreePath {
        let mut bytes = Vec::with_capacity(1 + self.0.len() * 4);
        for name in &self.0 {
            bytes.push(b'/');
            bytes.extend_from_slice(name.bytes());
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        TreePath::new(bytes).unwrap_or_else(|_| TreePath::root())
    }

    /// From the view's spelling; `None` if a name is none of ours.
    pub(crate) fn of(path: &TreePath) -> Option<Self> {
        path.as_ref().names().map(Name::of).collect::<Option<Vec<_>>>().map(Self)
    }
}

impl From<Vec<Name>> for Path {
    fn from(names: Vec<Name>) -> Self {
        Self(names)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0.iter().try_for_each(|name| write!(f, "/{name:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_their_bytes_and_paths_convert() {
        assert!(NAMES.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Name::of(b"keep"), Some(KEEP));
        let path = Path::root().join(Name(0)).join(Name(11));
        assert_eq!(Path::of(&path.to_tree()), Some(path.clone()));
        assert_eq!(path.to_tree().as_bytes(), b"/a/\xff");
        assert_eq!(Path::root().to_tree(), TreePath::root());
        let from = Path::root().join(Name(0));
        let to = Path::root().join(Name(4)).join(Name(1));
        assert_eq!(path.moved(&from, &to), to.join(Name(11)));
    }
}
