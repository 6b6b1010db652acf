//! The commands about what happens: `watch`, `changes`, `wait`.

use std::time::Duration;

use clap::{Args, Subcommand};
use fusion_core::id::CorrelationId;
use fusion_core::time::ServerTime;
use fusion_proto::views::live::{EVENT_TYPES, EventType};

use super::quantity::span;
use super::{ViewArg, quantity};

/// What happens.
#[derive(Debug, Subcommand)]
pub(crate) enum LiveCommand {
    /// Print what happens at and below a path, as it happens, one line each; goes on by itself after
    /// the server was away.
    Watch(WatchArgs),
    /// Print what happened at and below a path, oldest first, as far as the server keeps it.
    Changes(ChangesArgs),
    /// Wait until nothing at and below a path has changed for some time: is the upload complete?
    Wait(WaitArgs),
}

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The path in the view; it need not exist.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Go on after this revision; 0 begins with the first ever. Not given: only what comes now.
    #[arg(long, value_name = "REVISION")]
    pub(crate) from: Option<u64>,
    /// Only these types: `ENTRY_CREATED`, `NODE_SOFT_DELETED`, …
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = event_type)]
    pub(crate) types: Vec<EventType>,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// `changes`.
#[derive(Debug, Args)]
pub(crate) struct ChangesArgs {
    /// The path in the view; it need not exist.
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// Only what the server learned since then: a span before now (`90min`, `2d`), or a time in UTC
    /// (`2026-01-31`, `2026-01-31 12:00:00`).
    #[arg(long, value_name = "SPAN|TIME", value_parser = time)]
    pub(crate) since: Option<ServerTime>,
    /// Only what it learned before then.
    #[arg(long, value_name = "SPAN|TIME", value_parser = time)]
    pub(crate) until: Option<ServerTime>,
    /// Only what came after this revision.
    #[arg(long, value_name = "REVISION")]
    pub(crate) from: Option<u64>,
    /// Only these types: `ENTRY_CREATED`, `NODE_SOFT_DELETED`, …
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = event_type)]
    pub(crate) types: Vec<EventType>,
    /// Only what belongs to this chain of cause and effect.
    #[arg(long, value_name = "ID", value_parser = CorrelationId::new)]
    pub(crate) correlation: Option<CorrelationId>,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// The file or directory in the view; it need not exist yet.
    pub(crate) path: String,
    /// How long nothing may have changed: `30s`, `5min`, `1d`.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) quiet: Duration,
    /// At least so many files must be there.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) min_files: u64,
    /// At least so many bytes must be there.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) min_bytes: u64,
    /// This must be there: a name below the path.
    #[arg(long, value_name = "NAME")]
    pub(crate) marker: Option<String>,
    /// Give up after this time, with exit status 1.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

fn event_type(text: &str) -> Result<EventType, String> {
    let word = text.to_ascii_uppercase().replace('-', "_");
    EventType::parse(&word).ok_or_else(|| {
        let known: Vec<&str> = EVENT_TYPES.iter().map(|(_, word)| *word).collect();
        format!("no such type; there are {}", known.join(", "))
    })
}

/// A moment by the clock of the server.
fn time(text: &str) -> Result<ServerTime, String> {
    quantity::moment(text).map(ServerTime::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read() {
        assert_eq!(event_type("entry-moved"), Ok(EventType::EntryMoved));
        assert!(event_type("x").unwrap_err().contains("VIEW_RESET"));
    }
}
