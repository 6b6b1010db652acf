//! `du`: where the bytes below a path are. The server keeps the totals, so nothing is counted now.

use fusion_core::path::notation;
use fusion_core::stat::Kind;
use fusion_proto::views::{Entry, EntryFilter, EntryOrder, EntrySort, FindEntries};

use super::find::{below, collected};
use super::{Target, warn_unless_ready};
use crate::cli::reads::Du;
use crate::exit::Failure;
use crate::output::Printer;

/// What lies at one place: a directory with all below it, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

pub(super) async fn run(
    target: &mut Target,
    asked: &Du,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let answer = target.client.totals(&target.view, &target.path).await;
    let answer = answer.map_err(|error| target.explain(&error))?;
    warn_unless_ready(&target.view, &answer.freshness);
    let path = notation::to_text(target.path.as_bytes());
    let shares = if asked.summary {
        Vec::new()
    } else {
        let mut shares = directories(target, asked.depth).await?;
        shares.extend(files(target, asked).await?);
        drawn(shares, usize::try_from(asked.rows).unwrap_or(usize::MAX))
    };
    printer.shares(&target.view, &path, &answer, &shares)?;
    printer.flush()
}

/// All directories of the levels that are shown.
async fn directories(target: &mut Target, depth: u32) -> Result<Vec<Share>, Failure> {
    let all = below(&target.view, &target.path, depth);
    let filter = EntryFilter { kinds: vec![Kind::Directory], ..all.filter.clone() };
    let request = FindEntries { filter, with_totals: true, ..all };
    let mut shares = Vec::new();
    for part in collected(target, &request).await? {
        for (entry, totals) in part.entries.into_iter().zip(&part.totals) {
            shares.push(share(entry, totals.bytes, totals.files));
        }
    }
    Ok(shares)
}

/// The largest files of the levels that are shown.
async fn files(target: &mut Target, asked: &Du) -> Result<Vec<Share>, Failure> {
    let all = below(&target.view, &target.path, asked.depth);
    let filter = EntryFilter { kinds: vec![Kind::File], ..all.filter.clone() };
    let order = Some(EntryOrder { by: EntrySort::Size, descending: true });
    let request = FindEntries { filter, order, limit: Some(asked.rows), ..all };
    let entries = collected(target, &request).await?.into_iter().flat_map(|part| part.entries);
    let file = |entry: Entry| {
        let bytes = entry.stat.size;
        share(entry, bytes, 1)
    };
    Ok(entries.map(file).collect())
}

fn share(entry: Entry, bytes: u64, files: u64) -> Share {
    Share { path: entry.path, kind: entry.stat.kind, bytes, files }
}

/// Those with the most bytes, each directory before what is in it, and in each the most bytes first.
fn drawn(mut shares: Vec<Share>, rows: usize) -> Vec<Share> {
    // A directory has at least the bytes of what is in it and a shorter path: it stays if that stays.
    shares.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    shares.truncate(rows);
    let mut children: std::collections::BTreeMap<String, Vec<Share>> = Default::default();
    for share in shares {
        let above = share.path.rsplit_once('/').map_or("", |(above, _)| above);
        children.entry(above.to_owned()).or_default().push(share);
    }
    let Some(top) = children.keys().next().cloned() else { return Vec::new() };
    let mut drawn = Vec::new();
    let mut waiting: Vec<Share> = children.remove(&top).unwrap_or_default();
    waiting.reverse();
    while let Some(share) = waiting.pop() {
        let inside = children.remove(&share.path).unwrap_or_default();
        drawn.push(share);
        waiting.extend(inside.into_iter().rev());
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_bytes_first_and_what_is_in_a_directory_below_it() {
        let share = |path: &str, bytes| Share {
            path: path.to_owned(),
            kind: Kind::Directory,
            bytes,
            files: 1,
        };
        let all = vec![
            share("/x/a", 10),
            share("/x/a/b", 3),
            share("/x/a/c", 7),
            share("/x/d", 20),
            share("/x/d/e", 20),
            share("/x/f", 1),
        ];
        let paths = |rows| {
            let drawn = drawn(all.clone(), rows);
            drawn.into_iter().map(|share| share.path).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(paths(9), "/x/d /x/d/e /x/a /x/a/c /x/a/b /x/f");
        assert_eq!(paths(3), "/x/d /x/d/e /x/a");
        assert_eq!(drawn(Vec::new(), 3), []);
    }
}
