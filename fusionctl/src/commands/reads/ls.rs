//! `ls`: the children of a directory, page by page; of what is no directory, itself.

use fusion_proto::client::CallError;
use fusion_proto::status::Refusal;
use fusion_proto::views::{EntryOrder, EntrySort};

use super::{Target, warn_unless_ready};
use crate::cli::reads::Ls;
use crate::exit::Failure;
use crate::output::{Printer, Shown};

pub(super) async fn run(
    target: &mut Target,
    asked: &Ls,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let order = order(asked);
    let shown = if asked.long { Shown::Long } else { Shown::Short };
    let mut token = String::new();
    loop {
        let listed = target.client.list_in(&target.view, &target.path, order, &token).await;
        let page = match listed {
            Ok(page) => page,
            Err(CallError::Refused(Refusal::NotADirectory { .. })) => {
                return one_entry(target, shown, printer).await;
            }
            Err(error) => return Err(target.explain(&error)),
        };
        if token.is_empty() {
            warn_unless_ready(&target.view, &page.freshness);
            printer.entries_head(shown)?;
        }
        for entry in &page.entries {
            printer.entry(entry, shown, true)?;
        }
        if page.next_page_token.is_empty() {
            return printer.flush();
        }
        token = page.next_page_token;
    }
}

/// As `ls` has it: the largest or the newest first, names from the first.
fn order(asked: &Ls) -> EntryOrder {
    let (by, descending) = match (asked.by_size, asked.by_time) {
        (true, _) => (EntrySort::Size, true),
        (false, true) => (EntrySort::Mtime, true),
        (false, false) => (EntrySort::Name, false),
    };
    EntryOrder { by, descending: descending != asked.reverse }
}

async fn one_entry(
    target: &mut Target,
    shown: Shown,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let answer = target.client.entry(&target.view, &target.path).await;
    let answer = answer.map_err(|error| target.explain(&error))?;
    warn_unless_ready(&target.view, &answer.freshness);
    printer.entries_head(shown)?;
    printer.entry(&answer.entry, shown, false)?;
    printer.flush()
}
