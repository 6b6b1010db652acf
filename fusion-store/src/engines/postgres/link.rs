//! Connections: how one is made, what is asked of it before it is used, and when it is given up.
//!
//! A connection on which anything failed, or was given up, is closed and *doubted*: what it had sent
//! may still be done by the process of the database that served it. Before anybody uses another one
//! that process is ended, so that no old write comes after a new one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, Pool, RecycleError, RecycleResult};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::schema;
use crate::engines::bridge::causes;
use crate::error::StoreError;

/// Between two looks whether a process of the database has ended.
const LOOK: Duration = Duration::from_millis(5);

/// What a session of the database goes by. A server whose acknowledgements are to outlive it must not
/// leave the sync for later.
const SET_UP: &str = "SELECT set_config('statement_timeout', $1, false), \
     set_config('idle_in_transaction_session_timeout', $1, false), \
     set_config('synchronous_commit', CASE current_setting('synchronous_commit') \
     WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false)";
const WHO: &str =
    "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()";
const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
     WHERE pid = $1 AND backend_start::text = $2";
const END_EARLIER: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
     WHERE application_name = $1 AND pid <> pg_backend_pid() AND datname = current_database()";

/// Why something did not come of a call.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client says so.
    Client(tokio_postgres::Error),
    /// It is an error of the store.
    Store(StoreError),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Client(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A process of the database.
#[derive(Debug, Clone)]
struct Backend {
    pid: i32,
    begun: String,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    backend: Backend,
    carrier: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// Makes connections.
pub(super) struct Connector {
    pub(super) engine: String,
    pub(super) config: Config,
    pub(super) tls: Option<MakeRustlsConnect>,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
    /// The id that the state must have, once that is known.
    pub(super) wanted: Arc<OnceLock<Uuid>>,
}

impl Connector {
    fn away(&self, what: &'static str, why: String) -> StoreError {
        StoreError::Away { what, engine: self.engine.clone(), why }
    }

    /// What is told of a failure.
    pub(super) fn tell(&self, what: &'static str, failure: Failure) -> StoreError {
        match failure {
            Failure::Store(error) => error,
            Failure::Client(error) => self.away(what, causes(&error)),
        }
    }

    async fn connect(&self) -> Result<Link, Failure> {
        let (client, carrier) = match &self.tls {
            Some(tls) => self.connect_with(tls.clone()).await?,
            None => self.connect_with(NoTls).await?,
        };
        let limit = self.timeout.as_millis().to_string();
        // Held from now on, so that it is closed if what follows fails.
        let mut link = Link { client, backend: Backend { pid: 0, begun: String::new() }, carrier };
        let limit = [(&limit as &(dyn ToSql + Sync), Type::TEXT)];
        // All in one round trip: the way may be long.
        let (set_up, who, whose) = tokio::join!(
            link.client.query_typed(SET_UP, &limit),
            link.client.query_typed_one(WHO, &[]),
            self.see_whose(&link.client),
        );
        set_up?;
        let row = who?;
        whose?;
        link.backend = Backend { pid: row.try_get(0)?, begun: row.try_get(1)? };
        Ok(link)
    }

    /// Sees that the state is the one that is wanted, once that is known.
    async fn see_whose(&self, client: &Client) -> Result<(), Failure> {
        let Some(wanted) = self.wanted.get() else { return Ok(()) };
        let found = schema::identity(client).await?;
        if found == Some(*wanted) {
            Ok(())
        } else {
            Err(other(&self.engine, found, *wanted).into())
        }
    }

    async fn connect_with<T>(&self, tls: T) -> Result<(Client, AbortHandle), Failure>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let (client, connection) = self.config.connect(tls).await?;
        // What ends it is told to who calls next.
        let carried = Handle::current().spawn(async move { drop(connection.await) });
        Ok((client, carried.abort_handle()))
    }
}

/// That the state is another one.
pub(super) fn other(engine: &str, found: Option<Uuid>, wanted: Uuid) -> StoreError {
    let found = found.map_or("no state of Fusion".to_owned(), |found| format!("state {found}"));
    StoreError::OtherState { engine: engine.to_owned(), found, wanted: wanted.to_string() }
}

impl managed::Manager for Connector {
    type Type = Link;
    type Error = StoreError;

    async fn create(&self) -> Result<Link, StoreError> {
        match tokio::time::timeout(self.connect_timeout, self.connect()).await {
            Ok(connected) => connected.map_err(|failure| self.tell("connect to", failure)),
            Err(_) => {
                let why = format!("it has not answered within {:?}", self.connect_timeout);
                Err(self.away("connect to", why))
            }
        }
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<StoreError> {
        if link.client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

/// The connections that there are, at most as many as are allowed.
pub(super) struct Links {
    pub(super) pool: Pool<Connector>,
    /// Processes of the database that may still do what was given up. Held while they are ended.
    doubted: Mutex<Vec<Backend>>,
    /// Those that were doubted since. Never held for longer than it takes to add one.
    new: std::sync::Mutex<Vec<Backend>>,
}

impl Links {
    pub(super) fn new(pool: Pool<Connector>) -> Self {
        Self { pool, doubted: Mutex::default(), new: std::sync::Mutex::default() }
    }

    /// A connection to work with, after all that was doubted has ended.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease, Failure> {
        let lease = self.any().await?;
        let mut doubted = self.doubted.lock().await;
        doubted.append(&mut self.lock());
        while let Some(backend) = doubted.last() {
            end(lease.client(), END, &[(&backend.pid, Type::INT4), (&backend.begun, Type::TEXT)])
                .await?;
            doubted.pop();
        }
        Ok(lease)
    }

    /// Ends what an earlier server of this name has left under way.
    pub(super) async fn end_earlier(self: &Arc<Self>, name: &str) -> Result<(), Failure> {
        let lease = self.any().await?;
        end(lease.client(), END_EARLIER, &[(&name, Type::TEXT)]).await?;
        lease.done(());
        Ok(())
    }

    async fn any(self: &Arc<Self>) -> Result<Lease, Failure> {
        // By itself: a connection that takes longer than the call that wanted it is there for the next one.
        let pool = self.pool.clone();
        let got = Handle::current().spawn(async move { pool.get().await }).await;
        let away = |why: String| self.pool.manager().away("get a connection to", why);
        let got = got.map_err(|broken| away(broken.to_string()))?;
        let object = got.map_err(|error| match error {
            managed::PoolError::Backend(error) => error,
            error => away(error.to_string()),
        })?;
        Ok(Lease { object: Some(object), links: Arc::clone(self) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Backend>> {
        self.new.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Ends processes of the database, and waits until they have ended.
async fn end(
    client: &Client,
    query: &str,
    which: &[(&(dyn ToSql + Sync), Type)],
) -> Result<(), Failure> {
    loop {
        let row = client.query_typed_one(query, which).await?;
        if row.try_get::<_, i64>(0)? == 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A connection in use. Unless the work was [`Lease::done`] it is closed when it is dropped, and doubted.
pub(super) struct Lease {
    object: Option<Object<Connector>>,
    links: Arc<Links>,
}

impl Lease {
    #[expect(clippy::expect_used, reason = "it is taken by what takes the lease alone")]
    pub(super) fn client(&self) -> &Client {
        &self.object.as_ref().expect("a lease has its connection").client
    }

    /// Gives the connection back: all that was asked of it was answered.
    pub(super) fn done<T>(mut self, outcome: T) -> T {
        drop(self.object.take());
        outcome
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            let link = Object::take(object);
            self.links.lock().push(link.backend.clone());
        }
    }
}
