//! The session state machine: Joining → Leading | Following → (obsolete) Joining … → Stopped.
//!
//! Owns the life of one session after the other. What ends a session is always said by the server or
//! by our own shutdown; a broken connection ends nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::SessionId;
use fusion_core::session::ObsoleteCause;
use fusion_proto::client::lazy_channel_with;
use fusion_proto::convert::session::{CreatedSession, EndSession};
use tokio::sync::{mpsc, watch};

use super::backoff::Backoff;
use super::batch::ScanSink;
use super::board::{Board, COMMANDS_WAITING, Reports};
use super::credentials::{self, Credentials};
use super::heartbeat::HeartbeatTask;
use super::lane::{LaneTask, OfWay, SentBatches};
use super::realtime::RealtimeSource;
use super::scan::ScanSource;
use super::ways::{Connect, Ways};
use super::{Command, LinkConfig, LinkDeps, LinkError, LinkView, Standing, TimeExchange};
use crate::config::ServerUrl;
use crate::spawn::spawn;

/// Longest that the goodbye may take: the server may be gone.
const GOODBYE_LIMIT: Duration = Duration::from_millis(700);

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The server no longer honours it; `why` says for people who was told so, by whom.
    Obsolete { cause: ObsoleteCause, after: Duration, why: String },
    /// A newer process took over.
    Superseded,
    /// The spool was rolled back.
    RenewSpool,
    /// A part of the link broke; the session is ended and begun anew.
    Broken(&'static str),
}

/// The link, built and not yet running.
pub struct Link {
    pub(crate) config: LinkConfig,
    pub(crate) deps: LinkDeps,
    pub(crate) ways: Arc<Ways>,
    pub(crate) board: Arc<Board>,
    reports: Arc<Reports>,
    pub(crate) exchange: Arc<TimeExchange>,
    pub(crate) backoff: Backoff,
    credentials: Credentials,
}

/// What the rest of the agent has of the link.
pub struct LinkHandle {
    /// How the link is.
    pub view: watch::Receiver<LinkView>,
    /// What the server asks for; each command comes once.
    pub commands: mpsc::Receiver<Command>,
    /// How commands go.
    pub reports: Arc<Reports>,
    /// The server's time.
    pub exchange: Arc<TimeExchange>,
}

impl Link {
    /// Makes the connections to one of the servers, which connect when they are used.
    ///
    /// # Errors
    /// The URL is none that the library takes.
    pub fn new(config: LinkConfig, deps: LinkDeps) -> Result<(Self, LinkHandle), LinkError> {
        let tls = config.tls.clone();
        let connect = move |server: &ServerUrl| {
            lazy_channel_with(server.as_str(), &tls)
                .map_err(|error| LinkError::Refused(error.to_string()))
        };
        Self::connected_by(config, deps, Box::new(connect))
    }

    /// The same over connections of somebody else's making.
    pub(crate) fn connected_by(
        config: LinkConfig,
        deps: LinkDeps,
        connect: Connect,
    ) -> Result<(Self, LinkHandle), LinkError> {
        let (commands, commands_arriving) = mpsc::channel(COMMANDS_WAITING);
        let board = Arc::new(Board::new(commands));
        let (reports, exchange) = (Arc::new(Reports::default()), Arc::default());
        let handle = LinkHandle {
            view: board.subscribe(),
            commands: commands_arriving,
            reports: Arc::clone(&reports),
            exchange: Arc::clone(&exchange),
        };
        let credentials = Credentials::of(&config)?;
        // Agents that start together begin with all servers alike.
        let first = (deps.ids.fraction() * config.servers.list().len() as f64) as usize;
        let ways = Ways::new(config.clone(), deps.clone(), connect, credentials.hook(), first)?;
        let link = Self {
            ways: Arc::new(ways),
            config,
            deps,
            board,
            reports,
            exchange,
            backoff: Backoff::default(),
            credentials,
        };
        Ok((link, handle))
    }

    /// Has one session after the other until `shutdown`; then says goodbye.
    ///
    /// # Errors
    /// The server refuses this agent for good.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<(), LinkError> {
        let mut shutdown = pin!(shutdown);
        // Ends with the link.
        let _following = spawn("token file", credentials::follow(self.credentials.clone()));
        loop {
            let created = tokio::select! {
                () = &mut shutdown => return Ok(()),
                created = self.join() => created?,
            };
            let session = created.session;
            let ending = tokio::select! {
                () = &mut shutdown => {
                    self.board.set(None);
                    self.goodbye(session).await;
                    return Ok(());
                }
                ending = self.live(created) => ending,
            };
            self.board.set(None);
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                over = self.over(session, ending) => over?,
            }
        }
    }

    /// One session, from its beginning until something ends it.
    async fn live(&mut self, created: CreatedSession) -> Ending {
        let session = created.session;
        let (scan, arriving) = ScanSink::new();
        let withheld = created.settings.withheld;
        // Before anything can be heard: a role or a command that comes at once finds a session.
        self.board.set(Some(Standing {
            session,
            role: created.info.role,
            epoch: created.leader_epoch,
            settings: created.settings.clone(),
            scan,
        }));
        self.backoff.healthy(self.deps.clock.monotonic());
        let heartbeat = spawn("heartbeat", self.heartbeat(&created).run());
        let source = RealtimeSource::new(&self.deps, Arc::clone(&self.exchange), withheld);
        let realtime =
            spawn("realtime lane", self.lane(session, |way| &way.realtime, source).run());
        let source = ScanSource::new(arriving, withheld);
        let lane = spawn("scan lane", self.lane(session, |way| &way.scan, source).run());
        let (name, ended) = tokio::select! {
            ended = heartbeat => ("heartbeat", ended),
            ended = realtime => ("realtime lane", ended),
            ended = lane => ("scan lane", ended),
        };
        ended.unwrap_or_else(|error| {
            tracing::error!("{error}");
            self.deps.metrics.restarts.with_label_values(&[name]).inc();
            Ending::Broken(name)
        })
    }

    fn heartbeat(&self, created: &CreatedSession) -> HeartbeatTask {
        HeartbeatTask {
            session: created.session,
            interval: created.heartbeat_interval,
            timeout: created.info.timeout,
            ways: Arc::clone(&self.ways),
            deps: self.deps.clone(),
            board: Arc::clone(&self.board),
            reports: Arc::clone(&self.reports),
            exchange: Arc::clone(&self.exchange),
            by: None,
        }
    }

    fn lane<S>(&self, session: SessionId, client: OfWay, source: S) -> LaneTask<S> {
        LaneTask {
            session,
            ways: Arc::clone(&self.ways),
            client,
            source,
            deps: self.deps.clone(),
            board: Arc::clone(&self.board),
            reports: Arc::clone(&self.reports),
            sent: SentBatches::default(),
        }
    }

    /// What follows the end of a session.
    async fn over(&mut self, session: SessionId, ending: Ending) -> Result<(), LinkError> {
        let patience = self.backoff.failed(self.deps.clock.monotonic(), &*self.deps.ids);
        let (cause, wait, why) = match ending {
            Ending::Superseded => return Err(LinkError::Superseded),
            Ending::Obsolete { cause, after, why } => (cause_word(cause), patience.max(after), why),
            Ending::RenewSpool => {
                // The old session holds our name under the old spool id.
                self.goodbye(session).await;
                let renewed = self.deps.spool.renew().await;
                renewed.map_err(|error| LinkError::Spool(error.to_string()))?;
                ("spool_rolled_back", patience, String::new())
            }
            Ending::Broken(_) => {
                self.goodbye(session).await;
                ("broken", patience, String::new())
            }
        };
        tracing::warn!(%session, cause, why, wait = ?wait, "session over, beginning a new one");
        self.deps.metrics.session_recoveries.with_label_values(&[cause]).inc();
        tokio::time::sleep(wait).await;
        Ok(())
    }

    /// Ends the session, if there is still somebody to tell.
    async fn goodbye(&mut self, session: SessionId) {
        let asked = EndSession { session, allow_missing: true };
        let mut control = self.ways.now().control;
        match tokio::time::timeout(GOODBYE_LIMIT, control.end(&asked)).await {
            Ok(Ok(())) => tracing::info!(%session, "session ended"),
            Ok(Err(error)) => tracing::info!(%session, "session not ended: {error}"),
            Err(_) => tracing::info!(%session, "session not ended: no answer"),
        }
    }
}

const fn cause_word(cause: ObsoleteCause) -> &'static str {
    match cause {
        ObsoleteCause::Expired => "expired",
        ObsoleteCause::Superseded => "superseded",
        ObsoleteCause::Evicted => "evicted",
        ObsoleteCause::ViewReset => "view_reset",
        ObsoleteCause::Unknown => "unknown",
    }
}
