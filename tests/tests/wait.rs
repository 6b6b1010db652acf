//! `fusionctl wait` against writers of every kind: when it said quiet, beside the truth. The table that
//! this prints is in docs/wait.md.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use fusion_tests::faults::checks::{status_of, until};
use fusion_tests::mounts::Bind;
use fusion_tests::pair::{Agent, READY, World};
use fusion_tests::{binaries, compare};

/// Heartbeats come every two seconds, and a suspect is one for a second.
const CONFIG: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "1s"
session_timeout = "6s"
"#;
/// Where the hosts see the tree, beside it.
const MOUNTS: [&str; 2] = ["one.mount", "two.mount"];
/// What is asked for, in seconds.
const QUIET: f64 = 3.0;

/// How a writer writes into the directory that it is given.
struct Kind {
    name: &'static str,
    what: &'static str,
    write: fn(&Path),
    /// It is silent for longer than what is asked for: quiet is said then, and is right.
    pauses: bool,
}

const KINDS: [Kind; 10] = [
    Kind { name: "append", what: "appends for 6 s, 200 ms apart", write: append, pauses: false },
    Kind { name: "short", what: "five files, pauses of 2 s", write: short_pauses, pauses: false },
    Kind { name: "long", what: "two files, a pause of 8 s", write: long_pause, pauses: true },
    Kind {
        name: "rename",
        what: "20 files under other names, renamed",
        write: rename,
        pauses: false,
    },
    Kind { name: "copy", what: "`cp -rp` of 300 files", write: copy, pauses: false },
    Kind {
        name: "rsync",
        what: "`rsync -a` of 20 files, slowed down",
        write: rsync,
        pauses: false,
    },
    Kind {
        name: "mapped",
        what: "memory map, a new page each 300 ms",
        write: mapped,
        pauses: false,
    },
    Kind { name: "same", what: "memory map, one page for 12 s", write: same_page, pauses: true },
    Kind {
        name: "nested",
        what: "a new directory in the last, 12 deep",
        write: nested,
        pauses: false,
    },
    Kind { name: "two", what: "two writers in turn, 1 s apart", write: two, pauses: false },
];
/// Each host with a mount and an agent of its own, which sees nothing of what the other does.
const HOSTS: Kind = Kind {
    name: "hosts",
    what: "uploads by two hosts in turn, 1 s apart",
    write: hosts,
    pauses: false,
};

fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

fn append(dir: &Path) {
    let mut file = File::create(dir.join("log")).unwrap();
    for _ in 0..30 {
        file.write_all(&[7; 1_000]).unwrap();
        pause(200);
    }
    file.write_all(b"end").unwrap();
}

fn short_pauses(dir: &Path) {
    for number in 0..5 {
        fs::write(dir.join(format!("part-{number}")), "x").unwrap();
        if number < 4 {
            pause(2_000);
        }
    }
}

fn long_pause(dir: &Path) {
    fs::write(dir.join("first"), "x").unwrap();
    pause(8_000);
    fs::write(dir.join("second"), "x").unwrap();
}

fn rename(dir: &Path) {
    for number in 0..20 {
        let other = dir.join(format!(".part-{number}"));
        fs::write(&other, "content").unwrap();
        pause(200);
        fs::rename(&other, dir.join(format!("part-{number}"))).unwrap();
    }
}

fn copy(dir: &Path) {
    let from = dir.with_extension("from");
    for number in 0..300 {
        let deep = from.join(format!("d{}", number % 10));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join(format!("f{number}")), vec![1; 1_000]).unwrap();
    }
    run(Command::new("cp").arg("-rp").arg(&from).arg(dir.join("copied")));
}

/// Into files under other names, which are renamed when they are whole, and have old times then.
fn rsync(dir: &Path) {
    let from = dir.with_extension("from");
    fs::create_dir(&from).unwrap();
    for number in 0..20 {
        fs::write(from.join(format!("f{number}")), vec![1; 100_000]).unwrap();
    }
    let from = format!("{}/", from.display());
    run(Command::new("rsync").args(["-a", "--bwlimit=400", &from]).arg(dir));
}

fn mapped(dir: &Path) {
    let script = "import mmap,sys,time
with open(sys.argv[1],'w+b') as f:
    f.truncate(20*4096)
    m=mmap.mmap(f.fileno(),20*4096)
    for page in range(20):
        m[page*4096]=1
        time.sleep(0.3)
    m[0]=2
    m.flush()
";
    run(Command::new("python3").arg("-c").arg(script).arg(dir.join("map")));
}

/// The kernel marks a page as written once, until it was brought to disk: nobody can see more.
fn same_page(dir: &Path) {
    let script = "import mmap,sys,time
with open(sys.argv[1],'w+b') as f:
    f.truncate(4096)
    m=mmap.mmap(f.fileno(),4096)
    for number in range(40):
        m[0]=number
        time.sleep(0.3)
";
    run(Command::new("python3").arg("-c").arg(script).arg(dir.join("map")));
}

fn nested(dir: &Path) {
    let mut deep = dir.to_path_buf();
    for level in 0..12 {
        deep.push(format!("l{level}"));
        fs::create_dir(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        pause(300);
    }
}

fn two(dir: &Path) {
    in_turn(dir, dir);
}

fn hosts(dir: &Path) {
    let folder = dir.parent().and_then(Path::parent).unwrap();
    let [one, two] = MOUNTS.map(|mount| folder.join(mount).join(HOSTS.name));
    in_turn(&one, &two);
}

fn in_turn(one: &Path, other: &Path) {
    let writer = |name: &'static str, dir: PathBuf| {
        let work = move || {
            for number in 0..4 {
                fs::write(dir.join(format!("{name}-{number}")), "x").unwrap();
                pause(2_000);
            }
        };
        std::thread::Builder::new().name(name.into()).spawn(work).unwrap()
    };
    let first = writer("first", one.to_path_buf());
    pause(1_000);
    let second = writer("second", other.to_path_buf());
    first.join().unwrap();
    second.join().unwrap();
}

fn run(command: &mut Command) {
    let done = command.status().unwrap();
    assert!(done.success(), "{command:?}: {done}");
}

/// The newest ctime of a tree, in seconds; the storage's own word for when it was last changed.
fn changed(path: &Path) -> f64 {
    let meta = fs::symlink_metadata(path).unwrap();
    let own = meta.ctime() as f64 + meta.ctime_nsec() as f64 / 1e9;
    if !meta.is_dir() {
        return own;
    }
    let below = fs::read_dir(path).unwrap().map(|entry| changed(&entry.unwrap().path()));
    below.fold(own, f64::max)
}

/// What it is now, on the same clock.
fn storage_now(world: &World, name: &str) -> f64 {
    let file = world.path(&format!("{name}.now"));
    fs::write(&file, "x").unwrap();
    changed(&file)
}

fn wait(world: &World, args: &[&str]) -> Output {
    world.fusionctl(&[&["--output", "json", "wait"][..], args].concat())
}

/// One writer and who waits for it: seconds from the last change to the word, and what was said.
fn measure(world: &World, kind: &Kind) -> (f64, serde_json::Value) {
    let dir = world.root().join(kind.name);
    fs::create_dir_all(&dir).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (kind.write)(&dir));
        let path = format!("/{}", kind.name);
        let told = wait(world, &[&path, "--quiet", "3s", "--min-files", "1", "--timeout", "90s"]);
        let (at, newest) = (storage_now(world, kind.name), changed(&dir));
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.success(), "{}: {text}", kind.name);
        assert_eq!(kind.pauses, !writing.is_finished(), "{}: the writer", kind.name);
        (at - newest, serde_json::from_slice(&told.stdout).unwrap())
    })
}

type Measured<'a> = (&'a Kind, (f64, serde_json::Value));

/// Prints what was measured; none of it was too early.
fn check(measured: &[Measured<'_>]) {
    println!("| writer | quiet was said after the last change | files |\n|---|---|---|");
    for (kind, (after, told)) in measured {
        println!("| {} | {after:.1} s | {} |", kind.what, told["totals"]["files"]);
    }
    for (kind, (after, told)) in measured {
        assert!(*after >= QUIET, "{}: too early, {after} s", kind.name);
        assert_eq!(told["quiet"], true);
        assert_eq!(told["freshness"]["coverage"], "REALTIME_AND_AUDIT");
        assert!(told["freshness"]["quiet_for_seconds"].as_f64().unwrap() >= QUIET);
    }
}

#[tokio::test]
async fn it_is_never_said_too_early() {
    let world = World::start_configured(CONFIG);
    // A root that has something is known by it: the second agent may look while the first names come.
    fs::write(world.root().join("known"), "x").unwrap();
    let _one = world.start_ready_agent("one").await;
    let _two = world.start_ready_agent("two").await;
    let measured: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> =
            KINDS.iter().map(|kind| (kind, scope.spawn(|| measure(&world, kind)))).collect();
        all.into_iter().map(|(kind, one)| (kind, one.join().unwrap())).collect()
    });
    check(&measured);
    let files = |name: &str| {
        let (_, (_, told)) = measured.iter().find(|(kind, _)| kind.name == name).unwrap();
        told["totals"]["files"].as_u64().unwrap()
    };
    assert_eq!((files("copy"), files("rename"), files("short")), (300, 20, 5));
    assert_eq!((files("nested"), files("two"), files("long")), (12, 8, 1));
}

/// Agents on two hosts, each with a mount of its own.
async fn two_hosts(world: &World, cached: Duration) -> (Vec<Bind>, Vec<Agent>) {
    let mounts = MOUNTS.map(|name| Bind::of(world.root(), &world.path(name), cached));
    let mut agents = Vec::new();
    for (name, mount) in ["one", "two"].into_iter().zip(&mounts) {
        agents.push(world.launch(name).root(mount.at()).start());
        until(&format!("{name} watches"), async || {
            status_of(world, name).await?.realtime_ready.then_some(())
        })
        .await;
    }
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    (mounts.into(), agents)
}

#[tokio::test]
async fn it_is_not_said_while_another_host_uploads() {
    let world = World::start_configured(CONFIG);
    // A directory that both hosts watch when it begins.
    fs::create_dir(world.root().join(HOSTS.name)).unwrap();
    let _hosts = two_hosts(&world, Duration::ZERO).await;
    let (after, told) = measure(&world, &HOSTS);
    assert_eq!(told["totals"]["files"], 8);
    check(&[(&HOSTS, (after, told))]);
}

/// Each of two hosts writes where the other one made a directory, which it sees when its mount shows it. No
/// audit comes for an hour.
async fn upload_into_what_another_made(world: &World, cached: Duration) {
    fs::write(world.root().join("known"), "x").unwrap();
    let (mounts, _agents) = two_hosts(world, cached).await;
    for (number, (maker, writer)) in [(0, 1), (1, 0)].into_iter().enumerate() {
        let run = format!("run{number}");
        let [made, seen] = [maker, writer].map(|host| mounts[host].at().join(&run).join("deep"));
        assert!(!seen.exists(), "from here on its mount may believe that");
        fs::create_dir_all(&made).unwrap();
        fs::write(made.join("first"), "1").unwrap();
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| {
                while !seen.exists() {
                    pause(20);
                }
                for name in ["a", "b", "c", "d", "e", "f"] {
                    fs::write(seen.join(name), name).unwrap();
                    pause(1_500);
                }
                fs::create_dir(seen.join("more")).unwrap();
                fs::write(seen.join("more/g"), "g").unwrap();
            });
            let path = format!("/{run}");
            let told =
                wait(world, &[&path, "--quiet", "3s", "--min-files", "1", "--timeout", "90s"]);
            let (at, newest) = (storage_now(world, &run), changed(&world.root().join(&run)));
            let text = String::from_utf8_lossy(&told.stderr).into_owned();
            assert!(told.status.success(), "{text}");
            assert!(writing.is_finished(), "said while it was written");
            let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
            assert_eq!(told["totals"]["files"], 8, "{told}");
            assert_eq!(told["freshness"]["coverage"], "REALTIME_AND_AUDIT");
            println!("| uploads into what another host made | {:.1} s | 8 |", at - newest);
            assert!(at - newest >= QUIET, "too early: {} s", at - newest);
        });
    }
}

#[tokio::test]
async fn nor_while_one_uploads_into_what_another_made() {
    let world = World::start_configured(CONFIG);
    upload_into_what_another_made(&world, Duration::ZERO).await;
}

#[tokio::test]
async fn nor_where_its_mount_shows_that_later() {
    let world = World::start_configured(&CONFIG.replace("200ms", "2s"));
    upload_into_what_another_made(&world, Duration::from_secs(1)).await;
}

#[tokio::test]
async fn exit_status_says_whether_it_is_quiet() {
    let mut world = World::start_configured(CONFIG);
    let agent = world.start_ready_agent("one").await;
    let check = |output: &Output, code: i32, says: &str| {
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(says), "{text}");
    };
    check(&wait(&world, &["/none", "--quiet", "1s", "--timeout", "2s"]), 1, "nothing is there");
    fs::write(world.root().join("file"), "12345").unwrap();
    world.settle().await;
    let marked = ["/", "--quiet", "1s", "--marker", "done", "--timeout", "8s"];
    check(&wait(&world, &marked), 1, "the marker is not there");
    let many = ["/", "--quiet", "1s", "--min-bytes", "6", "--timeout", "8s"];
    check(&wait(&world, &many), 1, "5 B so far");
    check(&wait(&world, &["/", "--quiet", "soon"]), 2, "30s");
    check(&wait(&world, &["/", "--quiet", "169h", "--timeout", "2s"]), 1, "quiet_for");
    check(&wait(&world, &["/", "--quiet", "1s", "--marker", "../x"]), 1, "marker");
    check(&wait(&world, &["/file", "--quiet", "1s", "--timeout", "60s"]), 0, "");

    // A witness that is stopped holds the horizon back, over a restart of the server as well.
    let process = rustix::process::Pid::from_raw(agent.process.id().cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    fs::write(world.root().join("unseen"), "x").unwrap();
    let url = world.url();
    let waiting = Command::new(binaries::path("fusionctl"))
        .args(["--server", &url, "wait", "/", "--view", "tree", "--quiet", "1s"])
        .args(["--timeout", "60s", "--min-files", "2"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.kill_server();
    world.start_server();
    let still = wait(&world, &["/", "--quiet", "1s", "--timeout", "10s", "--view", "tree"]);
    check(&still, 1, "not quiet within");
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    check(&waiting.wait_with_output().unwrap(), 0, "");
}
