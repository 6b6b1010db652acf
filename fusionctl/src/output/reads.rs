//! What the commands print that ask what is in a view.

mod counts;

use std::io::Write as _;

use fusion_core::id::ViewName;
use fusion_core::stat::Kind;
use fusion_proto::views::{Compared, ComparedView, Entry, TotalsAnswer};
use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::{Printer, Shown, json, table};
use crate::commands::Share;
use crate::exit::Failure;

pub(crate) use counts::Part;

/// Cells of the longest bar.
const BAR: u64 = 24;

impl Printer {
    /// The head of a table of entries; nothing in JSON.
    pub(crate) fn entries_head(&mut self, shown: Shown) -> Result<(), Failure> {
        if !self.is_json() && shown == Shown::Long {
            table::entries_head(&mut self.out)?;
        }
        Ok(())
    }

    /// One entry on a line; with `name_only` a table shows its name instead of its path.
    pub(crate) fn entry(
        &mut self,
        entry: &Entry,
        shown: Shown,
        name_only: bool,
    ) -> Result<(), Failure> {
        if self.is_json() {
            return self.line(&json::entry(entry));
        }
        let name = if name_only { name(&entry.path) } else { &entry.path };
        let slash = if entry.stat.kind == Kind::Directory && name_only { "/" } else { "" };
        let text = format!("{}{slash}", self.paint.kind(entry.stat.kind, name));
        self.entry_as(entry, shown, &text)
    }

    /// One entry of one of several views.
    pub(crate) fn entry_of(
        &mut self,
        view: &ViewName,
        entry: &Entry,
        shown: Shown,
    ) -> Result<(), Failure> {
        if self.is_json() {
            let mut document = json::entry(entry);
            document["view"] = json!(view.as_str());
            return self.line(&document);
        }
        let text = format!("{view}:{}", self.paint.kind(entry.stat.kind, &entry.path));
        self.entry_as(entry, shown, &text)
    }

    fn entry_as(&mut self, entry: &Entry, shown: Shown, text: &str) -> Result<(), Failure> {
        match shown {
            Shown::Short => writeln!(self.out, "{text}")?,
            Shown::Long => table::long(&mut self.out, entry, text)?,
        }
        Ok(())
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.out.write_all(bytes)?)
    }

    /// An entry of a tree behind the lines that lead to it.
    pub(crate) fn tree_line(&mut self, entry: &Entry, guides: &str) -> Result<(), Failure> {
        if self.is_json() {
            return self.line(&json::entry(entry));
        }
        let slash = if entry.stat.kind == Kind::Directory { "/" } else { "" };
        let name = self.paint.kind(entry.stat.kind, name(&entry.path));
        let guides = self.paint.faint(guides);
        Ok(writeln!(self.out, "{guides}{name}{slash}{}", table::marks(entry))?)
    }

    /// What lies below a path, and where.
    pub(crate) fn shares(
        &mut self,
        view: &ViewName,
        path: &str,
        answer: &TotalsAnswer,
        shares: &[Share],
    ) -> Result<(), Failure> {
        if self.is_json() {
            let mut document = json::totals(&answer.totals);
            document["view"] = json!(view.as_str());
            document["path"] = json!(path);
            document["freshness"] = json::freshness(&answer.freshness);
            document["below"] = shares.iter().map(share_document).collect();
            return self.line(&document);
        }
        writeln!(self.out, "{path}")?;
        let base = if path == "/" { 0 } else { path.matches('/').count() };
        for share in shares {
            let level = share.path.matches('/').count().saturating_sub(base + 1);
            let slash = if share.kind == Kind::Directory { "/" } else { "" };
            writeln!(
                self.out,
                "{:>12} {} {:>3}%  {}{}{slash}",
                HumanBytes(share.bytes).to_string(),
                self.paint.good(bar(share.bytes, answer.totals.bytes)),
                percent(share.bytes, answer.totals.bytes),
                "  ".repeat(level),
                self.paint.kind(share.kind, name(&share.path)),
            )?;
        }
        table::totals_lines(&mut self.out, &answer.totals)?;
        Ok(table::view_line(&mut self.out, view, &answer.freshness)?)
    }

    /// One path on several views.
    pub(crate) fn compared(&mut self, views: &[ComparedView]) -> Result<(), Failure> {
        if self.is_json() {
            return views.iter().try_for_each(|view| self.line(&compared_document(view)));
        }
        writeln!(
            self.out,
            "{:<20}  {:<12}  {:>13}  {:>12}  {:>8}  {:>8}  NEWEST (UTC)",
            "VIEW", "STATE", "FILES", "BYTES", "SUSPECTS", "BLIND"
        )?;
        for ComparedView { view, answer } in views {
            let view = view.as_str();
            match answer {
                Ok(Compared { entry, totals, freshness }) => writeln!(
                    self.out,
                    "{view:<20}  {:<12}  {:>13}  {:>12}  {:>8}  {:>8}  {}",
                    freshness.state_text(),
                    HumanCount(totals.files).to_string(),
                    HumanBytes(totals.bytes).to_string(),
                    HumanCount(totals.suspects).to_string(),
                    HumanCount(totals.blind).to_string(),
                    table::short_time(totals.newest_mtime.unwrap_or(entry.stat.mtime).as_nanos()),
                )?,
                Err(error) => {
                    let why = self.paint.bad(format!("{}: {}", error.reason, error.message));
                    writeln!(self.out, "{view:<20}  {why}")?;
                }
            }
        }
        Ok(())
    }
}

/// The last name of a path.
fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn share_document(share: &Share) -> serde_json::Value {
    json!({
        "path": share.path,
        "kind": share.kind.as_str(),
        "bytes": share.bytes,
        "files": share.files,
    })
}

fn compared_document(view: &ComparedView) -> serde_json::Value {
    let name = view.view.as_str();
    match &view.answer {
        Ok(Compared { entry, totals, freshness }) => json!({
            "view": name,
            "entry": json::entry(entry),
            "totals": json::totals(totals),
            "freshness": json::freshness(freshness),
        }),
        Err(error) => json!({
            "view": name,
            "error": { "reason": error.reason, "message": error.message },
        }),
    }
}

/// A bar in proportion, of a fixed width.
fn bar(part: u64, whole: u64) -> String {
    // In eighths of a cell.
    let eighths = scaled(part, whole, BAR * 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][(eighths % 8) as usize];
    let full = "█".repeat((eighths / 8) as usize);
    let cells = eighths.div_ceil(8);
    format!("{full}{rest}{}", " ".repeat((BAR - cells) as usize))
}

fn percent(part: u64, whole: u64) -> u64 {
    scaled(part, whole, 100)
}

/// `part / whole * scale`, at most `scale`.
fn scaled(part: u64, whole: u64, scale: u64) -> u64 {
    let scaled = u128::from(part) * u128::from(scale);
    scaled.checked_div(u128::from(whole)).map_or(0, |it| it.min(u128::from(scale)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_of_one_width() {
        for (part, whole) in [(0, 0), (0, 9), (1, 1_000), (1, 3), (9, 9), (10, 9), (u64::MAX, 1)] {
            assert_eq!(bar(part, whole).chars().count() as u64, BAR, "{part}/{whole}");
        }
        assert!(bar(1, 2).starts_with("████████████ "));
        assert_eq!((percent(1, 3), percent(0, 0), percent(5, 1)), (33, 0, 100));
    }
}
