//! File, environment and flags as one tree; the later overrides the former.

use std::path::PathBuf;

use toml::{Table, Value};

use super::{ConfigFaults, Fault};

/// What the names of our environment variables begin with; `__` stands between the parts of a key.
pub const ENV_PREFIX: &str = "FUSION_SERVER__";

/// Where configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if one was given.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with [`ENV_PREFIX`] are left alone.
    pub env: Vec<(String, String)>,
    /// Flags as dotted keys with their values.
    pub flags: Vec<(&'static str, String)>,
}

impl Sources {
    /// The tree, with what overrides in place.
    pub(super) fn overlaid(&self) -> Result<Table, ConfigFaults> {
        let mut tree = self.read()?;
        for (name, text) in &self.env {
            if let Some(key) = name.strip_prefix(ENV_PREFIX) {
                let parts: Vec<String> =
                    key.split("__").map(|part| part.to_ascii_lowercase()).collect();
                // A password of digits is none the less a text.
                let is_text = parts.last().is_some_and(|last| last == "password");
                let value = if is_text { Value::String(text.clone()) } else { scalar(text) };
                put(&mut tree, &parts, value);
            }
        }
        for (key, text) in &self.flags {
            let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
            put(&mut tree, &parts, Value::String(text.clone()));
        }
        Ok(tree)
    }

    fn read(&self) -> Result<Table, ConfigFaults> {
        let Some(path) = &self.file else { return Ok(Table::new()) };
        let fault = |value: String, allowed: String| {
            ConfigFaults(vec![Fault { key: "--config".to_owned(), value, allowed }])
        };
        let shown = format!("{:?}", path.display().to_string());
        let text = std::fs::read_to_string(path)
            .map_err(|error| fault(shown.clone(), format!("a file that can be read ({error})")))?;
        text.parse::<Table>()
            .map_err(|error| fault(shown, format!("a TOML file\n{}", error.to_string().trim_end())))
    }
}

/// What a variable means: numbers, truth values, lists and inline tables as TOML writes them, all
/// else a text without quotes.
fn scalar(text: &str) -> Value {
    let parsed =
        format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
    match parsed {
        Some(Value::Datetime(_)) | None => Value::String(text.to_owned()),
        Some(value) => value,
    }
}

/// Puts a value at a key. Where the tree has a text and the key goes on below it (or the reverse),
/// the text is the table's `address`: that is the short form of a listener, the one such case.
fn put(tree: &mut Table, parts: &[String], value: Value) {
    let Some((first, rest)) = parts.split_first() else { return };
    if rest.is_empty() {
        match (tree.get_mut(first), value) {
            (Some(Value::Table(table)), Value::String(text)) => {
                table.insert("address".to_owned(), Value::String(text));
            }
            (_, value) => {
                tree.insert(first.clone(), value);
            }
        }
        return;
    }
    let below = tree.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
    if !below.is_table() {
        let short = std::mem::replace(below, Value::Table(Table::new()));
        if let Value::Table(table) = below {
            table.insert("address".to_owned(), short);
        }
    }
    if let Value::Table(table) = below {
        put(table, rest, value);
    }
}
