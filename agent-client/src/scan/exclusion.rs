//! What a view wants nothing to be known of: names under its exclude patterns.
//!
//! The patterns come with each session, the same for all agents of the view, and are kept by
//! [`Root`]: whoever opens or looks passes by there, so scans, discovery and the placing of watches
//! see no such name, in no listing, which therefore misses none. Must never: forget a pattern because
//! the session that brought it is over.
//!
//! A pattern without `/` is held against every name on the way (`*.tmp`, `.git`), one with `/` against
//! the path from the root (`/home/*/private`). `*` and `?` do not match a `/`, `**` does. What lies below an
//! excluded directory is excluded.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use fusion_core::path::PathRef;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::identity::RootIdentity;
use super::root::Root;

/// Patterns, ready to be held against names.
#[derive(Debug, Default)]
pub struct Exclusion {
    patterns: Vec<String>,
    names: GlobSet,
    paths: GlobSet,
}

impl Exclusion {
    /// Reads patterns.
    ///
    /// # Errors
    /// One of them is no pattern; which, and why.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let glob = GlobBuilder::new(pattern.trim_start_matches('/'))
                .literal_separator(true)
                .build()
                .map_err(|error| format!("exclude pattern {pattern:?}: {error}"))?;
            if pattern.contains('/') {
                paths.add(glob)
            } else {
                names.add(glob)
            };
        }
        let built = |set: GlobSetBuilder| set.build().map_err(|error| error.to_string());
        Ok(Self { patterns: patterns.to_vec(), names: built(names)?, paths: built(paths)? })
    }

    /// Whether nothing is excluded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a name in a directory that is not excluded is.
    #[must_use]
    pub fn takes_in(&self, dir: PathRef<'_>, name: &[u8]) -> bool {
        if self.is_empty() {
            return false;
        }
        if self.names.is_match(of(name)) {
            return true;
        }
        if self.paths.is_empty() {
            return false;
        }
        let above = dir.as_bytes().get(1..).unwrap_or_default();
        let separator: &[u8] = if above.is_empty() { b"" } else { b"/" };
        self.paths.is_match(of(&[above, separator, name].concat()))
    }

    /// Whether a path, or a directory on the way to it, is excluded.
    #[must_use]
    pub fn takes(&self, path: PathRef<'_>) -> bool {
        let mut next = path.split_last().filter(|_| !self.is_empty());
        while let Some((dir, name)) = next {
            if self.takes_in(dir, name) {
                return true;
            }
            next = dir.split_last();
        }
        false
    }
}

impl Exclusion {
    /// Takes excluded names out of what a root is known by.
    pub(crate) fn leave_in(&self, identity: &mut RootIdentity) {
        identity.top.retain(|(name, _)| !self.takes_in(PathRef::ROOT, name));
    }
}

impl Root {
    /// The patterns of the session that begins; they hold for all that is looked at from now on.
    ///
    /// # Errors
    /// One of them is no pattern; the ones before stay.
    pub fn exclude(&self, patterns: &[String]) -> Result<(), String> {
        let exclusion = Arc::new(Exclusion::new(patterns)?);
        *self.exclusion_now().write().unwrap_or_else(PoisonError::into_inner) = exclusion;
        Ok(())
    }

    /// Whether nothing of this path may be told: asked before each look.
    #[must_use]
    pub fn excludes(&self, path: PathRef<'_>) -> bool {
        self.exclusion().takes(path)
    }

    /// What is excluded now.
    #[must_use]
    pub fn exclusion(&self) -> Arc<Exclusion> {
        Arc::clone(&self.exclusion_now().read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::super::root::RootOptions;
    use super::*;
    use crate::clock::HostClock;

    fn takes(patterns: &[&str], path: &[u8]) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|&it| it.to_owned()).collect();
        Exclusion::new(&patterns).unwrap().takes(PathRef::new(path).unwrap())
    }

    #[test]
    fn names_match_anywhere_and_paths_from_the_root() {
        assert!(takes(&["*.tmp"], b"/a/b/x.tmp"));
        assert!(takes(&[".git"], b"/a/.git/objects/1"));
        assert!(!takes(&[".git"], b"/a/.gitignore"));
        assert!(takes(&["/home/*/private"], b"/home/ann/private/diary"));
        assert!(!takes(&["/home/*/private"], b"/home/ann/b/private"));
        assert!(!takes(&["/home/*/private"], b"/x/home/ann/private"));
        assert!(takes(&["a/**/z"], b"/a/b/c/z"));
        assert!(takes(&["?\u{fc}*"], "/d/f\u{fc}r".as_bytes()));
        assert!(takes(&["*.bak"], b"/not-utf8-\xff.bak"));
        assert!(!takes(&["*"], b"/"), "the root is there");
        assert!(!takes(&[], b"/a"));
    }

    #[test]
    fn nothing_excluded_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/private/deep")).unwrap();
        let root = Root::open(folder.path(), RootOptions::default()).unwrap();
        let look = |path: &str| {
            let looked = root.look(PathRef::new(path.as_bytes()).unwrap(), &HostClock);
            looked.map(|look| look.found.is_some()).map_err(|error| error.errno)
        };
        assert_eq!(look("/a/private/deep"), Ok(true), "control");
        root.exclude(&["private".to_owned()]).unwrap();
        for path in ["/a/private", "/a/private/deep", "/a/private/none"] {
            assert_eq!(look(path), Err(Errno::PERM), "{path}");
        }
        assert_eq!((look("/a"), look("/a/none")), (Ok(true), Ok(false)));
        root.exclude(&["a[".to_owned()]).unwrap_err();
        assert_eq!(look("/a/private"), Err(Errno::PERM), "the ones before stay");
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let error = Exclusion::new(&["ok".into(), "a[".into()]).unwrap_err();
        assert!(error.contains("a["), "{error}");
    }
}
