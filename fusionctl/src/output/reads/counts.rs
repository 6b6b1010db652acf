//! Breakdowns: tables of files by what they are, and of what is first.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::view::Totals;
use fusion_proto::views::{Breakdown, Entry, Freshness, Tally};
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::super::{Printer, json, table};
use super::{bar, percent};
use crate::exit::Failure;

/// A part of a breakdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    LargestFiles,
    LargestDirectories,
    NewestDirectories,
    Owners,
    Ages,
    Sizes,
    Extensions,
}

impl Printer {
    /// Parts of what was counted; in JSON all of it.
    pub(crate) fn breakdown(
        &mut self,
        view: &ViewName,
        path: &str,
        whole: &Breakdown,
        freshness: &Freshness,
        parts: &[Part],
        users: &HashMap<u32, String>,
    ) -> Result<(), Failure> {
        if self.is_json() {
            let mut document = document(whole, users);
            document["view"] = json!(view.as_str());
            document["path"] = json!(path);
            document["freshness"] = json::freshness(freshness);
            return self.line(&document);
        }
        for part in parts {
            self.part(whole, *part, users)?;
            writeln!(self.out)?;
        }
        let Tally { files, bytes } = whole.all;
        writeln!(self.out, "{path}: {} files, {}", HumanCount(files), HumanBytes(bytes))?;
        Ok(table::view_line(&mut self.out, view, freshness)?)
    }

    fn part(
        &mut self,
        whole: &Breakdown,
        part: Part,
        users: &HashMap<u32, String>,
    ) -> Result<(), Failure> {
        match part {
            Part::LargestFiles => {
                let sized = |entry: &Entry| HumanBytes(entry.stat.size).to_string();
                self.ranked("LARGEST FILES", &whole.largest_files, sized)
            }
            Part::LargestDirectories => {
                writeln!(self.out, "LARGEST DIRECTORIES")?;
                for (entry, Totals { bytes, files, .. }) in &whole.largest_directories {
                    let path = self.paint.kind(entry.stat.kind, &entry.path);
                    let (bytes, files) = (HumanBytes(*bytes).to_string(), HumanCount(*files));
                    writeln!(self.out, "{bytes:>19}  {path}  {files} files")?;
                }
                Ok(())
            }
            Part::NewestDirectories => {
                let newest = |entry: &Entry| table::short_time(entry.stat.mtime.as_nanos());
                self.ranked("NEWEST DIRECTORIES (UTC)", &whole.newest_directories, newest)
            }
            Part::Owners => {
                let rows = whole.owners.iter().map(|(uid, tally)| (owner(*uid, users), *tally));
                self.tallies("OWNER", rows.collect(), Some(whole.other_owners), whole.all)
            }
            Part::Ages => {
                let rows = whole.ages.iter().map(|row| (age(row.least_age), row.tally));
                self.tallies("AGE", rows.collect(), None, whole.all)
            }
            Part::Sizes => {
                let rows = whole.sizes.iter().map(|(least, tally)| (size(*least), *tally));
                self.tallies("SIZE", rows.collect(), None, whole.all)
            }
            Part::Extensions => {
                let rows = whole.extensions.iter().map(|(ext, tally)| (extension(ext), *tally));
                self.tallies("EXTENSION", rows.collect(), Some(whole.other_extensions), whole.all)
            }
        }
    }

    fn ranked(
        &mut self,
        head: &str,
        entries: &[Entry],
        by: impl Fn(&Entry) -> String,
    ) -> Result<(), Failure> {
        writeln!(self.out, "{head}")?;
        for entry in entries {
            let path = self.paint.kind(entry.stat.kind, &entry.path);
            writeln!(self.out, "{:>19}  {path}{}", by(entry), table::marks(entry))?;
        }
        Ok(())
    }

    fn tallies(
        &mut self,
        head: &str,
        mut rows: Vec<(String, Tally)>,
        others: Option<Tally>,
        all: Tally,
    ) -> Result<(), Failure> {
        rows.extend(others.filter(|tally| tally.files > 0).map(|it| ("others".to_owned(), it)));
        writeln!(self.out, "{head:<20}  {:>13}  {:>12}", "FILES", "BYTES")?;
        for (name, Tally { files, bytes }) in rows {
            writeln!(
                self.out,
                "{name:<20}  {:>13}  {:>12} {} {:>3}%",
                HumanCount(files).to_string(),
                HumanBytes(bytes).to_string(),
                self.paint.good(bar(bytes, all.bytes)),
                percent(bytes, all.bytes),
            )?;
        }
        Ok(())
    }
}

fn owner(uid: u32, users: &HashMap<u32, String>) -> String {
    users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
}

fn extension(extension: &str) -> String {
    if extension.is_empty() { "none".to_owned() } else { format!(".{extension}") }
}

fn size(least: u64) -> String {
    match least {
        0 => "empty".to_owned(),
        least => format!("from {}", HumanBytes(least)),
    }
}

fn age(least: Option<Duration>) -> String {
    match least {
        None => "in the future".to_owned(),
        Some(Duration::ZERO) => "from now".to_owned(),
        Some(age) => {
            let hours = age.as_secs() / 3_600;
            let (number, unit) = match hours {
                0..24 => (hours, "hour"),
                24..8_760 => (hours / 24, "day"),
                _ => (hours / 8_760, "year"),
            };
            format!("from {number} {unit}{}", if number == 1 { "" } else { "s" })
        }
    }
}

/// All that was counted. Names of fields are those of the contract; users have names beside.
fn document(whole: &Breakdown, users: &HashMap<u32, String>) -> Value {
    let tally = |tally: &Tally| json!({ "files": tally.files, "bytes": tally.bytes });
    let with = |key: &str, value: Value, of: &Tally| {
        let mut row = tally(of);
        row[key] = value;
        row
    };
    let owner = |(uid, of): &(u32, Tally)| {
        let mut row = with("uid", json!(uid), of);
        row["user"] = json!(users.get(uid));
        row
    };
    let entries = |entries: &[Entry]| entries.iter().map(json::entry).collect::<Vec<_>>();
    let directory = |(entry, totals): &(Entry, Totals)| {
        let mut row = json::entry(entry);
        row["totals"] = json::totals(totals);
        row
    };
    json!({
        "all": tally(&whole.all),
        "owners": whole.owners.iter().map(owner).collect::<Vec<_>>(),
        "other_owners": tally(&whole.other_owners),
        "extensions": whole.extensions.iter()
            .map(|(name, of)| with("extension", json!(name), of)).collect::<Vec<_>>(),
        "other_extensions": tally(&whole.other_extensions),
        "others_mixed": whole.others_mixed,
        "ages": whole.ages.iter()
            .map(|row| with("least_age_seconds", json!(row.least_age.map(|age| age.as_secs())), &row.tally))
            .collect::<Vec<_>>(),
        "sizes": whole.sizes.iter()
            .map(|(least, of)| with("least_size", json!(least), of)).collect::<Vec<_>>(),
        "largest_files": entries(&whole.largest_files),
        "largest_directories": whole.largest_directories.iter().map(directory).collect::<Vec<_>>(),
        "newest_directories": entries(&whole.newest_directories),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_read_as_people_say_them() {
        let days = |days: u64| age(Some(Duration::from_secs(days * 86_400)));
        assert_eq!(age(None), "in the future");
        assert_eq!(age(Some(Duration::from_secs(3_600))), "from 1 hour");
        assert_eq!((days(0), days(1)), ("from now".to_owned(), "from 1 day".to_owned()));
        assert_eq!((days(180), days(730)), ("from 180 days".to_owned(), "from 2 years".to_owned()));
        assert_eq!((size(0), size(4_096)), ("empty".to_owned(), "from 4.00 KiB".to_owned()));
        assert_eq!((extension(""), extension("gz")), ("none".to_owned(), ".gz".to_owned()));
    }
}
