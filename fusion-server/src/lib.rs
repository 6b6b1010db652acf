//! The service of Fusion: sessions, evidence in, answers out.
//!
//! [`app`] puts it together; `grpc` and `ops` are the edges, `service` the use cases, `task` what
//! runs beside them. The binary, `fusionctl dev` and the tests all go through [`app::build`].
//! Must never: read the command line or signals (that is the binary), or name an engine's client.

pub mod access;
pub mod app;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod ids;
pub mod listeners;
pub mod offline;
pub mod ops;
pub mod stores;
pub mod tls;

mod grpc;
mod reload;
mod service;
mod spawn;
mod task;
mod tokens;
