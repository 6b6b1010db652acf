//! The conformance suite on one real server.

use std::sync::Arc;

use fusion_store::conformance::{self, Reopen};
use fusion_store::engines::nats::{
    Nats, NatsBlocks, NatsLog, NatsOwnership, NatsSettings, NatsState,
};
use fusion_store::{Blocks, ChangeLog, Ownership, State};

use super::server::{self, Options};
use super::{settings, whose};

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

struct Kept {
    nats: Arc<Nats>,
    blocks: NatsBlocks,
}

impl Reopen<dyn Blocks> for Kept {
    fn port(&self) -> &(dyn Blocks + 'static) {
        &self.blocks
    }

    fn reopen(&mut self) {
        self.blocks = self.nats.blocks();
    }
}

#[test]
fn the_blocks_conform() {
    if !server::is_there("the_blocks_conform") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    for message_bytes in [4 << 10, 512 << 10] {
        conformance::blocks(&mut || {
            let nats = Nats::connect(NatsSettings { message_bytes, ..settings(servers.urls()) });
            let nats = nats.unwrap();
            Box::new(Kept { blocks: nats.blocks(), nats })
        });
    }
}

struct Owned {
    nats: Arc<Nats>,
    ownership: NatsOwnership,
}

impl Reopen<dyn Ownership> for Owned {
    fn port(&self) -> &(dyn Ownership + 'static) {
        &self.ownership
    }

    fn reopen(&mut self) {
        self.ownership = self.nats.ownership().unwrap();
    }
}

#[test]
fn the_ownership_conforms() {
    if !server::is_there("the_ownership_conforms") {
        return;
    }
    let one = server::Nats::one(&Options::default());
    let three = server::Nats::three(&Options::default());
    for (servers, replicas) in [(one, 1), (three, 3)] {
        conformance::ownership(&mut || {
            let settings = NatsSettings { replicas, ..settings(servers.urls()) };
            let nats = Nats::connect(settings).unwrap();
            Box::new(Owned { ownership: nats.ownership().unwrap(), nats })
        });
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

struct Stated {
    nats: Arc<Nats>,
    state: NatsState,
}

impl Reopen<dyn State> for Stated {
    fn port(&self) -> &(dyn State + 'static) {
        &self.state
    }

    fn reopen(&mut self) {
        self.state = self.nats.state(whose(1)).unwrap();
    }
}

/// With values that are cut in many parts, and with the usual ones; on one server and on three.
#[test]
fn the_state_conforms() {
    if !server::is_there("the_state_conforms") {
        return;
    }
    let one = server::Nats::one(&Options::default());
    let three = server::Nats::three(&Options::default());
    for (servers, replicas, message_bytes) in
        [(&one, 1, 8 << 10), (&one, 1, 512 << 10), (&three, 3, 512 << 10)]
    {
        conformance::state(&mut || {
            let settings = NatsSettings { replicas, message_bytes, ..settings(servers.urls()) };
            let nats = Nats::connect(settings).unwrap();
            Box::new(Stated { state: nats.state(whose(1)).unwrap(), nats })
        });
    }
}
