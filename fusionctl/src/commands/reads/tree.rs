//! `tree`: a directory and a few levels below it.

use fusion_core::path::notation;
use fusion_proto::views::{Entry, FindEntries};

use super::find::{below, collected};
use super::{Target, warn_unless_ready};
use crate::cli::reads::Tree;
use crate::exit::{Failure, note};
use crate::output::Printer;

pub(super) async fn run(
    target: &mut Target,
    asked: &Tree,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let request = FindEntries {
        // One more shows that there are more.
        limit: Some(asked.limit.saturating_add(1)),
        ..below(&target.view, &target.path, asked.depth)
    };
    let parts = collected(target, &request).await?;
    let freshness = parts.iter().find_map(|part| part.freshness.as_ref());
    freshness.into_iter().for_each(|freshness| warn_unless_ready(&target.view, freshness));
    let mut entries: Vec<Entry> = parts.into_iter().flat_map(|part| part.entries).collect();
    let more = entries.len() as u64 > asked.limit;
    entries.truncate(usize::try_from(asked.limit).unwrap_or(usize::MAX));
    let top = notation::to_text(target.path.as_bytes());
    if !printer.is_json() {
        printer.text(&top)?;
    }
    let base = if target.path.as_ref().is_root() { 0 } else { slashes(&top) };
    for (number, guides) in guides(&entries, base).into_iter().enumerate() {
        printer.tree_line(&entries[number], &guides)?;
    }
    printer.flush()?;
    if more {
        note(&format!("only {} entries are shown; see --limit and --depth", asked.limit));
    }
    Ok(())
}

fn slashes(path: &str) -> usize {
    path.bytes().filter(|&byte| byte == b'/').count()
}

/// What stands before each entry. They come with directories before what is in them; whether one is
/// the last of its directory is known from those after it.
fn guides(entries: &[Entry], base: usize) -> Vec<String> {
    let mut guides = vec![String::new(); entries.len()];
    // For each level, whether one more entry of the same directory comes.
    let mut more: Vec<bool> = Vec::new();
    for (number, entry) in entries.iter().enumerate().rev() {
        let level = slashes(&entry.path).saturating_sub(base).max(1);
        let last = more.get(level - 1).is_none_or(|more| !more);
        more.resize(level, false);
        let mut text = String::new();
        for above in &more[..level - 1] {
            text.push_str(if *above { "│   " } else { "    " });
        }
        text.push_str(if last { "└── " } else { "├── " });
        more[level - 1] = true;
        guides[number] = text;
    }
    guides
}

#[cfg(test)]
mod tests {
    use super::*;
    use fusion_core::stat::Kind;

    #[test]
    fn guides_lead_to_the_last_of_each_directory() {
        let entry = |path: &str| Entry {
            path: path.to_owned(),
            stat: crate::output::test_stat(Kind::File),
            suspect: false,
            blind: false,
        };
        let paths = ["/a", "/a/b", "/a/b/c", "/a/d", "/e", "/f", "/f/g"];
        let entries: Vec<Entry> = paths.iter().map(|path| entry(path)).collect();
        let drawn = guides(&entries, 0);
        let expected = ["├── ", "│   ├── ", "│   │   └── ", "│   └── ", "├── ", "└── ", "    └── "];
        assert_eq!(drawn, expected);
        let deeper: Vec<Entry> = paths.iter().map(|path| entry(&format!("/x/y{path}"))).collect();
        assert_eq!(guides(&deeper, 2), expected);
    }
}
