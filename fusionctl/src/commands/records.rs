//! `records`: who did what.

use fusion_proto::convert::audit::{AuditOutcome, ListAuditRecords};
use fusion_proto::convert::view::Page;

use super::pages::pages;
use super::{connect_all, explain, parse_path, view_name};
use crate::cli::RecordsArgs;
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(
    server: &Profile,
    args: RecordsArgs,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect_all(server)?.admin;
    let mut asked = asked(&args)?;
    let mut left = args.limit.unwrap_or(usize::MAX);
    printer.records_head()?;
    let told = pages(async |token| {
        asked.page.token = token;
        let page = client.audit_records(&asked).await;
        let (records, next) = page.map_err(|error| explain(&error, &server.server))?;
        records.iter().take(left).try_for_each(|record| printer.record(record))?;
        left = left.saturating_sub(records.len());
        Ok(if left == 0 { String::new() } else { next })
    });
    told.await.and_then(|()| printer.flush())
}

fn asked(args: &RecordsArgs) -> Result<ListAuditRecords, Failure> {
    let outcome = match (args.done, args.failed) {
        (true, _) => Some(AuditOutcome::Done),
        (_, true) => Some(AuditOutcome::Failed),
        _ => None,
    };
    Ok(ListAuditRecords {
        principal: args.principal.clone().unwrap_or_default(),
        method: args.method.clone().unwrap_or_default(),
        view: args.view.as_deref().map(|name| view_name("--view", name)).transpose()?,
        path: args.path.as_deref().map(parse_path).transpose()?,
        correlation: args.chain.clone(),
        outcome,
        since: args.since,
        until: args.until,
        page: Page { size: args.limit.unwrap_or(0).min(10_000), token: String::new() },
    })
}
