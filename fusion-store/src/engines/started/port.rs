//! Ports for servers that a test starts, kills, and starts again where they were.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the kernel gives by itself (32768 and more): who asks it for any port, or connects, would
/// be given that of a server that is down for a moment, and two tests would talk to one server.
const PORTS: std::ops::Range<u16> = 2_048..32_768;
/// Of one process; the next one's come after it.
const OURS: u16 = 128;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port of loopback that nobody listens on, and that no other test is given.
///
/// # Panics
/// There is none.
#[must_use]
pub fn own_port() -> u16 {
    let rooms = u32::from(PORTS.end - PORTS.start) / u32::from(OURS);
    let room = u16::try_from(std::process::id() % rooms).expect("less than a port");
    for _ in PORTS {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let span = PORTS.end - PORTS.start;
        let port = PORTS.start + (room * OURS).wrapping_add(given) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("every port from {} to {} is taken", PORTS.start, PORTS.end);
}
