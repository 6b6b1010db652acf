//! Conversions between the wire and what stands behind it, complete and both ways.
//!
//! Owns the one edge where a generated type becomes one that cannot be wrong. Every message is
//! taken apart as a whole, so that a new field does not compile until it is handled. Called by
//! whoever receives or sends. Must never: adjust a value in silence; what breaks a rule of the
//! contract is a [`ConvertError`] that names the field. Nothing here panics, whatever arrives: the
//! tests push random bytes through.

pub mod admin;
#[cfg(test)]
mod arbitrary;
pub mod audit;
pub mod event;
pub mod evidence;
pub mod job;
pub mod push;
pub mod root;
pub mod session;
pub mod stat;
pub mod time;
pub mod view;

use std::borrow::Cow;

use fusion_core::id::IdError;
use fusion_core::path::PathError;
use fusion_core::path::notation::NotationError;

use crate::status::Refusal;

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field without which the message means nothing is absent.
    #[error("is missing")]
    Missing,
    /// The value breaks a rule.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// An enum value that this version does not know, or that stands for "not set".
    #[error("{0} is no value that may be sent here")]
    UnknownVariant(i32),
}

/// A value that breaks a rule of the contract, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConvertError {
    /// The field, as a path from the message: `root.identity.top[3].name`.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub problem: Problem,
}

impl ConvertError {
    /// A field that is absent.
    #[must_use]
    pub const fn missing(field: &'static str) -> Self {
        Self { field: Cow::Borrowed(field), problem: Problem::Missing }
    }

    /// A field whose value breaks a rule.
    #[must_use]
    pub fn invalid(field: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Cow::Borrowed(field), problem: Problem::Invalid(why.into()) }
    }

    /// An enum field with a value that is not to be sent.
    #[must_use]
    pub const fn unknown(field: &'static str, number: i32) -> Self {
        Self { field: Cow::Borrowed(field), problem: Problem::UnknownVariant(number) }
    }

    /// The same, seen from the message that holds this one in `outer`.
    #[must_use]
    pub fn within(self, outer: impl std::fmt::Display) -> Self {
        Self { field: format!("{outer}.{}", self.field).into(), problem: self.problem }
    }
}

/// A value of ours that the wire cannot carry. It has no way into a [`Refusal`] of its own accord:
/// it is a fault of the sender, not of who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be sent: {field}: {why}")]
pub struct Unsendable {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub why: &'static str,
}

impl From<ConvertError> for Refusal {
    fn from(error: ConvertError) -> Self {
        Self::invalid(error.field, error.problem.to_string())
    }
}

impl From<ConvertError> for tonic::Status {
    fn from(error: ConvertError) -> Self {
        Refusal::from(error).into_status()
    }
}

impl From<IdError> for Problem {
    fn from(error: IdError) -> Self {
        Self::Invalid(error.to_string().into())
    }
}

impl From<PathError> for Problem {
    fn from(error: PathError) -> Self {
        Self::Invalid(error.to_string().into())
    }
}

impl From<NotationError> for Problem {
    fn from(error: NotationError) -> Self {
        Self::Invalid(error.to_string().into())
    }
}

/// Names the field of a problem.
pub(crate) trait InField<T> {
    /// The value, or the problem with the field that has it.
    fn in_field(self, field: &'static str) -> Result<T, ConvertError>;
}

impl<T, P: Into<Problem>> InField<T> for Result<T, P> {
    fn in_field(self, field: &'static str) -> Result<T, ConvertError> {
        self.map_err(|problem| ConvertError { field: field.into(), problem: problem.into() })
    }
}

/// Takes a text of at most `max` bytes.
pub(crate) fn bounded(field: &'static str, text: &str, max: usize) -> Result<(), ConvertError> {
    if text.len() <= max {
        Ok(())
    } else {
        Err(ConvertError::invalid(field, format!("has {} bytes, at most {max} may be", text.len())))
    }
}
