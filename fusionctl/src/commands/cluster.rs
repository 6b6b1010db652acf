//! `cluster status`, `views move`, `server drain`: several servers on one log, and who owns which view.

use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_proto::client::{CallError, Client};
use fusion_proto::convert::admin::{ListedServer, ListedView};
use indicatif::{HumanBytes, HumanDuration};
use serde_json::{Value, json};

use super::once::once;
use super::{connect_all, explain, view_name};
use crate::cli::WaitArg;
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
    wait: WaitArg,
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
    let left = |servers: &[ListedServer]| not_there(servers, &view, &to);
    if let Some(left) = until(&mut client, wait.wait, left).await.map_err(failed)? {
        let limit = HumanDuration(wait.wait);
        return Err(Failure::refused(format!(
            "view {view} is not at {} within {limit}: {left}",
            to.address
        )));
    }
    printer.moved(&view, Some(&to))?;
    printer.flush()
}

/// Has a server give its views away, and waits until it has none that another could have.
pub(super) async fn drain(
    server: &Profile,
    named: &str,
    lift: bool,
    wait: WaitArg,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut client = connect_all(server)?;
    let failed = |error: CallError| explain(&error, &server.server);
    let one = find(&client.admin.servers().await.map_err(failed)?, named)?;
    once(async || client.admin.drain_server(one.server, lift).await).await.map_err(failed)?;
    if !lift {
        let left = |servers: &[ListedServer]| not_drained(servers, &one);
        if let Some(left) = until(&mut client, wait.wait, left).await.map_err(failed)? {
            let limit = HumanDuration(wait.wait);
            return Err(Failure::refused(format!(
                "server {} is not without views within {limit}: {left}",
                one.address
            )));
        }
    }
    printer.drained(&one, lift)?;
    printer.flush()
}

/// Waits until nothing is left to wait for, for at most `limit`; gives what was left then.
async fn until(
    client: &mut Client,
    limit: Duration,
    left: impl Fn(&[ListedServer]) -> Option<String>,
) -> Result<Option<String>, CallError> {
    let mut last =
        "no server has said yet which view is where; --wait SPAN waits longer".to_owned();
    let looks = async {
        while let Some(left) = left(&client.admin.servers().await?) {
            last = left;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    };
    match tokio::time::timeout(limit, looks).await {
        Ok(looked) => looked.map(|()| None),
        Err(_) => Ok(Some(last)),
    }
}

/// What a view that is to be at a server waits for, and what to do; nothing if it is there.
fn not_there(servers: &[ListedServer], view: &ViewName, to: &ListedServer) -> Option<String> {
    let on = |one: &ListedServer| one.views.iter().find(|it| it.view == *view).cloned();
    let owner = servers.iter().find(|one| !one.silent && on(one).is_some_and(|it| it.owned));
    if owner.is_some_and(|owner| owner.server == to.server) {
        return None;
    }
    let now = owner.map_or("no server owns it".to_owned(), |it| format!("{} owns it", it.address));
    let Some(target) =
        servers.iter().find(|one| one.server == to.server && !one.draining && !one.silent)
    else {
        return Some(format!(
            "{now}, and that one drains or is gone; `fusionctl cluster status` lists who can have it"
        ));
    };
    let follows = match on(target) {
        Some(it) => format!("is {} behind", it.lag),
        None => "does not follow it yet".to_owned(),
    };
    Some(format!(
        "{now}, {} {follows}. It goes there when that one follows it and NATS takes what is written: \
         `fusionctl cluster status` shows both, --wait SPAN waits longer, and `fusionctl views move {view}` \
         without a server takes it back",
        to.address
    ))
}

/// What a server that drains still has, and what to do; nothing if no other one can have it.
fn not_drained(servers: &[ListedServer], one: &ListedServer) -> Option<String> {
    if !servers.iter().any(|it| it.server != one.server && !it.draining && !it.silent) {
        return None;
    }
    let its = servers.iter().filter(|it| it.server == one.server).flat_map(|it| &it.views);
    let owned: Vec<_> = its.filter(|it| it.owned).map(|it| it.view.as_str()).collect();
    if owned.is_empty() {
        return None;
    }
    Some(format!(
        "it still owns {}. It gives each away when another server follows it and NATS takes what is written: \
         `fusionctl cluster status` shows both, --wait SPAN waits longer, and --lift takes it back",
        owned.join(", ")
    ))
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
        _ => Err(Failure::usage(format!(
            "more than one server goes by `{named}`: name one by its id, as `fusionctl cluster status` \
             shows it; one that died is listed until its lease is over"
        ))),
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

    fn moved(&mut self, view: &ViewName, to: Option<&ListedServer>) -> Result<(), Failure> {
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

    /// A server, whether it owns the view, and how far it is behind; none: it does not have it.
    fn server(number: u128, view: Option<(bool, u64)>, draining: bool) -> ListedServer {
        let (name, next) = (ViewName::new("tree").unwrap(), None);
        let view = view.map(|(owned, lag)| ListedView {
            view: name,
            owned,
            epoch: 1,
            revision: 10 - lag,
            lag,
            next,
        });
        ListedServer {
            server: Uuid::from_u128(number),
            address: format!("http://s{number}:1"),
            version: "1".to_owned(),
            memory_bytes: 1,
            draining,
            answers: false,
            views: view.into_iter().collect(),
            silent: false,
            silent_for: Some(Duration::from_millis(1_240)),
        }
    }

    #[test]
    fn what_a_moved_view_waits_for_is_told_until_it_is_there() {
        let tree = ViewName::new("tree").unwrap();
        let to = server(2, None, false);
        let told = |servers: &[ListedServer]| not_there(servers, &tree, &to);
        let (owner, follower) = (Some((true, 0)), Some((false, 3)));
        let left = told(&[server(1, owner, false), server(2, follower, false)]).unwrap();
        assert!(left.starts_with("http://s1:1 owns it, http://s2:1 is 3 behind. "), "{left}");
        let left = told(&[server(1, follower, false), server(2, None, false)]).unwrap();
        assert!(left.starts_with("no server owns it, http://s2:1 does not follow"), "{left}");
        for gone in [&[server(1, owner, false)][..], &[server(2, follower, true)]] {
            assert!(told(gone).unwrap().contains("drains or is gone"), "{gone:?}");
        }
        assert_eq!(told(&[server(1, follower, false), server(2, owner, false)]), None);
    }

    #[test]
    fn what_a_drained_server_still_has_is_told_while_another_can_have_it() {
        let (owner, follower) = (Some((true, 0)), Some((false, 0)));
        let one = server(1, owner, true);
        let left = not_drained(&[one.clone(), server(2, follower, false)], &one).unwrap();
        assert!(left.starts_with("it still owns tree. "), "{left}");
        assert_eq!(not_drained(&[one.clone(), server(2, follower, true)], &one), None);
        assert_eq!(not_drained(std::slice::from_ref(&one), &one), None, "it is alone");
        let given = [server(1, follower, true), server(2, owner, false)];
        assert_eq!(not_drained(&given, &one), None);
    }

    #[test]
    fn one_that_was_begun_anew_is_found_and_a_silent_one_is_not() {
        let at = |number, address: &str, silent| ListedServer {
            address: address.to_owned(),
            silent,
            ..server(number, None, false)
        };
        let servers =
            [at(1, "http://a:1", true), at(2, "http://a:1", false), at(3, "http://b:1", true)];
        assert_eq!(find(&servers, "a:1").unwrap().server, Uuid::from_u128(2));
        assert!(find(&servers, "http://b:1").is_err());
        assert_eq!(heard(&servers[0]), ", silent 1.2s");
        assert_eq!(heard(&servers[1]), ", heard 1.2s ago");
    }
}
