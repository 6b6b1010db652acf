//! Records as bytes: a version, a head row by row, and the changes in columns.
//!
//! Used by every adapter that stores bytes; [`encode`] is called on the thread of the view, so it has
//! to be fast. A record tells all of itself: its place in the log included. Must never: panic on what
//! is read, take more memory than the bytes justify, or read a record of the future as if it were
//! of now. Tested by golden files, by arbitrary changes there and back, and by damaged bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | version, little-endian |
//! | … | head: record, first revision, time, origin, lane and sequence, epoch, actor, correlation, causation |
//! | varint | number of changes; if 0, nothing follows |
//! | … | witnesses: how many, then agent, session and epoch of each |
//! | 8 | which columns follow, one bit each |
//! | … | the columns (see `pack`) |
//! | varint, … | paths, back to back |
//! | varint, … | names, back to back |
//! | varint, … | what is rare, row by row |

pub mod blocks;
mod column;
mod decode;
mod encode;
mod head;
mod listed;
mod note;
mod pack;
pub(crate) mod row;

pub use decode::{decode, peek};
pub use encode::Encoder;

/// The version of a record's format. Since 2 the view notes that one agent's root is no longer in
/// doubt, and which calls of operators were done; what 1 says means the same in 2.
pub const RECORD_VERSION: u16 = 2;

#[cfg(test)]
#[path = "codec/tests.rs"]
mod tests;
