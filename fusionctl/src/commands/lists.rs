//! `suspects` and `blind-spots`: page by page.

use super::pages::pages;
use super::{Target, warn_unless_ready};
use crate::exit::Failure;
use crate::output::Printer;

pub(super) async fn suspects(target: &mut Target, printer: &mut Printer) -> Result<(), Failure> {
    let told = pages(async |token| {
        let page = target.client.suspects(&target.view, &target.path, &token).await;
        let page = page.map_err(|error| target.explain(&error))?;
        if token.is_empty() {
            warn_unless_ready(&target.view, &page.freshness);
            printer.suspects_head()?;
        }
        page.rows.iter().try_for_each(|row| printer.suspect(row))?;
        Ok(page.next_page_token)
    });
    told.await.and_then(|()| printer.flush())
}

pub(super) async fn blind_spots(target: &mut Target, printer: &mut Printer) -> Result<(), Failure> {
    let told = pages(async |token| {
        let page = target.client.blind_spots(&target.view, &target.path, &token).await;
        let page = page.map_err(|error| target.explain(&error))?;
        if token.is_empty() {
            warn_unless_ready(&target.view, &page.freshness);
            printer.blind_head()?;
        }
        page.rows.iter().try_for_each(|row| printer.blind(row))?;
        Ok(page.next_page_token)
    });
    told.await.and_then(|()| printer.flush())
}
