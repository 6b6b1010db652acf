//! Faults: what can happen to a pair, done to the real binaries, and what must hold afterwards.
//!
//! Each submodule is one row of docs/faults.md: it does the fault, waits for the recovery, and
//! asserts that the view equals the disk, that one agent leads, and that counters or answers say
//! what happened. The tests run each in short, `soak` in long. Must never: look into a log to
//! find out, or leave anything behind on the machine.

pub mod away;
pub mod batches;
pub mod broken;
pub mod checks;
pub mod churn;
pub mod clock;
pub mod errors;
pub mod full;
pub mod kill;
pub mod memory;
pub mod net;
pub mod partition;
pub mod pause;
pub mod promote;
pub mod proxy;
pub mod raw;
pub mod rolling;
pub mod torn;
pub mod twins;
