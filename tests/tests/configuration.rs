//! docs/configuration.md is what the types and checks of both configurations say, with the words of the shipped
//! examples. `FUSION_WRITE_DOCS=1 cargo test -p fusion-tests --test configuration` writes it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const HEAD: &str = "# Configuration

Made of the types, the checks and the shipped examples by a test, which also checks it:
`FUSION_WRITE_DOCS=1 cargo test -p fusion-tests --test configuration` writes it anew.

Both programs read a TOML file (`--config FILE`), which the environment overrides and flags override in
turn. All that is wrong is told at once, by key; `--check-config` does only that, and `--print-config` prints what
is in force. Durations carry their unit: `500ms`, `30s`, `10min`, `1h`, `7d`. In the environment a number, a truth
value or a list is written as TOML writes it, and a text without quotes.
";

const SERVER: &str = "
## fusion-server

The environment name of a key is `FUSION_SERVER__` and the key in capitals, with `__` for each dot:
`views.NAME.audit_interval` is `FUSION_SERVER__VIEWS__NAME__AUDIT_INTERVAL`. The settings of a view can stand in
`view_defaults` too: they are then those of every view that does not say otherwise.

*Live* says whether a running server takes another value at SIGHUP or `fusionctl reload`; the files of `tls` and
`auth.token_file` are followed by themselves. A change of any other key is refused by its name, and then
nothing is changed. A view that is not configured any more ends its sessions (VIEW_RESET) and keeps its data; one
whose settings changed ends them too, and its agents come back under the new ones.

| key | allowed | default | live | meaning |
|---|---|---|---|---|
";

const AGENT: &str = "
## agent-client

The environment name of a key is `FUSION_AGENT__` and the key in capitals: `FUSION_AGENT__SCAN_RATE`. Several trees
are a list in the file (`[[tree]]` with `view` and `root`) or flags (`--tree VIEW=ROOT`), in place of `view` and
`root`. An agent is not reloaded: restart it, which costs neither a scan nor an event. It reads the files of TLS and
of its token again by itself.

| key | allowed | default | meaning |
|---|---|---|---|
";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// What an example says of a key: the comment before it, and before those that follow it at once.
fn meaning(example: &str, section: &str, key: &str) -> String {
    let (mut here, mut comment, mut fresh) = (String::new(), String::new(), true);
    for line in example.lines() {
        let bare = ["#: ", "#= ", "#+ ", "# "].iter().find_map(|mark| line.strip_prefix(mark));
        let text = bare.unwrap_or(line).trim();
        let is_setting = |name: &str| text.split_once(" = ").is_some_and(|(left, _)| left == name);
        if let Some(head) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            (here, fresh) = (head.trim_matches(['[', ']']).to_owned(), true);
        } else if here == section && is_setting(key) {
            return comment.trim().to_owned();
        } else if text.split_once(" = ").is_some_and(|(left, _)| !left.contains(' '))
            || text.is_empty()
        {
            fresh = true;
        } else if line.starts_with("# ") {
            if std::mem::take(&mut fresh) {
                comment.clear();
            }
            let _ = write!(comment, " {text}");
        }
    }
    panic!("the example does not show {section}.{key}")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn document() -> String {
    let read = |file: &str| std::fs::read_to_string(repository().join(file)).unwrap();
    let example = read("fusion-server/fusion-server.example.toml");
    let mut text = format!("{HEAD}{SERVER}");
    for setting in fusion_server::config::settings() {
        let (section, key) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        let (section, key) = match section {
            "views.NAME" => ("view_defaults", key),
            "listen.grpc" => ("listen", "grpc"),
            "listen.http" => ("listen", "http"),
            other => (other, key),
        };
        let meaning = if section == "listen" && key != "health" {
            String::new()
        } else {
            meaning(&example, section, key)
        };
        let default = setting.default.map_or("not set".to_owned(), |value| format!("`{value}`"));
        let live = if setting.is_live { "yes" } else { "no" };
        let (key, allowed) = (&setting.key, cell(&setting.allowed));
        writeln!(text, "| `{key}` | {allowed} | {default} | {live} | {} |", cell(&meaning))
            .unwrap();
    }
    let example = read("agent-client/agent-client.example.toml");
    text.push_str(AGENT);
    for setting in agent_client::config::settings() {
        let default = setting.default.map_or("-".to_owned(), |value| format!("`{value}`"));
        let (key, allowed) = (setting.key, cell(&setting.allowed));
        let meaning = cell(&meaning(&example, "", key));
        writeln!(text, "| `{key}` | {allowed} | {default} | {meaning} |").unwrap();
    }
    text
}

#[test]
fn the_page_says_what_the_types_say() {
    let (file, made) = (repository().join("docs/configuration.md"), document());
    if std::env::var_os("FUSION_WRITE_DOCS").is_some() {
        std::fs::write(&file, &made).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    let hint = "FUSION_WRITE_DOCS=1 cargo test -p fusion-tests --test configuration writes it anew";
    assert!(there == made, "docs/configuration.md is not what the types say: {hint}");
}

#[test]
fn every_setting_says_what_it_may_be() {
    let server = fusion_server::config::settings();
    assert!(server.len() > 35 && server.iter().all(|setting| !setting.allowed.is_empty()));
    let one = |key: &str| server.iter().find(|setting| setting.key == key).unwrap();
    assert_eq!(one("max_views").allowed, "a whole number from 1 to 10000");
    assert_eq!(one("max_views").default.as_deref(), Some("256"));
    assert!(one("views.NAME.exclude").is_live && !one("listen.grpc.address").is_live);
    let agent = agent_client::config::settings();
    assert!(agent.iter().all(|setting| !setting.allowed.is_empty()), "{agent:?}");
}
