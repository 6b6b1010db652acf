//! `cluster status`, `views move`, `server drain`: several servers on one log, and who owns which view.

use std::time::Duration;

use fusion_proto::client::{CallError, Client};
use fusion_proto::convert::admin::{ListedServer, ListedView};
use indicatif::HumanBytes;
use serde_json::json;

use super::once::once;
use super::{connect_all, explain, view_name};
use crate::exit::Failure;
use crate::output::Printer;
use crate::profile::Profile;

/// Between two looks whether a view has come.
const LOOK: Duration = Duration::from_millis(200);

/// The servers, and which owns which view.
pub(super) async fn status(server: &Profile, printer: &mut Printer) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let servers = client.admin.servers().await.map_err(|error| explain(&error, &server.server))?;
    servers.iter().try_for_each(|one| printer.listed_server(one))?;
    printer.flush()
}

/// Hands a view over, and waits until it is there.
pub(super) async fn move_view(
    server: &Profile,
    name: &str,
    to: Option<&str>,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let failed = |error: CallError| explain(&error, &server.server);
    let view = view_name("view", name)?;
    let to = match to {
        Some(named) => Some(find(&client.admin.servers().await.map_err(failed)?, named)?),
        None => None,
    };
    let id = to.as_ref().map(|one| one.server);
    once(async || client.admin.move_view(&view, id).await).await.map_err(failed)?;
    let Some(to) = to else {
        printer.moved(&view, None)?;
        return printer.flush();
    };
    let owns = |one: &ListedServer| {
        one.server == to.server && one.views.iter().any(|of| of.view == view && of.owned)
    };
    until(&mut client, |servers| servers.iter().any(owns)).await.map_err(failed)?;
    printer.moved(&view, Some(&to))?;
    printer.flush()
}

/// Has a server give its views away, and waits until it has none that another could have.
pub(super) async fn drain(
    server: &Profile,
    named: &str,
    lift: bool,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let failed = |error: CallError| explain(&error, &server.server);
    let one = find(&client.admin.servers().await.map_err(failed)?, named)?;
    once(async || client.admin.drain_server(one.server, lift).await).await.map_err(failed)?;
    if !lift {
        let is_done = |servers: &[ListedServer]| {
            let others = servers.iter().any(|it| it.server != one.server && !it.draining);
            let owns = |it: &ListedServer| it.views.iter().any(|view: &ListedView| view.owned);
            !others || !servers.iter().any(|it| it.server == one.server && owns(it))
        };
        until(&mut client, is_done).await.map_err(failed)?;
    }
    printer.drained(&one, lift)?;
    printer.flush()
}

/// Waits until the servers are as they should be.
async fn until(
    client: &mut Client,
    is_so: impl Fn(&[ListedServer]) -> bool,
) -> Result<(), CallError> {
    while !is_so(&client.admin.servers().await?) {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The one server that goes by an address, an id or the beginning of one.
fn find(servers: &[ListedServer], named: &str) -> Result<ListedServer, Failure> {
    let bare = |address: &str| address.split_once("://").map(|(_, place)| place.to_owned());
    let is_it = |one: &&ListedServer| {
        one.address == named
            || bare(&one.address).is_some_and(|place| place == named)
            || (!named.is_empty() && one.server.to_string().starts_with(named))
    };
    let found: Vec<_> = servers.iter().filter(is_it).collect();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::usage(format!(
            "there is no server `{named}`; `fusionctl cluster status` lists them"
        ))),
        _ => Err(Failure::usage(format!("more than one server begins with `{named}`"))),
    }
}

impl Printer {
    fn listed_server(&mut self, one: &ListedServer) -> Result<(), Failure> {
        let ListedServer { server, address, version, memory_bytes, draining, answers, views } = one;
        if self.is_json() {
            let views = views.iter().map(|view| {
                json!({
                    "view": view.view.as_str(), "owned": view.owned, "epoch": view.epoch,
                    "revision": view.revision, "lag": view.lag,
                    "next_server_id": view.next.map(|id| id.to_string()),
                })
            });
            return self.document(&json!({
                "server_id": server.to_string(), "address": address, "version": version,
                "memory_bytes": memory_bytes, "draining": draining, "answers": answers,
                "views": views.collect::<Vec<_>>(),
            }));
        }
        let place = if address.is_empty() { "alone" } else { address };
        let drains = if *draining { ", drains" } else { "" };
        let this = if *answers { ", this one" } else { "" };
        self.text(&format!(
            "server {server} at {place}: version {version}, {}{drains}{this}",
            HumanBytes(*memory_bytes)
        ))?;
        views.iter().try_for_each(|view| {
            let ListedView { view, owned, epoch, revision, lag, next } = view;
            let role = if *owned { "owns" } else { "follows" };
            let next = next.map(|id| format!(", to be at {id}")).unwrap_or_default();
            self.text(&format!(
                "  {role:<7}  {view}: epoch {epoch}, revision {revision}, {lag} behind{next}"
            ))
        })
    }

    fn moved(
        &mut self,
        view: &fusion_core::id::ViewName,
        to: Option<&ListedServer>,
    ) -> Result<(), Failure> {
        if self.is_json() {
            let id = to.map(|one| one.server.to_string());
            return self.document(&json!({ "view": view.as_str(), "server_id": id }));
        }
        match to {
            Some(one) => self.text(&format!("view {view} is owned by {}", one.address)),
            None => self.text(&format!("view {view} may be on any server")),
        }
    }

    fn drained(&mut self, one: &ListedServer, lift: bool) -> Result<(), Failure> {
        if self.is_json() {
            let id = one.server.to_string();
            return self.document(&json!({ "server_id": id, "draining": !lift }));
        }
        let what = if lift {
            "takes views again"
        } else {
            "drains, and owns no view that others can have"
        };
        self.text(&format!("server {} {what}", one.address))
    }
}
