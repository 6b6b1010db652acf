//! Connections to the server.
//!
//! One for control and one per lane: a heartbeat never waits behind a large batch, and realtime
//! evidence never behind a scan. A connection is made when it is used and made again when it broke.

use std::time::Duration;

use fusion_proto::limits;
use tonic::transport::{Channel, Endpoint};

use crate::config::ServerUrl;

/// Longest that an answer may take before the call counts as failed; enforced by the caller.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A peer that is silently gone is found after the two together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(5);

/// A connection that is made on first use.
pub(crate) fn channel(server: &ServerUrl) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(server.as_str().to_owned())?
        .user_agent(concat!("agent-client/", env!("CARGO_PKG_VERSION")))?
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES);
    Ok(endpoint.connect_lazy())
}
