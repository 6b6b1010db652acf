//! The conformance suite on one real server.

use std::sync::Arc;

use fusion_store::ChangeLog;
use fusion_store::conformance::{self, Reopen};
use fusion_store::engines::nats::{Nats, NatsLog, NatsSettings};

use super::server::{self, Options};
use super::settings;

struct Log {
    nats: Arc<Nats>,
    /// Taken while it is opened again.
    log: Option<NatsLog>,
}

impl Reopen<dyn ChangeLog> for Log {
    fn port(&self) -> &(dyn ChangeLog + 'static) {
        self.log.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.log = None;
        self.log = Some(self.nats.log());
    }
}

/// With messages so small that records are cut in pieces, and with the usual ones.
#[test]
fn the_log_conforms() {
    if !server::is_there("the_log_conforms") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    for message_bytes in [4 << 10, 512 << 10] {
        conformance::change_log(&mut || {
            let nats =
                Nats::connect(NatsSettings { message_bytes, ..settings(servers.urls()) }).unwrap();
            Box::new(Log { log: Some(nats.log()), nats })
        });
    }
}
