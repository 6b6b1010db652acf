//! Which build this is.

use std::sync::LazyLock;

/// What `--version` says: the version, and the commit that it was built from where the build was told of it by
/// `FUSION_COMMIT` in its environment. Not asked of git: each commit would be a build of everything.
#[must_use]
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> =
        LazyLock::new(|| said(env!("CARGO_PKG_VERSION"), option_env!("FUSION_COMMIT")));
    &VERSION
}

fn said(version: &str, commit: Option<&str>) -> String {
    match commit.filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version} (commit {commit})"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_knows_its_commit_says_it() {
        assert_eq!(said("1.2.3", Some("abc")), "1.2.3 (commit abc)");
        assert_eq!(said("1.2.3", Some("")), "1.2.3");
        assert_eq!(said("1.2.3", None), "1.2.3");
    }
}
