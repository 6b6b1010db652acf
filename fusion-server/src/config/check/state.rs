//! `[state]`: an engine, and how it is reached. What may be in its address its adapter says.

use std::path::Path;
use std::time::Duration;

use fusion_store::engines::nats::NatsSettings;
use fusion_store::engines::{Secret, postgres, redis};
use toml::Value;

use super::leaf::Checker;
use super::section;
use crate::config::print::HIDDEN;
use crate::config::raw::RawState;
use crate::config::{ChangeLogConfig, ChangeLogEngine, StateConfig, StateEngine};

const MILLI: Duration = Duration::from_millis(1);
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// Longest beginning of keys in Redis, in bytes.
const PREFIX_MAX: usize = 64;

pub(super) fn state(
    check: &mut Checker,
    value: Option<Value>,
    default: StateConfig,
    log: &ChangeLogConfig,
) -> StateConfig {
    let raw: RawState = section(check, "state", value.clone());
    check.unknown("state", &raw.unknown);
    let prefix_allowed = format!("1 to {PREFIX_MAX} visible ASCII characters");
    let is_prefix = |text: &str| {
        (1..=PREFIX_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let prefix = check.text("state.key_prefix", raw.key_prefix, &prefix_allowed, is_prefix);
    let mut span = |key: &str, value, own| {
        check.duration(&format!("state.{key}"), value, own, MILLI * 10..=TEN_MINUTES)
    };
    let connect_timeout = span("connect_timeout", raw.connect_timeout, default.connect_timeout);
    let timeout = span("timeout", raw.timeout, default.timeout);
    let own = default.connections;
    let mut state = StateConfig {
        engine: check.choice("state.engine", raw.engine, default.engine, &StateEngine::ALL),
        url: url(check, raw.url),
        password: check.secret("state.password", raw.password),
        password_file: check.path("state.password_file", raw.password_file),
        ca_file: check.path("state.ca_file", raw.ca_file),
        certificate_file: check.path("state.certificate_file", raw.certificate_file),
        key_file: check.path("state.key_file", raw.key_file),
        connections: check.count("state.connections", raw.connections, own, 1..=1_000),
        connect_timeout,
        timeout,
        key_prefix: prefix.unwrap_or(default.key_prefix),
        nats: None,
    };
    if state.engine == StateEngine::Nats {
        state.nats = as_the_log(check, value, log);
        return state;
    }
    read_password(check, &mut state);
    fits(check, &state);
    state
}

/// The state is where the logs are, and reached as they are.
fn as_the_log(
    check: &mut Checker,
    value: Option<Value>,
    log: &ChangeLogConfig,
) -> Option<NatsSettings> {
    let given = value.as_ref().and_then(Value::as_table).into_iter().flatten();
    for (key, value) in given.filter(|(key, _)| RawState::FIELDS.contains(&key.as_str())) {
        if key != "engine" {
            let allowed =
                "left out, because state.engine is nats: it is reached as [change_log] says";
            check.fault(&format!("state.{key}"), value, allowed);
        }
    }
    if log.engine == ChangeLogEngine::Nats {
        return Some(log.settings());
    }
    let allowed = "embedded, postgres or redis; nats only if change_log.engine is nats as well";
    check.fault("state.engine", &Value::String("nats".to_owned()), allowed);
    None
}

fn url(check: &mut Checker, value: Option<Value>) -> Option<String> {
    let allowed = "an address: postgres://USER@HOST/DATABASE, or redis://HOST:PORT/NUMBER";
    check.text("state.url", value, allowed, |_| true)
}

/// Takes the password out of its file.
fn read_password(check: &mut Checker, state: &mut StateConfig) {
    let Some(file) = &state.password_file else { return };
    let mut fault = |allowed: &str| check.fault("state.password_file", &shown(file), allowed);
    if state.password.is_some() {
        return fault("left out, or state.password: both are set");
    }
    match std::fs::read_to_string(file) {
        Err(error) => fault(&format!("a file that can be read ({error})")),
        Ok(text) => match text.trim_end_matches(['\r', '\n']) {
            "" => fault("a file with the password in it: it is empty"),
            password => state.password = Some(Secret::new(password.to_owned())),
        },
    }
}

/// Whether the engine can be reached as it is said.
fn fits(check: &mut Checker, state: &StateConfig) {
    let url = Value::String(state.url.as_deref().map(without_password).unwrap_or_default());
    match (state.engine, &state.url) {
        (StateEngine::Embedded, None) => return,
        (StateEngine::Embedded, Some(_)) => {
            let allowed = "left out, because state.engine is embedded: name the engine too";
            return check.fault("state.url", &url, allowed);
        }
        (_, None) => {
            let allowed = "set, because state.engine is outside of the server";
            return check.fault("state.url", &url, allowed);
        }
        _ => {}
    }
    match (&state.certificate_file, &state.key_file) {
        (Some(file), None) => {
            check.fault(
                "state.certificate_file",
                &shown(file),
                "left out, or beside state.key_file",
            );
        }
        (None, Some(file)) => {
            check.fault(
                "state.key_file",
                &shown(file),
                "left out, or beside state.certificate_file",
            );
        }
        _ => {}
    }
    let settings = state.settings();
    let checked = match state.engine {
        StateEngine::Redis => redis::check(&settings),
        _ => postgres::check(&settings),
    };
    if let Err(allowed) = checked {
        check.fault("state.url", &url, &allowed);
    }
    let problem = settings.tls.as_ref().and_then(|files| files.client().err());
    if let (Some(problem), Some(ca)) = (problem, &state.ca_file) {
        check.fault("state.ca_file", &shown(ca), &format!("files of TLS that fit: {problem}"));
    }
}

fn shown(file: &Path) -> Value {
    Value::String(file.display().to_string())
}

/// An address without what may be a password in it.
fn without_password(url: &str) -> String {
    if url.to_ascii_lowercase().contains("password") {
        return HIDDEN.to_owned();
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.contains(':') { HIDDEN.to_owned() } else { url.to_owned() };
    };
    match rest.rsplit_once('@') {
        Some((login, place)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}@{place}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}
