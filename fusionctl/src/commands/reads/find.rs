//! `find`: what lies below a path and matches, as it is found; with the habits of `fd`.

use fusion_core::id::ViewName;
use fusion_core::path::{TreePath, notation};
use fusion_core::stat::Kind;
use fusion_core::time::StorageTime;
use fusion_proto::limits;
use fusion_proto::views::{
    EntryFilter, EntryOrder, EntrySort, FindEntries, Found, FoundPart, ReadClass, ViewError,
};

use super::owner::Owner;
use super::{Target, first_of, quantity, view_name, warn_unless_ready};
use crate::cli::reads::{Find, Kind as KindArg, Sort};
use crate::exit::{Failure, note};
use crate::output::{Printer, Shown};
use crate::profile::Profile;

pub(super) async fn run(
    server: &Profile,
    mut asked: Find,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let (pattern, path) = arguments(asked.pattern.take(), asked.path.take())?;
    let filter = filter(&asked, pattern)?;
    let more_views = asked
        .views
        .iter()
        .skip(1)
        .map(|name| view_name("--view", name))
        .collect::<Result<Vec<_>, _>>()?;
    let order = asked.sort.map(|sort| order(sort, asked.reverse));
    let limit = match (order, asked.limit) {
        (Some(_), None) => Some(limits::SORTED_MAX as u64),
        (Some(_), Some(limit)) if limit > limits::SORTED_MAX as u64 => {
            return Err(Failure::usage(format!(
                "--max-results {limit}: sorted, at most {} can be shown",
                limits::SORTED_MAX
            )));
        }
        (_, limit) => limit,
    };
    let mut target = Target::resolve(server, &path, &first_of(&asked.views)).await?;
    let request = FindEntries {
        view: target.view.clone(),
        path: target.path.clone(),
        filter,
        limit,
        order,
        more_views,
        with_totals: false,
        class: ReadClass::Any,
    };
    let found = target.client.find_entries(&request).await;
    let found = found.map_err(|error| target.explain(&error))?;
    let mut told = Told { asked: &asked, printer, shown: 0, whole: 0, failed: Vec::new() };
    told.all(&target, found, &request).await?;
    if asked.limit.is_none() && order.is_some() && told.shown == limits::SORTED_MAX as u64 {
        note(&format!("only the first {} are shown; narrow it down", limits::SORTED_MAX));
    }
    told.end(1 + request.more_views.len())
}

/// What was printed so far.
struct Told<'a> {
    asked: &'a Find,
    printer: &'a mut Printer,
    shown: u64,
    /// Views that were searched to the end.
    whole: usize,
    /// Those that could not be.
    failed: Vec<String>,
}

impl Told<'_> {
    async fn all(
        &mut self,
        target: &Target,
        mut found: Found,
        request: &FindEntries,
    ) -> Result<(), Failure> {
        let several = !request.more_views.is_empty();
        let shown = if self.asked.long { Shown::Long } else { Shown::Short };
        if !self.asked.print0 {
            self.printer.entries_head(shown)?;
        }
        loop {
            // What is there is shown before more is waited for.
            self.printer.flush()?;
            let part = found.next().await;
            let Some(part) = part.map_err(|error| target.explain(&error))? else { return Ok(()) };
            self.part(target, part, several, shown)?;
        }
    }

    fn part(
        &mut self,
        target: &Target,
        part: FoundPart,
        several: bool,
        shown: Shown,
    ) -> Result<(), Failure> {
        let view = part.view.as_ref().unwrap_or(&target.view);
        for entry in &part.entries {
            self.shown += 1;
            if self.asked.print0 {
                let path = notation::parse(&entry.path).unwrap_or_default();
                self.printer.raw(&[&path[..], b"\0"].concat())?;
            } else if several {
                self.printer.entry_of(view, entry, shown)?;
            } else {
                self.printer.entry(entry, shown, false)?;
            }
        }
        if let Some(freshness) = part.freshness {
            warn_unless_ready(view, &freshness);
            self.whole += 1;
        }
        if let Some(error) = part.error {
            self.failed.push(failed(view, &error));
        }
        Ok(())
    }

    /// Whether all was told.
    fn end(self, views: usize) -> Result<(), Failure> {
        self.printer.flush()?;
        if !self.failed.is_empty() {
            return Err(Failure::refused(format!("not all is found: {}", self.failed.join("; "))));
        }
        if self.whole < views {
            return Err(Failure::refused("the server broke off: not all was found"));
        }
        Ok(())
    }
}

fn failed(view: &ViewName, error: &ViewError) -> String {
    format!("view {view}: {}", error.message)
}

/// Tells PATTERN from PATH: a first argument that begins with `/` is PATH.
fn arguments(
    first: Option<String>,
    second: Option<String>,
) -> Result<(Option<String>, String), Failure> {
    match (first, second) {
        (Some(path), None) if path.starts_with('/') => Ok((None, path)),
        (Some(path), Some(extra)) if path.starts_with('/') => Err(Failure::usage(format!(
            "find: `{path}` begins with `/` and so is PATH; what is `{extra}`? \
             The pattern comes first: find PATTERN PATH"
        ))),
        (pattern, path) => Ok((pattern, path.unwrap_or_else(|| "/".to_owned()))),
    }
}

fn filter(asked: &Find, pattern: Option<String>) -> Result<EntryFilter, Failure> {
    let (name_glob, name_regex) = if asked.regex { (None, pattern) } else { (pattern, None) };
    let owner = asked.owner.as_deref().map(Owner::parse).transpose()?.unwrap_or_default();
    let (since, until) = (asked.changed_within, asked.changed_before);
    let mtime = (since.is_some() || until.is_some())
        .then(|| since.unwrap_or(i64::MIN)..=until.unwrap_or(i64::MAX));
    if mtime.as_ref().is_some_and(|range| range.is_empty()) {
        return Err(Failure::usage(
            "--changed-before lies before --changed-within: nothing can be between",
        ));
    }
    let extensions = asked.extensions.iter().map(|extension| {
        // As `fd` does: a dot before it is no part of it.
        extension.strip_prefix('.').unwrap_or(extension).to_owned()
    });
    Ok(EntryFilter {
        name_glob,
        name_regex,
        path_regex: asked.full_path.clone(),
        kinds: asked.kinds.iter().map(|kind| kind_of(*kind)).collect(),
        extensions: extensions.collect(),
        size: quantity::sizes(&asked.sizes)?,
        mtime: mtime.map(|range| {
            StorageTime::from_nanos(*range.start())..=StorageTime::from_nanos(*range.end())
        }),
        ctime: None,
        uids: owner.uid.into_iter().collect(),
        gids: owner.gid.into_iter().collect(),
        min_depth: asked.min_depth,
        max_depth: asked.max_depth,
        only_suspect: asked.suspect,
        only_blind: asked.blind,
    })
}

pub(super) fn kind_of(kind: KindArg) -> Kind {
    match kind {
        KindArg::F => Kind::File,
        KindArg::D => Kind::Directory,
        KindArg::L => Kind::Symlink,
        KindArg::O => Kind::Other,
    }
}

/// The largest or the newest first, names from the first.
fn order(sort: Sort, reverse: bool) -> EntryOrder {
    let (by, descending) = match sort {
        Sort::Size => (EntrySort::Size, true),
        Sort::Mtime => (EntrySort::Mtime, true),
        Sort::Name => (EntrySort::Name, false),
    };
    EntryOrder { by, descending: descending != reverse }
}

/// All that lies below a path in a few levels, for commands that draw it.
pub(super) fn below(view: &ViewName, path: &TreePath, depth: u32) -> FindEntries {
    let filter = EntryFilter { max_depth: Some(depth), ..EntryFilter::default() };
    FindEntries { filter, ..FindEntries::all(view.clone(), path.clone()) }
}

/// All that is found in one view.
///
/// # Errors
/// It was refused, or the server broke off: a part is never taken for the whole.
pub(super) async fn collected(
    target: &mut Target,
    request: &FindEntries,
) -> Result<Vec<FoundPart>, Failure> {
    let found = target.client.find_entries(request).await;
    let mut found = found.map_err(|error| target.explain(&error))?;
    let mut parts = Vec::new();
    while let Some(part) = found.next().await.map_err(|error| target.explain(&error))? {
        if let Some(error) = part.error {
            return Err(Failure::refused(failed(&target.view, &error)));
        }
        parts.push(part);
    }
    if parts.iter().all(|part| part.freshness.is_none()) {
        return Err(Failure::refused("the server broke off: not all was found"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::arguments;

    #[test]
    fn pattern_and_path_are_told_apart() {
        let told = |first: &[&str]| {
            let mut words = first.iter().map(|word| (*word).to_owned());
            arguments(words.next(), words.next()).ok()
        };
        let all = |path: &str| Some((None, path.to_owned()));
        assert_eq!(told(&[]), all("/"));
        assert_eq!(told(&["/a"]), all("/a"));
        assert_eq!(told(&["*.c"]), Some((Some("*.c".to_owned()), "/".to_owned())));
        assert_eq!(told(&["*.c", "/a"]), Some((Some("*.c".to_owned()), "/a".to_owned())));
        assert_eq!(told(&["/a", "*.c"]), None);
    }
}
