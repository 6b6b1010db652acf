//! `watch`, `changes`, `wait`: what happens, what happened, and whether it is over.

mod wait;

use std::time::Duration;

use fusion_core::id::Revision;
use fusion_proto::client::CallError;
use fusion_proto::views::live::{EventFilter, ListChanges, WatchView, Watched, may_go_on};

use super::pages::pages;
use super::{Target, warn_unless_ready};
use crate::cli::{ChangesArgs, LiveCommand, WatchArgs};
use crate::exit::{Failure, note};
use crate::output::Printer;
use crate::profile::Profile;

pub(super) async fn run(
    server: &Profile,
    command: LiveCommand,
    printer: &mut Printer,
) -> Result<(), Failure> {
    match command {
        LiveCommand::Watch(args) => {
            let target = Target::resolve(server, &args.path, &args.view).await?;
            watch(target, args, printer).await
        }
        LiveCommand::Changes(args) => {
            let target = Target::resolve(server, &args.path, &args.view).await?;
            changes(target, args, printer).await
        }
        LiveCommand::Wait(args) => {
            let target = Target::resolve(server, &args.path, &args.view).await?;
            wait::run(target, args, printer).await
        }
    }
}

/// Watches until the reader of our output is gone, or for ever.
async fn watch(mut target: Target, args: WatchArgs, printer: &mut Printer) -> Result<(), Failure> {
    let mut asked = WatchView {
        view: target.view.clone(),
        path: target.path.clone(),
        after: args.from.map(Revision),
        filter: EventFilter { types: args.types, kinds: Vec::new() },
    };
    // The first time nothing is tried again: whoever typed the command waits for an answer.
    let mut watched = target.client.watch(&asked).await.map_err(|error| target.explain(&error))?;
    loop {
        let pause = match print_all(&mut watched, &mut asked, printer).await? {
            Some(error) => may_go_on(&error).ok_or_else(|| target.explain(&error))?,
            None => Duration::from_secs(1),
        };
        watched = go_on(&mut target, &asked, pause).await?;
    }
}

/// Begins a watch again, as soon as the server is back.
async fn go_on(
    target: &mut Target,
    asked: &WatchView,
    mut pause: Duration,
) -> Result<Watched, Failure> {
    loop {
        tokio::time::sleep(pause).await;
        match target.client.watch(asked).await {
            Ok(watched) => return Ok(watched),
            Err(error) => pause = may_go_on(&error).ok_or_else(|| target.explain(&error))?,
        }
    }
}

/// Prints until the watch breaks off, and tells why.
async fn print_all(
    watched: &mut Watched,
    asked: &mut WatchView,
    printer: &mut Printer,
) -> Result<Option<CallError>, Failure> {
    loop {
        match watched.next().await {
            Ok(Some(part)) => {
                part.events.iter().try_for_each(|event| printer.event(event))?;
                printer.flush()?;
                asked.after = Some(part.revision);
            }
            Ok(None) => return Ok(None),
            Err(error) => {
                let after = asked.after.unwrap_or_default().0;
                note(&format!("{error}; going on after revision {after}"));
                return Ok(Some(error));
            }
        }
    }
}

async fn changes(
    mut target: Target,
    args: ChangesArgs,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut asked = ListChanges {
        after: args.from.filter(|from| *from != 0).map(Revision),
        since: args.since,
        until: args.until,
        filter: EventFilter { types: args.types, kinds: Vec::new() },
        correlation: args.correlation,
        ..ListChanges::all(target.view.clone(), target.path.clone())
    };
    let mut oldest = None;
    let told = pages(async |token| {
        asked.page.token = token;
        let page = target.client.changes(&asked).await.map_err(|error| target.explain(&error))?;
        page.events.iter().try_for_each(|event| printer.event(event))?;
        oldest.get_or_insert(page.oldest);
        if page.next_page_token.is_empty() {
            printer.flush()?;
            warn_unless_ready(&target.view, &page.freshness);
        }
        Ok::<_, Failure>(page.next_page_token)
    });
    told.await?;
    if asked.after.is_none() && oldest.is_some_and(|oldest| oldest.0 > 1) {
        let oldest = oldest.unwrap_or_default().0;
        note(&format!("changes are kept from revision {oldest} on"));
    }
    Ok(())
}
