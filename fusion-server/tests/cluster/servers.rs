//! Servers that share their stores, and what tests ask of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fusion_proto::client::ClientTls;
use fusion_proto::pb;
use fusion_server::app::Deps;
use fusion_server::cluster::{Membership, place};
use fusion_server::config::Config;
use fusion_server::stores::Stores;
use fusion_store::memory::{MemoryBlocks, MemoryLog, MemoryOwnership, MemoryState};
use fusion_store::{Blocks, ChangeLog, Ownership, Roll, State};
use tonic::Status;

use crate::cut::{Cut, Handle, Stoppable, Switch};
use crate::harness::{TestServer, VIEW, config, start_given};

/// Long enough for a busy machine, short enough for a test.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// Within which everything happens that does not fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// The engine that all servers share.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) log: Arc<dyn ChangeLog>,
    pub(crate) blocks: Arc<dyn Blocks>,
    pub(crate) state: Arc<dyn State>,
    pub(crate) ownership: Arc<dyn Ownership>,
}

/// A server of several.
pub(crate) struct One {
    pub(crate) server: TestServer,
    /// Cuts it off from all stores.
    pub(crate) switch: Switch,
    /// Cuts it off from the other servers alone.
    pub(crate) members: Switch,
    pub(crate) clock: Arc<Stoppable>,
    pub(crate) address: String,
}

impl Engine {
    pub(crate) fn new() -> Self {
        Self {
            log: Arc::new(MemoryLog::default()),
            blocks: Arc::new(MemoryBlocks::default()),
            state: Arc::new(MemoryState::default()),
            ownership: Arc::new(MemoryOwnership::default()),
        }
    }

    pub(crate) async fn start_with(&self, config: Config) -> One {
        let (switch, members, clock) = (Switch::default(), Switch::default(), Stoppable::new());
        // What it takes part in is the test's.
        let alone = Config { cluster: None, ..config.clone() };
        let deps = Deps::bind(&alone).await.unwrap();
        let port = deps.grpc.local_addr().unwrap().port();
        // Certificates are for the name.
        let (scheme, host) =
            if config.tls.is_some() { ("https", "localhost") } else { ("http", "127.0.0.1") };
        let address = format!("{scheme}://{host}:{port}");
        let ownership: Arc<dyn Ownership> = Cut::new(&switch, &self.ownership);
        let membership = Membership {
            ownership: Cut::new(&members, &ownership),
            address: address.clone(),
            lease: LEASE,
            memory: 1 << 30,
            peers: config
                .cluster
                .as_ref()
                .map_or_else(ClientTls::default, |it| it.peers(config.tls.as_ref())),
        };
        let stores = Stores::new(
            Cut::new(&switch, &Handle::on(&self.log)),
            Cut::new(&switch, &self.blocks),
            Cut::new(&switch, &self.state),
        );
        let clock_of: Arc<dyn fusion_core::time::Clock> = Arc::clone(&clock) as _;
        let deps = Deps { clock: clock_of, stores, membership: Some(membership), ..deps };
        let server = start_given(config, deps).await;
        One { server, switch, members, clock, address }
    }

    /// A server with the view.
    pub(crate) async fn start_one(&self) -> One {
        self.start_with(with_view(config())).await
    }

    /// So many servers with the view, each of which knows of the others.
    pub(crate) async fn start_many(&self, count: usize) -> Vec<One> {
        let mut servers = Vec::new();
        for _ in 0..count {
            servers.push(self.start_one().await);
        }
        self.all_follow(count).await;
        servers
    }

    /// Waits until so many servers follow the view, and one owns it.
    pub(crate) async fn all_follow(&self, count: usize) {
        eventually("all follow the view, and one owns it", async || {
            let roll = self.roll();
            let said = |text: &str| {
                let says = |said: &[u8]| String::from_utf8_lossy(said).contains(text);
                roll.members.iter().filter(|member| says(&member.it.said)).count()
            };
            said("\"revision\":") == count && said("\"epoch\":") == 1 && self.owner().is_some()
        })
        .await;
    }

    pub(crate) fn roll(&self) -> Roll {
        self.ownership.roll().unwrap()
    }

    /// The address of who owns the view by its claim.
    pub(crate) fn owner(&self) -> Option<String> {
        let roll = self.roll();
        let owner = roll.claims.first()?.it.owner?;
        let owner = roll.members.iter().find(|member| member.it.id == owner)?;
        Some(owner.it.address.clone())
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.roll().claims.first().map_or(0, |claim| claim.it.epoch.0)
    }

    /// The address of who has the view by placement, of all servers but one that is dead.
    pub(crate) fn placed(&self, dead: &str) -> String {
        let view = self.log.views().unwrap()[0].id;
        let live = self.roll().members.into_iter().map(|member| member.it);
        let live: Vec<_> = live.filter(|member| member.address != dead).collect();
        let to = place(view, live.iter().map(|member| (member.id, member.memory)));
        live.into_iter().find(|member| Some(member.id) == to).unwrap().address
    }

    /// Takes the owner out of some servers.
    pub(crate) fn take_owner(&self, servers: &mut Vec<One>) -> One {
        let owner = self.owner().unwrap();
        let place = servers.iter().position(|one| one.address == owner).unwrap();
        servers.remove(place)
    }
}

/// The same configuration with the view.
pub(crate) fn with_view(mut config: Config) -> Config {
    config.views.insert(VIEW.parse_name(), config.view_defaults.clone());
    config
}

/// A name out of a text of the test's.
trait ParseName {
    fn parse_name(&self) -> fusion_core::id::ViewName;
}

impl ParseName for str {
    fn parse_name(&self) -> fusion_core::id::ViewName {
        fusion_core::id::ViewName::new(self).unwrap()
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "these tests go by real time")]
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn entry(path: &str, class: pb::ReadClass) -> pb::GetEntryRequest {
    pb::GetEntryRequest { view: VIEW.into(), path: path.into(), read_class: class.into() }
}

impl One {
    /// What it says of an entry, whatever it is worth.
    pub(crate) async fn entry(&self, path: &str) -> Result<pb::GetEntryResponse, Status> {
        let asked = entry(path, pb::ReadClass::Any);
        self.server.views.clone().get_entry(asked).await.map(tonic::Response::into_inner)
    }

    /// Whether it has an entry.
    pub(crate) async fn has(&self, path: &str) -> bool {
        self.entry(path).await.is_ok()
    }

    /// Whether it answers a TRUSTED read.
    pub(crate) async fn is_trusted(&self) -> bool {
        let asked = entry("/", pb::ReadClass::Trusted);
        self.server.views.clone().get_entry(asked).await.is_ok()
    }

    /// Whether it itself says that the view is ready; a TRUSTED read of one that does not goes to the owner.
    pub(crate) async fn is_ready(&self) -> bool {
        self.freshness().await.state() == pb::ViewState::Ready
    }

    pub(crate) async fn freshness(&self) -> pb::Freshness {
        self.view().await.freshness.unwrap()
    }

    pub(crate) async fn ownership(&self) -> pb::ViewOwnership {
        self.view().await.ownership.unwrap()
    }

    async fn view(&self) -> pb::View {
        let asked = pb::GetViewRequest { view: VIEW.into() };
        self.server.views.clone().get_view(asked).await.unwrap().into_inner().view.unwrap()
    }
}
