//! The rules of Fusion: what evidence is worth, and what the view believes.
//!
//! Owns: paths, the three clocks, evidence, the session table and its election, and the view (tree,
//! arbitration, reads). Called by the server's view task and by its session service.
//! Must never: do I/O, wait, read a clock, log, or name a wire or storage type. Every rule takes
//! the time as an argument and is deterministic: the same evidence in the same order gives the
//! same view. Of the outside world this crate has only locks, because a tree is read while it is
//! written. Tested by text cases, property tests and the simulator in `tests/`.

pub mod change;
pub mod evidence;
pub mod id;
pub mod job;
pub mod path;
pub mod session;
pub mod stat;
pub mod time;
pub mod view;
