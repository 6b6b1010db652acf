//! The commands about what happens: `watch`, `changes`, `wait`.

use std::time::Duration;

use clap::{Args, Subcommand};
use fusion_core::id::CorrelationId;
use fusion_core::time::ServerTime;
use fusion_proto::views::live::{EVENT_TYPES, EventType};

use super::ViewArg;

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
    /// Only what the server learned since then: a time (2026-11-21T08:00:00Z) or how long ago (90min).
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<ServerTime>,
    /// Only what it learned before then.
    #[arg(long, value_name = "TIME", value_parser = time)]
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
    /// How long nothing may have changed: 30s, 5min.
    #[arg(long, value_name = "TIME", value_parser = span)]
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
    #[arg(long, value_name = "TIME", value_parser = span)]
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

fn span(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| SPAN.to_owned())?;
    Duration::try_from(span).ok().filter(|span| !span.is_zero()).ok_or_else(|| SPAN.to_owned())
}

const SPAN: &str = "a time with its unit, more than 0: 30s, 5min, 2h";

fn time(text: &str) -> Result<ServerTime, String> {
    let nanos = match (text.parse::<jiff::Timestamp>(), span(text)) {
        (Ok(time), _) => time.as_nanosecond(),
        (Err(_), Ok(ago)) => {
            let ago = i128::try_from(ago.as_nanos()).unwrap_or(i128::MAX);
            jiff::Timestamp::now().as_nanosecond().saturating_sub(ago)
        }
        (Err(_), Err(_)) => {
            return Err("a time (2026-11-21T08:00:00Z), or how long ago (90min)".to_owned());
        }
    };
    i64::try_from(nanos)
        .map(ServerTime::from_nanos)
        .map_err(|_| "a time between the years 1677 and 2262".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_types_are_read() {
        assert_eq!(span("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(span("5min"), Ok(Duration::from_secs(300)));
        assert_eq!(span("1h30m"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "30", "0s", "-5s", "soon"] {
            assert!(span(bad).is_err(), "{bad}");
        }
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(ServerTime::from_nanos(1_000_000_000)));
        assert!(time("1h").unwrap() < time("1min").unwrap());
        assert!(time("9999-01-01T00:00:00Z").is_err());
        assert!(time("yesterday").is_err());
        assert_eq!(event_type("entry-moved"), Ok(EventType::EntryMoved));
        assert!(event_type("x").unwrap_err().contains("VIEW_RESET"));
    }
}
