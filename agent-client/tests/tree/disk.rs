//! The disk as `std::fs` sees it, and a copy that evidence makes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use agent_client::scan::ListedDir;
use agent_client::watch::WatchEvidence;
use fusion_core::path::notation::to_text;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::StorageTime;

/// A tree: path in the view to stat.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<Vec<u8>, Stat>);

/// The naive walk: everything below a directory, and itself as `/`.
pub(crate) fn walk(root: &Path) -> Tree {
    let mut tree = Tree::default();
    let mut below = vec![(b"/".to_vec(), root.to_owned())];
    while let Some((path, at)) = below.pop() {
        // What vanishes while we walk is seen by the next walk.
        let Ok(metadata) = fs::symlink_metadata(&at) else { continue };
        let stat = stat_of(&metadata);
        if stat.kind == Kind::Directory
            && let Ok(entries) = fs::read_dir(&at)
        {
            for entry in entries.flatten() {
                let name = entry.file_name();
                below.push((join(&path, name.as_bytes()), at.join(name)));
            }
        }
        tree.0.insert(path, stat);
    }
    tree
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = if path == b"/" { Vec::new() } else { path.to_vec() };
    joined.push(b'/');
    joined.extend_from_slice(name);
    joined
}

fn stat_of(metadata: &fs::Metadata) -> Stat {
    let file_type = metadata.file_type();
    let kind = match () {
        () if file_type.is_dir() => Kind::Directory,
        () if file_type.is_file() => Kind::File,
        () if file_type.is_symlink() => Kind::Symlink,
        () => Kind::Other,
    };
    let time = |seconds: i64, nanos: i64| StorageTime::from_nanos(seconds * 1_000_000_000 + nanos);
    Stat {
        kind,
        size: metadata.size(),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        nlink: metadata.nlink() as u32,
    }
}

impl Tree {
    /// Applies evidence in the simplest way: what was looked at last is so.
    pub(crate) fn apply(&mut self, evidence: &WatchEvidence) {
        match evidence {
            WatchEvidence::Upsert { path, stat, .. } => self.put(path.as_bytes(), *stat),
            WatchEvidence::Remove { path, .. } => self.remove(path.as_bytes()),
            WatchEvidence::Rename { from, to, stat, .. } => {
                self.rename(from.as_bytes(), to.as_bytes());
                self.put(to.as_bytes(), *stat);
            }
            WatchEvidence::Listing(listed) => self.list(listed),
            _ => {}
        }
    }

    /// Applies a listing, or one part of one.
    pub(crate) fn list(&mut self, listed: &ListedDir) {
        let dir = listed.path.as_bytes();
        if listed.part == 0 {
            self.put(dir, listed.dir_stat);
            assert!(listed.last, "these tests list no directory in parts into a copy");
            let names: Vec<_> = listed.children.as_children().iter().map(|row| row.0).collect();
            let is_missing = |path: &[u8]| names.binary_search(&last_name(path)).is_err();
            for path in self.children(dir) {
                if is_missing(&path) {
                    self.remove(&path);
                }
            }
        }
        for (name, stat) in listed.children.as_children().iter() {
            self.put(&join(dir, name), stat);
        }
    }

    /// Ancestors are never made up (R1): what is in no known directory is not taken.
    fn put(&mut self, path: &[u8], stat: Stat) {
        if !self.is_below_a_directory(path) {
            return;
        }
        if stat.kind != Kind::Directory {
            self.remove(path);
        }
        self.0.insert(path.to_vec(), stat);
    }

    fn is_below_a_directory(&self, path: &[u8]) -> bool {
        let slash = path.len() - last_name(path).len() - 1;
        let parent = self.0.get(&path[..slash.max(1)]);
        path == b"/" || parent.is_some_and(|stat| stat.kind == Kind::Directory)
    }

    fn remove(&mut self, path: &[u8]) {
        self.0.remove(path);
        let below = join(path, b"");
        while let Some(child) = self.first_below(&below) {
            self.0.remove(&child);
        }
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) {
        self.remove(to);
        let below = join(from, b"");
        let mut moved = Vec::new();
        moved.extend(self.0.remove_entry(from));
        while let Some(child) = self.first_below(&below) {
            moved.extend(self.0.remove_entry(&child));
        }
        if self.is_below_a_directory(to) {
            for (path, stat) in moved {
                self.0.insert([to, &path[from.len()..]].concat(), stat);
            }
        }
    }

    fn children(&self, dir: &[u8]) -> Vec<Vec<u8>> {
        let below = join(dir, b"");
        let all = self.0.range(below.clone()..).map(|entry| entry.0);
        let all = all.take_while(|path| path.starts_with(&below));
        all.filter(|path| path.len() > below.len() && !path[below.len()..].contains(&b'/'))
            .cloned()
            .collect()
    }

    fn first_below(&self, below: &[u8]) -> Option<Vec<u8>> {
        let path = self.0.range(below.to_vec()..).map(|entry| entry.0).find(|path| **path != below);
        path.filter(|path| path.starts_with(below)).cloned()
    }

    /// In what two trees differ, in words; empty if they do not.
    pub(crate) fn differences(&self, disk: &Tree) -> Vec<String> {
        let mut all = Vec::new();
        for (path, stat) in &disk.0 {
            match self.0.get(path) {
                None => all.push(format!("missing {}", to_text(path))),
                Some(known) if known != stat => {
                    all.push(format!("{}:\n  known {known:?}\n  disk  {stat:?}", to_text(path)));
                }
                Some(_) => {}
            }
        }
        let invented = self.0.keys().filter(|path| !disk.0.contains_key(*path));
        all.extend(invented.map(|path| format!("invented {}", to_text(path))));
        all
    }
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}
