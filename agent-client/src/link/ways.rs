//! The way to the view's owner: which server the link talks to, and the connections to it.
//!
//! One of those that are configured; or, where several servers share the views, the one that owns the
//! view, as a server said that the link was talking to. Used by all parts of the link, which ask for the
//! way with each call and each stream. An owner that cannot be reached from here is left for the
//! configured servers, which send calls on; while it is named still, it is gone to again after waits that
//! grow, for each try holds up what the others would have sent on. Must never: go to an address
//! that did not come over a connection as safe as the configured one, show the token where it would not
//! be shown to a configured server, or end a session: it goes on whichever way is taken. Tested in
//! `tests/follow.rs` on scripted servers.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fusion_core::time::Monotonic;
use fusion_proto::client::{Bearer, CallHook, EventsClient, SessionsClient};
use tokio::sync::watch;
use tonic::transport::Channel;

use super::backoff::Backoff;
use super::reaction::{Reaction, Trouble};
use super::{CALL_LIMIT, LinkConfig, LinkDeps, LinkError};
use crate::config::ServerUrl;

/// Longest wait before an owner that could not be reached is gone to again, the jitter aside. One that never can be
/// (only servers see its network) holds up an agent for [`CALL_LIMIT`] of that.
const OWNER_CAP: Duration = Duration::from_secs(300);

/// Makes a connection, which connects when it is used.
pub(crate) type Connect = Box<dyn Fn(&ServerUrl) -> Result<Channel, LinkError> + Send + Sync>;

/// A server and the connections to it: one for control and one per lane, so that a heartbeat never waits
/// behind a large batch, nor realtime evidence behind a scan. A cheap handle.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// Of this link; another one is another way.
    pub(crate) number: u64,
    pub(crate) server: ServerUrl,
    /// It is the owner's, as another server said.
    is_owners: bool,
    pub(crate) control: SessionsClient,
    pub(crate) realtime: EventsClient,
    pub(crate) scan: EventsClient,
}

/// All ways.
pub(crate) struct Ways {
    config: LinkConfig,
    deps: LinkDeps,
    connect: Connect,
    hook: CallHook,
    now: watch::Sender<Way>,
    choice: Mutex<Choice>,
}

struct Choice {
    /// Which of the configured servers.
    configured: usize,
    /// The owner that was gone to last, and could not be reached at least once.
    unreached: Option<Unreached>,
}

struct Unreached {
    server: ServerUrl,
    backoff: Backoff,
    /// It is not gone to before.
    until: Monotonic,
}

impl Ways {
    /// Begins with the configured server at `first`, of as many as there are.
    pub(crate) fn new(
        config: LinkConfig,
        deps: LinkDeps,
        connect: Connect,
        hook: CallHook,
        first: usize,
    ) -> Result<Self, LinkError> {
        let configured = first % config.servers.list().len();
        let server = config.servers.list()[configured].clone();
        let way = way(&connect, &hook, server, 0, false)?;
        let choice = Mutex::new(Choice { configured, unreached: None });
        Ok(Self { config, deps, connect, hook, now: watch::Sender::new(way), choice })
    }

    /// The way that is taken now.
    pub(crate) fn now(&self) -> Way {
        self.now.borrow().clone()
    }

    /// Waits until another way is taken.
    pub(crate) async fn moved(&self, from: &Way) {
        let mut now = self.now.subscribe();
        // It ends with the link, and so does who waits.
        let _ = now.wait_for(|way| way.number != from.number).await;
    }

    /// A server, reached by `from`, named the owner of the view.
    pub(crate) fn owner_named(&self, from: &Way, owner: &str) {
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        if self.now.borrow().number != from.number {
            return;
        }
        let server = match self.allowed(owner) {
            Ok(server) => server,
            Err(why) => {
                tracing::debug!(owner, why, "the owner of the view is not connected to directly");
                return;
            }
        };
        if server == from.server {
            return;
        }
        match &choice.unreached {
            Some(owner) if owner.server == server => {
                if self.deps.clock.monotonic() < owner.until {
                    return;
                }
            }
            _ => choice.unreached = None,
        }
        self.take(from, server, true);
    }

    /// A call by `way` was answered.
    pub(crate) fn answered(&self, way: &Way) {
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = choice.unreached.as_mut().filter(|it| it.server == way.server) {
            owner.backoff.healthy(self.deps.clock.monotonic());
        }
    }

    /// What a call by `from` ended with says where to go, or that nobody answers there.
    pub(crate) fn failed(&self, from: &Way, trouble: &Trouble) {
        match &trouble.reaction {
            Reaction::GoToOwner { owner, .. } => self.owner_named(from, owner),
            _ if !trouble.from_server => self.unanswered(from),
            _ => {}
        }
    }

    fn unanswered(&self, from: &Way) {
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        if self.now.borrow().number != from.number {
            return;
        }
        let servers = self.config.servers.list();
        match from.is_owners {
            true => self.leave(&mut choice, &from.server),
            false if servers.len() == 1 => return,
            false => choice.configured = (choice.configured + 1) % servers.len(),
        }
        self.take(from, servers[choice.configured].clone(), false);
    }

    /// From now on an owner is not gone to, for a while.
    fn leave(&self, choice: &mut Choice, owner: &ServerUrl) {
        let before = choice.unreached.take().filter(|it| it.server == *owner);
        let mut backoff =
            before.map_or_else(|| Backoff::between(CALL_LIMIT, OWNER_CAP), |it| it.backoff);
        let (now, ids) = (self.deps.clock.monotonic(), &*self.deps.ids);
        // Not at once even the first time: the others name one that died until the next one owns the view.
        let wait = backoff.failed(now, ids).max(ids.jitter(CALL_LIMIT, 0.5));
        choice.unreached =
            Some(Unreached { server: owner.clone(), backoff, until: now.plus(wait) });
    }

    /// Whether the address of an owner is one that may be gone to.
    fn allowed(&self, owner: &str) -> Result<ServerUrl, String> {
        let server = ServerUrl::new(owner)?;
        if server.is_tls() != self.config.servers.is_tls() {
            return Err("it is not reached as safely as the configured servers".to_owned());
        }
        if let Some(file) = &self.config.token_file {
            Bearer::for_server(server.as_str(), file).map_err(|fault| fault.to_string())?;
        }
        Ok(server)
    }

    fn take(&self, from: &Way, server: ServerUrl, is_owners: bool) {
        match way(&self.connect, &self.hook, server, from.number + 1, is_owners) {
            Ok(way) => {
                tracing::info!(server = %way.server, is_owners, "the link takes another way");
                self.now.send_replace(way);
            }
            Err(error) => tracing::warn!(%error, "another server cannot be connected to"),
        }
    }
}

fn way(
    connect: &Connect,
    hook: &CallHook,
    server: ServerUrl,
    number: u64,
    is_owners: bool,
) -> Result<Way, LinkError> {
    Ok(Way {
        control: SessionsClient::on(connect(&server)?, hook.clone()),
        realtime: EventsClient::on(connect(&server)?, hook.clone()),
        scan: EventsClient::on(connect(&server)?, hook.clone()),
        server,
        number,
        is_owners,
    })
}
