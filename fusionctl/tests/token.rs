//! `fusionctl token`: what it leaves in the file, and what it prints.

#![expect(clippy::unwrap_used, reason = "a test that cannot run the binary ends")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Exit status, standard output, standard error.
fn token(args: &[&str], file: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fusionctl"));
    command.arg("token").args(args).arg("--file").arg(file);
    let output = command.env("XDG_CONFIG_HOME", "/nowhere").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_token_is_printed_once_and_only_its_hash_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let args = ["create", "lab-1", "--role", "agent", "--for-view", "lab", "--for-agent", "*"];
    let (code, printed, _) = token(&args, &file);
    assert_eq!(code, Some(0));
    let secret = printed.trim();
    assert!(secret.starts_with("fusion.lab-1.") && secret.len() > 50, "{printed}");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!kept.contains(secret.rsplit('.').next().unwrap()), "{kept}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let args = ["create", "boss", "--role", "admin", "--principal", "ops", "--expires-in", "90d"];
    assert_eq!(token(&args, &file).0, Some(0));
    let (_, listed, _) = token(&["list"], &file);
    let rows: Vec<&str> = listed.lines().collect();
    assert!(
        rows.len() == 3 && rows[1].starts_with("lab-1") && rows[1].contains("never"),
        "{listed}"
    );
    assert!(rows[2].contains("ops") && rows[2].ends_with('*') && !rows[2].contains("never"));
    assert!(!listed.contains(secret));
    let args = ["create", "bob", "--role", "reader", "--for-view", "lab", "--for-path", "/p/a"];
    assert_eq!(token(&args, &file).0, Some(0));
    assert!(token(&["list"], &file).1.trim_end().ends_with("lab; /p/a"));

    assert_eq!(token(&["revoke", "lab-1"], &file).0, Some(0));
    let (code, _, told) = token(&["revoke", "lab-1"], &file);
    assert!(code == Some(1) && told.contains("has no token `lab-1`"), "{told}");
    let (_, listed, _) = token(&["list"], &file);
    assert!(!listed.contains("lab-1") && listed.contains("boss"), "{listed}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left beside it: {left:?}");
}

#[test]
fn commands_beside_each_other_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = &dir.path().join("tokens.toml");
    for id in 0..8 {
        let args = ["create", &format!("old-{id}"), "--role", "admin"];
        assert_eq!(token(&args, file).0, Some(0));
    }
    std::thread::scope(|all| {
        for id in 0..8 {
            all.spawn(move || {
                let args = ["create", &format!("new-{id}"), "--role", "admin"];
                assert_eq!(token(&args, file).0, Some(0));
            });
            all.spawn(move || {
                assert_eq!(token(&["revoke", &format!("old-{id}")], file).0, Some(0));
            });
        }
    });
    let (_, listed, _) = token(&["list"], file);
    let mut ids: Vec<&str> = listed.lines().skip(1).map(|row| &row[..5]).collect();
    ids.sort_unstable();
    let all: Vec<String> = (0..8).map(|id| format!("new-{id}")).collect();
    assert_eq!(ids, all);
}

#[test]
fn what_a_server_would_refuse_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokens.toml");
    let wrong: [(&[&str], &str); 7] = [
        (&["create", "a", "--role", "admin", "--for-path", "/a"], "path"),
        (&["create", "a b", "--role", "admin"], "id"),
        (&["create", "a", "--role", "king"], "king"),
        (&["create", "a", "--role", "reader"], "--for-view"),
        (&["create", "a", "--role", "agent", "--for-view", "v"], "--for-agent"),
        (&["create", "a", "--role", "reader", "--for-view", "Bad Name"], "views"),
        (&["create", "a", "--role", "reader", "--for-view", "v", "--for-agent", "x"], "agents"),
    ];
    for (args, says) in wrong {
        let (code, printed, told) = token(args, &file);
        assert!(code == Some(2) && told.contains(says), "{args:?}: {code:?} {told}");
        assert!(printed.is_empty() && !file.exists(), "{args:?}: {printed}");
    }
    let args = ["create", "a", "--role", "reader", "--for-view", "v"];
    assert_eq!(token(&args, &file).0, Some(0));
    let before = std::fs::read_to_string(&file).unwrap();
    let (code, _, told) = token(&args, &file);
    assert!(code == Some(2) && told.contains("another one"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);

    std::fs::write(&file, format!("{before}paths = [\"/x\"]\n")).unwrap();
    let (code, _, told) = token(&["revoke", "a"], &file);
    assert!(code == Some(1) && told.contains("unknown field"), "{told}");
}
