//! Single values: each is read, or its fault is kept and the default stands in for it.

use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use fusion_proto::convert::session::Withheld;
use fusion_proto::limits;
use fusion_store::engines::Secret;
use globset::{Glob, GlobBuilder, GlobSetBuilder};
use toml::{Table, Value};
use uuid::Uuid;

use crate::config::bytes;
use crate::config::print::{HIDDEN, written};
use crate::config::{ConfigFaults, Fault};

/// Keeps the faults.
#[derive(Debug, Default)]
pub(super) struct Checker {
    faults: Vec<Fault>,
}

impl Checker {
    pub(super) fn finish<T>(self, value: T) -> Result<T, ConfigFaults> {
        if self.faults.is_empty() { Ok(value) } else { Err(ConfigFaults(self.faults)) }
    }

    pub(super) fn fault(&mut self, key: &str, value: &Value, allowed: &str) {
        let value = match value {
            Value::Table(_) => "{ … }".to_owned(),
            Value::Array(_) => "[ … ]".to_owned(),
            other => other.to_string(),
        };
        let (key, allowed) = (key.to_owned(), format!("must be {allowed}"));
        self.faults.push(Fault { key, value, allowed });
    }

    /// Refuses what no setting is called.
    pub(super) fn unknown(&mut self, section: &str, unknown: &Table) {
        for (name, value) in unknown {
            let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            // It may be the password, whose name was mistyped.
            let hidden = Value::String(HIDDEN.to_owned());
            let shown = if section == "state" { &hidden } else { value };
            self.fault(&key, shown, "left out: there is no such setting");
        }
    }

    pub(super) fn truth(&mut self, key: &str, value: Option<Value>, default: bool) -> bool {
        self.leaf(key, value, default, "true or false", |value| value.as_bool())
    }

    pub(super) fn count(
        &mut self,
        key: &str,
        value: Option<Value>,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        let allowed = format!("a whole number from {} to {}", range.start(), range.end());
        self.leaf(key, value, default, &allowed, |value| {
            usize::try_from(value.as_integer()?).ok().filter(|number| range.contains(number))
        })
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        value: Option<Value>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let allowed = format!(
            "a duration with its unit (`30s`, `10min`, `1h`) from {} to {}",
            written(*range.start()),
            written(*range.end()),
        );
        // A default that another setting has made impossible must be told, not used.
        let value = match value {
            None if !range.contains(&default) => Some(Value::String(written(default))),
            given => given,
        };
        self.leaf(key, value, default, &allowed, |value| {
            humantime::parse_duration(value.as_str()?).ok().filter(|span| range.contains(span))
        })
    }

    /// A number of bytes with its unit.
    pub(super) fn bytes(
        &mut self,
        key: &str,
        value: Option<Value>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let (least, most) = (bytes::written(*range.start()), bytes::written(*range.end()));
        let allowed = format!("a size with its unit (`512MiB`, `8GiB`) from {least} to {most}");
        self.leaf(key, value, None, &allowed, |value| {
            bytes::read(value.as_str()?).filter(|size| range.contains(size)).map(Some)
        })
    }

    pub(super) fn path(&mut self, key: &str, value: Option<Value>) -> Option<PathBuf> {
        self.leaf(key, value, None, "a path", |value| {
            value.as_str().filter(|text| !text.is_empty()).map(|text| Some(PathBuf::from(text)))
        })
    }

    /// A text; what it must be, beyond that, is said by who knows.
    pub(super) fn text(
        &mut self,
        key: &str,
        value: Option<Value>,
        allowed: &str,
        is_allowed: impl FnOnce(&str) -> bool,
    ) -> Option<String> {
        self.leaf(key, value, None, allowed, |value| {
            value.as_str().filter(|text| is_allowed(text)).map(|text| Some(text.to_owned()))
        })
    }

    /// A text that is never shown.
    pub(super) fn secret(&mut self, key: &str, value: Option<Value>) -> Option<Secret> {
        let allowed = "a text, best in the environment; in a file, name that as password_file";
        match value? {
            Value::String(text) if !text.is_empty() => Some(Secret::new(text)),
            _ => {
                self.fault(key, &Value::String(HIDDEN.to_owned()), allowed);
                None
            }
        }
    }

    pub(super) fn id(&mut self, key: &str, value: Option<Value>) -> Option<Uuid> {
        self.leaf(key, value, None, "a UUID", |value| {
            value.as_str().and_then(|text| Uuid::try_parse(text).ok()).map(Some)
        })
    }

    pub(super) fn address(
        &mut self,
        key: &str,
        value: Option<Value>,
        default: SocketAddr,
    ) -> SocketAddr {
        let allowed = "HOST:PORT, where HOST is an address of this host or resolves to one";
        self.leaf(key, value, default, allowed, |value| {
            let text = value.as_str()?;
            let mut found: Vec<SocketAddr> = text.to_socket_addrs().ok()?.collect();
            found.sort_by_key(SocketAddr::is_ipv6);
            found.into_iter().next()
        })
    }

    pub(super) fn filter(&mut self, key: &str, value: Option<Value>, default: String) -> String {
        let allowed = "log directives such as `info` or `info,fusion_server=debug`";
        self.leaf(key, value, default, allowed, |value| {
            let text = value.as_str()?;
            tracing_subscriber::EnvFilter::try_new(text).ok().map(|_| text.to_owned())
        })
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        value: Option<Value>,
        default: T,
        choices: &[(&str, T)],
    ) -> T {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let allowed = format!("one of {}", names.join(", "));
        self.leaf(key, value, default, &allowed, |value| {
            let text = value.as_str()?;
            choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice)
        })
    }

    pub(super) fn patterns(
        &mut self,
        key: &str,
        value: Option<Value>,
        default: &[String],
    ) -> Vec<String> {
        let mut all = GlobSetBuilder::new();
        let items = value.as_ref().and_then(Value::as_array).into_iter().flatten();
        for (number, item) in items.enumerate() {
            if let Some(glob) = glob(item) {
                all.add(glob);
            } else {
                let allowed = format!("a glob of 1 to {} bytes", limits::PATTERN_MAX);
                self.fault(&format!("{key}[{number}]"), item, &allowed);
            }
        }
        // As agents do it: one that cannot would tell nothing at all.
        let can_be_had = all.build().is_ok();
        let most = limits::EXCLUDE_MAX;
        let allowed = format!("at most {most} globs, and all together not too large");
        self.leaf(key, value, default.to_vec(), allowed, |value| {
            texts(value).filter(|texts| texts.len() <= most && can_be_had)
        })
    }

    pub(super) fn withheld(
        &mut self,
        key: &str,
        value: Option<Value>,
        default: Withheld,
    ) -> Withheld {
        self.leaf(key, value, default, "a list of \"owner\" and \"mode\"", |value| {
            let texts = texts(value)?;
            let has = |name: &str| texts.iter().any(|text| text == name);
            let withheld = Withheld { owner: has("owner"), mode: has("mode") };
            texts.iter().all(|text| ["owner", "mode"].contains(&&**text)).then_some(withheld)
        })
    }

    /// Addresses of NATS servers, without a secret in them.
    pub(super) fn servers(&mut self, key: &str, value: Option<Value>, most: usize) -> Vec<String> {
        let allowed = format!(
            "a list of 1 to {most} addresses nats://HOST:PORT or tls://HOST:PORT; a secret goes into \
             change_log.credentials_file"
        );
        let is_server = |text: &String| {
            let rest = text.strip_prefix("nats://").or_else(|| text.strip_prefix("tls://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '/', ' ']))
        };
        self.leaf(key, value, Vec::new(), allowed, |value| {
            let counts = |texts: &Vec<String>| (1..=most).contains(&texts.len());
            texts(value).filter(|texts| counts(texts) && texts.iter().all(is_server))
        })
    }

    /// What names of streams begin with.
    pub(super) fn prefix(&mut self, key: &str, value: Option<Value>, default: String) -> String {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        self.leaf(key, value, default, "1 to 32 letters, digits, `-` and `_`", |value| {
            let is_one = |text: &&str| (1..=32).contains(&text.len()) && text.chars().all(known);
            value.as_str().filter(is_one).map(str::to_owned)
        })
    }

    fn leaf<T>(
        &mut self,
        key: &str,
        value: Option<Value>,
        default: T,
        allowed: impl Display,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> T {
        let Some(value) = value else { return default };
        match read(&value) {
            Some(read) => read,
            None => {
                self.fault(key, &value, &allowed.to_string());
                default
            }
        }
    }
}

/// A list of texts.
fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// A pattern of names, if it is one; as agents read it.
fn glob(value: &Value) -> Option<Glob> {
    let text = value.as_str().filter(|text| text.len() <= limits::PATTERN_MAX)?;
    let text = Some(text.trim_start_matches('/')).filter(|text| !text.is_empty())?;
    GlobBuilder::new(text).literal_separator(true).build().ok()
}
