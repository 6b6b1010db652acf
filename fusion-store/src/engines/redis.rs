//! State in Redis: hashes of values by space, sorted sets of their keys, and scripts that act on them.
//!
//! Every call is one script, which Redis runs alone: so swaps compare, and many writes happen together.
//! What an acknowledgement outlives depends on how the engine is set up, and is asked for whenever a
//! connection is made ([`setup`]). A write whose answer was lost has happened or not, and once a later
//! call was answered it will not happen any more ([`link`]). The engine is one that takes writes, not a
//! cluster. Must never: go by the clock of Redis, leave a key to be evicted, go on in a state that is
//! not the one it began in, or wait without a limit. Tested by the conformance suite and
//! `tests/redis.rs`, on a real engine.

mod link;
mod setup;
#[cfg(feature = "testing")]
pub(in crate::engines) mod trial;

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::time::Duration;

use ::redis::{ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, Script, Value};
use fusion_core::time::ServerTime;
use uuid::Uuid;

use super::bridge::{Bridge, causes};
use super::{EngineSettings, Whose, key_end};
use crate::error::StoreError;
use crate::ports::{
    Expect, Guarantee, Item, Page, Put, Space, State, Swap, Version, check as check_value,
};
use link::Links;

/// Values swept by one script: while it runs Redis does nothing else.
const SWEPT: usize = 1_000;
/// Values written by one script: what Redis takes as arguments.
const PUT_MAX: usize = 250_000;

static HELLO: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("redis/hello.lua")));

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("redis/prelude.lua"), include_str!($file)))
        });)*
    };
}

scripts! {
    GET = "redis/get.lua";
    PUT = "redis/put.lua";
    SWAP = "redis/swap.lua";
    DELETE = "redis/delete.lua";
    SCAN = "redis/scan.lua";
    EXPIRE = "redis/expire.lua";
}

/// State in an engine.
pub struct RedisState {
    links: Arc<Links>,
    timeout: Duration,
    bridge: Bridge,
}

impl fmt::Debug for RedisState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisState").field("engine", &self.bridge.engine()).finish_non_exhaustive()
    }
}

/// Where it is and who logs in, or what is wrong with the address and what is allowed.
fn address(settings: &EngineSettings) -> Result<(ConnectionAddr, RedisConnectionInfo), String> {
    let example = "an address such as redis://fusion@cache.example.org:6379/0";
    let (plain, is_tls) = match settings.url.split_once("://") {
        Some(("redis", rest)) => (format!("redis://{rest}"), false),
        // The client, which knows no TLS here, is handed a connection that has it.
        Some(("rediss", rest)) => (format!("redis://{rest}"), true),
        _ => return Err(example.to_owned()),
    };
    let info = plain.as_str().into_connection_info();
    let info = info.map_err(|error| format!("{example} ({})", causes(&error)))?;
    let mut login = info.redis_settings().clone();
    if login.password().is_some() {
        return Err("without a password, which is read from state.password_file".to_owned());
    }
    let ConnectionAddr::Tcp(host, _) = info.addr() else { return Err(example.to_owned()) };
    let is_near =
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match (is_tls, &settings.tls) {
        (true, None) => {
            return Err("with state.ca_file beside it, because rediss is TLS".to_owned());
        }
        (false, Some(_)) => return Err("rediss://, because state.ca_file is set".to_owned()),
        (false, None) if !is_near && !settings.url.contains("?plaintext=true") => {
            return Err("rediss://, or end in ?plaintext=true if plaintext is meant".to_owned());
        }
        _ => {}
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.expose());
    }
    Ok((info.addr().clone(), login))
}

/// What is wrong with the address, said as what it must be.
///
/// # Errors
/// See above.
pub fn check(settings: &EngineSettings) -> Result<(), String> {
    address(settings).map(drop)
}

impl RedisState {
    /// Opens the state in an engine, or begins one.
    ///
    /// # Errors
    /// `Refused` if the settings are wrong or the engine drops keys; `Away`; `FutureFormat` if a later
    /// version wrote it; `OtherState` if it is not the one that is wanted.
    pub fn open(settings: &EngineSettings, whose: Whose) -> Result<Self, StoreError> {
        let refused = |why: String| StoreError::Refused { what: "the state", why };
        let (address, login) =
            address(settings).map_err(|why| refused(format!("its address must be {why}")))?;
        let tls = settings.tls.as_ref().map(|files| files.client()).transpose().map_err(refused)?;
        let engine = match &address {
            ConnectionAddr::Tcp(host, port) => format!("Redis at {host}:{port}/{}", login.db()),
            other => format!("Redis at {other}"),
        };
        let links = Arc::new(Links {
            engine: engine.clone(),
            address,
            login,
            tls,
            connect_timeout: settings.connect_timeout,
            prefix: settings.prefix.clone(),
            whose,
            id: OnceLock::new(),
            guarantee: Mutex::default(),
            making: tokio::sync::Mutex::default(),
            link: Mutex::default(),
        });
        let bridge = Bridge::new("redis", engine)?;
        let (dialling, limit) = (Arc::clone(&links), settings.connect_timeout + settings.timeout);
        bridge.run("open", limit, async move { dialling.connect().await.map(drop) })?;
        Ok(Self { links, timeout: settings.timeout, bridge })
    }

    /// The id of the state.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.links.id.get().copied().unwrap_or_default()
    }

    fn call(
        &self,
        what: &'static str,
        script: &'static Script,
        arguments: Vec<Vec<u8>>,
    ) -> Result<(String, Vec<Value>), StoreError> {
        let links = Arc::clone(&self.links);
        self.bridge.run(
            what,
            self.timeout,
            async move { links.call(what, script, &arguments).await },
        )
    }

    /// The only thing of an answer, a number.
    fn number(&self, answer: (String, Vec<Value>)) -> Result<u64, StoreError> {
        let number = link::text(answer.1.into_iter().next()).and_then(|text| text.parse().ok());
        number.ok_or_else(|| self.links.corrupt("a script gave no number"))
    }

    fn items(&self, values: Vec<Value>) -> Result<Vec<Item>, StoreError> {
        let bytes = |value| match value {
            Value::BulkString(bytes) => Ok(bytes),
            _ => Err(self.links.corrupt("a key has no value")),
        };
        let items: Vec<Vec<u8>> = values.into_iter().map(bytes).collect::<Result<_, _>>()?;
        items.chunks(3).map(|item| self.item(item)).collect()
    }

    fn item(&self, parts: &[Vec<u8>]) -> Result<Item, StoreError> {
        let read = |meta: &[u8]| {
            let meta = std::str::from_utf8(meta).ok()?;
            let (version, expiry) = match meta.split_once(' ') {
                None => (meta, None),
                Some((version, expiry)) => (version, Some(expiry_in(expiry)?)),
            };
            Some((Version(version.parse().ok()?), expiry))
        };
        match parts {
            [key, value, meta] => {
                let broken = || self.links.corrupt("a value has no version");
                let (version, expires_at) = read(meta).ok_or_else(broken)?;
                Ok(Item { key: key.clone(), value: value.clone(), version, expires_at })
            }
            _ => Err(self.links.corrupt("a key has no value")),
        }
    }
}

/// A time as 16 digits that are in the order of times.
fn expiry_out(at: ServerTime) -> Vec<u8> {
    format!("{:016x}", (at.as_nanos() ^ i64::MIN).cast_unsigned()).into_bytes()
}

fn expiry_in(text: &str) -> Option<ServerTime> {
    let digits = u64::from_str_radix(text, 16).ok()?;
    Some(ServerTime::from_nanos(digits.cast_signed() ^ i64::MIN))
}

fn put_out(space: Space, key: &[u8], value: &[u8], expires_at: Option<ServerTime>) -> [Vec<u8>; 4] {
    let expiry = expires_at.map(expiry_out).unwrap_or_default();
    [space.as_str().into(), key.to_vec(), value.to_vec(), expiry]
}

impl State for RedisState {
    fn get(&self, space: Space, key: &[u8], now: ServerTime) -> Result<Option<Item>, StoreError> {
        let which = vec![space.as_str().into(), key.to_vec()];
        let (_, values) = self.call("read from", &GET, which)?;
        Ok(self.items(values)?.pop().filter(|item| item.is_there(now)))
    }

    fn put(
        &self,
        space: Space,
        key: &[u8],
        value: &[u8],
        expires_at: Option<ServerTime>,
    ) -> Result<Version, StoreError> {
        check_value(key, value)?;
        let put = put_out(space, key, value, expires_at).into();
        let answer = self.call("write to", &PUT, put)?;
        self.number(answer).map(Version)
    }

    fn put_all(&self, puts: &[Put]) -> Result<(), StoreError> {
        puts.iter().try_for_each(|put| check_value(&put.key, &put.value))?;
        if puts.len() > PUT_MAX {
            let why = format!("there are {}, {PUT_MAX} are taken at once", puts.len());
            return Err(StoreError::Refused { what: "values", why });
        }
        if puts.is_empty() {
            return Ok(());
        }
        let all =
            puts.iter().flat_map(|put| put_out(put.space, &put.key, &put.value, put.expires_at));
        self.call("write to", &PUT, all.collect()).map(drop)
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
        let mut arguments = Vec::from(put_out(space, key, value, expires_at));
        arguments.push(match expect {
            Expect::Absent => Vec::new(),
            Expect::Version(version) => version.0.to_string().into_bytes(),
        });
        arguments.push(expiry_out(now));
        let (word, values) = self.call("write to", &SWAP, arguments)?;
        match &*word {
            "conflict" => Ok(Swap::Conflict(self.items(values)?.pop())),
            _ => self.number((word, values)).map(|version| Swap::Done(Version(version))),
        }
    }

    fn delete(&self, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        let which = vec![space.as_str().into(), key.to_vec()];
        let answer = self.call("write to", &DELETE, which)?;
        Ok(self.number(answer)? > 0)
    }

    fn scan(
        &self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now: ServerTime,
    ) -> Result<Page, StoreError> {
        let limit = limit.max(1);
        let low = match after {
            Some(after) if after >= prefix => [b"(", after].concat(),
            _ => [b"[", prefix].concat(),
        };
        let high = [b"(", &*key_end(prefix)].concat();
        let many = limit.saturating_add(1).to_string().into_bytes();
        let which = vec![space.as_str().into(), low, high, many, expiry_out(now)];
        let (_, values) = self.call("read from", &SCAN, which)?;
        let mut items = self.items(values)?;
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(Page { items, more })
    }

    fn expire(&self, now: ServerTime, limit: usize) -> Result<usize, StoreError> {
        let mut gone = 0;
        while gone < limit {
            let many = SWEPT.min(limit - gone);
            let which = vec![expiry_out(now), many.to_string().into_bytes()];
            let answer = self.call("write to", &EXPIRE, which)?;
            let swept = usize::try_from(self.number(answer)?).unwrap_or(many);
            gone += swept;
            if swept < many {
                break;
            }
        }
        Ok(gone)
    }

    fn guarantee(&self) -> Guarantee {
        let known = self.links.guarantee.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        known.clone().unwrap_or_else(|| Guarantee {
            engine: self.bridge.engine().to_owned(),
            survives: crate::ports::Survives::Unknown,
            note: String::new(),
        })
    }
}
