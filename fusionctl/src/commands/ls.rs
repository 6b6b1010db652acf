//! `ls`: the children of a directory, page by page; of what is no directory, itself.

use fusion_proto::client::CallError;
use fusion_proto::status::Refusal;

use crate::exit::Failure;
use crate::output::Printer;

use super::{Target, warn_unless_ready};

pub(super) async fn run(target: &mut Target, printer: &mut Printer) -> Result<(), Failure> {
    let mut token = String::new();
    loop {
        let page = match target.client.list(&target.view, &target.path, &token).await {
            Ok(page) => page,
            Err(CallError::Refused(Refusal::NotADirectory { .. })) => {
                return one_entry(target, printer).await;
            }
            Err(error) => return Err(target.explain(&error)),
        };
        if token.is_empty() {
            warn_unless_ready(&target.view, &page.freshness);
            printer.entries_head()?;
        }
        for entry in &page.entries {
            printer.entry(entry, true)?;
        }
        if page.next_page_token.is_empty() {
            return printer.flush();
        }
        token = page.next_page_token;
    }
}

async fn one_entry(target: &mut Target, printer: &mut Printer) -> Result<(), Failure> {
    let answer = target.client.entry(&target.view, &target.path).await;
    let answer = answer.map_err(|error| target.explain(&error))?;
    warn_unless_ready(&target.view, &answer.freshness);
    printer.entries_head()?;
    printer.entry(&answer.entry, false)?;
    printer.flush()
}
