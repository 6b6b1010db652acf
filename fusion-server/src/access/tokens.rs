//! Bearer tokens: the file that they are kept in, and whether one is good.
//!
//! The file has the hash of each token, never the token. A token is `fusion.ID.SECRET`, where SECRET
//! is 256 random bits: no list of likely ones can be tried, so one pass of SHA-256 hides it as well as
//! a slow hash would, which is for passwords that people think of, and would cost every call.
//!
//! Used by the server, which follows the file, and by `fusionctl token`, which writes it. Must never:
//! accept a file with a key that is not known, or a token longer than it is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fusion_core::id::{AgentId, ViewName};
use fusion_core::session::Principal;
use fusion_core::time::ServerTime;
use fusion_proto::convert::stat::path_from_text;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Caller, Reach, Role, Scope};

/// What every token begins with, so that one that leaked can be searched for.
const PREFIX: &str = "fusion";
/// Random bytes of a token.
const SECRET_BYTES: usize = 32;
/// Longest id of a token, and longest name of a principal.
const NAME_MAX: usize = 64;
/// Longest name of a certificate.
const NAMED_MAX: usize = 255;
/// What stands for all views, or all agents.
const ALL: &str = "*";

/// What is kept of one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// What it is called in the file; part of the token.
    pub id: String,
    /// Whose it is. Sessions and idempotency keys belong to the principal, whichever token it shows.
    pub principal: String,
    /// SHA-256 of the token in hexadecimal.
    pub sha256: String,
    /// `agent`, `reader`, `operator` or `admin`.
    pub role: String,
    /// Names of views, or `*`.
    pub views: Vec<String>,
    /// Ids of agents, or `*`; for role `agent` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// In each view only what lies at this path and below it, in the notation of answers; absent: all. For
    /// roles `reader` and `operator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// When it was made, as RFC 3339 has it.
    pub created: String,
    /// From when it is good no more; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Whose client certificate stands in for a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateEntry {
    /// A DNS name or a URI that the certificate is for (`subjectAltName`), to the letter.
    pub name: String,
    /// As that of a token, and so the others.
    pub principal: String,
    /// `agent`, `reader`, `operator` or `admin`.
    pub role: String,
    /// Names of views, or `*`.
    pub views: Vec<String>,
    /// Ids of agents, or `*`; for role `agent` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<String>,
    /// In each view only what lies at this path and below it, in the notation of answers; absent: all. For
    /// roles `reader` and `operator`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    /// All tokens.
    #[serde(default, rename = "token")]
    pub tokens: Vec<TokenEntry>,
    /// Whose certificates stand in for a token.
    #[serde(default, rename = "certificate", skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateEntry>,
}

/// All that is wrong with a file of tokens; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFaults(pub Vec<String>);

impl fmt::Display for TokenFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for TokenFaults {}

impl TokenFile {
    /// Reads and checks.
    ///
    /// # Errors
    /// It is no TOML, has a key that is not known, or values that are wrong: all of these at once.
    pub fn parse(text: &str) -> Result<Self, TokenFaults> {
        let file: Self = toml::from_str(text)
            .map_err(|error| TokenFaults(vec![error.to_string().trim_end().to_owned()]))?;
        Tokens::of(&file).map(|_| file)
    }

    /// As it is written to disk.
    ///
    /// # Errors
    /// A bug: what was read can be written.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// Makes a token from randomness; gives it and its hash. The token is told nobody else.
///
/// # Errors
/// The system has no randomness.
pub fn issue(id: &str) -> Result<(String, String), getrandom::Error> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret)?;
    let token = format!("{PREFIX}.{id}.{}", URL_SAFE_NO_PAD.encode(secret));
    let hash = hex(&Sha256::digest(&token));
    Ok((token, hash))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotGood {
    /// Nobody has it, or it was revoked.
    Unknown,
    /// It was good once.
    Expired,
}

/// By what the caller of a call that stands is known, and what it may do.
#[derive(Debug)]
pub(crate) struct StandingToken {
    shown: Shown,
    caller: Caller,
}

#[derive(Debug)]
enum Shown {
    Token { id: String, hash: [u8; 32] },
    Certificate { names: Arc<[String]> },
}

/// All tokens, checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    tokens: BTreeMap<String, Token>,
    /// By the name that a certificate is for.
    certificates: BTreeMap<String, Caller>,
}

#[derive(Debug, PartialEq, Eq)]
struct Token {
    hash: [u8; 32],
    expires: Option<ServerTime>,
    caller: Caller,
}

impl Tokens {
    /// Checks a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn of(file: &TokenFile) -> Result<Self, TokenFaults> {
        let (mut tokens, mut faults) = (BTreeMap::new(), Vec::new());
        for (number, entry) in file.tokens.iter().enumerate() {
            let before = faults.len();
            let mut fault = |key: &str, value: &dyn fmt::Debug, allowed: &str| {
                faults.push(format!("token[{number}].{key} = {value:?}: must be {allowed}"));
            };
            let token = check(entry, &mut fault);
            if tokens.contains_key(&entry.id) {
                fault("id", &entry.id, "another one than those before it");
            }
            if let (Some(token), true) = (token, faults.len() == before) {
                tokens.insert(entry.id.clone(), token);
            }
        }
        let mut certificates = BTreeMap::new();
        for (number, entry) in file.certificates.iter().enumerate() {
            let mut fault = |key: &str, value: &dyn fmt::Debug, allowed: &str| {
                faults.push(format!("certificate[{number}].{key} = {value:?}: must be {allowed}"));
            };
            let CertificateEntry { name, principal, role, views, agents, path } = entry;
            if !(1..=NAMED_MAX).contains(&name.len())
                || !name.bytes().all(|it| it.is_ascii_graphic())
            {
                fault("name", name, "a DNS name or a URI, 1 to 255 visible ASCII characters");
            }
            let caller = caller((principal, role), (views, agents, path.as_deref()), &mut fault);
            if certificates.contains_key(name) {
                fault("name", name, "another one than those before it");
            }
            certificates.extend(caller.map(|caller| (name.clone(), caller)));
        }
        let checked = Self { tokens, certificates };
        if faults.is_empty() { Ok(checked) } else { Err(TokenFaults(faults)) }
    }

    /// What of a token is looked at again while a call of it stands.
    pub(crate) fn standing(token: &[u8], caller: &Caller) -> StandingToken {
        let id = id_of(token).unwrap_or_default().to_owned();
        let shown = Shown::Token { id, hash: Sha256::digest(token).into() };
        StandingToken { shown, caller: caller.clone() }
    }

    /// The same of a certificate, by the names that it is for.
    pub(crate) fn standing_by(names: Arc<[String]>, caller: &Caller) -> StandingToken {
        StandingToken { shown: Shown::Certificate { names }, caller: caller.clone() }
    }

    /// Who has a certificate for these names.
    pub(crate) fn certified(&self, names: &[String]) -> Option<&Caller> {
        names.iter().find_map(|name| self.certificates.get(name))
    }

    /// Whether a token is still good for the same; if so, from when it is not, as far as that is known.
    pub(crate) fn still(
        &self,
        token: &StandingToken,
        now: ServerTime,
    ) -> Option<Option<ServerTime>> {
        let (id, hash) = match &token.shown {
            Shown::Token { id, hash } => (id, hash),
            Shown::Certificate { names } => {
                return (self.certified(names) == Some(&token.caller)).then_some(None);
            }
        };
        let known = self.tokens.get(id)?;
        let is_same = known.hash == *hash && known.caller == token.caller;
        (is_same && known.expires.is_none_or(|end| now < end)).then_some(known.expires)
    }

    /// Who shows this token.
    ///
    /// # Errors
    /// It is not good.
    pub(crate) fn caller(&self, token: &[u8], now: ServerTime) -> Result<Caller, NotGood> {
        let known = id_of(token).and_then(|id| self.tokens.get(id)).ok_or(NotGood::Unknown)?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        if !bool::from(hash.ct_eq(&known.hash)) {
            return Err(NotGood::Unknown);
        }
        match known.expires {
            Some(end) if end <= now => Err(NotGood::Expired),
            _ => Ok(known.caller.clone()),
        }
    }
}

/// The id that a token says it has.
fn id_of(token: &[u8]) -> Option<&str> {
    std::str::from_utf8(token).ok().and_then(|text| text.split('.').nth(1))
}

/// Tells what is wrong: key, value, what is allowed.
type Tell<'a> = dyn FnMut(&str, &dyn fmt::Debug, &str) + 'a;

fn check(entry: &TokenEntry, fault: &mut Tell<'_>) -> Option<Token> {
    if !is_name(&entry.id) || entry.id.contains('.') {
        fault("id", &entry.id, "1 to 64 of A-Z, a-z, 0-9, `_` and `-`");
    }
    let hash = unhex(&entry.sha256);
    if hash.is_none() {
        fault("sha256", &entry.sha256, "64 hexadecimal digits");
    }
    let TokenEntry { principal, role, views, agents, path, .. } = entry;
    let caller = caller((principal, role), (views, agents, path.as_deref()), fault);
    if time(&entry.created).is_none() {
        fault("created", &entry.created, "a time such as 2026-11-21T12:00:00Z");
    }
    let expires = entry.expires.as_deref().map(time);
    if expires == Some(None) {
        fault("expires", &entry.expires, "a time such as 2026-11-21T12:00:00Z");
    }
    Some(Token { hash: hash?, expires: expires.flatten(), caller: caller? })
}

/// Who somebody is, and what they may do.
fn caller(
    (principal, role): (&str, &str),
    (views, agents, path): (&[String], &[String], Option<&str>),
    fault: &mut Tell<'_>,
) -> Option<Caller> {
    if !is_name(principal) || principal == Principal::anonymous().as_str() {
        fault("principal", &principal, "1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `-`; not `anonymous`");
    }
    let named = role;
    let role = Role::ALL.iter().find(|(name, _)| *name == named).map(|(_, role)| *role);
    if role.is_none() {
        fault("role", &named, "one of agent, reader, operator, admin");
    }
    let scope_of_views = scope(views, |name| ViewName::new(name).ok());
    if scope_of_views.is_none() {
        fault("views", &views, "names of views, at least one, or [\"*\"]");
    }
    if role == Some(Role::Admin) && scope_of_views.as_ref().is_some_and(|all| *all != Scope::All) {
        fault("views", &views, "[\"*\"] for role admin");
    }
    let scope_of_agents = match (role, agents.is_empty()) {
        (Some(Role::Agent), _) => scope(agents, |id| AgentId::new(id).ok()),
        (_, true) => Some(Scope::All),
        (_, false) => None,
    };
    if scope_of_agents.is_none() {
        let allowed =
            "ids of agents, at least one, or [\"*\"], for role agent; left out for others";
        fault("agents", &agents, allowed);
    }
    let below = path.map(|text| path_from_text("path", text).ok());
    if below == Some(None) {
        fault("path", &path, "a path from `/` on, as answers have it");
    }
    if path.is_some() && matches!(role, Some(Role::Agent | Role::Admin)) {
        fault("path", &path, "left out for roles agent and admin");
    }
    let below = below.flatten().filter(|path| !path.as_ref().is_root()).map(Arc::new);
    let reach = Reach { views: scope_of_views?, below };
    let principal = Principal::new(principal);
    Some(Caller { principal, role, reach, agents: scope_of_agents? })
}

fn is_name(text: &str) -> bool {
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(may_be)
}

fn scope<T: Ord>(named: &[String], read: impl Fn(&str) -> Option<T>) -> Option<Scope<T>> {
    match named {
        [] => None,
        [all] if all == ALL => Some(Scope::All),
        named => {
            let these: Option<BTreeSet<T>> = named.iter().map(|name| read(name)).collect();
            these.map(|these| Scope::Only(Arc::new(these)))
        }
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 64)?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().ok()
}

fn time(text: &str) -> Option<ServerTime> {
    let time: Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().map(ServerTime::from_nanos)
}

#[cfg(test)]
mod tests;
