//! `fusion-server store` as an operator sees it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what helpers of tests do not get is a failed test"
)]

mod made;
mod moving;
mod start;

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fusion_core::time::ServerTime;
use fusion_store::embedded::{BlocksSettings, Store, StoreOptions};
use serde_json::{Value, json};

use made::{ENTRIES, Writer, copy, data_dir, err, id, lines, options, out, server, store};

fn check_json(dir: &Path) -> (Option<i32>, Value) {
    let checked = store("check", dir, &["--json"]);
    (checked.status.code(), serde_json::from_slice(&checked.stdout).unwrap())
}

#[test]
fn a_directory_that_is_whole_is_described() {
    let dir = data_dir();
    let checked = store("check", dir.path(), &[]);
    let text = out(&checked);
    assert_eq!(checked.status.code(), Some(0), "{text}{}", err(&checked));
    assert!(text.contains("view tree") && text.contains("everything is in order"), "{text}");
    assert!(text.contains("1 view, 1 session"), "{text}");

    let (code, report) = check_json(dir.path());
    assert_eq!((code, &report["in_order"]), (Some(0), &json!(true)));
    assert_eq!(report["server"], json!(made::SERVER.to_string()));
    let view = &report["views"][0];
    assert_eq!((&view["name"], &view["entries"]), (&json!("tree"), &json!(ENTRIES)));
    assert_eq!(view["id"], json!(id(1).to_string()));
    let last = view["log"]["last_revision"].as_u64().unwrap();
    let contained = view["blocks"]["revision"].as_u64().unwrap();
    assert!(contained < last && view["log"]["first_revision"] == json!(1), "{view}");
    let stored = view["blocks"]["stored_bytes"].as_u64().unwrap() as f64;
    let each = view["bytes_per_entry"].as_f64().unwrap();
    assert!((each - stored / ENTRIES as f64).abs() < 0.01, "{view}");
    // It is as it was: once more, and by a server of the same configuration.
    assert_eq!(check_json(dir.path()), (Some(0), report));
}

#[test]
fn every_kind_of_damage_is_told_with_its_file_and_what_to_do() {
    let whole = data_dir();
    let log = Path::new("log").join(id(1).to_string());
    let blocks = Path::new("blocks").join(id(1).to_string());
    let first_log = log.join("0000000000000001.log");
    let first_blocks = std::fs::read_dir(whole.path().join(&blocks)).unwrap();
    let mut first_blocks: Vec<_> = first_blocks.map(|entry| entry.unwrap().file_name()).collect();
    first_blocks.sort();
    let first_blocks = blocks.join(&first_blocks[0]);
    for (file, at) in [(&first_log, 20), (&first_log, 1_000), (&first_blocks, 200)] {
        let dir = copy(whole.path());
        damage(&dir.path().join(file), at);
        let checked = store("check", dir.path(), &[]);
        let text = out(&checked);
        assert_eq!(checked.status.code(), Some(1), "{} {at}: {text}", file.display());
        assert!(text.contains(file.to_str().unwrap()) && text.contains("corrupt"), "{text}");
        assert!(text.contains("back-up") && text.contains("1 fault"), "{text}");
        assert!(text.contains("1 view, 1 session"), "the rest is checked still: {text}");
        let (code, report) = check_json(dir.path());
        assert_eq!((code, &report["in_order"]), (Some(1), &json!(false)));
    }
    for file in [&first_log, &first_blocks] {
        let dir = copy(whole.path());
        let path = dir.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let checked = store("check", dir.path(), &[]);
        assert_eq!(checked.status.code(), Some(1), "{}: {}", file.display(), out(&checked));
    }
    // The blocks are gone, and the log was trimmed behind them.
    let dir = copy(whole.path());
    waste(dir.path());
    std::fs::remove_dir_all(dir.path().join(&blocks)).unwrap();
    let checked = store("check", dir.path(), &[]);
    assert_eq!(checked.status.code(), Some(1), "{}", out(&checked));
    let said = format!("the blocks of view {}", id(1));
    assert!(out(&checked).contains(&said) && out(&checked).contains("is missing"), "{checked:?}");
    // The log is gone, and the blocks follow from it.
    let dir = copy(whole.path());
    std::fs::remove_dir_all(dir.path().join(&log)).unwrap();
    let checked = store("check", dir.path(), &[]);
    assert_eq!(checked.status.code(), Some(1), "{}", out(&checked));
    assert!(out(&checked).contains("the log of view"), "{}", out(&checked));
    assert!(!dir.path().join(&log).exists(), "a check makes none");
}

#[test]
fn a_record_of_the_state_that_makes_no_sense_is_told() {
    use fusion_store::{Space, State as _};
    let dir = data_dir();
    let open = Store::open(dir.path(), &options()).unwrap();
    open.state().put(Space::Session, b"k", b"{\"v\":9}", None).unwrap();
    open.state().put(Space::View, b"other", b"{}", None).unwrap();
    drop(open);
    let checked = store("check", dir.path(), &[]);
    let text = out(&checked);
    assert_eq!(checked.status.code(), Some(1));
    assert!(text.contains("the session record `k`") && text.contains("version 9"), "{text}");
    assert!(text.contains("the view record `other`") && text.contains("2 fault"), "{text}");
}

#[test]
fn compacting_gives_back_space_and_loses_nothing() {
    let dir = data_dir();
    waste(dir.path());
    let before = check_json(dir.path()).1;
    let log = dir.path().join("log").join(id(1).to_string());
    let spare = || {
        let mut names = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name());
        names.any(|name| name.to_string_lossy().starts_with("spare-"))
    };
    assert!(spare());
    let entries = out(&store("export", dir.path(), &["--view", "tree", "--entries"]));
    let compacted = store("compact", dir.path(), &[]);
    let text = out(&compacted);
    assert_eq!(compacted.status.code(), Some(0), "{text}{}", err(&compacted));
    assert!(text.contains("before") && text.contains("together"), "{text}");
    let (code, after) = check_json(dir.path());
    assert_eq!(code, Some(0), "{after}");
    assert_eq!(after["views"][0]["entries"], before["views"][0]["entries"]);
    let of =
        |report: &Value, what: &str, key: &str| report["views"][0][what][key].as_u64().unwrap();
    let first = |report: &Value| of(report, "log", "first_revision");
    assert_eq!(first(&after), first(&before), "it is kept for longer");
    let stored = |report: &Value| of(report, "blocks", "stored_bytes");
    assert!(stored(&before) > 3_000_000 && stored(&after) < 1_600_000, "{before} {after}");
    assert!(!spare());
    assert_eq!(out(&store("export", dir.path(), &["--view", "tree", "--entries"])), entries);
}

#[test]
fn the_log_is_kept_as_the_configuration_says() {
    let dir = data_dir();
    let first = || check_json(dir.path()).1["views"][0]["log"]["first_revision"].as_u64();
    let entries = || out(&store("export", dir.path(), &["--view", "tree", "--entries"]));
    let (config, before) = (dir.path().with_extension("toml"), entries());
    for (changes, is_trimmed) in [(1_000, false), (1, true)] {
        let keeps = format!("change_retention = \"1s\"\nchange_retention_changes = {changes}\n");
        std::fs::write(&config, format!("[view_defaults]\n{keeps}")).unwrap();
        let compacted = store("compact", dir.path(), &["--config", config.to_str().unwrap()]);
        assert_eq!(compacted.status.code(), Some(0), "{}", err(&compacted));
        assert_eq!(first() > Some(1), is_trimmed, "{changes}: {:?}", first());
    }
    std::fs::remove_file(config).unwrap();
    assert_eq!((entries(), check_json(dir.path()).0), (before, Some(0)));
}

#[test]
fn a_view_goes_only_when_it_is_named_and_not_configured() {
    let dir = data_dir();
    let open = Store::open(dir.path(), &options()).unwrap();
    let mut other = Writer::new(&open, "other", 2);
    other.list("/", &[(b"f", made::stat(fusion_core::stat::Kind::File, 9, 9))]);
    drop(other);
    drop(open);
    let config = dir.path().with_extension("toml");
    std::fs::write(&config, "[views.other]\n").unwrap();
    let configured = ["--config", config.to_str().unwrap()];

    let kept = store("compact", dir.path(), &configured);
    assert_eq!(kept.status.code(), Some(0), "{}", err(&kept));
    assert!(out(&kept).contains(&format!("--remove-view {}", id(1))), "{}", out(&kept));
    assert_eq!(check_json(dir.path()).1["views"].as_array().unwrap().len(), 2);
    for (name, says) in [("other", "is in the configuration"), ("none", "has no view `none`")] {
        let refused =
            store("compact", dir.path(), &[&configured[..], &["--remove-view", name]].concat());
        assert_eq!(refused.status.code(), Some(1));
        assert!(err(&refused).contains(says), "{}", err(&refused));
    }
    let removed =
        store("compact", dir.path(), &[&configured[..], &["--remove-view", "tree"]].concat());
    std::fs::remove_file(config).unwrap();
    assert_eq!(removed.status.code(), Some(0), "{}", err(&removed));
    assert!(out(&removed).contains("removed"), "{}", out(&removed));
    let (code, report) = check_json(dir.path());
    let views = report["views"].as_array().unwrap();
    assert_eq!((code, views.len(), &views[0]["name"]), (Some(0), 1, &json!("other")));
    assert_eq!(report["state"]["records"][1], json!(["session", 0]));
    assert!(!dir.path().join("log").join(id(1).to_string()).exists());
    assert!(!dir.path().join("blocks").join(id(1).to_string()).exists());
}

#[test]
fn what_a_removal_left_over_is_found_and_removed() {
    use fusion_store::{Space, State as _};
    let dir = data_dir();
    let open = Store::open(dir.path(), &options()).unwrap();
    open.state().delete(Space::View, b"tree").unwrap();
    drop(open);
    let (code, report) = check_json(dir.path());
    assert_eq!((code, &report["views"][0]["name"]), (Some(0), &json!("tree")));
    assert!(report["views"][0]["notes"][0].as_str().unwrap().contains("left over"));
    let removed = store("compact", dir.path(), &["--remove-view", &id(1).to_string()]);
    assert_eq!(removed.status.code(), Some(0), "{}", err(&removed));
    assert_eq!(check_json(dir.path()).1["views"], json!([]));
}

#[test]
fn changes_are_exported_one_line_for_each_revision() {
    let dir = data_dir();
    let all = lines(&store("export", dir.path(), &["--view", "tree"]));
    for (revision, line) in (1..).zip(&all) {
        assert_eq!(line["revision"], json!(revision), "{line}");
        assert!(line["time"].as_str().unwrap().starts_with("2023-11-14T22:"), "{line}");
        assert_eq!((&line["agent"], &line["correlation"]), (&json!("host-a"), &json!("chain-1")));
        assert!(line["kind"].is_string() && line["origin"].is_string(), "{line}");
    }
    let named = |name| all.iter().filter(|line| line["path"] == json!(name)).collect::<Vec<_>>();
    let odd = named("/odd\\xFF\\x0A");
    assert_eq!(odd[0]["kind"], json!("created"), "{odd:?}");
    assert_eq!((&odd[0]["to"]["size"], &odd[0]["origin"]), (&json!(4), &json!("snapshot")));
    let written = named("/d/file-0003");
    let (first, second) = (written[1], written[2]);
    assert_eq!((&first["kind"], &first["cause"]), (&json!("modified"), &json!("realtime")));
    assert_eq!((&first["from"]["size"], &first["to"]["size"]), (&json!(3), &json!(503)));
    assert_eq!(second["from"], first["to"]);

    let tail =
        lines(&store("export", dir.path(), &["--view", &id(1).to_string(), "--from", "150"]));
    assert_eq!(tail, all[149..]);
    let next = (all.len() + 1).to_string();
    assert!(lines(&store("export", dir.path(), &["--view", "tree", "--from", &next])).is_empty());
    let beyond = store("export", dir.path(), &["--view", "tree", "--from", "99999"]);
    assert_eq!(beyond.status.code(), Some(1));
    assert!(err(&beyond).contains("was never written"), "{}", err(&beyond));
    let unknown = store("export", dir.path(), &["--view", "trees"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("no view `trees`; it has tree"), "{}", err(&unknown));
}

#[test]
fn entries_are_exported_as_the_last_change_left_them() {
    let dir = data_dir();
    let entries = lines(&store("export", dir.path(), &["--view", "tree", "--entries"]));
    assert_eq!(entries.len() as u64, ENTRIES + 1);
    let at = |path: &str| entries.iter().find(|line| line["path"] == json!(path)).unwrap();
    assert_eq!(entries[0]["path"], json!("/"));
    assert_eq!(
        (&at("/d")["kind"], &at("/odd\\xFF\\x0A")["size"]),
        (&json!("directory"), &json!(4))
    );
    assert_eq!(at("/late")["size"], json!(1), "it is in the log alone");
    assert_eq!(at("/d/file-0003")["size"], json!(538));
}

#[test]
fn a_back_up_is_the_same_and_goes_nowhere_else_than_into_an_empty_directory() {
    let (dir, to) = (data_dir(), tempfile::tempdir().unwrap());
    let copy = to.path().join("new/copy");
    let taken = store("backup", dir.path(), &["--to", copy.to_str().unwrap()]);
    assert_eq!(taken.status.code(), Some(0), "{}", err(&taken));
    let said = format!("of server {} to {}", made::SERVER, copy.display());
    assert!(out(&taken).contains("1 view(s)") && out(&taken).contains(&said), "{}", out(&taken));
    let entries = |dir: &Path| lines(&store("export", dir, &["--view", "tree", "--entries"]));
    assert_eq!(entries(&copy), entries(dir.path()));
    assert_eq!(check_json(&copy).0, Some(0));

    let again = store("backup", dir.path(), &["--to", copy.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("name an empty directory"), "{}", err(&again));
    let none = store("backup", to.path(), &["--to", to.path().join("x").to_str().unwrap()]);
    assert_eq!(none.status.code(), Some(1));
    assert!(err(&none).contains("there is no data directory"), "{}", err(&none));
}

#[test]
fn a_pipe_that_is_closed_is_no_error() {
    let dir = data_dir();
    let place = ["store", "export", "--data-dir", dir.path().to_str().unwrap(), "--view", "tree"];
    let mut child = server(&place).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    let mut pipe = child.stdout.take().unwrap();
    pipe.read_exact(&mut first).unwrap();
    drop(pipe);
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), err(&ended)), (Some(0), String::new()));
}

/// Leaves useless blocks, and files that the log keeps for later.
fn waste(dir: &Path) {
    use fusion_store::{Blocks as _, ChangeLog as _, Retention};
    let wasteful = StoreOptions { blocks: BlocksSettings::default(), ..options() };
    let open = Store::open(dir, &wasteful).unwrap();
    let view = open.log().views().unwrap().remove(0);
    let contains = open.blocks().contains(view.id).unwrap().unwrap();
    for _ in 0..7 {
        let mut writer = open.blocks().begin(&view, contains).unwrap();
        writer.put_named("beside", &[7; 500_000]).unwrap();
        writer.commit().unwrap();
    }
    let nothing = Retention { age: Duration::ZERO, changes: 0, bytes: 0 };
    open.log().open(&view).unwrap();
    let start = open.log().trim(view.id, contains, &nothing, ServerTime::MAX).unwrap();
    assert!(start.record > 0);
}

fn damage(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}
