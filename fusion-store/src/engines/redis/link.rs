//! The connection: one, for all calls, made anew when anything failed on it.
//!
//! Each connection of a server has a number, larger than those before it, which every script compares:
//! what was sent over a connection that was given up and is read later does nothing. A script also
//! compares the id of the state: what was emptied, or put back, is found out by the next call.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, ConnectionAddr, RedisConnectionInfo, Script, Value};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use uuid::Uuid;

use super::setup::{self, Setup};
use crate::engines::Whose;
use crate::engines::bridge::causes;
use crate::error::StoreError;
use crate::ports::Guarantee;

/// The version of the names and values of keys.
const FORMAT: u32 = 1;

/// How connections are made, and the one that there is.
pub(super) struct Links {
    pub(super) engine: String,
    pub(super) address: ConnectionAddr,
    pub(super) login: RedisConnectionInfo,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) connect_timeout: Duration,
    pub(super) prefix: String,
    pub(super) whose: Whose,
    /// The id of the state, once it is known.
    pub(super) id: OnceLock<Uuid>,
    pub(super) guarantee: Mutex<Option<Guarantee>>,
    /// Held while a connection is being made.
    pub(super) making: tokio::sync::Mutex<()>,
    pub(super) link: Mutex<Option<Link>>,
}

/// A connection; a cheap handle.
#[derive(Clone)]
pub(super) struct Link {
    connection: MultiplexedConnection,
    number: String,
    carrier: AbortHandle,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Links {
    pub(super) fn away(&self, what: &'static str, why: String) -> StoreError {
        StoreError::Away { what, engine: self.engine.clone(), why }
    }

    /// Runs a script and gives its answer after the first word, which is `ok` or is handed over too.
    pub(super) async fn call(
        self: &Arc<Self>,
        what: &'static str,
        script: &Script,
        arguments: &[Vec<u8>],
    ) -> Result<(String, Vec<Value>), StoreError> {
        let mut lease = self.lease().await?;
        let mut call = script.prepare_invoke();
        let id = self.id.get().map(Uuid::to_string).unwrap_or_default();
        let number = &lease.link.number;
        call.arg(&self.prefix).arg(id).arg(self.whose.server.to_string()).arg(number);
        for argument in arguments {
            call.arg(&**argument);
        }
        let answer: Result<Vec<Value>, _> = call.invoke_async(&mut lease.link.connection).await;
        let answer = answer.map_err(|error| self.away(what, causes(&error)))?;
        let (word, rest) = self.read(what, answer)?;
        lease.is_well = true;
        Ok((word, rest))
    }

    /// Takes the word off an answer.
    fn read(
        &self,
        what: &'static str,
        answer: Vec<Value>,
    ) -> Result<(String, Vec<Value>), StoreError> {
        let mut answer = answer.into_iter();
        let word = text(answer.next()).unwrap_or_default();
        let mut next = || text(answer.next()).unwrap_or_default();
        match &*word {
            "other" => {
                let found = next();
                let wanted = self.id.get().or(self.whose.state.as_ref());
                Err(StoreError::OtherState {
                    engine: self.engine.clone(),
                    found: if found.is_empty() {
                        "no state of Fusion".to_owned()
                    } else {
                        format!("state {found}")
                    },
                    wanted: wanted.map(Uuid::to_string).unwrap_or_default(),
                })
            }
            "future" => Err(StoreError::FutureFormat {
                what: "the state",
                place: self.engine.clone(),
                found: next().parse().unwrap_or(u32::MAX),
                known: FORMAT,
            }),
            "stale" => {
                let why = "another connection of this server has taken over".to_owned();
                Err(self.away(what, why))
            }
            _ => Ok((word, answer.collect())),
        }
    }

    async fn lease(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let of = |link: &Option<Link>| link.clone().filter(|link| !link.carrier.is_finished());
        let known = of(&lock(&self.link));
        let link = match known {
            Some(link) => link,
            None => {
                let _one = self.making.lock().await;
                // Another call may have made it meanwhile.
                let made = of(&lock(&self.link));
                match made {
                    Some(link) => link,
                    None => self.connect().await?,
                }
            }
        };
        Ok(Lease { links: Arc::clone(self), link, is_well: false })
    }

    /// Makes the connection.
    pub(super) async fn connect(&self) -> Result<Link, StoreError> {
        let limit = self.connect_timeout;
        match tokio::time::timeout(limit, self.say_hello()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.away("connect to", format!("it has not answered within {limit:?}"))),
        }
    }

    async fn say_hello(&self) -> Result<Link, StoreError> {
        let mut link = self.dial().await?;
        let held = AbortOnDrop(Some(link.carrier.clone()));
        let Setup { guarantee, evicts, is_loading } =
            setup::ask(&mut link.connection, &self.engine)
                .await
                .map_err(|error| self.away("connect to", causes(&error)))?;
        if is_loading {
            return Err(self.away("connect to", "it reads its data".to_owned()));
        }
        if let Some(policy) = evicts {
            let why = format!(
                "{} drops keys when its memory is full: set its maxmemory-policy, which is `{policy}`, to noeviction",
                self.engine
            );
            return Err(StoreError::Refused { what: "the state", why });
        }
        let wanted = self.id.get().or(self.whose.state.as_ref());
        let mut call = super::HELLO.prepare_invoke();
        call.arg(&self.prefix).arg(self.whose.server.to_string());
        call.arg(wanted.map(Uuid::to_string).unwrap_or_default());
        call.arg(self.whose.new_state.to_string()).arg(FORMAT);
        let answer: Result<Vec<Value>, _> = call.invoke_async(&mut link.connection).await;
        let answer = answer.map_err(|error| self.away("connect to", causes(&error)))?;
        let (_, rest) = self.read("connect to", answer)?;
        let mut rest = rest.into_iter();
        let id = text(rest.next()).and_then(|id| Uuid::try_parse(&id).ok());
        let id = id.ok_or_else(|| self.corrupt("its id is no UUID"))?;
        link.number = text(rest.next()).unwrap_or_default();
        self.id.get_or_init(|| id);
        self.note(guarantee);
        *lock(&self.link) = Some(link.clone());
        held.keep();
        Ok(link)
    }

    async fn dial(&self) -> Result<Link, StoreError> {
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
            &self.address
        else {
            return Err(self.away("connect to", "it is no address of a host".to_owned()));
        };
        let failed = |error: std::io::Error| self.away("connect to", causes(&error));
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        match &self.tls {
            None => self.carry(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(host.clone());
                let name = name.map_err(|error| self.away("connect to", error.to_string()))?;
                let connector = TlsConnector::from(Arc::clone(tls));
                let secured = connector.connect(name, stream).await.map_err(failed)?;
                self.carry(secured).await
            }
        }
    }

    async fn carry<S>(&self, stream: S) -> Result<Link, StoreError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        // The limits are ours.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&self.login, stream, config).await;
        let (connection, carried) = made.map_err(|error| self.away("log in to", causes(&error)))?;
        let carrier = Handle::current().spawn(carried).abort_handle();
        Ok(Link { connection, number: String::new(), carrier })
    }

    /// Keeps what the engine promises, and tells when that is not what it was.
    fn note(&self, guarantee: Guarantee) {
        let before = lock(&self.guarantee).replace(guarantee.clone());
        if before.is_some_and(|before| before != guarantee) {
            tracing::warn!(%guarantee, "the engine of the state is set up differently now");
        }
    }

    pub(super) fn corrupt(&self, why: &str) -> StoreError {
        StoreError::Corrupt { place: self.engine.clone(), at: 0, why: why.to_owned() }
    }
}

/// A text of an answer.
pub(super) fn text(value: Option<Value>) -> Option<String> {
    ::redis::from_redis_value(value?).ok()
}

/// The connection while it is used for a call. Unless the call was answered it is given up.
struct Lease {
    links: Arc<Links>,
    link: Link,
    is_well: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_well {
            return;
        }
        self.link.carrier.abort();
        let mut current = lock(&self.links.link);
        if current.as_ref().is_some_and(|current| current.number == self.link.number) {
            *current = None;
        }
    }
}

/// Ends what carries a connection that is not finished.
struct AbortOnDrop(Option<AbortHandle>);

impl AbortOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(carrier) = self.0.take() {
            carrier.abort();
        }
    }
}
