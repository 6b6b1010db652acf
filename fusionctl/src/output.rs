//! What is printed: tables for people, JSON for programs. The only place that writes to standard
//! output.
//!
//! JSON: lists and streams print one object per line, all else one document; integers are numbers,
//! times RFC 3339 with nanoseconds.

mod jobs;
mod json;
mod lists;
mod live;
mod paint;
mod reads;
mod records;
mod status;
mod table;
mod tokens;

use std::io::{self, BufWriter, Stdout, Write};

use fusion_core::id::ViewName;
use fusion_proto::views::{EntryAnswer, ViewInfo};
use serde_json::Value;

use crate::cli::Output;
use crate::exit::Failure;

use paint::Paint;

pub(crate) use reads::Part;
pub(crate) use records::Link;

/// How much of an entry a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Its name or path.
    Short,
    /// Kind, mode, size and mtime, too.
    Long,
}

/// Writes answers in the chosen form.
pub(crate) struct Printer {
    form: Output,
    paint: Paint,
    out: BufWriter<Stdout>,
}

impl Printer {
    pub(crate) fn new(form: Output) -> Self {
        let paint = Paint::on_terminal();
        Self { form, paint, out: BufWriter::with_capacity(1 << 16, io::stdout()) }
    }

    /// Whether answers are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.form == Output::Json
    }

    /// One entry with all that is known of it.
    pub(crate) fn stat(&mut self, view: &ViewName, answer: &EntryAnswer) -> Result<(), Failure> {
        if self.is_json() {
            self.line(&json::stat(view, answer))
        } else {
            Ok(table::stat(&mut self.out, view, answer)?)
        }
    }

    /// The views of a server.
    pub(crate) fn views(&mut self, views: &[ViewInfo]) -> Result<(), Failure> {
        if self.is_json() {
            views.iter().try_for_each(|view| self.line(&json::view(view)))
        } else {
            Ok(table::views(&mut self.out, views)?)
        }
    }

    /// A document of a command's own.
    pub(crate) fn document(&mut self, document: &Value) -> Result<(), Failure> {
        self.line(document)
    }

    /// Text for people, as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{text}")?)
    }

    /// Brings out what was printed.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }

    fn line(&mut self, value: &Value) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{value}")?)
    }
}

/// A time as RFC 3339 with nanoseconds, in UTC.
fn rfc3339(nanos: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => nanos.to_string(),
    }
}

/// A stat of a kind, for tests of what is printed.
#[cfg(test)]
pub(crate) fn test_stat(kind: fusion_core::stat::Kind) -> fusion_core::stat::Stat {
    let time = fusion_core::time::StorageTime::from_nanos(0);
    fusion_core::stat::Stat {
        kind,
        size: 0,
        mtime: time,
        ctime: time,
        inode: 1,
        mode: 0o644,
        uid: 0,
        gid: 0,
        nlink: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_have_nine_digits_and_any_age() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc3339(i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(rfc3339(i64::MIN), "1677-09-21T00:12:43.145224192Z");
    }
}
