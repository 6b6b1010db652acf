//! What is excluded is neither listed nor told of, however it comes and goes, and nothing else is lost.

use std::fs;
use std::path::Path;

use agent_client::scan::Exclusion;
use agent_client::watch::{WatchEvidence, WatchOptions};
use fusion_core::path::{PathRef, TreePath};

use crate::disk::walk;
use crate::harness::Watched;

/// What is done, and how.
type Step = (&'static str, fn(&Path));

const EXCLUDED: [&str; 2] = ["*.key", "/vault/*/deep"];

fn exclusion() -> Exclusion {
    Exclusion::new(&EXCLUDED.map(str::to_owned)).unwrap()
}

fn fill(root: &Path) {
    for directory in ["a/b", "ring.key/below", "vault/x/deep/er", "vault/y"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["one", "one.key", "a/b/two", "ring.key/below/three", "vault/x/deep/er/four"] {
        fs::write(root.join(file), file).unwrap();
    }
}

/// All names that evidence names.
fn names(evidence: &WatchEvidence) -> Vec<TreePath> {
    match evidence {
        WatchEvidence::Upsert { path, .. } | WatchEvidence::Remove { path, .. } => {
            vec![path.clone()]
        }
        WatchEvidence::Rename { from, to, .. } => vec![from.clone(), to.clone()],
        WatchEvidence::Listing(listed) => {
            let children = listed.children.as_children();
            let below = children.iter().map(|(name, _)| listed.path.join(name).unwrap());
            below.chain([listed.path.clone()]).collect()
        }
        WatchEvidence::Unreadable(unreadable) => vec![unreadable.dir.clone()],
        WatchEvidence::LeftOut(left_out) => vec![left_out.dir.clone()],
        WatchEvidence::Overflow { .. } | WatchEvidence::RootGone { .. } => Vec::new(),
    }
}

impl Watched {
    /// Waits until the copy is what may be seen of the disk; nothing else was told meanwhile.
    fn shows_the_rest(&mut self, what: &str) {
        let (exclusion, root) = (exclusion(), self.root.clone());
        let mut seen = walk(&root);
        seen.0.retain(|path, _| !exclusion.takes(PathRef::new(path).unwrap()));
        let mut differences = Vec::new();
        let is_level = self.eventually(|watched| {
            differences = watched.copy.differences(&seen);
            differences.is_empty()
        });
        assert!(is_level, "{what}: {differences:?}\n{:#?}", self.said());
        self.settle();
        for evidence in &self.told {
            for name in names(evidence) {
                assert!(!exclusion.takes(name.as_ref()), "{what}: {name} in {evidence:?}");
            }
        }
    }
}

#[test]
fn nothing_excluded_is_told_of_however_it_comes_and_goes() {
    let mut tree = Watched::excluding(WatchOptions::default(), &EXCLUDED, fill);
    tree.shows_the_rest("the scan");
    let steps: [Step; 12] = [
        ("new names", |root| {
            fs::write(root.join("two.key"), "x").unwrap();
            fs::write(root.join("a/three.key"), "x").unwrap();
            fs::write(root.join("two"), "x").unwrap();
        }),
        ("writing and removing", |root| {
            fs::write(root.join("one.key"), "more").unwrap();
            fs::remove_file(root.join("two.key")).unwrap();
            fs::write(root.join("ring.key/below/three"), "more").unwrap();
        }),
        ("a file goes into hiding", |root| {
            fs::rename(root.join("two"), root.join("two.key")).unwrap();
        }),
        ("and comes out", |root| fs::rename(root.join("two.key"), root.join("a/2")).unwrap()),
        ("hidden all along", |root| {
            fs::rename(root.join("one.key"), root.join("a/other.key")).unwrap();
        }),
        ("a directory goes into hiding", |root| {
            fs::rename(root.join("a/b"), root.join("a/b.key")).unwrap();
        }),
        ("and is written to", |root| {
            fs::create_dir(root.join("a/b.key/new")).unwrap();
            fs::write(root.join("a/b.key/new/file"), "x").unwrap();
            fs::remove_file(root.join("a/b.key/two")).unwrap();
        }),
        ("and comes out with all of it", |root| {
            fs::rename(root.join("a/b.key"), root.join("a/c")).unwrap();
        }),
        ("and is watched again", |root| fs::write(root.join("a/c/new/later"), "x").unwrap()),
        ("one that was hidden from the start comes out", |root| {
            fs::rename(root.join("ring.key"), root.join("ring")).unwrap();
            fs::write(root.join("ring/below/later"), "x").unwrap();
        }),
        ("a directory above changes what is excluded", |root| {
            fs::rename(root.join("vault/x/deep"), root.join("vault/y/open")).unwrap();
            fs::rename(root.join("a/c"), root.join("vault/x/deep")).unwrap();
        }),
        ("a hidden tree is made and removed", |root| {
            fs::create_dir_all(root.join("t.key/u/v")).unwrap();
            fs::write(root.join("t.key/u/v/w"), "x").unwrap();
            fs::remove_dir_all(root.join("t.key")).unwrap();
        }),
    ];
    for (what, step) in steps {
        step(&tree.root);
        tree.shows_the_rest(what);
    }
    fs::write(tree.at("a/seen"), "x").unwrap();
    tree.shows_the_rest("the end");
    assert!(tree.said().contains(&"upsert /a/seen".to_owned()), "control: it does tell");
}
