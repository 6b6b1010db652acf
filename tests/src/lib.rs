//! The whole system under test: real binaries on real directories, and what must hold afterwards.
//!
//! Owns the harness that every system test uses: [`binaries`] finds what cargo built, [`pair`]
//! starts and ends server and agents, [`disk`] says what is on the disk, [`compare`] holds the view
//! against it, [`faults`] does to them what can happen to them, and
//! [`bursts`] much at once. Must never: repeat a failed assertion until it passes by luck; what is polled for
//! has a deadline that is documented where it stands.

pub mod activated;
pub mod bench;
pub mod binaries;
pub mod blind;
pub mod bursts;
pub mod compare;
pub mod disk;
pub mod faults;
pub mod launch;
pub mod mounts;
/// Real nats-servers, which the tests of the store have too.
#[allow(missing_docs, unreachable_pub, reason = "what it has is told where it is from")]
#[path = "../../fusion-store/tests/engines/nats/server.rs"]
pub mod nats;
pub mod pair;
pub mod process;
pub mod settings;
pub mod soak;
pub mod storms;
pub mod unpacked;
pub mod witnesses;
