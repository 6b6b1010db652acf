//! The statements on the table of values, each atomic by itself.
//!
//! A version is drawn when the row is locked, so that the versions of a key grow also where writers
//! meet. One transaction alone writes many rows, in the order of their keys; sweeping leaves out what
//! is locked: so none waits for another in a circle.

use std::collections::BTreeMap;

use fusion_core::time::ServerTime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::link::Failure;
use crate::engines::key_end;
use crate::error::StoreError;
use crate::ports::{Expect, Item, Page, Put, Space, Version};

/// What a statement of [`put_all`] takes at most: rows, and bytes of values unless one has more.
const CHUNK_ROWS: usize = 1_000;
const CHUNK_BYTES: usize = 8 << 20;

const GET: &str = "SELECT key, value, version, expires_at FROM fusion_state \
     WHERE space = $1 AND key = $2";
const PUT: &str = "INSERT INTO fusion_state (space, key, value, version, expires_at) \
     SELECT space, key, value, nextval('fusion_version'), expires_at \
     FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::bigint[]) \
     AS new (space, key, value, expires_at) \
     ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, \
     version = nextval('fusion_version'), expires_at = excluded.expires_at RETURNING version";
const SWAP_ABSENT: &str = "INSERT INTO fusion_state AS old (space, key, value, version, expires_at) \
     VALUES ($1, $2, $3, nextval('fusion_version'), $4) \
     ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, \
     version = nextval('fusion_version'), expires_at = excluded.expires_at \
     WHERE old.expires_at <= $5 RETURNING version";
const SWAP_VERSION: &str = "UPDATE fusion_state SET value = $3, \
     version = nextval('fusion_version'), expires_at = $4 \
     WHERE space = $1 AND key = $2 AND version = $6 AND (expires_at IS NULL OR expires_at > $5) \
     RETURNING version";
const DELETE: &str = "DELETE FROM fusion_state WHERE space = $1 AND key = $2";
const SCAN: &str = "SELECT key, value, version, expires_at FROM fusion_state \
     WHERE space = $1 AND key >= $2 AND key > $3 AND key < $4 \
     AND (expires_at IS NULL OR expires_at > $5) ORDER BY key LIMIT $6";
const EXPIRE: &str = "DELETE FROM fusion_state WHERE ctid = ANY(ARRAY(\
     SELECT ctid FROM fusion_state WHERE expires_at <= $1 \
     ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))";

fn item(row: &Row) -> Result<Item, Failure> {
    let version: i64 = row.try_get(2)?;
    let expires_at: Option<i64> = row.try_get(3)?;
    Ok(Item {
        key: row.try_get(0)?,
        value: row.try_get(1)?,
        version: version_of(version)?,
        expires_at: expires_at.map(ServerTime::from_nanos),
    })
}

fn version_of(number: i64) -> Result<Version, Failure> {
    let found = u64::try_from(number).map(Version);
    found.map_err(|_| {
        let why = format!("the version {number} is below zero");
        StoreError::Corrupt { place: "fusion_state".to_owned(), at: 0, why }.into()
    })
}

fn nanos(at: Option<ServerTime>) -> Option<i64> {
    at.map(ServerTime::as_nanos)
}

pub(super) async fn get(
    client: &Client,
    space: Space,
    key: &[u8],
) -> Result<Option<Item>, Failure> {
    let which: [(&(dyn ToSql + Sync), Type); 2] =
        [(&space.as_str(), Type::TEXT), (&key, Type::BYTEA)];
    client.query_typed_opt(GET, &which).await?.map(|row| item(&row)).transpose()
}

pub(super) async fn put(client: &Client, put: &Put) -> Result<Version, Failure> {
    let rows = write(client, &[put]).await?;
    match rows.first() {
        Some(row) => version_of(row.try_get(0)?),
        None => Err(StoreError::Closed.into()),
    }
}

pub(super) async fn put_all(client: &Client, puts: &[Put]) -> Result<(), Failure> {
    // Of two for the same key the later one counts.
    let last: BTreeMap<_, _> =
        puts.iter().map(|put| ((put.space.as_str(), &put.key), put)).collect();
    let last: Vec<&Put> = last.into_values().collect();
    let chunks = chunks(&last);
    if let [one] = &chunks[..] {
        return write(client, one).await.map(drop);
    }
    client.batch_execute("BEGIN").await?;
    for chunk in chunks {
        write(client, chunk).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(())
}

/// Cuts what is written into what one statement takes.
fn chunks<'a, 'b>(mut puts: &'a [&'b Put]) -> Vec<&'a [&'b Put]> {
    let mut chunks = Vec::new();
    while !puts.is_empty() {
        let mut bytes = 0;
        let fits = puts.iter().take(CHUNK_ROWS).take_while(|put| {
            bytes += put.value.len();
            bytes <= CHUNK_BYTES
        });
        let (chunk, rest) = puts.split_at(fits.count().max(1));
        chunks.push(chunk);
        puts = rest;
    }
    chunks
}

async fn write(client: &Client, puts: &[&Put]) -> Result<Vec<Row>, Failure> {
    let spaces: Vec<&str> = puts.iter().map(|put| put.space.as_str()).collect();
    let keys: Vec<&[u8]> = puts.iter().map(|put| &*put.key).collect();
    let values: Vec<&[u8]> = puts.iter().map(|put| &*put.value).collect();
    let expiry: Vec<Option<i64>> = puts.iter().map(|put| nanos(put.expires_at)).collect();
    let all: [(&(dyn ToSql + Sync), Type); 4] = [
        (&spaces, Type::TEXT_ARRAY),
        (&keys, Type::BYTEA_ARRAY),
        (&values, Type::BYTEA_ARRAY),
        (&expiry, Type::INT8_ARRAY),
    ];
    Ok(client.query_typed(PUT, &all).await?)
}

/// The new version; none if something else is there than is expected, or nothing.
pub(super) async fn swap(
    client: &Client,
    put: &Put,
    expect: Expect,
    now: ServerTime,
) -> Result<Option<Version>, Failure> {
    let (space, expires_at, now) = (put.space.as_str(), nanos(put.expires_at), now.as_nanos());
    let (key, value) = (&*put.key, &*put.value);
    let mut with: Vec<(&(dyn ToSql + Sync), Type)> = vec![
        (&space, Type::TEXT),
        (&key, Type::BYTEA),
        (&value, Type::BYTEA),
        (&expires_at, Type::INT8),
        (&now, Type::INT8),
    ];
    let row = match expect {
        Expect::Absent => client.query_typed_opt(SWAP_ABSENT, &with).await?,
        Expect::Version(version) => {
            // One that no row can have.
            let version = i64::try_from(version.0).unwrap_or(-1);
            with.push((&version, Type::INT8));
            client.query_typed_opt(SWAP_VERSION, &with).await?
        }
    };
    row.map(|row| version_of(row.try_get(0)?)).transpose()
}

pub(super) async fn delete(client: &Client, space: Space, key: &[u8]) -> Result<bool, Failure> {
    let which: [(&(dyn ToSql + Sync), Type); 2] =
        [(&space.as_str(), Type::TEXT), (&key, Type::BYTEA)];
    Ok(client.execute_typed(DELETE, &which).await? > 0)
}

pub(super) async fn scan(
    client: &Client,
    space: Space,
    prefix: &[u8],
    after: &[u8],
    limit: usize,
    now: ServerTime,
) -> Result<Page, Failure> {
    let (end, now) = (key_end(prefix), now.as_nanos());
    let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let which: [(&(dyn ToSql + Sync), Type); 6] = [
        (&space.as_str(), Type::TEXT),
        (&prefix, Type::BYTEA),
        (&after, Type::BYTEA),
        (&end, Type::BYTEA),
        (&now, Type::INT8),
        (&one_more, Type::INT8),
    ];
    let rows = client.query_typed(SCAN, &which).await?;
    let items = rows.iter().take(limit).map(item).collect::<Result<_, _>>()?;
    Ok(Page { items, more: rows.len() > limit })
}

pub(super) async fn expire(
    client: &Client,
    now: ServerTime,
    limit: usize,
) -> Result<usize, Failure> {
    let (now, limit) = (now.as_nanos(), i64::try_from(limit).unwrap_or(i64::MAX));
    let which: [(&(dyn ToSql + Sync), Type); 2] = [(&now, Type::INT8), (&limit, Type::INT8)];
    let gone = client.execute_typed(EXPIRE, &which).await?;
    Ok(usize::try_from(gone).unwrap_or(usize::MAX))
}
