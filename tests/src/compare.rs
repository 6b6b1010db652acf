//! The view held against the disk, entry for entry and total for total.

use std::path::Path;
use std::time::{Duration, Instant};

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_core::stat::Kind;
use fusion_core::view::Totals;
use fusion_proto::client::CallError;
use fusion_proto::views::ViewsClient;

use crate::disk::{self, Tree};
use crate::process::now;

/// Differences shown before the rest is only counted.
const SHOWN: usize = 20;

/// Everything that the view has, the root as `/`.
///
/// # Errors
/// The server refused or cannot be reached.
pub async fn view_tree(client: &mut ViewsClient, view: &ViewName) -> Result<Tree, CallError> {
    let mut tree = Tree::new();
    let root = client.entry(view, &TreePath::root()).await?;
    tree.insert("/".to_owned(), root.entry.stat);
    let mut found = client.find(view, &TreePath::root(), None).await?;
    while let Some(part) = found.next().await? {
        tree.extend(part.entries.into_iter().map(|entry| (entry.path, entry.stat)));
    }
    Ok(tree)
}

/// Waits until the view equals the disk below `root`, and says how long that took.
///
/// The disk must be at rest; `limit` is how long evidence may be under way.
///
/// # Panics
/// They still differ after `limit`; the differences are shown.
pub async fn until_equal(
    client: &mut ViewsClient,
    view: &ViewName,
    root: &Path,
    limit: Duration,
) -> Duration {
    let started = now();
    let on_disk = disk::walk(root);
    loop {
        let differences = match view_tree(client, view).await {
            Ok(tree) => differences(&on_disk, &tree),
            Err(error) => vec![format!("the view cannot be read: {error}")],
        };
        if differences.is_empty() {
            let took = started.elapsed();
            assert_totals(client, view, &on_disk).await;
            return took;
        }
        if started.elapsed() > limit {
            let more = differences.len().saturating_sub(SHOWN);
            let shown = &differences[..differences.len().min(SHOWN)];
            panic!("after {limit:?} the view differs: {shown:#?} and {more} more");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the view is READY.
///
/// # Panics
/// It is not after `limit`.
pub async fn until_ready(client: &mut ViewsClient, view: &ViewName, limit: Duration) -> Duration {
    let started = now();
    loop {
        let state = match client.view(view).await {
            Ok(info) if info.freshness.is_ready() => return started.elapsed(),
            Ok(info) => format!("{}: {:?}", info.freshness.state_text(), info.freshness.reasons),
            Err(error) => error.to_string(),
        };
        assert!(started.elapsed() < limit, "not READY after {limit:?}: {state}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the view is not READY; gives why.
///
/// # Panics
/// It is READY after `limit` still.
pub async fn until_not_ready(client: &mut ViewsClient, view: &ViewName, limit: Duration) -> String {
    let started = now();
    loop {
        if let Some(why) = why_not_ready(client, view).await {
            return why;
        }
        assert!(started.elapsed() < limit, "the view is READY as if nothing were wrong");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Why the view is not READY now; nothing if it is.
///
/// # Panics
/// The server does not answer.
pub async fn why_not_ready(client: &mut ViewsClient, view: &ViewName) -> Option<String> {
    let freshness = client.view(view).await.expect("the view").freshness;
    let why = || format!("{} {:?}", freshness.state_text(), freshness.reasons);
    (!freshness.is_ready()).then(why)
}

/// How many entries the view has, its root included.
///
/// # Panics
/// The server does not answer.
pub async fn entries(client: &mut ViewsClient, view: &ViewName) -> usize {
    view_tree(client, view).await.expect("the tree of the view").len()
}

/// When a wait began, for callers that measure more than one step.
#[must_use]
pub fn clock() -> Instant {
    now()
}

/// Totals of every directory of the disk, against the server's.
async fn assert_totals(client: &mut ViewsClient, view: &ViewName, on_disk: &Tree) {
    let root = client.totals(view, &TreePath::root()).await.expect("totals of the root").totals;
    let counted = count(on_disk);
    assert_eq!(
        (root.files, root.directories, root.others, root.bytes),
        (counted.files, counted.directories, counted.others, counted.bytes),
        "totals of the root (files, directories, others, bytes): view, disk"
    );
}

/// What `find` would count below the root.
#[must_use]
pub fn count(tree: &Tree) -> Totals {
    let mut totals = Totals::default();
    for (path, stat) in tree {
        match stat.kind {
            _ if path == "/" => {}
            Kind::File => {
                totals.files += 1;
                totals.bytes += stat.size;
            }
            Kind::Directory => totals.directories += 1,
            Kind::Symlink | Kind::Other => totals.others += 1,
        }
    }
    totals
}

fn differences(on_disk: &Tree, in_view: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, stat) in on_disk {
        match in_view.get(path) {
            None => lines.push(format!("lost: {path}")),
            Some(known) if known != stat => {
                lines.push(format!("differs: {path}\n  disk {stat:?}\n  view {known:?}"));
            }
            Some(_) => {}
        }
    }
    let invented = in_view.keys().filter(|path| !on_disk.contains_key(*path));
    lines.extend(invented.map(|path| format!("invented: {path}")));
    lines
}
