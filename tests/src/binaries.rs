//! The binaries under test, built once per test process.
//!
//! `cargo test --workspace` builds them anyway, since each has tests of its own; a test of this
//! crate alone must not run against what somebody built last week, so cargo is asked each time
//! (which costs a fraction of a second when nothing changed).

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Path of a binary of this workspace, in the profile that the test itself was built with.
///
/// # Panics
/// The binaries cannot be built.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    FOLDER.get_or_init(build).join(name)
}

fn build() -> PathBuf {
    if let Some(folder) = std::env::var_os("FUSION_BIN_DIR") {
        return folder.into();
    }
    // target/PROFILE/deps/test-binary, or target/PROFILE/binary.
    let own = std::env::current_exe().expect("our own path");
    let folder = own
        .ancestors()
        .find(|folder| folder.join(".fingerprint").is_dir())
        .expect("a folder that cargo built into")
        .to_path_buf();
    let release = folder.file_name().is_some_and(|name| name == "release");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--bins", "--locked"]);
    cargo.args(["-p", "fusion-server", "-p", "agent-client", "-p", "fusionctl"]);
    cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    cargo.arg("--target-dir").arg(folder.parent().expect("the target folder"));
    if release {
        cargo.arg("--release");
    }
    let done = cargo.status().expect("cargo can be run");
    assert!(done.success(), "the binaries under test cannot be built");
    folder
}
