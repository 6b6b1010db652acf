//! What is in force, as a file that says the same.

use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

use super::{AgentConfig, ProcessConfig};

fn text(value: &dyn fmt::Display) -> Value {
    Value::String(value.to_string())
}

fn path(path: &Option<PathBuf>) -> Option<Value> {
    path.as_ref().map(|path| text(&path.display()))
}

fn number(value: u64) -> Value {
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

fn put(table: &mut Table, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        table.insert(key.to_owned(), value);
    }
}

/// The settings of an agent that are the same for all trees of a process, and the filter of its log.
pub(super) fn of(agent: &Option<AgentConfig>) -> Table {
    let mut table = Table::new();
    if let Some(agent) = agent {
        agent.settings(&mut table);
    }
    put(&mut table, "log", Some(text(&super::DEFAULT_LOG)));
    table
}

impl ProcessConfig {
    /// What is in force, as a file that says the same.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut table = Table::new();
        let mut trees = Vec::new();
        for agent in &self.agents {
            agent.settings(&mut table);
            let mut tree = Table::new();
            put(&mut tree, "view", Some(text(&agent.view)));
            put(&mut tree, "root", Some(text(&agent.root.display())));
            trees.push(tree);
        }
        match &self.spools {
            Some(_) => {
                put(&mut table, "spool", path(&self.spools));
                let trees = trees.into_iter().map(Value::Table).collect();
                put(&mut table, "tree", Some(Value::Array(trees)));
            }
            None => table.extend(trees.into_iter().flatten()),
        }
        put(&mut table, "http_listen", self.http_listen.as_ref().map(|address| text(address)));
        put(&mut table, "address_file", path(&self.address_file));
        put(&mut table, "log", Some(text(&self.log)));
        table.to_string()
    }
}

impl AgentConfig {
    /// What is the same for all trees of a process, and its spool.
    fn settings(&self, table: &mut Table) {
        let mut set = |key: &str, value: Option<Value>| put(table, key, value);
        set("server", Some(text(&self.servers)));
        set("ca", path(&self.tls.ca));
        set("client_certificate", path(&self.tls.certificate));
        set("client_key", path(&self.tls.key));
        set("token_file", path(&self.token_file));
        set("agent_id", self.agent_id.as_ref().map(|id| text(id)));
        set("spool", Some(text(&self.spool.display())));
        set("spool_bytes", Some(number(self.spool_bytes)));
        set("max_watches", self.max_watches.map(number));
        set("scan_workers", Some(number(self.scan_workers.get() as u64)));
        set("scan_rate", self.scan_rate.map(|rate| number(u64::from(rate.get()))));
        let above = self.scan_yield_above.map(humantime::format_duration);
        set("scan_yield_above", above.as_ref().map(|span| text(span)));
        set("call_limit", Some(text(&humantime::format_duration(self.call_limit))));
        set("placement_rate", Some(number(u64::from(self.placement_rate))));
        let timeout = self.session_timeout.map(humantime::format_duration);
        set("session_timeout", timeout.as_ref().map(|span| text(span)));
    }
}
