//! Calling a server: connections, clients and the one error of every call.
//!
//! Owns how a channel is set up and what a failed call is ([`CallError`]). Used by `fusionctl`, by
//! agents, by tests and by programs of others.
//! Must never: repeat a call by itself, save a heartbeat that nobody has seen (`unseen`); whether that is right depends on
//! the refusal.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use fusion_proto::client::{CallHook, connect};
//!
//! let mut client = connect("http://127.0.0.1:7700", CallHook::none())?;
//! for view in client.views.list_views().await? {
//!     println!("{}: {} files", view.name, view.totals.files);
//! }
//! # Ok(())
//! # }
//! ```

mod admin;
mod bearer;
mod events;
mod jobs;
mod sessions;
#[cfg(test)]
mod tests;
mod tls;
mod unseen;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub use admin::AdminClient;
pub use bearer::{Bearer, BearerFault};
pub use events::{EventsClient, Heard};
pub use jobs::{FollowedJob, JobsClient};
pub use sessions::SessionsClient;
pub use tls::{ClientTls, TlsFault};

use crate::convert::{ConvertError, Problem, Unsendable};
use crate::limits;
use crate::status::{Code, Other, Refusal};
use crate::views::ViewsClient;
use tls::Dialer;

/// How long making a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How often an idle connection is tried. A peer that is silently gone is found after this and
/// [`KEEP_ALIVE_LIMIT`].
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to answer that.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(5);

/// The channel of a client: every call goes through a [`CallHook`].
pub type HookedChannel = InterceptedService<Channel, CallHook>;

/// All clients of one server, on one connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// Asks about views.
    pub views: ViewsClient,
    /// Begins, keeps and ends sessions.
    pub sessions: SessionsClient,
    /// Pushes evidence.
    pub events: EventsClient,
    /// Makes jobs and follows them.
    pub jobs: JobsClient,
    /// Does what operators do.
    pub admin: AdminClient,
}

/// Clients of the server at `http://HOST:PORT`, each call through `hook`. Connects with the first
/// call, and again whenever the connection broke. Call it inside a tokio runtime.
///
/// # Errors
/// The URL is malformed.
pub fn connect(url: &str, hook: CallHook) -> Result<Client, ConnectError> {
    connect_with(url, &ClientTls::default(), hook)
}

/// The same with the files that `https://HOST:PORT` needs.
///
/// # Errors
/// The URL is malformed, or a file is of no use.
pub fn connect_with(url: &str, tls: &ClientTls, hook: CallHook) -> Result<Client, ConnectError> {
    let channel = lazy_channel_with(url, tls)?;
    Ok(Client {
        views: ViewsClient::on(url, channel.clone(), hook.clone()),
        sessions: SessionsClient::on(channel.clone(), hook.clone()),
        events: EventsClient::on(channel.clone(), hook.clone()),
        jobs: JobsClient::on(channel.clone(), hook.clone()),
        admin: AdminClient::on(channel, hook),
    })
}

/// A channel to `http://HOST:PORT` as the contract wants it: windows of flow control, keep-alive.
/// It connects when it is used, and again when it broke, which no other kind of channel does. Call
/// it inside a tokio runtime. The decode limit ([`limits::MESSAGE_BYTES`]) is for each client to
/// set.
///
/// # Errors
/// The URL is malformed.
pub fn lazy_channel(url: &str) -> Result<Channel, ConnectError> {
    lazy_channel_with(url, &ClientTls::default())
}

/// The same with the files that `https://HOST:PORT` needs. They are read now, to tell what is wrong
/// with them, and again for every connection.
///
/// # Errors
/// The URL is malformed, or a file is of no use.
pub fn lazy_channel_with(url: &str, tls: &ClientTls) -> Result<Channel, ConnectError> {
    let malformed = |why: String| ConnectError { url: url.to_owned(), why };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| {
        malformed(std::error::Error::source(&error).unwrap_or(&error).to_string())
    })?;
    let uri = endpoint.uri();
    let dialer = match uri.scheme_str() {
        Some("http") if *tls != ClientTls::default() => {
            return Err(malformed("certificates are for https://HOST:PORT".to_owned()));
        }
        Some("http") => Dialer::new(None),
        Some("https") => {
            tls.load().map_err(|fault| malformed(fault.to_string()))?;
            Dialer::new(Some(tls.clone()))
        }
        _ => return Err(malformed("it must be http://HOST:PORT or https://HOST:PORT".to_owned())),
    };
    if uri.host().is_none_or(str::is_empty) {
        return Err(malformed("it names no host".to_owned()));
    }
    Ok(as_agreed(endpoint.connect_timeout(CONNECT_LIMIT))
        .connect_with_connector_lazy(tower::service_fn(move |to| dialer.clone().dial(to))))
}

/// Connections as the contract wants them: windows of flow control, and keep-alive, which finds a peer that is silently gone
/// within 15 s.
fn as_agreed(endpoint: Endpoint) -> Endpoint {
    endpoint
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
}

/// A URL that is none of a server, or one that cannot be connected to with the given files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` cannot be connected to: {why}")]
pub struct ConnectError {
    /// The URL as it was given.
    pub url: String,
    /// What is wrong with it.
    pub why: String,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server refused; one variant per row of the status table.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Somebody else did: the transport, a proxy, or a server newer than this client.
    #[error(transparent)]
    Other(#[from] Other),
    /// The answer breaks the contract.
    #[error("the server's answer is malformed: {0}")]
    Answer(#[from] ConvertError),
    /// The request has a value that the wire cannot carry; nothing was sent.
    #[error("the request cannot be sent: {0}")]
    Request(#[from] Unsendable),
}

impl CallError {
    /// An answer without a field that it must have.
    #[must_use]
    pub const fn missing(field: &'static str) -> Self {
        Self::Answer(ConvertError::missing(field))
    }

    /// An answer with a field that breaks a rule.
    #[must_use]
    pub fn malformed(field: &'static str, why: impl fmt::Display) -> Self {
        let problem = Problem::Invalid(why.to_string().into());
        Self::Answer(ConvertError { field: field.into(), problem })
    }

    /// Whether a stream may have ended because the connection or the server did: as above, or the
    /// transport broke in the middle of an answer.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match self {
            Self::Other(Other { code, reason, message: _ }) => {
                let broken = matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled);
                reason.is_none() && (broken || *code == Code::Internal)
            }
            Self::Refused(_) | Self::Answer(_) | Self::Request(_) => false,
        }
    }

    /// Whether TLS stood in the way: the text says what to do about it.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        matches!(self, Self::Other(Other { reason: None, message, .. }) if message.contains(tls::MARK))
    }

    /// Whether nobody answered, as far as can be told: the server may be away or never have been.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Other(Other { code, reason, message: _ }) => {
                *code == Code::Unavailable && reason.is_none()
            }
            Self::Refused(_) | Self::Answer(_) | Self::Request(_) => false,
        }
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        match Refusal::from_status(&status) {
            Ok(refusal) => Self::Refused(refusal),
            Err(other) => Self::Other(other),
        }
    }
}

/// Writes metadata onto every call before it is sent: trace context, a correlation id, credentials.
/// Runs in the task that calls, so the current span is the caller's.
#[derive(Clone, Default)]
pub struct CallHook(Option<Arc<Hook>>);

type Hook = dyn Fn(&mut CallMetadata<'_>) + Send + Sync;

impl CallHook {
    /// Writes nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Calls `hook` for every call.
    #[must_use]
    pub fn new(hook: impl Fn(&mut CallMetadata<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }
}

impl fmt::Debug for CallHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "CallHook(..)" } else { "CallHook(none)" })
    }
}

impl Interceptor for CallHook {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(hook) = &self.0 {
            hook(&mut CallMetadata(request.metadata_mut()));
        }
        Ok(request)
    }
}

/// The metadata of a call that is about to be sent.
#[derive(Debug)]
pub struct CallMetadata<'a>(&'a mut MetadataMap);

impl CallMetadata<'_> {
    /// Sets a value that is not to be told in logs nor kept by header compression; whether it was set,
    /// as with [`Self::set`].
    pub fn set_secret(&mut self, key: &str, value: &str) -> bool {
        let (Ok(key), Ok(mut value)) =
            (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value))
        else {
            return false;
        };
        value.set_sensitive(true);
        self.0.insert(key, value);
        true
    }

    /// Sets a value, in place of one that stood there. Whether it was: a key that is none, or a
    /// value that is not visible ASCII, is left out.
    pub fn set(&mut self, key: &str, value: &str) -> bool {
        let (Ok(key), Ok(value)) =
            (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value))
        else {
            return false;
        };
        self.0.insert(key, value);
        true
    }
}
