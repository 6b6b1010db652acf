//! Tables, for people: fixed columns, so that they stream.

use std::io::{self, Write};

use fusion_core::id::ViewName;
use fusion_core::stat::{Kind, Stat};
use fusion_core::view::Totals;
use fusion_proto::views::{Entry, EntryAnswer, Freshness, ViewInfo, ViewOwnership};
use indicatif::{HumanBytes, HumanCount};

use super::rfc3339;

pub(super) fn entries_head(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:<10}  {:>10}  {:<19}  NAME", "MODE", "SIZE", "MODIFIED (UTC)")
}

/// One entry on a line, with kind, mode, size and mtime; `shown` is its name or path.
pub(super) fn long(out: &mut impl Write, entry: &Entry, shown: &str) -> io::Result<()> {
    let stat = &entry.stat;
    writeln!(
        out,
        "{}  {:>10}  {}  {shown}{}",
        mode_text(stat),
        size_text(stat),
        short_time(stat.mtime.as_nanos()),
        marks(entry),
    )
}

pub(super) fn stat(out: &mut impl Write, view: &ViewName, answer: &EntryAnswer) -> io::Result<()> {
    let Entry { path, stat, .. } = &answer.entry;
    writeln!(out, "{path}{}", marks(&answer.entry))?;
    writeln!(out, "  kind      {}", stat.kind.as_str())?;
    writeln!(out, "  size      {} ({})", HumanCount(stat.size), HumanBytes(stat.size))?;
    writeln!(out, "  mode      {} ({:04o})", mode_text(stat), stat.mode)?;
    writeln!(out, "  owner     {}:{}", stat.uid, stat.gid)?;
    writeln!(out, "  inode     {}, {} links", stat.inode, stat.nlink)?;
    writeln!(out, "  modified  {}", rfc3339(stat.mtime.as_nanos()))?;
    writeln!(out, "  changed   {}", rfc3339(stat.ctime.as_nanos()))?;
    if let Some(totals) = &answer.totals {
        writeln!(out, "  below it")?;
        totals_lines(out, totals)?;
    }
    view_line(out, view, &answer.freshness)
}

/// Whose each is is told only where there are several servers.
pub(super) fn views(out: &mut impl Write, views: &[ViewInfo]) -> io::Result<()> {
    let several = views.iter().any(|view| view.ownership.is_some());
    let head = if several { "LEADER            OWNER" } else { "LEADER" };
    writeln!(
        out,
        "{:<20}  {:<12}  {:>13}  {:>13}  {:>11}  {:>8}  {head}",
        "VIEW", "STATE", "FILES", "DIRECTORIES", "BYTES", "SESSIONS"
    )?;
    for view in views {
        let leader = if view.leader_agent_id.is_empty() { "-" } else { &view.leader_agent_id };
        let owner = view.ownership.as_ref().map(owner_text);
        let last = owner.map_or(leader.to_owned(), |owner| format!("{leader:<16}  {owner}"));
        writeln!(
            out,
            "{:<20}  {:<12}  {:>13}  {:>13}  {:>11}  {:>8}  {last}",
            view.name.as_str(),
            view.freshness.state_text(),
            HumanCount(view.totals.files).to_string(),
            HumanCount(view.totals.directories).to_string(),
            HumanBytes(view.totals.bytes).to_string(),
            view.sessions,
        )?;
    }
    Ok(())
}

/// Whose a view is, and how far the server that was asked is with it.
pub(super) fn owner_text(ownership: &ViewOwnership) -> String {
    let ViewOwnership { owner, epoch, owned, lag } = ownership;
    let Some(owner) = owner else { return format!("nobody, last epoch {epoch}") };
    let behind = match (owned, lag) {
        (true, _) => "this server".to_owned(),
        (false, Some(lag)) => format!("{} behind", HumanCount(*lag)),
        (false, None) => "has not said how it is".to_owned(),
    };
    format!("{}, epoch {epoch}, {behind}", owner.address)
}

pub(super) fn totals_lines(out: &mut impl Write, totals: &Totals) -> io::Result<()> {
    let Totals { files, directories, others, bytes, suspects, blind, newest_mtime, .. } = totals;
    writeln!(out, "  files        {}", HumanCount(*files))?;
    writeln!(out, "  directories  {}", HumanCount(*directories))?;
    writeln!(out, "  others       {}", HumanCount(*others))?;
    writeln!(out, "  bytes        {} ({})", HumanCount(*bytes), HumanBytes(*bytes))?;
    if *suspects > 0 {
        writeln!(out, "  suspects     {} maybe unfinished", HumanCount(*suspects))?;
    }
    if *blind > 0 {
        writeln!(out, "  blind        {} known only by scanning", HumanCount(*blind))?;
    }
    if let Some(newest) = newest_mtime {
        writeln!(out, "  newest       {}", rfc3339(newest.as_nanos()))?;
    }
    Ok(())
}

pub(super) fn view_line(
    out: &mut impl Write,
    view: &ViewName,
    freshness: &Freshness,
) -> io::Result<()> {
    let state = freshness.state_text();
    writeln!(out, "  view         {view}, {state}, revision {}", freshness.revision)
}

pub(super) fn marks(entry: &Entry) -> &'static str {
    match (entry.suspect, entry.blind) {
        (false, false) => "",
        (true, false) => "  [suspect]",
        (false, true) => "  [blind]",
        (true, true) => "  [suspect, blind]",
    }
}

fn size_text(stat: &Stat) -> String {
    match stat.kind {
        Kind::File => HumanBytes(stat.size).to_string(),
        Kind::Directory | Kind::Symlink | Kind::Other => "-".to_owned(),
    }
}

/// The kind and the permission bits, as `ls -l` writes them.
fn mode_text(stat: &Stat) -> String {
    let kind = match stat.kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Other => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, set, unset) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = stat.mode >> shift;
        text.push(if bits & 4 > 0 { 'r' } else { '-' });
        text.push(if bits & 2 > 0 { 'w' } else { '-' });
        text.push(match (bits & 1 > 0, stat.mode & special > 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

pub(super) fn short_time(nanos: i64) -> String {
    let full = rfc3339(nanos);
    full.get(..19).map_or_else(|| full.clone(), |seconds| seconds.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use fusion_proto::views::ViewOwner;

    use super::*;

    #[test]
    fn modes_read_as_ls_writes_them() {
        let text = |kind, mode| mode_text(&Stat { mode, ..crate::output::test_stat(kind) });
        assert_eq!(text(Kind::File, 0o644), "-rw-r--r--");
        assert_eq!(text(Kind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(text(Kind::File, 0o4755), "-rwsr-xr-x");
        assert_eq!(text(Kind::File, 0o2644), "-rw-r-Sr--");
    }

    #[test]
    fn whose_a_view_is_is_said_with_how_far_the_answer_is() {
        let address = "http://a:1".to_owned();
        let owner = Some(ViewOwner { server: uuid::Uuid::nil(), address });
        let mut ownership = ViewOwnership { owner, epoch: 3, owned: true, lag: Some(0) };
        assert_eq!(owner_text(&ownership), "http://a:1, epoch 3, this server");
        (ownership.owned, ownership.lag) = (false, Some(1_200));
        assert_eq!(owner_text(&ownership), "http://a:1, epoch 3, 1,200 behind");
        ownership.lag = None;
        assert_eq!(owner_text(&ownership), "http://a:1, epoch 3, has not said how it is");
        ownership.owner = None;
        assert_eq!(owner_text(&ownership), "nobody, last epoch 3");
    }
}
