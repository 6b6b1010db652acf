//! Identifiers as types: no string or number crosses a function boundary as an id.
//!
//! Made by an injected source (never here), checked here. Alphabets are those of 3-protocol.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{value}` is malformed: {allowed}")]
pub struct IdError {
    /// Which identifier.
    pub what: &'static str,
    /// What was given (at most 200 characters of it).
    pub value: String,
    /// What is allowed.
    pub allowed: &'static str,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that an injected source drew.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Reads the hyphenated form.
            ///
            /// # Errors
            /// The text is not a hyphenated UUID.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                match Uuid::try_parse(text) {
                    Ok(uuid) if text.len() == 36 => Ok(Self(uuid)),
                    _ => Err(bad($what, text, "a hyphenated UUID is needed")),
                }
            }

            /// The UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

uuid_id! {
    /// A session; a UUID v4 drawn by the server.
    SessionId, "session_id"
}
uuid_id! {
    /// One life of an agent process; drawn at its start.
    InstanceId, "instance_id"
}
uuid_id! {
    /// A spool; drawn when the spool is made and kept in it.
    SpoolId, "spool_id"
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text of the right alphabet.
            ///
            /// # Errors
            /// The text is empty, too long, or has a character that is not allowed.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if $check(text) { Ok(Self(text.into())) } else { Err(bad($what, text, $allowed)) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

text_id! {
    /// The name of a view: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`.
    ViewName, "view", is_label,
    "1 to 63 of a-z, 0-9 and `-`, beginning and ending with a letter or digit"
}
text_id! {
    /// The name of an agent: `[A-Za-z0-9._-]{1,128}`.
    AgentId, "agent_id", is_agent_id, "1 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`"
}
text_id! {
    /// What ties a chain of cause and effect together: 1 to 128 of `[A-Za-z0-9._:-]`.
    CorrelationId, "x-correlation-id", is_correlation_id,
    "1 to 128 of A-Z, a-z, 0-9, `.`, `_`, `:` and `-`"
}

/// The number of one change of a view: counts from 1, never goes back, is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Revision(pub u64);

/// The fencing number of a leadership: larger than any before it for the same view. 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LeaderEpoch(pub u64);

fn bad(what: &'static str, value: &str, allowed: &'static str) -> IdError {
    IdError { what, value: value.chars().take(200).collect(), allowed }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alnum = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| alnum(byte) || *byte == b'-')
        && bytes.first().is_some_and(alnum)
        && bytes.last().is_some_and(alnum)
}

fn is_agent_id(text: &str) -> bool {
    has_alphabet(text, b"._-")
}

fn is_correlation_id(text: &str) -> bool {
    has_alphabet(text, b"._:-")
}

fn has_alphabet(text: &str, extra: &[u8]) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabets() {
        for good in ["a", "a-b", "0", &"a".repeat(63)] {
            assert!(ViewName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a b", &"a".repeat(64)] {
            assert!(ViewName::new(bad).is_err(), "{bad}");
        }
        assert!(AgentId::new("Host.1_x-2").is_ok());
        assert!(AgentId::new("a:b").is_err());
        assert!(CorrelationId::new("a:b").is_ok());
        assert!(CorrelationId::new(&"a".repeat(129)).is_err());
    }

    #[test]
    fn uuids_have_one_spelling() {
        let text = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert_eq!(SessionId::parse(text).unwrap().to_string(), text);
        for bad in
            ["", "67e5504410b1426f9247bb680e5fe0c8", "{67e55044-10b1-426f-9247-bb680e5fe0c8}"]
        {
            assert!(SessionId::parse(bad).is_err(), "{bad}");
        }
    }
}
