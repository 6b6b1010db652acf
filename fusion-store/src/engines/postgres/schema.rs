//! The schema in the database: which version it has, and the way to ours. Forward only.
//!
//! Every step is taken in a transaction under an advisory lock, so servers that start together take
//! it once. A database of a later version is left alone. A step that was shipped is never edited: the
//! golden dumps in `tests/golden` are of what it made.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::link::Failure;

/// The steps, in order; the version of the schema is how many were taken.
const STEPS: [&str; 2] = [include_str!("1.sql"), include_str!("2.sql")];
/// The version that this server reads and writes.
pub(super) const KNOWN: i32 = STEPS.len() as i32;
/// The name of the lock: "fusion" as a number.
const LOCK: i64 = 0x6675_7369_6f6e;

/// Brings the schema to [`KNOWN`] if it is older; gives the version that was found.
pub(super) async fn migrate(client: &Client) -> Result<i32, Failure> {
    let found = version(client).await?;
    if found >= KNOWN {
        return Ok(found);
    }
    client.batch_execute("BEGIN; SET LOCAL statement_timeout = 0").await?;
    client.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await?;
    // Another server may have been faster.
    let found = version(client).await?;
    if found == 0 {
        let table = "CREATE TABLE IF NOT EXISTS fusion_migrations (version integer PRIMARY KEY, \
             taken_at timestamptz NOT NULL DEFAULT now())";
        client.batch_execute(table).await?;
    }
    for (number, step) in (1..).zip(STEPS).filter(|(number, _)| *number > found) {
        client.batch_execute(step).await?;
        let note = "INSERT INTO fusion_migrations (version) VALUES ($1)";
        client.execute_typed(note, &[(&number, Type::INT4)]).await?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(found)
}

/// The version that the database has; 0 if it has none. Asked of the catalogue itself: `to_regclass` goes by what its
/// connection remembers, and says within a transaction that there is no table which another server has just made.
async fn version(client: &Client) -> Result<i32, Failure> {
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'fusion_migrations' \
         AND pg_catalog.pg_table_is_visible(oid))";
    if !client.query_typed_one(there, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let last = "SELECT coalesce(max(version), 0) FROM fusion_migrations";
    Ok(client.query_typed_one(last, &[]).await?.try_get(0)?)
}

/// The id of the state in the database, if it has one and the schema is there.
pub(super) async fn identity(client: &Client) -> Result<Option<Uuid>, Failure> {
    let row = match client.query_typed_opt("SELECT id::text FROM fusion_store", &[]).await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        row => row?,
    };
    let id = row.map(|row| row.try_get::<_, String>(0)).transpose()?;
    Ok(id.and_then(|id| Uuid::try_parse(&id).ok()))
}

/// Gives the state an id unless it has one; gives the one that it has.
pub(super) async fn name(client: &Client, new: Uuid) -> Result<Option<Uuid>, Failure> {
    let insert = "INSERT INTO fusion_store (id) VALUES ($1::text::uuid) ON CONFLICT DO NOTHING";
    client.execute_typed(insert, &[(&new.to_string(), Type::TEXT)]).await?;
    identity(client).await
}
