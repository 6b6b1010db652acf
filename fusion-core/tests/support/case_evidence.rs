//! From the words of a line to evidence.

use fusion_core::evidence::{ChildColumns, Evidence, Listing, RootState, ScanId};
use fusion_core::path::{PathRef, TreePath, notation};
use fusion_core::time::ServerTime;

use super::words::{Words, dir_stat, server, source};

pub(super) fn columns(rows: &str) -> ChildColumns {
    let mut columns = ChildColumns::default();
    for row in rows.split(';').map(str::trim).filter(|row| !row.is_empty()) {
        let words = Words::of(row);
        let name = notation::parse(words.plain[0]).unwrap();
        columns.push(&name, &words.stat());
    }
    columns
}

pub(super) type Maybe<'a> = Result<&'a TreePath, &'a String>;

pub(super) fn build<'a>(
    verb: &str,
    words: &Words<'_>,
    path: Maybe<'a>,
    to: Maybe<'a>,
    columns: &'a ChildColumns,
    at: ServerTime,
) -> Result<Evidence<'a>, String> {
    let first = || path.map(TreePath::as_ref).map_err(Clone::clone);
    let scan = ScanId(
        words.number("scan").or_else(|| words.plain.first()?.parse().ok()).unwrap_or(0) as u64,
    );
    Ok(match verb {
        "upsert" => Evidence::Upsert {
            path: first()?,
            stat: words.stat(),
            parent: words.dir("in"),
            atomic: !words.has("writing"),
            observed_at: at,
        },
        "remove" => Evidence::Remove { path: first()?, parent: words.dir("in"), observed_at: at },
        "rename" => Evidence::Rename {
            from: first()?,
            to: to.map(TreePath::as_ref).map_err(Clone::clone)?,
            stat: words.stat(),
            from_parent: words.dir("in"),
            to_parent: words.dir("to"),
            observed_at: at,
        },
        "list" => Evidence::Listing(listing(words, first()?, columns, scan, at)?),
        "unchanged" => Evidence::Unchanged {
            dir: first()?,
            dir_stat: words.plain.get(1).and_then(|text| dir_stat(text)).ok_or("inode:ctime?")?,
            observed_at: at,
        },
        "probe" => Evidence::Probe {
            path: first()?,
            found: (!words.has("gone")).then(|| words.stat()),
            parent: words.dir("in"),
            observed_at: at,
        },
        "unreadable" => Evidence::Unreadable {
            dir: first()?,
            errno: words.number("errno").unwrap_or(5) as i32,
            observed_at: at,
        },
        "overflow" => {
            let since = server(words.number("since").ok_or("since=?")?);
            Evidence::Overflow { since, observed_at: at }
        }
        _ => frame(verb, words, scan, at)?,
    })
}

pub(super) fn frame<'a>(
    verb: &str,
    words: &Words<'_>,
    scan: ScanId,
    at: ServerTime,
) -> Result<Evidence<'a>, String> {
    Ok(match verb {
        "scan" => Evidence::ScanStarted {
            scan,
            source: source(words),
            path: if words.has("/") { PathRef::ROOT } else { PathRef::new(b"/d").unwrap() },
            started_at: at,
            root: words.root(),
        },
        "done" => Evidence::ScanFinished {
            scan,
            complete: !words.has("incomplete"),
            directories: 0,
            entries: 0,
            errors: 0,
            finished_at: at,
        },
        "root" => Evidence::Root {
            state: match () {
                () if words.has("away") => RootState::Unavailable,
                () if words.has("doubtful") => RootState::Doubtful,
                () => RootState::Available,
            },
            identity: words.root(),
            observed_at: at,
        },
        _ => return Err(format!("what is `{verb}`?")),
    })
}

pub(super) fn listing<'a>(
    words: &Words<'_>,
    dir: PathRef<'a>,
    columns: &'a ChildColumns,
    scan: ScanId,
    at: ServerTime,
) -> Result<Listing<'a>, String> {
    Ok(Listing {
        dir,
        dir_stat: words.plain.get(1).and_then(|text| dir_stat(text)).ok_or("inode:ctime?")?,
        scan,
        source: source(words),
        started_at: at,
        finished_at: at,
        part: words.number("part").unwrap_or(0) as u32,
        last: !words.has("more"),
        complete: !words.has("incomplete"),
        children: columns.as_children(),
    })
}
