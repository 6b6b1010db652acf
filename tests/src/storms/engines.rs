//! The engines of a storm: three NATS nodes that sync always, and what keeps the state, behind a way that can be
//! slow or lead elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fusion_store::engines::started::{PASSWORD, StartedPostgres, StartedRedis, own_port};

use super::lan::ENGINES;
use crate::faults::checks::copy;
use crate::faults::full::Disk;
use crate::faults::proxy::Proxy;
use crate::nats::{Nats, Options};

/// Room for the streams of a storm, which are small.
const DISK: &str = "256m";
/// How long each message to the state, and each from it, takes while it is slow.
const SLOW: Duration = Duration::from_millis(300);

/// What keeps the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StateOn {
    /// A PostgreSQL, with a standby that confirms.
    Postgres,
    /// A Redis that syncs every write.
    Redis,
    /// A bucket of the three NATS nodes.
    Nats,
}

/// All of them; they end with it.
#[derive(Debug)]
pub struct Engines {
    /// The nodes of NATS.
    pub nats: Nats,
    keeper: Keeper,
    way: Option<Proxy>,
    disks: Vec<Disk>,
}

#[derive(Debug)]
enum Keeper {
    Postgres { first: StartedPostgres, standby: Option<StartedPostgres> },
    Redis(StartedRedis),
    Nats,
}

impl Engines {
    /// Starts them in this namespace, their files in `folder` or in temporary ones; each node of NATS on a disk of
    /// its own, which is small, if `small`.
    ///
    /// # Panics
    /// One does not come up.
    #[must_use]
    pub fn start(folder: &Path, state: StateOn, small: bool) -> Self {
        let disk = |number: usize| Disk::mount(&folder.join(format!("disk{number}")), DISK);
        let disks: Vec<_> = if small { (0..3).map(disk).collect() } else { Vec::new() };
        let stores = disks.iter().map(|disk| disk.0.join("store")).collect();
        let host = ENGINES.to_owned();
        let nats = Nats::three(&Options { sync_always: true, host, stores, ..Options::default() });
        let there = "its program (.ci/install has it)";
        let (keeper, port) = match state {
            StateOn::Postgres => {
                let first = StartedPostgres::start().expect(there);
                let (standby, port) = (first.standby(), first.port());
                (Keeper::Postgres { first, standby: Some(standby) }, Some(port))
            }
            StateOn::Redis => {
                let redis = StartedRedis::start().expect(there);
                let port = redis.port();
                (Keeper::Redis(redis), Some(port))
            }
            StateOn::Nats => (Keeper::Nats, None),
        };
        let way = port.map(|port| {
            Proxy::at(&format!("{ENGINES}:{}", own_port()), &[format!("127.0.0.1:{port}")])
        });
        Self { nats, keeper, way, disks }
    }

    /// The sections of a server's configuration.
    #[must_use]
    pub fn config(&self) -> String {
        let way = self.way.as_ref().map(|way| way.url().trim_start_matches("http://").to_owned());
        let way = way.unwrap_or_default();
        let log = format!(
            "[change_log]\nengine = \"nats\"\nservers = {:?}\nreplicas = 3\nsync = \"always\"\n",
            self.nats.urls()
        );
        let state = match &self.keeper {
            Keeper::Postgres { .. } => format!(
                "[state]\nengine = \"postgres\"\nurl = \"postgres://fusion@{way}/fusion?sslmode=disable\"\n\
                 password = \"{PASSWORD}\"\ntimeout = \"3s\"\n"
            ),
            Keeper::Redis(_) => format!(
                "[state]\nengine = \"redis\"\nurl = \"redis://{way}/0?plaintext=true\"\n\
                 password = \"{PASSWORD}\"\ntimeout = \"3s\"\n"
            ),
            Keeper::Nats => "[state]\nengine = \"nats\"\n".to_owned(),
        };
        log + &state
    }

    /// What keeps the state.
    #[must_use]
    pub fn state(&self) -> StateOn {
        match &self.keeper {
            Keeper::Postgres { .. } => StateOn::Postgres,
            Keeper::Redis(_) => StateOn::Redis,
            Keeper::Nats => StateOn::Nats,
        }
    }

    /// The state's engine loses its power.
    ///
    /// # Panics
    /// It is NATS, whose nodes are killed one by one.
    pub fn kill_state(&mut self) {
        match &mut self.keeper {
            Keeper::Postgres { first, .. } => first.kill(),
            Keeper::Redis(redis) => redis.kill(),
            Keeper::Nats => panic!("NATS is killed by its nodes"),
        }
    }

    /// It has power again.
    ///
    /// # Panics
    /// It does not come up.
    pub fn start_state(&mut self) {
        match &mut self.keeper {
            Keeper::Postgres { first, .. } => first.go_on(),
            Keeper::Redis(redis) => redis.go_on(),
            Keeper::Nats => {}
        }
    }

    /// PostgreSQL is killed for good, and its standby takes its place.
    ///
    /// # Panics
    /// There is none.
    pub fn fail_over_state(&mut self) {
        let Keeper::Postgres { first, standby } = &mut self.keeper else {
            panic!("only PostgreSQL has a standby here");
        };
        first.kill();
        let promoted = standby.take().expect("a standby, once");
        promoted.promote();
        self.way.as_ref().expect("a way").turn_to(format!("127.0.0.1:{}", promoted.port()));
        *first = promoted;
    }

    /// Every message to the state and from it takes its time, or no longer.
    pub fn slow_state(&self, slow: bool) {
        let Some(way) = &self.way else { return };
        if slow { way.slow_each(SLOW) } else { way.open() }
    }

    /// Redis loses all that it has; gives what puts it back.
    ///
    /// # Panics
    /// It is not Redis.
    pub fn flush_state(&mut self, folder: &Path) -> PathBuf {
        let Keeper::Redis(redis) = &mut self.keeper else { panic!("only Redis is flushed") };
        let kept = folder.join("kept");
        let _ = std::fs::remove_dir_all(&kept);
        redis.kill();
        copy(&redis.folder().join("appendonlydir"), &kept);
        redis.go_on();
        redis.command(&["FLUSHALL"]);
        kept
    }

    /// Puts back what Redis had.
    ///
    /// # Panics
    /// It is not Redis.
    pub fn put_back(&mut self, kept: &Path) {
        let Keeper::Redis(redis) = &mut self.keeper else { panic!("only Redis is flushed") };
        redis.kill();
        let place = redis.folder().join("appendonlydir");
        std::fs::remove_dir_all(&place).expect("what is stored");
        copy(kept, &place);
        redis.go_on();
    }

    /// The disk of a node is full, by somebody else.
    ///
    /// # Panics
    /// It has none of its own.
    pub fn fill_disk(&self, node: usize) {
        let ballast = std::fs::File::create(self.disks[node].0.join("ballast")).expect("a file");
        let chunk = vec![0; 64 << 10];
        let mut writer = &ballast;
        while std::io::Write::write_all(&mut writer, &chunk).is_ok() {}
    }

    /// There is room again, and an operator starts the node anew: NATS takes nothing more once it was full.
    ///
    /// # Panics
    /// It does not come up.
    pub fn empty_disk(&mut self, node: usize) {
        std::fs::remove_file(self.disks[node].0.join("ballast")).expect("the ballast");
        self.nats.nodes[node].kill();
        self.nats.nodes[node].start();
    }
}
