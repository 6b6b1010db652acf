//! Scans and watchers on real directories of this machine.
//!
//! What they give is put together to a copy of the tree and compared with what `std::fs` says, entry
//! for entry and field for field. A watcher has a deadline in which to be level with the disk
//! ([`harness::PATIENCE`]); until then the comparison is repeated, and nothing sleeps otherwise.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests, their helpers included")]

mod disk;
mod harness;
mod mounts;
mod scan;
mod scan_edges;
mod scan_hung;
mod scan_limits;
mod scan_resume;
mod scan_vanished;
mod watch;
mod watch_bursts;
mod watch_edges;
mod watch_exclude;
mod watch_failed;
mod watch_moves;
mod watch_random;
mod watch_whole;
