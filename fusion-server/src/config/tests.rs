//! Configuration from text: what is read, what is refused, and that nothing is lost on the way.

use std::path::Path;
use std::time::Duration;

use super::{Config, ConfigFaults, Sources};

fn load(
    text: &str,
    env: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Config, ConfigFaults> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(&file, text).unwrap();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Config::load(&Sources {
        file: Some(file),
        env: env.iter().map(owned).collect(),
        flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
    })
}

fn keys(text: &str) -> Vec<String> {
    load(text, &[], &[]).unwrap_err().0.into_iter().map(|fault| fault.key).collect()
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(Config::load(&Sources::default()), Ok(Config::default()));
    assert_eq!(load("", &[], &[]), Ok(Config::default()));
}

#[test]
fn flags_go_over_the_environment_over_the_file() {
    let text = "shutdown_grace = \"1s\"\n[listen]\ngrpc = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:1\"";
    let env = [
        ("FUSION_SERVER__LISTEN__GRPC", "127.0.0.1:2"),
        ("FUSION_SERVER__LISTEN__HTTP", "127.0.0.1:2"),
        ("FUSION_SERVER__MAX_VIEWS", "7"),
        ("FUSION_SERVER__VIEWS__HOME__EXCLUSIVE", "true"),
        ("PATH", "/bin"),
    ];
    let config = load(text, &env, &[("listen.http", "127.0.0.1:3")]).unwrap();
    assert_eq!((config.grpc.address.port(), config.http.address.port()), (2, 3));
    assert_eq!((config.shutdown_grace, config.max_views), (Duration::from_secs(1), 7));
    assert!(config.views.values().all(|view| view.exclusive) && config.views.len() == 1);
    assert!(!config.auto_create_views, "a configured view turns it off");
}

#[test]
fn a_listener_that_others_reach_must_be_meant() {
    assert_eq!(keys("listen.grpc = \"0.0.0.0:7700\""), ["listen.grpc"]);
    let meant = "[listen.grpc]\naddress = \"0.0.0.0:7700\"\nallow_plaintext = true";
    assert!(load(meant, &[], &[]).unwrap().grpc.allow_plaintext);
    assert!(!load(meant, &[], &[]).unwrap().http.allow_plaintext);
    // An address from elsewhere keeps what the file says of the listener.
    let env = [("FUSION_SERVER__LISTEN__GRPC", "0.0.0.0:9")];
    assert_eq!(load(meant, &env, &[]).unwrap().grpc.address.port(), 9);
    let env = [
        ("FUSION_SERVER__LISTEN__HTTP", "0.0.0.0:9"),
        ("FUSION_SERVER__LISTEN__HTTP__ALLOW_PLAINTEXT", "true"),
    ];
    assert_eq!(load("", &env, &[]).unwrap().http.address.port(), 9);
}

#[test]
fn the_files_of_tls_are_read_and_what_is_wrong_with_each_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let certificate = write("certificate", &key.cert.pem());
    let own = write("own", &key.signing_key.serialize_pem());
    let foreign = write("foreign", &other.signing_key.serialize_pem());
    let empty = write("empty", "");
    let section = |certificate: &str, key: &str, ca: &str| {
        format!(
            "listen.grpc = \"0.0.0.0:7700\"\nauth.allow_anonymous = true\n[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n{ca}"
        )
    };
    let ca = format!("client_ca = \"{certificate}\"");
    let good = load(&section(&certificate, &own, &ca), &[], &[]).unwrap();
    assert_eq!(load(&good.to_toml(), &[], &[]), Ok(good), "and may listen where others reach it");

    let wrong = [
        (section(&certificate, &foreign, ""), "tls.key", "not the key of tls.certificate"),
        (section(&empty, &own, ""), "tls.certificate", "has no certificate in it"),
        (section(&own, &own, ""), "tls.certificate", "has no certificate in it"),
        (section(&certificate, &certificate, ""), "tls.key", "has no private key in it"),
        (section("/none/x", &own, ""), "tls.certificate", "cannot be read"),
        (section(&certificate, &own, "client_ca = \"/none/x\""), "tls.client_ca", "cannot be read"),
        (section(&certificate, &own, "clientca = 1"), "tls.clientca", "no such setting"),
        (format!("[tls]\ncertificate = \"{certificate}\""), "tls.key", "is missing"),
        ("tls = 1".to_owned(), "tls", "a table"),
    ];
    for (text, key, says) in wrong {
        let faults = load(&text, &[], &[]).unwrap_err();
        let found = faults.0.iter().find(|fault| fault.key == key);
        assert!(found.is_some_and(|fault| fault.allowed.contains(says)), "{text}: {faults}");
        assert_eq!(faults.0.len(), 1, "{faults}");
    }
    let both = load(&section("/none/x", "/none/y", ""), &[], &[]).unwrap_err();
    assert_eq!(both.0.len(), 2, "{both}");
    let http =
        format!("{}\n[listen.http]\naddress = \"0.0.0.0:1\"", section(&certificate, &own, ""));
    let http = http.replace("listen.grpc = \"0.0.0.0:7700\"\n", "");
    let closed =
        |ca: &str| section(&certificate, &own, ca).replace("auth.allow_anonymous = true\n", "");
    assert_eq!(keys(&closed("")), ["auth.token_file"], "whoever connects could do everything");
    load(&closed(&ca), &[], &[]).unwrap();
    let file = write("tokens", "[[token]]\nid = 1");
    let auth = format!("auth.token_file = \"{file}\"\nauth.tokenfile = \"x\"");
    assert_eq!(keys(&auth), ["auth.tokenfile", "auth.token_file"]);
    assert_eq!(keys("auth.token_file = \"/none/x\""), ["auth.token_file"]);
    let file = write("tokens", "");
    let auth = load(&format!("auth.token_file = \"{file}\""), &[], &[]).unwrap();
    assert_eq!(load(&auth.to_toml(), &[], &[]), Ok(auth));
    assert_eq!(keys(&http), ["listen.http"], "it is for gRPC only");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = r#"
        surprise = 1
        shutdown_grace = 30
        max_views = 0
        max_watchers = 0
        auto_create_views = "yes"
        [listen]
        grpc = "nowhere"
        extra = true
        [log]
        filter = "a=b=c"
        format = "xml"
        [session]
        timeout_min = "20min"
        [view_defaults]
        tombstone_ttl = "1s"
        [views.Bad]
        session_timeout = "1h"
    "#;
    let faults = load(text, &[], &[]).unwrap_err();
    let mut keys: Vec<&str> = faults.0.iter().map(|fault| &fault.key[..]).collect();
    keys.sort_unstable();
    let expected = [
        "auto_create_views",
        "listen.extra",
        "listen.grpc",
        "log.filter",
        "log.format",
        "max_views",
        "max_watchers",
        "session.timeout_min",
        "shutdown_grace",
        "surprise",
        "view_defaults.tombstone_ttl",
        "views",
        "views.Bad.session_timeout",
    ];
    assert_eq!(keys, expected);
    let told = faults.to_string();
    for part in ["shutdown_grace = 30: must be a duration with its unit", "from 1ms to 10m"] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn what_is_not_to_be_told_is_read_and_what_cannot_be_is_named() {
    let text = "[views.home]\nexclude = [\"*.key\", \"/home/*/private\"]\nwithhold = [\"owner\"]";
    let config = load(text, &[], &[]).unwrap();
    let home = config.views.values().next().unwrap();
    assert_eq!(home.exclude, ["*.key", "/home/*/private"]);
    assert!(home.withheld.owner && !home.withheld.mode);
    assert_eq!(load(&config.to_toml(), &[], &[]), Ok(config));
    let env = [("FUSION_SERVER__VIEW_DEFAULTS__WITHHOLD", "[\"mode\", \"owner\"]")];
    let withheld = load("", &env, &[]).unwrap().view_defaults.withheld;
    assert!(withheld.owner && withheld.mode);

    let long = "x".repeat(1_025);
    let text = format!("view_defaults.exclude = [\"ok\", \"a[\", \"/\", \"{long}\"]");
    let bad = ["view_defaults.exclude[1]", "view_defaults.exclude[2]", "view_defaults.exclude[3]"];
    assert_eq!(keys(&text), bad);
    assert_eq!(keys("view_defaults.exclude = \"*.key\""), ["view_defaults.exclude"]);
    let many = format!("view_defaults.exclude = {:?}", vec!["x"; 257]);
    assert_eq!(keys(&many), ["view_defaults.exclude"]);
    let text = "view_defaults.withhold = [\"inode\"]";
    assert_eq!(keys(text), ["view_defaults.withhold"], "the rules stand on it");
}

#[test]
fn what_is_no_toml_or_not_there_names_the_file() {
    assert_eq!(keys("listen = ["), ["--config"]);
    let sources = Sources { file: Some("/no/such/file".into()), ..Sources::default() };
    assert!(Config::load(&sources).unwrap_err().to_string().contains("/no/such/file"));
}

#[test]
fn what_differs_is_told_by_key_and_what_is_fixed_is_refused() {
    let load = |text: &str| super::check::check(text.parse().unwrap()).unwrap();
    let before = load("[views.a]\n[views.b]\n");
    assert_eq!(before.changes_to(&before).unwrap(), []);
    let after = load("[views.a]\ntrash_ttl = \"2h\"\n[views.c]\n");
    let changes = before.changes_to(&after).unwrap();
    let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
    assert_eq!(keys, ["views.a.trash_ttl", "views.b", "views.c"]);
    assert_eq!((changes[0].before.as_str(), changes[0].after.as_str()), ("\"1d\"", "\"2h\""));
    let fixed =
        load("job_ttl = \"1h\"\nserver_id = \"6f2d6ae7-4e11-4c1f-9d3e-0c4c6f1f1a11\"\n[views.c]\n");
    let faults = before.changes_to(&fixed).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "job_ttl = \"1h\": it is \"7d\", which cannot be changed while the server runs: restart it"
    );
    assert_eq!(faults[1].key, "server_id");
}

/// What may not be in `[state]`: of which key that is told, and how.
const WRONG_STATES: [(&str, &str, &str); 20] = [
    ("engine = \"postgres\"", "state.url", "set, because"),
    ("engine = \"mysql\"", "state.engine", "one of embedded, postgres, redis, nats"),
    ("url = \"redis://localhost\"", "state.url", "state.engine is embedded"),
    ("engine = \"postgres\"\nurl = \"redis://localhost\"", "state.url", "postgres://"),
    (
        "engine = \"postgres\"\nurl = \"postgres://f@db.example.org/f\"",
        "state.url",
        "sslmode=disable",
    ),
    (
        "engine = \"postgres\"\nurl = \"postgres://f@localhost/f?sslmode=require\"",
        "state.url",
        "verify-full",
    ),
    (
        "engine = \"postgres\"\nurl = \"postgres://f:hunter2@localhost/f\"",
        "state.url",
        "password_file",
    ),
    (
        "engine = \"postgres\"\nurl = \"postgres://f@localhost/f?password=hunter2\"",
        "state.url",
        "password_file",
    ),
    ("engine = \"redis\"\nurl = \"redis://:hunter2@localhost\"", "state.url", "password_file"),
    ("engine = \"redis\"\nurl = \"rediss://localhost\"", "state.url", "ca_file"),
    ("engine = \"redis\"\nurl = \"redis://cache.example.org\"", "state.url", "plaintext=true"),
    (
        "engine = \"redis\"\nurl = \"rediss://localhost\"\nca_file = \"/none\"",
        "state.ca_file",
        "/none",
    ),
    ("password_file = \"/none\"", "state.password_file", "can be read"),
    ("pasword = \"hunter2\"", "state.pasword", "no such setting"),
    ("password = 7", "state.password", "a text"),
    ("connections = 0", "state.connections", "from 1 to 1000"),
    ("timeout = \"1h\"", "state.timeout", "10m"),
    ("key_prefix = \"a b\"", "state.key_prefix", "visible"),
    ("engine = \"nats\"", "state.engine", "only if change_log.engine is nats"),
    (
        "engine = \"nats\"\nurl = \"nats://a:1\"\n[change_log]\nengine = \"nats\"\nservers = [\"nats://a:1\"]",
        "state.url",
        "as [change_log] says",
    ),
];

#[test]
fn a_state_outside_is_checked_whole_and_no_secret_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let file = file.display();
    let good = format!(
        "[state]\nengine = \"postgres\"\nurl = \"postgres://fusion@localhost/fusion\"\npassword_file = \"{file}\"\n"
    );
    let config = load(&good, &[], &[]).unwrap();
    assert!(!format!("{config:?}{}", config.to_toml()).contains("hunter2"));
    assert_eq!(load(&config.to_toml(), &[], &[]), Ok(config.clone()));
    assert!(
        Config::default()
            .changes_to(&config)
            .unwrap_err()
            .iter()
            .all(|it| it.key.starts_with("state."))
    );
    let env = [("FUSION_SERVER__STATE__PASSWORD", "0123")];
    let by_env = load(&good.replace("password_file", "#"), &env, &[]).unwrap();
    assert!(by_env.to_toml().contains("password = \"***\""), "{}", by_env.to_toml());

    for (text, key, says) in WRONG_STATES {
        let faults = load(&format!("[state]\n{text}"), &[], &[]).unwrap_err();
        let found = faults.0.iter().find(|fault| fault.key == key);
        assert!(found.is_some_and(|fault| fault.allowed.contains(says)), "{text}: {faults}");
        assert!(!faults.to_string().contains("hunter2"), "{faults}");
    }
    let all = "[state]\nengine = \"redis\"\ntimeout = 7\nconnections = 0\ncertificate_file = \"/x\"\nurl = \"nowhere\"";
    assert_eq!(keys(all).len(), 4, "{:?}", keys(all));
}

#[test]
fn addresses_of_engines_are_taken_as_their_own_programs_write_them() {
    let meant = [
        ("postgres", "postgres://f@db1:5432,db2:5433/f?sslmode=disable"),
        ("postgres", "postgresql://f@localhost/f?sslmode=disable&options=-csearch_path%3Dfusion"),
        ("redis", "redis://cache.example.org:6379/2?plaintext=true"),
        ("redis", "redis://fusion@127.0.0.1"),
    ];
    for (engine, url) in meant {
        let config = load(&format!("state.engine = \"{engine}\"\nstate.url = \"{url}\""), &[], &[]);
        assert_eq!(load(&config.clone().unwrap().to_toml(), &[], &[]), config);
    }
}

#[test]
fn a_state_on_nats_is_reached_as_the_logs_are() {
    let text = "[state]\nengine = \"nats\"\n[change_log]\nengine = \"nats\"\nreplicas = 3\nservers = [\"nats://a:1\"]";
    let config = load(text, &[], &[]).unwrap();
    assert_eq!(config.state.nats, Some(config.change_log.settings()));
    assert_eq!(load(&config.to_toml(), &[], &[]), Ok(config));
}

#[test]
fn an_engine_of_the_log_is_named_with_its_servers_and_no_secret() {
    let log = |text: &str| format!("[change_log]\n{text}");
    let text =
        log("engine = \"nats\"\nservers = [\"tls://a:4222\"]\nreplicas = 3\nsync = \"always\"");
    let config = load(&text, &[], &[]).unwrap();
    let settings = config.change_log.settings();
    assert_eq!((settings.servers, settings.replicas), (vec!["tls://a:4222".to_owned()], 3));
    assert!(settings.tls.is_some());
    for (text, key) in [
        ("engine = \"nats\"", "servers"),
        ("servers = [\"nats://a:1\"]", "servers"),
        ("engine = \"nats\"\nservers = [\"nats://user:secret@a:1\"]", "servers"),
        ("engine = \"nats\"\nservers = [\"http://a:1\"]", "servers"),
        ("engine = \"nats\"\nservers = []", "servers"),
        ("engine = \"kafka\"", "engine"),
        ("replicas = 2", "replicas"),
        ("prefix = \"a.b\"", "prefix"),
        ("max_bytes = 1", "max_bytes"),
        ("sync = \"never\"", "sync"),
        ("key_file = \"/a\"", "key_file"),
    ] {
        assert_eq!(keys(&log(text)), [format!("change_log.{key}")], "{text}");
    }
    let told = load(&log("servers = [\"nats://user:secret@a:1\"]"), &[], &[]).unwrap_err();
    assert!(!told.to_string().contains("secret@"), "{told}");
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let id = "00000000-0000-4000-8000-000000000000";
    let text = "data_dir = \"/tmp/x\"\nserver_id = \"ID\"\n[views.home]\nexclusive = true\ncache_horizon = \"90s\"";
    let config = load(&text.replace("ID", id), &[], &[]).unwrap();
    assert_eq!(config.server_id.map(|id| id.to_string()).as_deref(), Some(id));
    assert_eq!(keys(text), ["server_id"]);
    assert_eq!(load(&config.to_toml(), &[], &[]), Ok(config));
}

#[test]
fn the_shipped_example_is_in_order_and_shows_every_setting() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fusion-server.example.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    load(&text, &[], &[]).unwrap();
    // With the comments before settings taken away it says what is in force without it, and more.
    let uncommented: Vec<&str> =
        text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect();
    // The files of TLS are tried: those of the example are not on this machine.
    let dir = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("server.pem"), pair.cert.pem()).unwrap();
    std::fs::write(dir.path().join("clients.pem"), pair.cert.pem()).unwrap();
    std::fs::write(dir.path().join("tokens.toml"), "").unwrap();
    std::fs::write(dir.path().join("state-ca.pem"), pair.cert.pem()).unwrap();
    std::fs::write(dir.path().join("servers-ca.pem"), pair.cert.pem()).unwrap();
    std::fs::write(dir.path().join("state-client.pem"), pair.cert.pem()).unwrap();
    let key = pair.signing_key.serialize_pem();
    std::fs::write(dir.path().join("state-client-key.pem"), key).unwrap();
    std::fs::write(dir.path().join("state-password"), "secret\n").unwrap();
    std::fs::write(dir.path().join("server-key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let here = uncommented.join("\n").replace("/etc/fusion", &dir.path().display().to_string());
    let all = load(&here, &[], &[]).unwrap();
    let shown: toml::Table = uncommented.join("\n").parse().unwrap();
    let known: toml::Table = all.to_toml().parse().unwrap();
    for (key, value) in &known {
        let section = shown.get(key).unwrap_or_else(|| panic!("{key} is not shown"));
        if let (Some(of), Some(shown), true) =
            (value.as_table(), section.as_table(), key != "views")
        {
            for name in of.keys() {
                assert!(shown.contains_key(name), "{key}.{name} is not shown");
            }
        }
    }
}

#[test]
fn one_of_several_servers_has_a_log_and_a_state_that_are_shared() {
    let shared = "[change_log]\nengine = \"nats\"\nservers = [\"nats://a:4222\"]\n[state]\nengine = \"redis\"\nurl = \"redis://localhost\"\n";
    let with = |text: &str| format!("{shared}[cluster]\n{text}\n");
    let good = "advertise = \"http://fusion-0:7700\"\nlease = \"5s\"\nmemory = \"8GiB\"";
    let config = load(&with(good), &[], &[]).unwrap();
    let cluster = config.cluster.clone().unwrap();
    assert_eq!((cluster.lease.as_secs(), cluster.memory), (5, Some(8 << 30)));
    assert_eq!(load(&config.to_toml(), &[], &[]), Ok(config.clone()));
    let refused = Config { cluster: None, ..config.clone() }.changes_to(&config).unwrap_err();
    assert!(refused.iter().all(|fault| fault.key.starts_with("cluster.")), "{refused:?}");
    let env = [("FUSION_SERVER__CLUSTER__ADVERTISE", "https://[::1]:7700")];
    let by_env = load(shared, &env, &[]).unwrap().cluster.unwrap();
    assert_eq!((by_env.advertise.as_str(), by_env.lease.as_secs()), ("https://[::1]:7700", 3));
    assert_eq!(by_env.memory, None);

    for address in [
        "",
        "fusion-0:7700",
        "http://fusion-0",
        "http://fusion-0:0",
        "http://fusion-0:7700/",
        "http://fusion-0:7700/x",
        "nats://fusion-0:7700",
        "http://0.0.0.0:7700",
        "http://[::]:7700",
        "http://me@fusion-0:7700",
        "http://:7700",
        "http://fusion-0:70000",
    ] {
        let text = with(&format!("advertise = \"{address}\""));
        assert_eq!(keys(&text), ["cluster.advertise"], "{address}");
    }
    for (text, key) in [
        ("", "cluster.advertise"),
        ("advertise = \"http://a:1\"\nlease = \"999ms\"", "cluster.lease"),
        ("advertise = \"http://a:1\"\nlease = \"61s\"", "cluster.lease"),
        ("advertise = \"http://a:1\"\nmemory = 8", "cluster.memory"),
        ("advertise = \"http://a:1\"\nmemory = \"1B\"", "cluster.memory"),
        ("advertise = \"http://a:1\"\nadress = \"x\"", "cluster.adress"),
        ("advertise = \"http://a:1\"\nca_file = \"/none\"", "cluster.ca_file"),
        ("advertise = \"https://a:1\"\nca_file = \"/none\"", "cluster.ca_file"),
    ] {
        assert_eq!(keys(&with(text)), [key], "{text}");
    }
    let alone = keys("[cluster]\nadvertise = \"http://a:1\"");
    assert_eq!(alone, ["change_log.engine", "state.engine"]);
    assert_eq!(keys("cluster = \"http://a:1\"").len(), 3);
}
