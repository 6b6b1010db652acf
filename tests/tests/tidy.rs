//! Tidy: the rules of the house, as tests.
//!
//! What is checked: the arrows between crates (2-architecture in the design, CONTRIBUTING here),
//! who may name tonic and generated types, what the core must not touch, the ceiling of 500 lines,
//! forgotten test files, that no test is ignored, and that every stored format is told of and has golden
//! bytes of its version.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates a crate may use. Whoever adds an arrow explains it in docs/decisions.
const ARROWS: [(&str, &[&str]); 8] = [
    ("fusion-core", &[]),
    ("fusion-proto", &["fusion-core"]),
    ("fusion-store", &["fusion-core"]),
    ("fusion-server", &["fusion-core", "fusion-proto", "fusion-store"]),
    ("agent-client", &["fusion-core", "fusion-proto"]),
    ("fusionctl", &["fusion-core", "fusion-proto", "fusion-server", "agent-client"]),
    ("fusion-sim", &["fusion-core"]),
    (
        "fusion-tests",
        &[
            "fusion-core",
            "fusion-proto",
            "fusion-store",
            "fusion-server",
            "agent-client",
            "fusionctl",
            "fusion-sim",
        ],
    ),
];

/// What the core may take from outside: nothing that does I/O, waits, serialises or logs.
const CORE_MAY_USE: [&str; 2] = ["thiserror", "uuid"];

/// Files longer than this are split by meaning.
const LINE_CEILING: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// Every Rust file of the workspace that we wrote, with its text, by path from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                files.push((path.strip_prefix(root()).expect("below the root").into(), text));
            }
        }
    }
    assert!(files.len() > 20, "the sources were not found");
    files.sort();
    files
}

fn metadata() -> cargo_metadata::Metadata {
    cargo_metadata::MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata")
}

#[test]
fn arrows_between_crates() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.into();
    let metadata = metadata();
    let ours: BTreeSet<String> =
        metadata.packages.iter().map(|package| package.name.to_string()).collect();
    for package in &metadata.packages {
        let allowed = arrows
            .get(package.name.as_str())
            .unwrap_or_else(|| panic!("crate {} is not in the table of arrows", package.name));
        for dependency in &package.dependencies {
            // A crate that names itself asks for its own features, in its own tests.
            let forbidden = ours.contains(&dependency.name)
                && dependency.name != package.name.as_str()
                && !allowed.contains(&dependency.name.as_str());
            assert!(!forbidden, "{} must not use {}", package.name, dependency.name);
        }
    }
}

#[test]
fn the_core_is_pure() {
    let metadata = metadata();
    let core = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "fusion-core")
        .expect("the core");
    for dependency in &core.dependencies {
        let normal = dependency.kind == cargo_metadata::DependencyKind::Normal;
        let allowed = CORE_MAY_USE.contains(&dependency.name.as_str());
        assert!(!normal || allowed, "fusion-core must not use {}", dependency.name);
    }
    let banned =
        ["std::fs", "std::net", "std::thread", "std::process", "std::env", "Instant", "SystemTime"];
    for (path, text) in sources() {
        let tests = path.to_string_lossy().contains("tests");
        if !path.starts_with("fusion-core/src") || tests {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            for word in banned {
                let used = !comment && line.contains(word);
                assert!(!used, "{}:{}: the core must not name {word}", path.display(), number + 1);
            }
        }
    }
}

#[test]
fn only_the_edges_name_the_wire() {
    let edges = ["proto", "fusion-server/src/grpc", "agent-client/src/link", "tests"];
    let server_edge = Path::new("fusion-server/src/grpc.rs");
    let agent_edge = Path::new("agent-client/src/link.rs");
    for (path, text) in sources() {
        let edge = edges.iter().any(|edge| path.starts_with(edge))
            || path == server_edge
            || path == agent_edge
            || path.components().any(|part| part.as_os_str() == "tests")
            || path.ends_with("tests.rs");
        if edge {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            // `Monotonic::` is a clock of ours and names nothing of the wire.
            let line = line.replace("Monotonic::", "");
            let names = ["tonic::", "tonic_", "fusion_proto::pb", "prost::"]
                .iter()
                .any(|word| line.contains(word));
            let comment = line.trim_start().starts_with("//");
            // The exporter of traces is handed its transport by name; it is no call of ours.
            let exporter = line.contains("with_tonic");
            assert!(
                !names || comment || exporter,
                "{}:{}: only proto, the server's grpc and the agent's link name the wire: {line}",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn no_file_escapes() {
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINE_CEILING)
        .map(|(path, lines)| format!("{} has {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "split by meaning: {long:#?}");
}

#[test]
fn no_test_is_ignored_and_no_module_is_called_mod_or_utils() {
    let ignored = ["#[ign", "ore"].concat();
    for (path, text) in sources() {
        assert!(!text.contains(&ignored), "{} ignores a test", path.display());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let banned = ["mod.rs", "utils.rs", "util.rs", "common.rs", "helpers.rs"];
        assert!(!banned.contains(&&*name), "{}: name a module by what it is", path.display());
    }
}

#[test]
fn no_source_file_is_forgotten() {
    let sources = sources();
    let texts: String = sources.iter().map(|(_, text)| text.as_str()).collect();
    for (path, _) in &sources {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        // Found by cargo itself: roots of crates, integration tests, examples, benches, build.rs.
        let by_cargo = ["lib", "main", "build"].contains(&&*stem)
            || ["tests", "examples", "benches", "bin", "fuzz_targets"].contains(&&*folder);
        let declared = texts.contains(&format!("mod {stem};"))
            || texts.contains(&format!("/{stem}.rs\"]"))
            || texts.contains(&format!("= \"{stem}.rs\"]"));
        assert!(by_cargo || declared, "{} belongs to no crate", path.display());
    }
}

/// The rows of the table of threats in docs/security.md, each with the names of tests in its last column.
fn threats() -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md");
    let table = text.split("## Threats").nth(1).expect("the table of threats");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let mut columns = row.trim_end_matches(" |").rsplit(" | ");
        let named = columns.next().unwrap_or_default();
        let names = named.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (row.to_owned(), names)
    })
    .collect()
}

#[test]
fn every_threat_names_tests_that_are_there() {
    let sources: String = sources().iter().map(|(_, text)| text.as_str()).collect();
    let threats = threats();
    assert!(threats.len() > 30, "{}", threats.len());
    for (row, names) in threats {
        assert!(!names.is_empty(), "shown by nothing: {row}");
        for name in names {
            let mut parts = name.rsplit([':', ' ']).filter(|part| !part.is_empty());
            let (last, module) = (parts.next().unwrap_or_default(), parts.next());
            let is_there = match (last.strip_suffix('…'), last) {
                (Some(begin), _) => sources.contains(&format!("fn {begin}")),
                (None, "tests") => {
                    sources.contains(&format!("mod {};", module.unwrap_or_default()))
                }
                (None, file) if file.contains('/') => root().join(file).is_file(),
                (None, name) => sources.contains(&format!("fn {name}(")),
            };
            assert!(is_there, "there is no test {name}, which is to show: {row}");
        }
    }
}

#[test]
fn every_leading_file_says_what_it_owns() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//!") || path.ends_with("tests.rs") || text.starts_with("#!"),
            "{}: begins with what it owns",
            path.display()
        );
    }
}

/// The stored formats: the row in docs/store.md, where the version is (and which, if there are two), and the file with
/// golden bytes of it or the file and the test that has them. `{}` is the version.
const FORMATS: &str = "
the directory (`fusion-store`) | fusion-store/src/embedded/store.rs | fusion-store/tests/golden/directory-{}/fusion-store
a segment of the log, its frames, and the mark of its end | fusion-store/src/embedded/log/segment.rs | fusion-store/src/embedded/log/segment.rs:version_{}_is_as_it_was
a record of changes | fusion-store/src/codec.rs | fusion-store/tests/golden/record-{}.hex
a file of blocks | fusion-store/src/embedded/blocks/file.rs | fusion-store/src/embedded/blocks/file.rs:both_versions_are_as_they_were
a block | fusion-store/src/codec/blocks.rs:BLOCK_VERSION | fusion-store/tests/golden/blocks-{}.hex
a table of a view | fusion-store/src/codec/blocks.rs:TABLE_VERSION | fusion-store/tests/golden/blocks-{}.hex
the state's file and its values | fusion-store/src/embedded/state.rs | fusion-store/src/embedded/state/value.rs:version_{}_is_as_it_was
the schema in PostgreSQL | fusion-store/src/engines/postgres/schema.rs | fusion-store/src/engines/postgres/{}.sql
keys in Redis (`PREFIXformat`) | fusion-store/src/engines/redis/link.rs | fusion-store/tests/redis.rs:what_is_stored_can_be_read_by_people
a message of a log on NATS | fusion-store/src/engines/nats/log/message.rs | fusion-store/src/engines/nats/log/message.rs:version_{}_is_as_it_was
a message of a checkpoint on NATS | fusion-store/src/engines/nats/blocks/message.rs | fusion-store/src/engines/nats/blocks/message.rs:version_{}_is_as_it_was
the bucket of the state on NATS (its key `about`) | fusion-store/src/engines/nats/state/message.rs | fusion-store/tests/golden/nats-state-{}.txt
servers and claims on NATS | fusion-store/src/engines/nats/ownership.rs | fusion-store/src/engines/nats/ownership.rs:version_{}_is_as_it_was
what is kept of a view, beside its log: JSON with `v`, as the six below | fusion-server/src/stores/view_record.rs | fusion-server/tests/golden/view-v{}.json
what a checkpoint has beside the view | fusion-server/src/task/view/beside.rs | fusion-server/tests/golden/beside-v{}.json
a session | fusion-server/src/service/sessions/record.rs | fusion-server/tests/golden/session-v{}.json
a job | fusion-server/src/service/jobs/record.rs | fusion-server/tests/golden/job-v{}.json
a result of a call | fusion-server/src/service/idempotency/record.rs | fusion-server/tests/golden/idempotency-done-v{}.json
an audit record | fusion-server/src/service/audit/record.rs | fusion-server/tests/golden/audit-v{}.json
what a server says of its views | fusion-server/src/cluster/said.rs | fusion-server/tests/golden/said-v{}.json
an agent's spool: identity, cursor and segments | agent-client/src/spool/identity.rs | agent-client/src/spool/golden/segment-{}.hex
evidence in an agent's spool | agent-client/src/link/frame.rs | agent-client/src/link/frame/golden/frame-{}.hex
";

/// The versions that a source file has, by their names; of a schema so many as there are steps to it.
fn versions(text: &str) -> Vec<(&str, &str)> {
    let constants = text.lines().filter_map(|line| line.split_once("const ")?.1.split_once(": "));
    let versions = constants.filter_map(|(name, rest)| match name {
        "STEPS" => Some((name, rest.strip_prefix("[&str; ")?.split(']').next()?)),
        _ if !rest.starts_with('u') => None,
        _ if !name.contains("VERSION") && !name.contains("FORMAT") => None,
        _ => Some((name, rest.split_once(" = ")?.1.trim_end_matches(';'))),
    });
    versions.collect()
}

#[test]
fn every_stored_format_is_told_of_and_has_golden_bytes() {
    let text = |path: &str| {
        let text = fs::read_to_string(root().join(path));
        text.unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let documented = text("docs/store.md");
    let mut left: BTreeSet<(String, String)> = BTreeSet::new();
    for (path, text) in sources() {
        let path = path.to_string_lossy().into_owned();
        let stores = ["fusion-store/src/", "fusion-server/src/", "agent-client/src/"];
        // What is given to a caller is not stored.
        if stores.iter().any(|it| path.starts_with(it)) && !path.ends_with("service/paging.rs") {
            let versions = versions(&text).into_iter();
            left.extend(versions.map(|(name, _)| (path.clone(), name.to_owned())));
        }
    }
    for line in FORMATS.trim().lines() {
        let columns: Vec<_> = line.split(" | ").collect();
        let [row, source, golden] = columns[..] else { panic!("{line}") };
        let (path, wanted) = source.split_once(':').unwrap_or((source, ""));
        let source = text(path);
        let mut found = versions(&source).into_iter().filter(|(name, _)| name.contains(wanted));
        let (name, version) = found.next().unwrap_or_else(|| panic!("no version in {path}"));
        assert_eq!(found.next(), None, "which one of {path}");
        assert!(left.remove(&(path.to_owned(), name.to_owned())), "{line}");
        let told = format!("\n| {row} | {version} |");
        assert!(documented.contains(&told), "docs/store.md has no row that begins `{told}`");
        let golden = golden.replace("{}", version);
        let (file, test) = golden.split_once(':').unwrap_or((&golden, ""));
        assert!(text(file).contains(test), "no golden bytes: {golden}");
    }
    assert!(left.is_empty(), "stored, and told of nowhere: {left:?}");
}
