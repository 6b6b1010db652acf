//! Joining: asks for a session until there is one, or none can be had.

use std::time::Duration;

use fusion_proto::convert::root::RootClaim;
use fusion_proto::convert::session::{Capability, CreateSession, CreatedSession};
use tracing::Instrument as _;

use super::reaction::{Reaction, Trouble};
use super::session::Link;
use super::told::Told;
use super::{CALL_LIMIT, LinkError};

/// The server's timers are lower bounds; this much more than the rest of a timeout is waited.
const GRACE: Duration = Duration::from_millis(250);

/// What happened while joining so far.
#[derive(Default)]
struct Tries {
    /// We waited for another agent of our name to go.
    waited_for_other: bool,
    told: Told,
}

impl Link {
    /// Asks until there is a session.
    pub(crate) async fn join(&mut self) -> Result<CreatedSession, LinkError> {
        let mut tries = Tries::default();
        loop {
            let trouble = match self.create().await {
                Ok(created) => {
                    let excluded = self.deps.reporter.exclude(&created.settings.exclude);
                    excluded.map_err(LinkError::Refused)?;
                    tracing::info!(
                        session = %created.session,
                        view = %self.config.view,
                        role = crate::role::word(created.info.role),
                        epoch = created.leader_epoch.0,
                        "session begun"
                    );
                    return Ok(created);
                }
                Err(trouble) => trouble,
            };
            self.tell(&mut tries, &trouble);
            let wait = self.wait_for(&mut tries, trouble)?;
            tokio::time::sleep(wait).await;
        }
    }

    /// One call.
    async fn create(&mut self) -> Result<CreatedSession, Trouble> {
        let span = tracing::info_span!("create session", otel.kind = "client");
        let spool = self.deps.spool.id();
        let root = self.deps.reporter.root_identity().await;
        let asked = CreateSession {
            view: self.config.view.clone(),
            agent: self.config.agent.clone(),
            instance: self.config.instance,
            spool,
            client: self.config.client.clone(),
            root: RootClaim { uri: self.config.root_uri.clone(), identity: root.identity },
            capabilities: vec![Capability::Realtime, Capability::Scan],
            proposed_timeout: self.config.proposed_timeout,
        };
        let sent = self.deps.clock.monotonic();
        let mut way = self.ways.now();
        let call = way.control.create(&asked).instrument(span);
        let answer = tokio::time::timeout(CALL_LIMIT, call).await;
        let answer = answer.map_err(|_| Trouble::unexpected("the server does not answer"));
        let created = answer.and_then(|answer| answer.map_err(Trouble::of)).map_err(|trouble| {
            self.ways.failed(&way, &trouble);
            if root.is_now { trouble } else { trouble.of_root_unread() }
        })?;
        if let Some(owner) = way.control.owner() {
            self.ways.owner_named(&way, owner);
        }
        let received = self.deps.clock.monotonic();
        // Another session may be with another server, whose clock is another.
        self.exchange.clear();
        self.exchange.add(sent, received, created.server_time);
        Ok(created)
    }

    /// How long to wait before the next try; an error if there is to be none.
    fn wait_for(&mut self, tries: &mut Tries, trouble: Trouble) -> Result<Duration, LinkError> {
        let patience = self.backoff.failed(self.deps.clock.monotonic(), &*self.deps.ids);
        match trouble.reaction {
            Reaction::WaitForOther { host, rest } => {
                // It beat in the meantime, or another one came: either way it lives.
                if tries.waited_for_other && rest > GRACE {
                    return Err(LinkError::NameTaken { agent: self.config.agent.clone(), host });
                }
                tries.waited_for_other = true;
                Ok(rest + GRACE)
            }
            Reaction::OtherTree { known, found } => Err(LinkError::OtherTree { known, found }),
            Reaction::Report => Err(LinkError::Refused(trouble.text)),
            Reaction::Superseded => Err(LinkError::Superseded),
            Reaction::NewSession { after, .. }
            | Reaction::GoToOwner { after, .. }
            | Reaction::Reconnect { after }
            | Reaction::SlowDown { after } => Ok(patience.max(after)),
            Reaction::RenewSpool
            | Reaction::StopScanning
            | Reaction::ResumeFrom { .. }
            | Reaction::BackOff => Ok(patience),
        }
    }

    /// Says what is wrong: when it changes, and now and then.
    fn tell(&self, tries: &mut Tries, trouble: &Trouble) {
        if !tries.told.is_news(&trouble.text, self.deps.clock.monotonic()) {
            return;
        }
        let server = &self.ways.now().server;
        if trouble.from_server {
            tracing::warn!(%server, "no session yet: {}", trouble.text);
        } else {
            tracing::warn!(%server, "cannot reach the server, trying on: {}", trouble.text);
        }
        self.board.trouble(Some(&trouble.text));
    }
}
