//! `explain` and `trace`: what belongs together by its correlation id, from the calls, jobs and changes
//! that the server still keeps.

use std::collections::{BTreeSet, VecDeque};

use fusion_core::id::{CorrelationId, ViewName};
use fusion_core::path::TreePath;
use fusion_proto::client::{CallError, Client};
use fusion_proto::convert::audit::ListAuditRecords;
use fusion_proto::convert::job::ListJobs;
use fusion_proto::convert::view::Page;
use fusion_proto::views::live::{Event, ListChanges};

use super::pages::pages;
use super::{Target, connect_all, view_name};
use crate::cli::{ExplainArgs, TraceArgs};
use crate::exit::{Failure, note};
use crate::output::{Link, Printer};
use crate::profile::Profile;

/// `explain`: the last changes of a path, and the chains that they belong to.
pub(super) async fn explain(
    server: &Profile,
    args: ExplainArgs,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let target = Target::resolve(server, &args.path, &args.view).await?;
    let mut client = connect_all(server)?;
    let failed = |error: CallError| super::explain(&error, &server.server);
    let mut asked = ListChanges::all(target.view.clone(), target.path.clone());
    asked.itself = true;
    let (mut last, mut oldest) = (VecDeque::new(), 0);
    let read = pages(async |token| {
        asked.page.token = token;
        let page = client.views.changes(&asked).await?;
        oldest = oldest.max(page.oldest.0);
        for event in page.events {
            last.push_back(event);
            if last.len() > args.limit {
                last.pop_front();
            }
        }
        Ok(page.next_page_token)
    });
    read.await.map_err(failed)?;
    let chains: BTreeSet<CorrelationId> =
        last.iter().filter_map(|event: &Event| event.account.correlation.clone()).collect();
    let is_empty = last.is_empty();
    let mut links: Vec<Link> = last.into_iter().map(Link::Changed).collect();
    for chain in chains {
        links.extend(asked_for(&mut client, &chain).await.map_err(failed)?);
    }
    print(links, printer)?;
    if is_empty {
        note("no change of it is kept; what lies below it: `fusionctl changes`");
    }
    tell_oldest(&target.view, oldest);
    Ok(())
}

/// `trace`: all that belongs to a chain.
pub(super) async fn trace(
    server: &Profile,
    args: TraceArgs,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let failed = |error: CallError| super::explain(&error, &server.server);
    let views = match args.view.as_deref() {
        Some(name) => vec![view_name("--view", name)?],
        None => {
            let views = client.views.list_views().await.map_err(failed)?;
            views.into_iter().map(|view| view.name).collect()
        }
    };
    let mut links = asked_for(&mut client, &args.chain).await.map_err(failed)?;
    for view in views {
        let mut asked = ListChanges::all(view, TreePath::root());
        asked.correlation = Some(args.chain.clone());
        let mut oldest = 0;
        let read = pages(async |token| {
            asked.page.token = token;
            let page = client.views.changes(&asked).await?;
            links.extend(page.events.into_iter().map(Link::Changed));
            oldest = page.oldest.0;
            Ok(page.next_page_token)
        });
        read.await.map_err(failed)?;
        tell_oldest(&asked.view, oldest);
    }
    let is_empty = links.is_empty();
    print(links, printer)?;
    if is_empty {
        return Err(Failure::refused(format!("nothing is kept of the chain {}", args.chain)));
    }
    Ok(())
}

/// The calls and the jobs of a chain, and who did their steps.
async fn asked_for(client: &mut Client, chain: &CorrelationId) -> Result<Vec<Link>, CallError> {
    let mut links = Vec::new();
    let correlation = Some(chain.clone());
    let mut asked = ListAuditRecords { correlation, ..ListAuditRecords::all() };
    let calls = pages(async |token| {
        asked.page.token = token;
        let (records, next) = client.admin.audit_records(&asked).await?;
        links.extend(records.into_iter().map(Link::Asked));
        Ok::<_, CallError>(next)
    });
    calls.await?;
    let mut asked = ListJobs {
        page: Page::default(),
        state: None,
        correlation: Some(chain.clone()),
        origin: None,
        hide_routine: false,
    };
    let jobs = pages(async |token| {
        asked.page.token = token;
        let (jobs, next) = client.jobs.list(&asked).await?;
        links.extend(jobs.into_iter().flat_map(Link::of_job));
        Ok::<_, CallError>(next)
    });
    jobs.await.map(|()| links)
}

/// Prints links, the newest last.
fn print(mut links: Vec<Link>, printer: &mut Printer) -> Result<(), Failure> {
    links.sort_by_key(Link::place);
    links.iter().try_for_each(|link| printer.link(link))?;
    printer.flush()
}

/// Says what cannot be known any more.
fn tell_oldest(view: &ViewName, oldest: u64) {
    if oldest > 1 {
        note(&format!("changes of view {view} are kept from revision {oldest} on"));
    }
}
