//! The agent: the process beside the storage that watches and scans one tree and tells the server.
//!
//! Start reading at [`agent`], which builds everything in order. Called by the binary `agent-client`
//! and by `fusionctl dev`. Must never: write into the tree that it looks at, follow a symbolic link,
//! believe the wall clock, or name a wire type outside `link`.

pub mod agent;
pub mod cli;
pub mod clock;
pub mod config;
pub mod ids;
pub mod link;
pub mod ops;
pub mod process;
pub mod progress;
pub mod role;
pub mod scan;
pub mod spawn;
pub mod spool;
pub mod watch;
