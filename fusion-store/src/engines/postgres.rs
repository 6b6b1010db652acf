//! State in PostgreSQL: a table of values by space and key, and views for people ([`schema`]).
//!
//! Every write is one transaction, durable on the server's terms when it returns. A write whose answer
//! was lost has happened or not, and once a later call was answered it will not happen any more
//! ([`link`]). Called by the server as [`State`]; the engine is one database that takes writes, alone or
//! with standbys behind it. Must never: alter a table that is not its own, go on in a database that is
//! not the one it began in, or wait without a limit. Tested by the conformance suite and
//! `tests/postgres.rs`, on a real engine.

mod link;
mod rows;
mod schema;
#[cfg(feature = "testing")]
pub(in crate::engines) mod trial;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::Pool;
use fusion_core::time::ServerTime;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::bridge::Bridge;
use super::{EngineSettings, Whose};
use crate::error::StoreError;
use crate::ports::{
    Expect, Guarantee, Item, Page, Put, Space, State, Survives, Swap, Version, check as check_value,
};
use link::{Connector, Failure, Links};

/// The limit of bringing an older schema to this version.
const MIGRATION: Duration = Duration::from_secs(600);

/// State in a database.
pub struct PostgresState {
    links: Arc<Links>,
    timeout: Duration,
    id: uuid::Uuid,
    guarantee: Guarantee,
    /// Last: what uses it is dropped before it.
    bridge: Bridge,
}

impl fmt::Debug for PostgresState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresState")
            .field("engine", &self.guarantee.engine)
            .finish_non_exhaustive()
    }
}

/// What a connection is made with, or what is wrong with the address and what is allowed.
fn config(settings: &EngineSettings) -> Result<Config, String> {
    let (rest, mode) = take_sslmode(&settings.url);
    let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
        format!(
            "an address such as postgres://fusion@db.example.org/fusion ({})",
            super::bridge::causes(&error)
        )
    })?;
    if !settings.url.starts_with("postgres://") && !settings.url.starts_with("postgresql://") {
        return Err("an address that begins with postgres://".to_owned());
    }
    if config.get_password().is_some() {
        return Err("without a password, which is read from state.password_file".to_owned());
    }
    if config.get_user().is_none() || config.get_dbname().is_none() || config.get_hosts().is_empty()
    {
        return Err("with a user, a host and a database: postgres://USER@HOST/DATABASE".to_owned());
    }
    let is_near = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        Host::Unix(_) => true,
    });
    let is_tls =
        match mode.as_deref() {
            Some("verify-full") => true,
            Some("disable") => false,
            None => settings.tls.is_some() || !is_near,
            Some(_) => return Err(
                "with sslmode=verify-full or sslmode=disable: all others let anybody in between"
                    .to_owned(),
            ),
        };
    match (is_tls, &settings.tls) {
        (true, None) => {
            Err("with state.ca_file beside it, or with sslmode=disable if plaintext is meant"
                .to_owned())
        }
        (false, Some(_)) => Err("without sslmode=disable, because state.ca_file is set".to_owned()),
        _ => {
            config.ssl_mode(if is_tls { SslMode::Require } else { SslMode::Disable });
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            config.connect_timeout(settings.connect_timeout);
            if let Some(password) = &settings.password {
                config.password(password.expose());
            }
            Ok(config)
        }
    }
}

/// The address without its `sslmode`, and that: the client knows fewer of them than people do.
fn take_sslmode(url: &str) -> (String, Option<String>) {
    let Some((place, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let mode = query.split('&').find_map(|part| part.strip_prefix("sslmode="));
    let rest: Vec<_> = query.split('&').filter(|part| !part.starts_with("sslmode=")).collect();
    let rest =
        if rest.is_empty() { place.to_owned() } else { format!("{place}?{}", rest.join("&")) };
    (rest, mode.map(str::to_owned))
}

/// What is wrong with the address, said as what it must be.
///
/// # Errors
/// See above.
pub fn check(settings: &EngineSettings) -> Result<(), String> {
    config(settings).map(drop)
}

/// What the engine is called where people read it: no user and no password.
fn name_of(config: &Config) -> String {
    let ports = config.get_ports();
    let place = |(number, host): (usize, &Host)| {
        let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => format!("{}:{port}", path.display()),
        }
    };
    let places: Vec<_> = config.get_hosts().iter().enumerate().map(place).collect();
    format!("PostgreSQL at {}/{}", places.join(","), config.get_dbname().unwrap_or_default())
}

impl PostgresState {
    /// Opens the state in a database; brings its schema to this version, or makes it.
    ///
    /// # Errors
    /// `Refused` if the settings are wrong; `Away`; `FutureFormat` if a later version wrote it;
    /// `OtherState` if it is not the one that is wanted.
    pub fn open(settings: &EngineSettings, whose: Whose) -> Result<Self, StoreError> {
        let refused = |why: String| StoreError::Refused { what: "the state", why };
        let mut config =
            config(settings).map_err(|why| refused(format!("its address must be {why}")))?;
        let engine = name_of(&config);
        let name = format!("fusion-server {}", whose.server);
        config.application_name(&name);
        let tls = settings.tls.as_ref().map(|files| files.client()).transpose().map_err(refused)?;
        let wanted = Arc::new(OnceLock::new());
        let connector = Connector {
            engine: engine.clone(),
            config,
            tls: tls.map(|config| MakeRustlsConnect::new((*config).clone())),
            connect_timeout: settings.connect_timeout,
            timeout: settings.timeout,
            wanted: Arc::clone(&wanted),
        };
        let pool = Pool::builder(connector).max_size(settings.connections);
        let pool = pool.wait_timeout(Some(settings.timeout)).runtime(Runtime::Tokio1).build();
        let pool = pool.map_err(|error| refused(error.to_string()))?;
        let (bridge, links) = (Bridge::new("postgres", &*engine)?, Arc::new(Links::new(pool)));
        let beginning = begin(Arc::clone(&links), engine, name, whose, wanted);
        let limit = settings.connect_timeout + settings.timeout + MIGRATION;
        let (id, guarantee) = bridge.run("open", limit, beginning)?;
        Ok(Self { links, timeout: settings.timeout, id, guarantee, bridge })
    }

    /// The id of the state.
    #[must_use]
    pub fn id(&self) -> uuid::Uuid {
        self.id
    }

    fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let links = Arc::clone(&self.links);
        self.bridge.run(what, self.timeout, async move {
            work.await.map_err(|failure| links.pool.manager().tell(what, failure))
        })
    }
}

/// Finds out what the database is, and makes it what it should be.
async fn begin(
    links: Arc<Links>,
    engine: String,
    name: String,
    whose: Whose,
    wanted: Arc<OnceLock<uuid::Uuid>>,
) -> Result<(uuid::Uuid, Guarantee), StoreError> {
    let tell = |failure| links.pool.manager().tell("open", failure);
    links.end_earlier(&name).await.map_err(tell)?;
    let lease = links.lease().await.map_err(tell)?;
    let there = schema::identity(lease.client()).await.map_err(tell)?;
    if let Some(wanted) = whose.state.filter(|wanted| there != Some(*wanted)) {
        return Err(link::other(&engine, there, wanted));
    }
    let found = schema::migrate(lease.client()).await.map_err(tell)?;
    if found > schema::KNOWN {
        return Err(StoreError::FutureFormat {
            what: "the schema",
            place: engine,
            found: u32::try_from(found).unwrap_or(u32::MAX),
            known: u32::try_from(schema::KNOWN).unwrap_or_default(),
        });
    }
    let id = schema::name(lease.client(), whose.new_state).await.map_err(tell)?;
    let id = id.ok_or_else(|| StoreError::Corrupt {
        place: engine.clone(),
        at: 0,
        why: "the table fusion_store has no id".to_owned(),
    })?;
    let guarantee = guarantee(lease.client(), engine).await.map_err(tell)?;
    lease.done(());
    // It is asked for from now on, whenever a connection is made.
    wanted.get_or_init(|| id);
    Ok((id, guarantee))
}

/// What the server is set up to keep.
async fn guarantee(client: &tokio_postgres::Client, engine: String) -> Result<Guarantee, Failure> {
    let asked = "SELECT current_setting('server_version'), current_setting('fsync'), \
         current_setting('full_page_writes'), current_setting('synchronous_commit'), \
         current_setting('synchronous_standby_names')";
    let row = client.query_typed_one(asked, &[]).await?;
    let text = |column: usize| row.try_get::<_, String>(column);
    let is_on = |column| Ok::<_, tokio_postgres::Error>(text(column)? == "on");
    let (survives, mut note) = match (is_on(1)?, is_on(2)?) {
        (true, true) => (Survives::Power, String::new()),
        (true, false) => (
            Survives::Processes,
            "full_page_writes is off: a page may be torn when power is lost".to_owned(),
        ),
        (false, _) => (Survives::Processes, "fsync is off: all may be lost with power".to_owned()),
    };
    if text(4)?.is_empty() && note.is_empty() {
        note = "no standby confirms commits: one that is promoted may lack the last of them"
            .to_owned();
    }
    let engine = engine.replacen("PostgreSQL", &format!("PostgreSQL {}", text(0)?), 1);
    Ok(Guarantee { engine, survives, note })
}

impl State for PostgresState {
    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Result<Option<Item>, StoreError> {
        let (links, key) = (Arc::clone(&self.links), key.to_vec());
        let item = self.run("read from", async move {
            let lease = links.lease().await?;
            let item = rows::get(lease.client(), space, &key).await?;
            Ok(lease.done(item))
        })?;
        Ok(item.filter(|item| item.is_there(now)))
    }

    fn put(
        &self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, StoreError> {
        check_value(key, value)?;
        let put = Put { space, key: key.to_vec(), value: value.to_vec(), expires_at };
        let links = Arc::clone(&self.links);
        self.run("write to", async move {
            let lease = links.lease().await?;
            let version = rows::put(lease.client(), &put).await?;
            Ok(lease.done(version))
        })
    }

    fn put_all(&self, puts: &[Put]) -> Result<(), StoreError> {
        puts.iter().try_for_each(|put| check_value(&put.key, &put.value))?;
        if puts.is_empty() {
            return Ok(());
        }
        let (links, puts) = (Arc::clone(&self.links), puts.to_vec());
        self.run("write to", async move {
            let lease = links.lease().await?;
            rows::put_all(lease.client(), &puts).await?;
            lease.done(());
            Ok(())
        })
    }

    fn compare_and_swap(
        &self,
        space: Space,
        key: &[u8],
        expect: Expect,
        value: &[u8],
        expires_at: Option<ServerTime>,
        now: ServerTime,
    ) -> Result<Swap, StoreError> {
        check_value(key, value)?;
        let put = Put { space, key: key.to_vec(), value: value.to_vec(), expires_at };
        let links = Arc::clone(&self.links);
        self.run("write to", async move {
            let lease = links.lease().await?;
            if let Some(version) = rows::swap(lease.client(), &put, expect, now).await? {
                return Ok(lease.done(Swap::Done(version)));
            }
            let there = rows::get(lease.client(), space, &put.key).await?;
            let there = there.filter(|item| item.is_there(now));
            Ok(lease.done(Swap::Conflict(there)))
        })
    }

    fn delete(&self, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        let (links, key) = (Arc::clone(&self.links), key.to_vec());
        self.run("write to", async move {
            let lease = links.lease().await?;
            let gone = rows::delete(lease.client(), space, &key).await?;
            Ok(lease.done(gone))
        })
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Result<Page, StoreError> {
        let (links, prefix) = (Arc::clone(&self.links), prefix.to_vec());
        let (after, limit) = (after.unwrap_or_default().to_vec(), limit.max(1));
        self.run("read from", async move {
            let lease = links.lease().await?;
            let page = rows::scan(lease.client(), space, &prefix, &after, limit, now).await?;
            Ok(lease.done(page))
        })
    }

    fn expire(&self, now: ServerTime, limit: usize) -> Result<usize, StoreError> {
        let links = Arc::clone(&self.links);
        self.run("write to", async move {
            let lease = links.lease().await?;
            let gone = rows::expire(lease.client(), now, limit).await?;
            Ok(lease.done(gone))
        })
    }

    fn guarantee(&self) -> Guarantee {
        self.guarantee.clone()
    }
}
