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
) -> Result<ProcessConfig, ConfigError> {
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
    let agent = &config.agents[0];
    assert_eq!(agent.view.as_str(), "from-flag");
    assert_eq!(agent.scan_workers.get(), 7);
    assert_eq!(agent.root, PathBuf::from("/data"));
    assert_eq!(agent.spool, PathBuf::from("/home/me/.local/state/fusion/agent/from-flag"));
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
    let several = ServerUrls::new("http://a:1, http://b:2/").unwrap();
    assert_eq!(several.to_string(), "http://a:1,http://b:2");
    assert!(ServerUrls::new("http://a:1,https://b:2").is_err(), "the safe and the unsafe");
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
    assert_eq!(config.agents[0].view.as_str(), "lab");
    let commented = std::fs::read_to_string(&example).unwrap();
    let all = commented.replace("\n#= ", "\n");
    let config = load_text(&all, &environment(&[]), Raw::default()).unwrap();
    let agent = &config.agents[0];
    assert!(agent.session_timeout.is_some() && agent.max_watches.is_some());
    // The list in place of the one tree.
    let trees = commented.replace("\nview =", "\n#").replace("\nroot =", "\n#");
    let trees = trees.replace("\n#+ ", "\n");
    let config = load_text(&trees, &environment(&[]), Raw::default()).unwrap();
    assert_eq!(config.agents.len(), 2);
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

fn tree(view: &str, root: &str) -> String {
    format!("[[tree]]\nview = \"{view}\"\nroot = \"{root}\"\n")
}

const SERVER: &str = "server = \"http://127.0.0.1:7700\"\nspool = \"/spool\"\n";

#[test]
fn trees_have_a_spool_each_and_the_rest_together_and_are_printed_as_they_are() {
    let trees = tree("lab", "/data/lab") + &tree("home", "/home");
    let text = format!("{SERVER}scan_rate = 9\nhttp_listen = \"127.0.0.1:1\"\n{trees}");
    let config = load_text(&text, &environment(&[]), Raw::default()).unwrap();
    let found: Vec<_> = config
        .agents
        .iter()
        .map(|agent| (agent.view.as_str(), agent.root.to_str(), agent.spool.to_str()))
        .collect();
    let expected = [
        ("lab", Some("/data/lab"), Some("/spool/lab")),
        ("home", Some("/home"), Some("/spool/home")),
    ];
    assert_eq!(found, expected, "in the order in which they are written");
    assert!(config.agents.iter().all(|agent| agent.scan_rate.is_some()));
    let again = load_text(&config.to_toml(), &environment(&[]), Raw::default()).unwrap();
    assert_eq!(again, config);
    // Flags go over the list as a whole; by default spools lie where that of one tree would.
    let flag = RawTree::of_flag("one=/a=b").unwrap();
    let flags = Raw { tree: Some(vec![flag]), ..Raw::default() };
    let text = format!("server = \"http://127.0.0.1:7700\"\n{trees}");
    for (name, spool) in
        [("HOME", "/x/.local/state/fusion/agent/one"), ("STATE_DIRECTORY", "/x/one")]
    {
        let config = load_text(&text, &environment(&[(name, "/x")]), flags.clone()).unwrap();
        let [agent] = config.agents.as_slice() else { panic!("{config:?}") };
        assert_eq!((agent.root.to_str(), agent.spool.to_str()), (Some("/a=b"), Some(spool)));
    }
}

#[test]
fn all_that_is_wrong_with_trees_is_told_at_once_and_by_name() {
    let trees = [
        tree("a", "/data/a"),
        tree("b", "/data/a/../a/./b"),
        tree("c", "/data"),
        tree("a", "/elsewhere"),
        tree("ab", "/data/ab"),
        tree("No", ""),
        "[[tree]]\nview = \"d\"\n".to_owned(),
    ];
    let text = format!("{SERVER}max_watches = 13\n{}", trees.concat());
    let ConfigError(faults) = load_text(&text, &environment(&[]), Raw::default()).unwrap_err();
    let told: Vec<_> = faults.iter().map(Fault::to_string).collect();
    let expected = [
        ("tree 2: root = \"/data/a/../a/./b\"", "lies within the root of view a, /data/a"),
        ("tree 3: root = \"/data\"", "holds the root of view a, /data/a"),
        ("tree 4: view = \"a\"", "each view once"),
        ("tree 5: root = \"/data/ab\"", "lies within the root of view c, /data"),
        ("tree 6: view = \"No\"", ""),
        ("tree 6: root = \"\"", "must not be empty"),
        ("tree 7: root:", "is needed"),
        ("max_watches = \"13\"", "at least 14 for 7 trees"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (line, (begins, says)) in told.iter().zip(expected) {
        assert!(line.starts_with(begins) && line.contains(says), "{line}: {begins} … {says}");
    }
    for (wrong, says) in [
        (format!("{NEEDED}{}", tree("a", "/a")), "either one view and its root, or a list"),
        (format!("{SERVER}tree = []\n"), "from 1 to 64 trees"),
    ] {
        let told = load_text(&wrong, &environment(&[("HOME", "/h")]), Raw::default()).unwrap_err();
        assert!(told.to_string().contains(says), "{told}");
    }
}
