//! TLS and mutual TLS: who is let in, what who is not is told, and files that change.

use std::time::Duration;

use fusion_proto::client::{CallHook, Client, ClientTls, connect_with};
use fusion_server::access::tokens::{CertificateEntry, TokenFile};
use fusion_server::tls::TlsConfig;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::certificates::{Authority, Valid};
use crate::harness::{TestServer, advance, config, start, start_with};

const HOST: &str = "localhost";

async fn secured(tls: TlsConfig) -> TestServer {
    let mut config = config();
    config.tls = Some(tls);
    start_with(config).await
}

fn client(server: &TestServer, scheme: &str, host: &str, tls: &ClientTls) -> Client {
    let url = format!("{scheme}://{host}:{}", server.grpc.port());
    connect_with(&url, tls, CallHook::none()).unwrap()
}

/// A client of a new connection.
fn over_tls(server: &TestServer, tls: &ClientTls) -> Client {
    client(server, "https", HOST, tls)
}

/// Whether a call succeeds; else what it says.
async fn asked(mut client: Client) -> Result<(), String> {
    let answer = client.views.list_views().await;
    answer.map(drop).map_err(|error| {
        assert!(error.is_insecure(), "{error}");
        error.to_string()
    })
}

async fn says(client: Client, part: &str) {
    let told = asked(client).await.unwrap_err();
    assert!(told.contains("TLS: ") && told.contains(part), "{told}");
}

#[tokio::test]
async fn who_trusts_the_authority_is_served_and_nobody_else() {
    let dir = TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let other = Authority::new(dir.path(), "other");
    let server = secured(ours.sign("server", HOST, Valid::Now).server(None)).await;
    asked(over_tls(&server, &ours.trusted())).await.unwrap();
    says(over_tls(&server, &other.trusted()), "not signed by the CA").await;
    says(client(&server, "https", "127.0.0.1", &ours.trusted()), "not for `127.0.0.1`").await;
    let expiry = "fusion_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(server.metric(expiry).await, 4_102_444_800, "the first day of 2100");
    assert_eq!(server.metric("fusion_tls_handshakes_total{outcome=\"done\"}").await, 1);

    let expired = secured(ours.sign("old", HOST, Valid::Before).server(None)).await;
    says(over_tls(&expired, &ours.trusted()), "server's certificate has expired").await;
}

#[tokio::test]
async fn plaintext_and_tls_do_not_pass_for_each_other() {
    let dir = TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let secure = secured(ours.sign("server", HOST, Valid::Now).server(None)).await;
    let plain = start().await;
    says(client(&secure, "http", HOST, &ClientTls::default()), "give https://").await;
    says(over_tls(&plain, &ours.trusted()), "does not speak TLS").await;
    let failed = "fusion_tls_handshakes_total{outcome=\"failed\"}";
    assert!(secure.metric(failed).await >= 1);
}

#[tokio::test]
async fn with_a_client_ca_only_its_clients_are_let_in() {
    let dir = TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let other = Authority::new(dir.path(), "other");
    let server = secured(ours.sign("server", HOST, Valid::Now).server(Some(&ours))).await;
    let shows = |own| over_tls(&server, &ours.trusted_with(own));
    asked(shows(ours.sign("agent", "agent", Valid::Now))).await.unwrap();
    says(over_tls(&server, &ours.trusted()), "wants a client certificate").await;
    says(shows(other.sign("stranger", "agent", Valid::Now)), "does not know the CA").await;
    says(shows(ours.sign("old", "agent", Valid::Before)), "client certificate has expired").await;
}

fn entry(name: &str, role: &str, agents: &[&str]) -> CertificateEntry {
    CertificateEntry {
        name: name.to_owned(),
        principal: name.to_owned(),
        role: role.to_owned(),
        views: vec!["*".to_owned()],
        agents: agents.iter().map(|&id| id.to_owned()).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_stands_in_for_a_token_as_long_as_its_name_is_in_the_file() {
    let dir = TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let tokens = dir.path().join("tokens.toml");
    let write = |certificates: Vec<CertificateEntry>| {
        let file = TokenFile { certificates, ..TokenFile::default() };
        std::fs::write(&tokens, file.to_toml().unwrap()).unwrap();
    };
    write(vec![entry("reads", "reader", &[]), entry("pushes", "agent", &["a"])]);
    let mut config = config();
    config.tls = Some(ours.sign("server", HOST, Valid::Now).server(Some(&ours)));
    config.token_file = Some(tokens.clone());
    let server = start_with(config).await;
    let shows =
        |name| over_tls(&server, &ours.trusted_with(ours.sign(name, name, Valid::Now))).views;
    let (mut reads, mut pushes) = (shows("reads"), shows("pushes"));
    reads.list_views().await.unwrap();
    let told = pushes.list_views().await.unwrap_err().to_string();
    assert!(told.contains("role reader"), "{told}");
    let told = shows("stranger").list_views().await.unwrap_err().to_string();
    assert!(told.contains("token is needed"), "{told}");
    write(vec![entry("pushes", "agent", &["a"])]);
    while reads.list_views().await.is_ok() {
        advance(Duration::from_secs(1)).await;
    }
    let told = reads.list_views().await.unwrap_err().to_string();
    assert!(told.contains("token is needed"), "{told}");
}

/// Goes on until the metric is so: the files are looked at every few seconds.
async fn until(server: &TestServer, series: &str, is: u64, old: &Client) {
    for _ in 0..1_000 {
        advance(Duration::from_secs(1)).await;
        asked(old.clone()).await.unwrap();
        if server.metric(series).await == is {
            return;
        }
    }
    panic!("{series} never became {is}");
}

#[tokio::test(start_paused = true)]
async fn files_that_change_are_taken_and_connections_go_on() {
    let dir = TempDir::new().unwrap();
    let (first, second) =
        (Authority::new(dir.path(), "first"), Authority::new(dir.path(), "second"));
    let tls = first.sign("server", HOST, Valid::Now).server(None);
    let server = secured(tls.clone()).await;
    let old = over_tls(&server, &first.trusted());
    asked(old.clone()).await.unwrap();

    // A key that is none: nothing changes, and it is told once.
    let refused = "fusion_reloads_total{outcome=\"refused\",what=\"tls\"}";
    std::fs::write(&tls.key, "nonsense").unwrap();
    until(&server, refused, 1, &old).await;
    asked(over_tls(&server, &first.trusted())).await.unwrap();
    for _ in 0..30 {
        advance(Duration::from_secs(1)).await;
        asked(old.clone()).await.unwrap();
    }
    assert_eq!(server.metric(refused).await, 1);

    second.sign("server", HOST, Valid::Now);
    let taken = "fusion_reloads_total{outcome=\"taken\",what=\"tls\"}";
    until(&server, taken, 1, &old).await;
    asked(over_tls(&server, &second.trusted())).await.unwrap();
    says(over_tls(&server, &first.trusted()), "not signed by the CA").await;
    asked(old).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_holds_up_nobody_and_is_given_up() {
    let dir = TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let server = secured(ours.sign("server", HOST, Valid::Now).server(None)).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(server.grpc).await.unwrap());
    }
    asked(over_tls(&server, &ours.trusted())).await.unwrap();
    // So many at once at most: the oldest had to go.
    let displaced = server.metric("fusion_tls_handshakes_total{outcome=\"displaced\"}").await;
    assert!((44..=45).contains(&displaced), "{displaced}");
    let mut byte = [0];
    assert!(matches!(silent[0].read(&mut byte).await, Ok(0) | Err(_)));
    advance(Duration::from_secs(11)).await;
    for mut stream in silent {
        assert!(matches!(stream.read(&mut byte).await, Ok(0) | Err(_)));
    }
    let timed_out = server.metric("fusion_tls_handshakes_total{outcome=\"timed_out\"}").await;
    assert_eq!(timed_out, 300 - displaced);
}
