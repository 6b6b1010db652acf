//! The pair as it is deployed: over TLS with tokens, and over mutual TLS. Everything that proves who is who is
//! renewed on disk while files are written, and the server is restarted: no evidence and no session is lost.

#[path = "../../fusion-server/tests/grpc/certificates.rs"]
#[allow(dead_code, reason = "the server's own tests need more of it")]
mod certificates;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fusion_proto::client::{CallHook, ClientTls, connect_with};
use fusion_proto::views::ViewsClient;
use fusion_tests::pair::{ARRIVE, Agent, READY, World, counter};
use fusion_tests::{binaries, compare};
use tempfile::TempDir;

use certificates::{Authority, Pair, Valid};

/// The server's name, which its certificates are for.
const HOST: &str = "localhost";
/// How long what is on disk may take to be in force: files are looked at every 5 s.
const TAKEN: Duration = Duration::from_secs(40);

/// Whom a server trusts, and what those who ask it show.
struct Keys {
    folder: TempDir,
    authority: Authority,
    /// Whether certificates stand in for tokens.
    mutual: bool,
}

impl Keys {
    fn new(mutual: bool) -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::new(folder.path(), "first");
        let keys = Self { folder, authority, mutual };
        keys.sign();
        keys.trust(&[&keys.authority]);
        if mutual {
            let entry = |name: &str, rest: &str| {
                format!("[[certificate]]\nname = \"{name}\"\nprincipal = \"{name}\"\n{rest}\n")
            };
            let agent = entry("agent", "role = \"agent\"\nviews = [\"tree\"]\nagents = [\"one\"]");
            let reader = entry("reader", "role = \"reader\"\nviews = [\"tree\"]");
            fs::write(keys.path("tokens.toml"), agent + &reader).unwrap();
        } else {
            keys.token("agent-1", "agent", &["--principal", "agent", "--for-agent", "one"]);
            keys.token("reader", "reader", &[]);
        }
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for everybody, in the place of the one before.
    fn sign(&self) {
        for (name, host) in [("server", HOST), ("agent", "agent"), ("reader", "reader")] {
            self.authority.sign(name, host, Valid::Now);
        }
    }

    /// Those whom everybody trusts from now on.
    fn trust(&self, authorities: &[&Authority]) {
        let pems = authorities.iter().map(|it| fs::read_to_string(it.file()).unwrap());
        fs::write(self.path("new.pem"), pems.collect::<String>()).unwrap();
        fs::rename(self.path("new.pem"), self.path("ca.pem")).unwrap();
    }

    /// Makes a token, in the file of whoever shows it.
    fn token(&self, id: &str, role: &str, more: &[&str]) {
        let mut create = Command::new(binaries::path("fusionctl"));
        create.args(["token", "create", id, "--role", role, "--for-view", "tree", "--file"]);
        let done = create.arg(self.path("tokens.toml")).args(more).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        fs::write(self.path("new.token"), done.stdout).unwrap();
        fs::rename(self.path("new.token"), self.path(&format!("{role}.token"))).unwrap();
    }

    fn revoke(&self, id: &str) {
        let mut revoke = Command::new(binaries::path("fusionctl"));
        revoke.args(["token", "revoke", id, "--file"]).arg(self.path("tokens.toml"));
        assert!(revoke.output().unwrap().status.success());
    }

    fn server_config(&self) -> String {
        let path = |name: &str| self.path(name).display().to_string();
        let client_ca = if self.mutual {
            format!("client_ca = \"{}\"\n", path("ca.pem"))
        } else {
            String::new()
        };
        format!(
            "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n{client_ca}[auth]\ntoken_file = \"{}\"\n\
             [view_defaults]\ncache_horizon = \"200ms\"\nhot_threshold = \"100ms\"\n",
            path("server.certificate.pem"),
            path("server.key.pem"),
            path("tokens.toml"),
        )
    }

    /// What somebody shows, as arguments.
    fn shown_by(&self, who: &str) -> Vec<String> {
        let file = |name: String| self.path(&name).display().to_string();
        let ca = ["--ca".to_owned(), file("ca.pem".to_owned())];
        let own = if self.mutual {
            let certificate = file(format!("{who}.certificate.pem"));
            vec![
                "--client-certificate".to_owned(),
                certificate,
                "--client-key".to_owned(),
                file(format!("{who}.key.pem")),
            ]
        } else {
            vec!["--token-file".to_owned(), file(format!("{who}.token"))]
        };
        ca.into_iter().chain(own).collect()
    }

    /// Who reads, on a new connection.
    fn reader(&self, url: &str) -> ViewsClient {
        let token = fs::read_to_string(self.path("reader.token")).unwrap_or_default();
        let hook = CallHook::new(move |metadata| {
            if !token.is_empty() {
                assert!(metadata.set("authorization", &format!("Bearer {}", token.trim())));
            }
        });
        let own = |kind: &str| self.mutual.then(|| self.path(&format!("reader.{kind}.pem")));
        let (certificate, key) = (own("certificate"), own("key"));
        let tls = ClientTls { ca: Some(self.path("ca.pem")), certificate, key };
        connect_with(url, &tls, hook).unwrap().views
    }
}

/// The pair, and somebody who writes files all the while.
struct Deployed {
    keys: Keys,
    world: World,
    agent: Agent,
    over: Arc<AtomicBool>,
    writer: JoinHandle<u32>,
}

impl Deployed {
    async fn start(mutual: bool) -> Self {
        let keys = Keys::new(mutual);
        let world = World::start_configured(&keys.server_config());
        let shown = keys.shown_by("agent");
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        let agent = world.launch("one").server(&secure(&world)).args(&shown).start();
        compare::until_ready(&mut keys.reader(&secure(&world)), world.view(), READY).await;
        let over = Arc::new(AtomicBool::new(false));
        let writer = write(world.root(), Arc::clone(&over));
        Self { keys, world, agent, over, writer }
    }

    fn fusionctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binaries::path("fusionctl"));
        command.args(["--server", &secure(&self.world)]).args(self.keys.shown_by("reader"));
        command.args(args).output().unwrap()
    }

    /// That `fusionctl`, which connects anew, is answered.
    fn is_served(&self) {
        let answer = self.fusionctl(&["ls", "--view", "tree", "/"]);
        assert!(answer.status.success(), "{answer:?}");
    }

    /// Waits until the server has taken so many changes of its files.
    fn until_taken(&self, what: &str, more: f64) {
        let series = format!("fusion_reloads_total{{outcome=\"taken\",what=\"{what}\"}}");
        until(&series, || counter(self.world.http(), &series) >= more);
    }

    fn taken(&self, what: &str) -> f64 {
        let series = format!("fusion_reloads_total{{outcome=\"taken\",what=\"{what}\"}}");
        counter(self.world.http(), &series)
    }

    /// Everybody's certificate is signed anew, by another authority, that is trusted first and alone at last.
    fn renew_certificates(&mut self) {
        let before = self.taken("tls");
        let next = Authority::new(self.keys.folder.path(), "second");
        self.keys.trust(&[&self.keys.authority, &next]);
        if self.keys.mutual {
            self.until_taken("tls", before + 1.0);
        }
        let before = self.taken("tls");
        self.keys.authority = next;
        self.keys.sign();
        self.until_taken("tls", before + 1.0);
        self.is_served();
        let before = self.taken("tls");
        self.keys.trust(&[&self.keys.authority]);
        if self.keys.mutual {
            self.until_taken("tls", before + 1.0);
        }
        self.is_served();
    }

    /// The agent's token is another one, and the first is good no more.
    fn renew_token(&self) {
        let before = self.taken("tokens");
        self.keys.token("agent-2", "agent", &["--principal", "agent", "--for-agent", "one"]);
        self.until_taken("tokens", before + 1.0);
        self.keys.revoke("agent-1");
        let ended = "fusion_denied_calls_total{reason=\"revoked_token\"}";
        until(ended, || counter(self.world.http(), ended) >= 1.0);
        let resumed = "fusion_agent_reconnects_total";
        until(resumed, || counter(&self.agent.http, resumed) >= 1.0);
    }

    /// A new process has only what is on disk, and all connections are made anew.
    fn restart_server(&mut self) {
        let status = self.world.server().terminate(READY);
        assert!(status.success(), "{status:?}");
        self.world.start_server();
        self.is_served();
    }

    /// That all that was written is in the view, by the session with which it began.
    async fn ends_whole(self) {
        self.over.store(true, Ordering::Relaxed);
        let written = self.writer.join().unwrap();
        let mut reader = self.keys.reader(&secure(&self.world));
        compare::until_equal(&mut reader, self.world.view(), self.world.root(), ARRIVE).await;
        assert!(written > 100, "{written} files");
        for none in [
            "fusion_agent_session_recoveries_total",
            "fusion_agent_spool_full_total",
            "fusion_agent_rows_rejected_total",
        ] {
            assert_eq!(counter(&self.agent.http, none), 0.0, "{none}");
        }
        for none in ["fusion_lost_batches_total", "fusion_obsolete_answers_total"] {
            assert_eq!(counter(self.world.http(), none), 0.0, "{none}");
        }
    }
}

fn secure(world: &World) -> String {
    let port = world.url().rsplit(':').next().unwrap().to_owned();
    format!("https://{HOST}:{port}")
}

/// Writes, changes and removes files until it is told to end; gives how many it wrote.
fn write(root: &Path, over: Arc<AtomicBool>) -> JoinHandle<u32> {
    let root = root.to_path_buf();
    fs::create_dir(root.join("d")).unwrap();
    let writes = move || {
        let mut written = 0;
        while !over.load(Ordering::Relaxed) {
            let file = |number: u32| root.join(format!("d/f{number}"));
            fs::write(file(written), written.to_string()).unwrap();
            if written % 3 == 2 {
                fs::remove_file(file(written - 1)).unwrap();
            }
            written += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        written
    };
    std::thread::Builder::new().name("writer".into()).spawn(writes).unwrap()
}

fn until(what: &str, is: impl Fn() -> bool) {
    let started = compare::clock();
    while !is() {
        assert!(started.elapsed() < TAKEN, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn over_tls_with_tokens_nothing_is_lost_while_both_are_renewed() {
    let mut pair = Deployed::start(false).await;
    pair.is_served();
    pair.renew_certificates();
    pair.renew_token();
    pair.restart_server();
    pair.ends_whole().await;
}

#[tokio::test]
async fn over_mutual_tls_nothing_is_lost_while_every_certificate_is_renewed() {
    let mut pair = Deployed::start(true).await;
    pair.is_served();
    pair.renew_certificates();
    pair.restart_server();
    pair.ends_whole().await;
}

#[tokio::test]
async fn a_bad_certificate_put_in_place_of_a_good_one_changes_nothing() {
    let pair = Deployed::start(true).await;
    let refused = "fusion_reloads_total{outcome=\"refused\",what=\"tls\"}";
    fs::write(pair.keys.path("server.certificate.pem"), "none").unwrap();
    until(refused, || counter(pair.world.http(), refused) >= 1.0);
    pair.is_served();
    let Pair { certificate, key } = pair.keys.authority.sign("old", "reader", Valid::Before);
    let mut old = Command::new(binaries::path("fusionctl"));
    old.args(["--server", &secure(&pair.world), "--ca"]).arg(pair.keys.authority.file());
    old.arg("--client-certificate").arg(certificate).arg("--client-key").arg(key);
    let told = old.args(["ls", "--view", "tree", "/"]).output().unwrap();
    let says = String::from_utf8_lossy(&told.stderr);
    assert!(!told.status.success() && says.contains("expired"), "{told:?}");
    pair.ends_whole().await;
}
