//! The trees: one by `view` and `root`, or a list of them, and where the spool of each is.
//!
//! A list is written as `[[tree]]` tables or as flags `--tree VIEW=ROOT`; each view once, and no root
//! within another, for what is below both would be told of twice. That is checked here by the paths as
//! they are written, and by where they lead when they are opened (`agent::fellows`).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Component, Path, PathBuf};

use fusion_core::id::ViewName;

use super::{Checks, Environment, Fault, Raw, RawTree, non_empty_path};

/// Most trees of one process.
const MOST: usize = 64;
/// Each tree needs a watch on its root, and one that can go to where something happens.
const WATCHES_EACH: u64 = 2;

/// A tree that one agent serves.
pub(super) struct Tree {
    pub(super) view: ViewName,
    pub(super) root: PathBuf,
    pub(super) spool: PathBuf,
}

/// All of them.
pub(super) struct Trees {
    pub(super) list: Vec<Tree>,
    /// The directory of the spools, where the trees are a list.
    pub(super) spools: Option<PathBuf>,
}

/// Checks the trees; `None` only if a fault was added.
pub(super) fn check(
    raw: &Raw,
    environment: &Environment,
    checks: &mut Checks<'_>,
) -> Option<Trees> {
    match &raw.tree {
        None => one(raw, environment, checks),
        Some(_) if raw.view.is_some() || raw.root.is_some() => {
            checks.missing("tree", "give either one view and its root, or a list of trees");
            None
        }
        Some(trees) => several(trees, raw, environment, checks),
    }
}

fn one(raw: &Raw, environment: &Environment, checks: &mut Checks<'_>) -> Option<Trees> {
    let view = checks.required("view", raw.view.as_ref(), view_name);
    let root = checks.required("root", raw.root.as_ref(), non_empty_path);
    let default = || environment.default_spool(view.as_ref()?);
    let spool = spool(raw, view.is_some(), default, checks);
    let (view, root, spool) = (view?, root?, spool?);
    Some(Trees { list: vec![Tree { view, root, spool }], spools: None })
}

fn several(
    trees: &[RawTree],
    raw: &Raw,
    environment: &Environment,
    checks: &mut Checks<'_>,
) -> Option<Trees> {
    let before = checks.faults.len();
    if trees.is_empty() || trees.len() > MOST {
        checks.missing("tree", &format!("from 1 to {MOST} trees"));
    }
    let mut roots = BTreeMap::new();
    for (number, tree) in (1..).zip(trees) {
        let key = |name: &str| format!("tree {number}: {name}");
        let view = checks.needed(&key("view"), tree.view.as_ref(), view_name);
        let root = checks.needed(&key("root"), tree.root.as_ref(), non_empty_path);
        let (Some(view), Some(root)) = (view, root) else { continue };
        if let Some((other, theirs, how)) = touching(&root, &roots) {
            let said = format!("{how} the root of view {other}, {}", theirs.display());
            checks.wrong(&key("root"), &root.display().to_string(), &said);
        }
        match roots.entry(view) {
            Entry::Vacant(free) => {
                free.insert(root);
            }
            Entry::Occupied(taken) => {
                let said = "is a tree already; each view once";
                checks.wrong(&key("view"), taken.key().as_str(), said);
            }
        }
    }
    let least = WATCHES_EACH * trees.len() as u64;
    let watches = raw.max_watches.as_ref().and_then(|text| text.to_string().parse::<u64>().ok());
    if let Some(few) = watches.filter(|watches| (1..least).contains(watches)) {
        let allowed = format!("at least {least} for {} trees", trees.len());
        checks.wrong("max_watches", &few.to_string(), &allowed);
    }
    let spools = spool(raw, true, || environment.state_folder(), checks)?;
    // In the order in which they are written.
    let list = trees.iter().filter_map(|tree| {
        let view = ViewName::new(&tree.view.as_ref()?.to_string()).ok()?;
        let (root, spool) = (roots.remove(&view)?, spools.join(view.as_str()));
        Some(Tree { view, root, spool })
    });
    let list = list.collect();
    (checks.faults.len() == before).then_some(Trees { list, spools: Some(spools) })
}

/// The spool as given, or by default.
fn spool(
    raw: &Raw,
    has_view: bool,
    default: impl FnOnce() -> Option<PathBuf>,
    checks: &mut Checks<'_>,
) -> Option<PathBuf> {
    checks.optional("spool", raw.spool.as_ref(), non_empty_path).or_else(|| {
        let found = default();
        if found.is_none() && has_view && raw.spool.is_none() {
            checks.missing("spool", "no STATE_DIRECTORY, XDG_STATE_HOME or HOME to put it in");
        }
        found
    })
}

fn view_name(text: &str) -> Result<ViewName, String> {
    ViewName::new(text).map_err(|error| error.allowed.to_owned())
}

/// The first of these roots that is this one, within it or around it, as they are written.
fn touching<'a>(
    root: &Path,
    roots: &'a BTreeMap<ViewName, PathBuf>,
) -> Option<(&'a ViewName, &'a Path, &'static str)> {
    let root = plain(root);
    roots.iter().find_map(|(view, other)| {
        let theirs = plain(other);
        let how = if root == theirs {
            "is"
        } else if root.starts_with(&theirs) {
            "lies within"
        } else if theirs.starts_with(&root) {
            "holds"
        } else {
            return None;
        };
        Some((view, other.as_path(), how))
    })
}

/// A path from the top, without `.` and `..`. Asks no storage, so it follows no link.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

impl Checks<'_> {
    fn wrong(&mut self, key: &str, value: &str, allowed: &str) {
        let value = Some(value.to_owned());
        self.faults.push(Fault { key: key.into(), value, allowed: allowed.into() });
    }

    fn needed<T>(
        &mut self,
        key: &str,
        value: Option<&super::Value>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if value.is_none() {
            self.missing(key, "is needed");
        }
        self.optional(key, value, parse)
    }
}
