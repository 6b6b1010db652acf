//! The connection to JetStream, for all views.
//!
//! Made once; it looks for another server by itself when it is lost. Who waits for an answer is told
//! of a loss at once ([`Nats::losses`]): what was sent before may have arrived or not.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::stream::Config;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};
use fusion_core::id::ViewName;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::stream::{ACKNOWLEDGE, ASK, Stream};
use super::{NatsBlocks, NatsLog, NatsOwnership, NatsSettings, NatsState, NatsSync};
use crate::engines::Whose;
use crate::engines::bridge::{Bridge, causes};
use crate::error::StoreError;
use crate::ports::{Guarantee, Survives, ViewId, ViewRef};

/// A server that says nothing for three of these is left for another.
const PING: Duration = Duration::from_secs(1);
/// The longest wait before a server is tried again.
const RECONNECT: Duration = Duration::from_secs(1);
/// What the metadata of a stream calls the id and the name of its view.
const VIEW: &str = "fusion-view";
const NAME: &str = "fusion-name";
/// The pause before it is looked again whether JetStream answers.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a message that are not ours: its headers.
const HEADERS: usize = 4 << 10;

/// The connection to JetStream.
#[derive(Debug)]
pub struct Nats {
    pub(super) bridge: Bridge,
    pub(super) settings: NatsSettings,
    /// For questions, and for what is published.
    contexts: (Context, Context),
    losses: watch::Receiver<u64>,
}

impl Nats {
    /// Connects, and sees that JetStream answers; waits for both while they come up.
    ///
    /// # Errors
    /// `Away` if it does not, `Refused` if a setting cannot be.
    pub fn connect(settings: NatsSettings) -> Result<Arc<Self>, StoreError> {
        check(&settings)?;
        let bridge = Bridge::new("nats", format!("NATS at {}", settings.servers.join(", ")))?;
        let (lost, losses) = watch::channel(0);
        let connecting = connect(settings.clone(), lost, bridge.engine().to_owned());
        let contexts = bridge.run("connect to", settings.timeout * 3, connecting)?;
        Ok(Arc::new(Self { bridge, settings, contexts, losses }))
    }

    /// The logs of all views there.
    #[must_use]
    pub fn log(self: &Arc<Self>) -> NatsLog {
        NatsLog::new(Arc::clone(self))
    }

    /// The blocks of all views there.
    #[must_use]
    pub fn blocks(self: &Arc<Self>) -> NatsBlocks {
        NatsBlocks::new(Arc::clone(self))
    }

    /// Which servers there are, and who owns what.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn ownership(self: &Arc<Self>) -> Result<NatsOwnership, StoreError> {
        NatsOwnership::open(Arc::clone(self))
    }

    /// The state of all servers.
    ///
    /// # Errors
    /// `Away`; `Refused` if the servers are older than 2.12; `FutureFormat` if a later version wrote it;
    /// `OtherState` if it is not the one that is wanted.
    pub fn state(self: &Arc<Self>, whose: Whose) -> Result<NatsState, StoreError> {
        NatsState::open(Arc::clone(self), whose)
    }

    /// What it acknowledges outlives this, as the operator says.
    pub(super) fn guarantee(&self) -> Guarantee {
        let (survives, note) = match self.sync() {
            NatsSync::Always => (Survives::Power, ""),
            NatsSync::Interval => (
                Survives::Processes,
                "change_log.sync is interval: what the servers have not synced is lost if power fails at most of the replicas",
            ),
        };
        Guarantee { engine: self.bridge.engine().to_owned(), survives, note: note.to_owned() }
    }

    /// What the operator says of the servers' disks.
    #[must_use]
    pub fn sync(&self) -> NatsSync {
        self.settings.sync
    }

    /// Changes whenever the connection was lost.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.losses.clone()
    }

    /// Bytes of ours that one message may have.
    pub(super) fn message_bytes(&self) -> usize {
        let allowed = self.contexts.0.client().max_payload();
        self.settings.message_bytes.min(allowed.saturating_sub(HEADERS)).max(HEADERS)
    }

    /// The stream of this name.
    pub(super) fn stream(&self, name: String) -> Stream {
        Stream::new(self.contexts.clone(), name, self.bridge.engine(), self.settings.timeout)
    }

    /// What names of streams begin with that are for one purpose.
    pub(super) fn stream_name(&self, purpose: &str) -> String {
        format!("{}_{purpose}_", self.settings.prefix)
    }

    /// What subjects begin with that are for one purpose.
    pub(super) fn subject(&self, purpose: &str) -> String {
        format!("{}.{purpose}.", self.settings.prefix)
    }

    /// How the stream of a view is set up; `what` it is, for people.
    pub(super) fn config(&self, what: &str, view: &ViewRef, subjects: Vec<String>) -> Config {
        let metadata = [(VIEW, view.id.to_string()), (NAME, view.name.to_string())];
        Config {
            subjects,
            num_replicas: self.settings.replicas,
            max_bytes: -1,
            description: Some(format!("{what} of view {}", view.name)),
            metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
            ..Config::default()
        }
    }

    /// All views that have a stream for a purpose, by id.
    pub(super) fn views(&self, purpose: &str, suffix: &str) -> Result<Vec<ViewRef>, StoreError> {
        let stream = self.stream(self.stream_name(purpose));
        let subjects = format!("{}*{suffix}", self.subject(purpose));
        let limit = self.settings.timeout * 2;
        let found =
            self.bridge.run("read from", limit, async move { stream.list(&subjects).await })?;
        let views = found.iter().filter_map(|metadata| {
            let id = Uuid::try_parse(metadata[VIEW].as_str()?).ok()?;
            let name = ViewName::new(metadata[NAME].as_str()?).ok()?;
            Some(ViewRef { id: ViewId(id), name })
        });
        let mut views: Vec<_> = views.collect();
        views.sort_by_key(|view| view.id);
        Ok(views)
    }
}

fn check(settings: &NatsSettings) -> Result<(), StoreError> {
    let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let why = if settings.servers.is_empty() {
        "no server is named".to_owned()
    } else if !(1..=32).contains(&settings.prefix.len()) || !settings.prefix.chars().all(known) {
        let prefix = &settings.prefix;
        format!("the prefix `{prefix}` is not 1 to 32 letters, digits, `-` and `_`")
    } else if ![1, 3, 5].contains(&settings.replicas) {
        format!("{} replicas cannot be; 1, 3 and 5 can", settings.replicas)
    } else {
        return Ok(());
    };
    Err(StoreError::Refused { what: "the settings for NATS", why })
}

/// Connects, also to servers that come up in this moment: what started with them need not be started again.
async fn dial(options: &ConnectOptions, settings: &NatsSettings) -> Result<Client, ConnectError> {
    let until = Instant::now() + settings.timeout;
    loop {
        let error = match options.clone().connect(settings.servers.clone()).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let may_pass = matches!(
            error.kind(),
            ConnectErrorKind::Io | ConnectErrorKind::TimedOut | ConnectErrorKind::Dns
        );
        if !may_pass || Instant::now() >= until {
            return Err(error);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn connect(
    settings: NatsSettings,
    lost: watch::Sender<u64>,
    engine: String,
) -> Result<(Context, Context), StoreError> {
    let away = |why: String| StoreError::Away { what: "connect to", engine: engine.clone(), why };
    let mut options = ConnectOptions::new()
        .name(&settings.client)
        .ping_interval(PING)
        .connection_timeout(settings.timeout)
        .request_timeout(Some(ASK))
        .reconnect_delay_callback(|attempts| {
            let attempts = u32::try_from(attempts).unwrap_or(u32::MAX).min(6);
            Duration::from_millis(10 << attempts).min(RECONNECT)
        })
        .event_callback(move |event| {
            if matches!(event, Event::Disconnected) {
                lost.send_modify(|losses| *losses += 1);
            }
            async move { tracing::debug!(%event, "connection to NATS") }
        });
    if let Some(tls) = &settings.tls {
        options = options.require_tls(true);
        if let Some(ca) = &tls.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((certificate, key)) = &tls.identity {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
    }
    if let Some(credentials) = &settings.credentials {
        let read = options.credentials_file(credentials).await;
        let place = credentials.display();
        options = read.map_err(|error| away(format!("credentials `{place}`: {error}")))?;
    }
    let client = dial(&options, &settings).await.map_err(|error| away(causes(&error)))?;
    let context = |wait| ContextBuilder::new().timeout(wait).build(client.clone());
    let (asks, publishes) = (context(ASK), context(ACKNOWLEDGE));
    // Nobody answers while a leader is elected.
    let mut why = String::new();
    let answered = async {
        while let Err(error) = asks.query_account().await {
            why = causes(&error);
            tokio::time::sleep(PAUSE).await;
        }
    };
    let answered = tokio::time::timeout(settings.timeout, answered).await;
    answered.map_err(|_| away(format!("JetStream does not answer: {why}")))?;
    Ok((asks, publishes))
}
