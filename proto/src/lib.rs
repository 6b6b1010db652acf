//! The contract of Fusion, package `fusion.v1`: messages and services as generated, conversions to
//! and from the core, the status table and the limits; and a client library for whoever calls.
//!
//! Owns everything that is written on the wire. Called by the server's `grpc` folder, the agent's
//! `link` folder, `fusionctl`, and programs of others. Must never: decide what evidence is worth
//! (that is the core), read a clock, or let a value that breaks a rule of the contract through.
//!
//! | to | look at |
//! |---|---|
//! | ask a server about its views | [`client::connect`], [`views::ViewsClient`] |
//! | keep a session, push evidence | [`client::SessionsClient`], [`client::EventsClient`] |
//! | administer a server | [`client::AdminClient`] |
//! | know why a call was refused | [`client::CallError`], [`status::Refusal`] |
//! | refuse a call | [`status::Refusal`], [`convert::ConvertError`] |
//! | read or make batches of evidence | [`convert::evidence`] |
//! | add a field or a message | the `.proto` file, then what no longer compiles in [`convert`] |

pub mod client;
pub mod codec;
pub mod convert;
pub mod entries;
pub mod limits;
pub mod live;
pub mod status;
mod text;
pub mod tls;
pub mod version;
pub mod views;

/// Messages, clients and servers as generated from the `.proto` files, which document them.
#[allow(
    clippy::all,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    rustdoc::all,
    reason = "generated"
)]
pub mod pb {
    include!(concat!(env!("OUT_DIR"), "/fusion.v1.rs"));

    pub use crate::entries::ListEntriesResponse;
    pub use crate::live::WatchViewResponse;
}

/// The contract as descriptors, for reflection: `fusion.v1` with its comments, what it imports, and
/// `google.rpc` for the details of errors.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/fusion_descriptor.bin"));
