//! Statements of tests, over a connection of their own.

#![allow(clippy::unwrap_used, reason = "for tests alone")]

use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::config;
use crate::engines::EngineSettings;
use crate::engines::bridge::Bridge;

/// Runs statements; what they give, a row on a line, columns apart by `|`.
pub(in crate::engines) fn sql(settings: &EngineSettings, statements: &str) -> String {
    let mut config = config(settings).unwrap();
    // A standby is asked as well: to be promoted.
    config.target_session_attrs(TargetSessionAttrs::Any);
    let statements = statements.to_owned();
    let bridge = Bridge::new("trial", "PostgreSQL").unwrap();
    let work = async move {
        let (client, connection) = config.connect(NoTls).await.unwrap();
        let carried = tokio::runtime::Handle::current().spawn(connection);
        let rows = client.simple_query(&statements).await.unwrap();
        drop(client);
        let _ = carried.await;
        Ok(rows.iter().filter_map(line).collect::<Vec<_>>().join("\n"))
    };
    bridge.run("ask", std::time::Duration::from_secs(60), work).unwrap()
}

fn line(message: &SimpleQueryMessage) -> Option<String> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    let columns: Vec<_> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
    Some(columns.join("|"))
}
