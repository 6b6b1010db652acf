//! Any server takes any call over TLS, too: it is sent on with the caller's token, by a server that the owner lets in.

use std::path::Path;

use fusion_proto::client::{ClientTls, lazy_channel_with};
use fusion_proto::pb;
use fusion_proto::pb::session_service_client::SessionServiceClient;
use fusion_proto::status::Refusal;
use fusion_server::access::tokens::{TokenEntry, TokenFile, issue};
use fusion_server::config::{ClusterConfig, Config};
use tempfile::TempDir;
use tonic::{Request, Response, Status};

use crate::certificates::{Authority, Valid};
use crate::harness::{VIEW, asks, config, refusal};
use crate::servers::{Engine, One, with_view};

const HOST: &str = "localhost";

/// Who signs, the token of an agent, and how the servers are configured.
struct Secured {
    dir: TempDir,
    authority: Authority,
    token: String,
}

impl Secured {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (token, sha256) = issue("agents").unwrap();
        let entry = TokenEntry {
            id: "agents".to_owned(),
            principal: "agents".to_owned(),
            sha256,
            role: "agent".to_owned(),
            views: vec![VIEW.to_owned()],
            agents: vec!["*".to_owned()],
            path: None,
            created: "2026-01-01T00:00:00Z".to_owned(),
            expires: None,
        };
        let file = TokenFile { tokens: vec![entry], ..TokenFile::default() };
        std::fs::write(tokens(dir.path()), file.to_toml().unwrap()).unwrap();
        let authority = Authority::new(dir.path(), "ours");
        Self { dir, authority, token }
    }

    /// A server's configuration, with whom it trusts to be another server.
    fn config(&self, mutual: bool, peers: Option<&Authority>) -> Config {
        let pair = self.authority.sign("server", HOST, Valid::Now);
        let cluster =
            ClusterConfig { ca_file: peers.map(Authority::file), ..ClusterConfig::default() };
        Config {
            tls: Some(pair.server(mutual.then_some(&self.authority))),
            token_file: Some(tokens(self.dir.path())),
            cluster: Some(cluster),
            ..with_view(config())
        }
    }

    /// Two of these; the owner of the view comes first.
    async fn two(&self, engine: &Engine, config: &Config) -> (One, One) {
        let mut servers =
            vec![engine.start_with(config.clone()).await, engine.start_with(config.clone()).await];
        engine.all_follow(2).await;
        let owner = engine.take_owner(&mut servers);
        (owner, servers.remove(0))
    }

    /// Begins a session at a server, as an agent with a token.
    async fn join(&self, at: &One) -> Result<Response<pb::CreateSessionResponse>, Status> {
        let own = self.authority.sign("agent", "agent", Valid::Now);
        let tls: ClientTls = self.authority.trusted_with(own);
        let channel = lazy_channel_with(&at.address, &tls).unwrap();
        let mut asked = Request::new(asks("a"));
        let bearer = format!("Bearer {}", self.token);
        asked.metadata_mut().insert("authorization", bearer.parse().unwrap());
        SessionServiceClient::new(channel).create_session(asked).await
    }
}

fn tokens(dir: &Path) -> std::path::PathBuf {
    dir.join("tokens.toml")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_token_is_sent_on_over_tls() {
    for mutual in [false, true] {
        let (engine, secured) = (Engine::new(), Secured::new());
        let config = secured.config(mutual, Some(&secured.authority));
        let (owner, other) = secured.two(&engine, &config).await;
        let joined = secured.join(&other).await.unwrap();
        let named = joined.metadata().get("fusion-owner").unwrap().to_str().unwrap();
        assert_eq!(named, owner.address);
        assert_eq!(joined.into_inner().role(), pb::SessionRole::Leader);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ca_for_servers_the_caller_is_told_where_to_go() {
    let (engine, secured) = (Engine::new(), Secured::new());
    let (owner, other) = secured.two(&engine, &secured.config(false, None)).await;
    match refusal(secured.join(&other).await) {
        Refusal::NotOwner { owner: named, .. } => assert_eq!(named, Some(owner.address.clone())),
        refused => panic!("{refused:?}"),
    }
    secured.join(&owner).await.unwrap();
}

/// One that is not who it says is shown no token.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_who_another_authority_signed() {
    let (engine, secured) = (Engine::new(), Secured::new());
    let stranger = Authority::new(secured.dir.path(), "stranger");
    let (_owner, other) = secured.two(&engine, &secured.config(false, Some(&stranger))).await;
    let refused = refusal(secured.join(&other).await);
    assert!(matches!(refused, Refusal::ServerDraining { .. }), "{refused:?}");
}
