use std::path::Path;

use super::*;

const NEEDED: &str = "server = \"http://127.0.0.1:7700\"\nview = \"v\"\nroot = \"/data\"\n";

fn environment(pairs: &[(&str, &str)]) -> Environment {
    Environment(pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect())
}

/// Loads a file with this text.
fn load_text(
    text: &str,
    environment: &Environment,
    flags: Raw,
) -> Result<AgentConfig, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    load(Some(file.path()), environment, flags)
}

#[test]
fn environment_goes_over_the_file_and_flags_over_both() {
    let environment = environment(&[
        ("HOME", "/home/me"),
        ("FUSION_AGENT__VIEW", "from-env"),
        ("FUSION_AGENT__SCAN_WORKERS", "7"),
        ("FUSION_SERVER__LISTEN__GRPC", "not ours"),
    ]);
    let flags = Raw { view: Some("from-flag".into()), ..Raw::default() };
    let config = load_text(&format!("{NEEDED}scan_workers = 3\n"), &environment, flags).unwrap();
    assert_eq!(config.view.as_str(), "from-flag");
    assert_eq!(config.scan_workers.get(), 7);
    assert_eq!(config.root, PathBuf::from("/data"));
    assert_eq!(config.spool, PathBuf::from("/home/me/.local/state/fusion/agent/from-flag"));
}

#[test]
fn what_tls_needs_is_told_before_anything_starts() {
    let none = environment(&[("HOME", "/home/me")]);
    let secure = NEEDED.replace("http:", "https:");
    let wrong = [
        (secure.clone(), "needs --ca"),
        (format!("{secure}ca = \"/none/ca.pem\"\n"), "/none/ca.pem cannot be read"),
        (format!("{NEEDED}ca = \"/none/ca.pem\"\n"), "given without TLS"),
        (format!("{NEEDED}token_file = \"/none/token\"\n"), "/none/token cannot be read"),
        (NEEDED.replace("127.0.0.1", "far") + "token_file = \"/x\"\n", "anyone on the way"),
    ];
    for (text, says) in wrong {
        let told = load_text(&text, &none, Raw::default()).unwrap_err().to_string();
        assert!(told.contains(says), "{text}: {told}");
    }
    assert!(ServerUrl::new("https://fusion.example:7700").unwrap().is_tls());
}

#[test]
fn all_faults_are_told_at_once() {
    let text = "server = \"ftp://x\"\nview = \"No\"\nspool_bytes = 5\nsession_timeout = \"30\"\n\
                http_listen = \"here\"\nscan_workers = -1\nscan_rate = 0\n\
                scan_yield_above = \"5\"\nlog = \"a=b=c\"\n";
    let environment = environment(&[("FUSION_AGENT__COLOUR", "red")]);
    let ConfigError(faults) = load_text(text, &environment, Raw::default()).unwrap_err();
    let mut keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    keys.sort_unstable();
    let expected = [
        "FUSION_AGENT__COLOUR",
        "http_listen",
        "log",
        "root",
        "scan_rate",
        "scan_workers",
        "scan_yield_above",
        "server",
        "session_timeout",
        "spool_bytes",
        "view",
    ];
    assert_eq!(keys, expected, "{faults:?}");
}

#[test]
fn an_unknown_key_or_a_missing_file_is_a_fault() {
    let flags = Raw::default();
    let error = load_text(&format!("{NEEDED}colour = 1\n"), &environment(&[]), flags).unwrap_err();
    assert!(error.to_string().contains("colour"), "{error}");
    let missing = Path::new("/does/not/exist.toml");
    let error = load(Some(missing), &environment(&[]), Raw::default()).unwrap_err();
    assert!(error.to_string().contains("/does/not/exist.toml"), "{error}");
}

#[test]
fn where_the_spool_goes() {
    let view = ViewName::new("v").unwrap();
    let check = |pairs: &[(&str, &str)], expected: Option<&str>| {
        let found = environment(pairs).default_spool(&view);
        assert_eq!(found, expected.map(PathBuf::from), "{pairs:?}");
    };
    check(&[("STATE_DIRECTORY", "/s:/t"), ("XDG_STATE_HOME", "/x")], Some("/s"));
    check(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")], Some("/x/fusion/agent/v"));
    check(&[("HOME", "/h"), ("XDG_STATE_HOME", "")], Some("/h/.local/state/fusion/agent/v"));
    check(&[], None);
    let error = load_text(NEEDED, &environment(&[]), Raw::default()).unwrap_err();
    assert_eq!(error.0[0].key, "spool");
}

#[test]
fn server_urls() {
    let secure = "https://x:1";
    for good in ["http://127.0.0.1:7700", "http://[::1]:1", "http://fusion.example:7700/", secure] {
        assert!(ServerUrl::new(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "x",
        "http://",
        "http://x",
        "http://:1",
        "http://x:0",
        "http://x:y",
        "httpss://x:1",
        "http://x:1/y",
        "http://a b:1",
        "http://u@x:1",
    ] {
        assert!(ServerUrl::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_shipped_example_is_good() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("agent-client.example.toml");
    let config = load(Some(&example), &environment(&[]), Raw::default()).unwrap();
    assert_eq!(config.view.as_str(), "lab");
    let commented = std::fs::read_to_string(&example).unwrap();
    let all = commented.replace("\n#= ", "\n");
    let config = load_text(&all, &environment(&[]), Raw::default()).unwrap();
    assert!(config.session_timeout.is_some() && config.max_watches.is_some());
}

#[test]
fn what_is_printed_says_the_same() {
    let flags = Raw { agent_id: Some("a-1".into()), spool: Some("/s".into()), ..Raw::default() };
    let text = format!(
        "{NEEDED}session_timeout = \"90s\"\nmax_watches = 7\nscan_rate = 500\n\
                        call_limit = \"3s\"\n\
                        scan_yield_above = \"2ms 500us\"\n"
    );
    let config = load_text(&text, &environment(&[]), flags).unwrap();
    let again = load_text(&config.to_toml(), &environment(&[]), Raw::default()).unwrap();
    assert_eq!(again, config);
}
