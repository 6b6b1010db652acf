//! How the engine is set up, and what can be lost by it.

use std::collections::HashMap;

use ::redis::aio::MultiplexedConnection;
use ::redis::{RedisResult, cmd};

use crate::ports::{Guarantee, Survives};

/// How an engine is set up.
pub(super) struct Setup {
    /// What it promises.
    pub(super) guarantee: Guarantee,
    /// The policy by which it drops keys that were not to go, if it has one.
    pub(super) evicts: Option<String>,
    /// It reads its data. Until it has, it says of itself that it has no append-only file.
    pub(super) is_loading: bool,
}

/// Asks an engine.
pub(super) async fn ask(
    connection: &mut MultiplexedConnection,
    engine: &str,
) -> RedisResult<Setup> {
    let info: String = cmd("INFO").query_async(connection).await?;
    let info: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let told = |name: &str| info.get(name).copied().unwrap_or_default();
    // Who may not ask, or has no such command, is told so.
    let sync: RedisResult<HashMap<String, String>> =
        cmd("CONFIG").arg("GET").arg("appendfsync").query_async(connection).await;
    let sync = sync.ok().and_then(|mut all| all.remove("appendfsync"));
    let (survives, note) = judge(told("aof_enabled"), sync.as_deref());
    let engine = engine.replacen("Redis", &format!("Redis {}", told("redis_version")), 1);
    let policy = told("maxmemory_policy");
    let evicts = told("maxmemory") != "0" && policy.starts_with("allkeys");
    let guarantee = Guarantee { engine, survives, note: note.to_owned() };
    let is_loading = told("loading") == "1";
    Ok(Setup { guarantee, evicts: evicts.then(|| policy.to_owned()), is_loading })
}

fn judge(aof: &str, sync: Option<&str>) -> (Survives, &'static str) {
    match (aof, sync) {
        ("1", Some("always")) => (Survives::Power, ""),
        ("1", Some("everysec")) => (
            Survives::Processes,
            "appendfsync is everysec: the last seconds are lost with power, or if it dies while its disk lags",
        ),
        ("1", Some(_)) => (
            Survives::Processes,
            "appendfsync is no: all since the system's last sync is lost with power",
        ),
        ("1", None) => (
            Survives::Unknown,
            "it has an append-only file, and does not tell when it is synced (CONFIG GET appendfsync is not allowed)",
        ),
        ("0", _) => (
            Survives::Server,
            "it has no append-only file: all since its last snapshot is lost when it ends",
        ),
        _ => (Survives::Unknown, "it does not tell whether it has an append-only file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_does_not_tell_is_not_known() {
        let of = |aof, sync| judge(aof, sync).0;
        assert_eq!(of("1", Some("always")), Survives::Power);
        assert_eq!(of("1", Some("everysec")), Survives::Processes);
        assert_eq!(of("1", Some("no")), Survives::Processes);
        assert_eq!(of("0", Some("always")), Survives::Server);
        assert_eq!(of("1", None), Survives::Unknown);
        assert_eq!(of("", Some("always")), Survives::Unknown);
    }
}
