//! A server that cannot have its data directory, as whoever starts it sees it: one line that names the
//! place, says what is wrong and what to do, and exit status 1.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fusion_store::embedded::Store;
use fusion_store::{Space, State as _};

use crate::made::{self, copy, data_dir, golden, id, options, out, server, store};

const PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];

/// What is said to whoever starts a server that ends at once.
fn refused(mut command: Command) -> String {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut left = 1_000;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if left == 0 => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it serves");
            }
            None => left -= 1,
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    // The log comes before it; the last line is for people.
    said.lines().last().unwrap_or_default().to_owned()
}

fn refused_in(dir: &Path, more: &[&str]) -> String {
    refused(server(&[&PORTS[..], &["--data-dir", dir.to_str().unwrap()], more].concat()))
}

#[test]
fn what_is_no_directory_of_this_server_is_refused() {
    let dir = data_dir();
    let identity = dir.path().join("fusion-store");
    let text = fs::read_to_string(&identity).unwrap();

    let config = dir.path().with_extension("toml");
    let other = "00000000-0000-4000-8000-000000000009";
    fs::write(&config, format!("server_id = \"{other}\"\n")).unwrap();
    let said = refused_in(dir.path(), &["--config", config.to_str().unwrap()]);
    fs::remove_file(config).unwrap();
    for part in [other, &made::SERVER.to_string(), "belongs to server", "`server_id`"] {
        assert!(said.contains(part), "{part}: {said}");
    }

    fs::write(&identity, text.replace("fusion-store 1", "fusion-store 2")).unwrap();
    let said = refused_in(dir.path(), &[]);
    assert!(said.contains("has format 2, this version knows up to 1; run the version"), "{said}");

    fs::write(&identity, "\0\0\0\0").unwrap();
    let said = refused_in(dir.path(), &[]);
    assert!(said.contains(identity.to_str().unwrap()) && said.contains("corrupt"), "{said}");

    fs::remove_file(&identity).unwrap();
    let said = refused_in(dir.path(), &[]);
    assert!(said.contains("is not a data directory of Fusion"), "{said}");
}

/// Whoever goes back to an earlier version is told which record it cannot read, by a check of each,
/// and at start of those that a start reads.
#[test]
fn records_of_a_later_version_are_named() {
    for (space, stored, known, at_start) in [
        (Space::View, "view-v1.json", 1, true),
        (Space::Session, "session-v1.json", 1, true),
        (Space::Idempotency, "idempotency-done-v1.json", 1, false),
        (Space::Job, "job-v3.json", 3, true),
        (Space::Audit, "audit-v1.json", 1, false),
    ] {
        let dir = data_dir();
        let later = golden(stored).replacen(&format!("\"v\":{known}"), "\"v\":9", 1);
        let open = Store::open(dir.path(), &options()).unwrap();
        open.state().put(space, b"key", later.as_bytes(), None).unwrap();
        drop(open);
        let reads = format!("of version 9, and this server reads up to {known}");
        let told = |said: &str| {
            let named = said.contains(&format!("the {} record `key`", space.as_str()));
            assert!(named && said.contains(&reads), "{said}");
        };
        let checked = store("check", dir.path(), &[]);
        assert_eq!(checked.status.code(), Some(1), "{space:?}");
        told(&out(&checked));
        if at_start {
            told(&refused_in(dir.path(), &[]));
        }
    }
}

#[test]
fn damage_names_the_file_and_what_to_do() {
    let whole = data_dir();
    let first = |below: &str| {
        let dir = Path::new(below).join(id(1).to_string());
        let names = fs::read_dir(whole.path().join(&dir)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        dir.join(names.filter(|name| name.starts_with("00")).min().unwrap())
    };
    let (log, blocks) = (first("log"), first("blocks"));
    let damages: [(&Path, Damage); 10] = [
        (&log, Damage::Flip(20)),
        (&log, Damage::Flip(1_000)),
        (&log, Damage::Cut(100)),
        (&log, Damage::Cut(1_000)),
        (&blocks, Damage::Flip(60)),
        (&blocks, Damage::Flip(300)),
        (&blocks, Damage::Cut(300)),
        (Path::new("state"), Damage::Flip(3)),
        (Path::new("state"), Damage::Cut(5_000)),
        (Path::new("state"), Damage::Cut(0)),
    ];
    for (file, damage) in damages {
        let dir = copy(whole.path());
        // Blocks would contain what is damaged in the log: it would not be read.
        if file == log {
            fs::remove_dir_all(dir.path().join("blocks")).unwrap();
        }
        damage.on(&dir.path().join(file));
        let said = refused_in(dir.path(), &[]);
        let what = format!("{} {damage:?}: {said}", file.display());
        assert!(said.contains(file.to_str().unwrap()) && said.contains("corrupt"), "{what}");
        assert!(said.contains("restore it from a back-up"), "{what}");
    }
    let dir = copy(whole.path());
    fs::remove_file(dir.path().join("state")).unwrap();
    let said = refused_in(dir.path(), &[]);
    assert!(said.contains("state") && said.contains("it is missing"), "{said}");
}

#[derive(Debug)]
enum Damage {
    /// A bit of this byte.
    Flip(usize),
    /// All from this byte on is gone.
    Cut(usize),
}

impl Damage {
    fn on(&self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match *self {
            Self::Flip(at) => bytes[at] ^= 0x10,
            Self::Cut(at) => bytes.truncate(at),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// On a file system of its own, which `mount` makes of `$0`.
fn refused_on(mount: &str, dir: &Path) -> Option<String> {
    let mut command = Command::new("unshare");
    let run = format!("{mount} && exec \"$@\"");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &run]).arg(dir);
    let inner = server(&PORTS);
    command.arg(inner.get_program()).args(inner.get_args()).arg("--data-dir").arg(dir);
    let said = refused(command);
    let impossible = ["unshare failed", "unshare:", "mount:", "Operation not permitted"];
    if impossible.iter().any(|why| said.contains(why)) {
        eprintln!("NOT RUN: no file system of our own is to be had here: {said}");
        return None;
    }
    Some(said)
}

#[test]
fn a_read_only_directory_is_named() {
    let dir = data_dir();
    let mount = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";
    let Some(said) = refused_on(mount, dir.path()) else { return };
    assert!(said.contains("it is read-only; mount it for writing"), "{said}");
    assert!(said.contains(dir.path().to_str().unwrap()), "{said}");
}

#[test]
fn a_full_disk_is_named() {
    let dir = data_dir();
    let fill = "(cat /dev/zero > \"$0/lost+found\") 2>/dev/null; true";
    // A new directory, and one that there was.
    let new = format!("mount -t tmpfs -o size=64k none \"$0\" && {fill}");
    let old = "cp -a \"$0\" \"$0.copy\" && mount -t tmpfs -o size=8m none \"$0\"";
    let old = format!("{old} && cp -a \"$0.copy/.\" \"$0\" && rm -r \"$0.copy\" && {fill}");
    for (mount, what) in [(new, "a new one"), (old, "one with data")] {
        let Some(said) = refused_on(&mount, dir.path()) else { return };
        assert!(said.contains("the disk is full; free some space"), "{what}: {said}");
        assert!(said.contains(dir.path().to_str().unwrap()), "{what}: {said}");
    }
}
