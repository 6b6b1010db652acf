//! `cluster status`, `views move`, `server drain`: several servers on one log, and who owns which view.

use std::time::Duration;

use fusion_proto::client::{CallError, Client};
use fusion_proto::convert::admin::{ListedServer, ListedView};
use indicatif::HumanBytes;
use serde_json::{Value, json};

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
            let takes = |it: &ListedServer| !it.draining && !it.silent;
            let others = servers.iter().any(|it| it.server != one.server && takes(it));
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

/// The one server that lives and goes by an address, an id or the beginning of one. One that was begun anew has the
/// address of the one before, which is listed until it is struck off.
fn find(servers: &[ListedServer], named: &str) -> Result<ListedServer, Failure> {
    let bare = |address: &str| address.split_once("://").map(|(_, place)| place.to_owned());
    let is_it = |one: &&ListedServer| {
        one.address == named
            || bare(&one.address).is_some_and(|place| place == named)
            || (!named.is_empty() && one.server.to_string().starts_with(named))
    };
    let found: Vec<_> = servers.iter().filter(|one| !one.silent).filter(is_it).collect();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::usage(format!(
            "no server `{named}` lives; `fusionctl cluster status` lists the servers"
        ))),
        _ => Err(Failure::usage(format!("more than one server begins with `{named}`"))),
    }
}

impl Printer {
    /// A server of several, and what views it has.
    pub(crate) fn listed_server(&mut self, one: &ListedServer) -> Result<(), Failure> {
        if self.is_json() {
            return self.document(&server_json(one));
        }
        let ListedServer { server, address, version, memory_bytes, draining, answers, .. } = one;
        let place = if address.is_empty() { "alone" } else { address };
        let drains = if *draining { ", drains" } else { "" };
        let this = if *answers { ", this one" } else { "" };
        self.text(&format!(
            "server {server} at {place}: version {version}, {}{drains}{}{this}",
            HumanBytes(*memory_bytes),
            heard(one)
        ))?;
        one.views.iter().try_for_each(|view| {
            let ListedView { view, owned, epoch, revision, lag, next } = view;
            let role = match (one.silent, owned) {
                (true, _) => "had",
                (false, true) => "owns",
                (false, false) => "follows",
            };
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

/// When a server was last heard, in tenths of a second; nothing of one that is alone.
fn heard(one: &ListedServer) -> String {
    match (one.silent, one.silent_for.map(|span| span.as_secs_f64())) {
        (_, None) => String::new(),
        (false, Some(seconds)) => format!(", heard {seconds:.1}s ago"),
        (true, Some(seconds)) => format!(", silent {seconds:.1}s"),
    }
}

/// A server of several, for programs.
pub(crate) fn server_json(one: &ListedServer) -> Value {
    let views = one.views.iter().map(|view| {
        json!({
            "view": view.view.as_str(), "owned": view.owned, "epoch": view.epoch,
            "revision": view.revision, "lag": view.lag,
            "next_server_id": view.next.map(|id| id.to_string()),
        })
    });
    json!({
        "server_id": one.server.to_string(), "address": one.address, "version": one.version,
        "memory_bytes": one.memory_bytes, "draining": one.draining, "answers": one.answers,
        "silent": one.silent, "silent_seconds": one.silent_for.map(|span| span.as_secs_f64()),
        "views": views.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn server(number: u128, address: &str, silent: bool) -> ListedServer {
        ListedServer {
            server: Uuid::from_u128(number),
            address: address.to_owned(),
            version: "1".to_owned(),
            memory_bytes: 1,
            draining: false,
            answers: false,
            views: Vec::new(),
            silent,
            silent_for: Some(Duration::from_millis(1_240)),
        }
    }

    #[test]
    fn one_that_was_begun_anew_is_found_and_a_silent_one_is_not() {
        let servers = [
            server(1, "http://a:1", true),
            server(2, "http://a:1", false),
            server(3, "http://b:1", true),
        ];
        assert_eq!(find(&servers, "a:1").unwrap().server, Uuid::from_u128(2));
        assert!(find(&servers, "http://b:1").is_err());
        assert_eq!(heard(&servers[0]), ", silent 1.2s");
        assert_eq!(heard(&servers[1]), ", heard 1.2s ago");
    }
}
