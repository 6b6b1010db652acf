//! `tree`: a directory and a few levels below it.

use fusion_core::path::notation;
use fusion_proto::views::{Entry, FindEntries};

use super::find::below;
use super::{Target, warn_unless_ready};
use crate::cli::reads::Tree;
use crate::exit::Failure;
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
    let found = target.client.find_entries(&request).await;
    let mut found = found.map_err(|error| target.explain(&error))?;
    let (mut entries, mut whole) = (Vec::new(), false);
    while let Some(part) = found.next().await.map_err(|error| target.explain(&error))? {
        entries.extend(part.entries);
        if let Some(freshness) = part.freshness {
            warn_unless_ready(&target.view, &freshness);
            whole = true;
        }
    }
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
        eprintln!("fusionctl: only {} entries are shown; see --limit and --depth", asked.limit);
    }
    if whole { Ok(()) } else { Err(Failure::refused("the server broke off: this is not all")) }
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
