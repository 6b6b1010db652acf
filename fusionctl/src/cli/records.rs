//! Who did what, and what came of it: `records`, `explain`, `trace`.

use clap::Args;
use fusion_core::id::CorrelationId;
use fusion_core::time::ServerTime;

use super::{ViewArg, quantity};

/// `records`.
#[derive(Debug, Args)]
pub(crate) struct RecordsArgs {
    /// Only calls about this path or one below it.
    pub(crate) path: Option<String>,
    /// Only calls about this view.
    #[arg(long, value_name = "NAME")]
    pub(crate) view: Option<String>,
    /// Only calls of this principal.
    #[arg(long, value_name = "NAME")]
    pub(crate) principal: Option<String>,
    /// Only calls of this method: `EvictSession`, `fusion.v1.AdminService/EvictSession`.
    #[arg(long, value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// Only calls of this chain of cause and effect.
    #[arg(long, value_name = "ID", value_parser = CorrelationId::new)]
    pub(crate) chain: Option<CorrelationId>,
    /// Only calls that were done.
    #[arg(long, conflicts_with = "failed")]
    pub(crate) done: bool,
    /// Only calls that were refused or failed.
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only calls that were over since then: a span before now (`90min`, `2d`), or a time in UTC
    /// (`2026-01-31 12:00:00`).
    #[arg(long, value_name = "SPAN|TIME", value_parser = time)]
    pub(crate) since: Option<ServerTime>,
    /// Only calls that were over before then.
    #[arg(long, value_name = "SPAN|TIME", value_parser = time)]
    pub(crate) until: Option<ServerTime>,
    /// At most so many; without a number all, as an export needs it (`--output json`, a line each).
    #[arg(long, short = 'n', value_name = "NUMBER")]
    pub(crate) limit: Option<usize>,
}

/// `explain`.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The path in the view; it need not exist any more.
    pub(crate) path: String,
    /// The last so many changes.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 5, value_parser = changes)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) view: ViewArg,
}

/// `trace`.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The chain: what a call sent as `x-correlation-id` or got back as it.
    #[arg(value_name = "CORRELATION_ID", value_parser = CorrelationId::new)]
    pub(crate) chain: CorrelationId,
    /// Only changes of this view; without a name of all.
    #[arg(long, value_name = "NAME")]
    pub(crate) view: Option<String>,
}

fn time(text: &str) -> Result<ServerTime, String> {
    quantity::moment(text).map(ServerTime::from_nanos)
}

/// Each may take questions of its own.
fn changes(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| (1..=100).contains(number)).ok_or("1 to 100".to_owned())
}
