//! Watchers over restarts: whoever goes on after the last revision sees every change once, in order.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fusion_tests::binaries;
use fusion_tests::pair::World;
use serde_json::Value;

/// A `fusionctl watch` that goes on by itself.
struct Watcher {
    child: Child,
    out: std::path::PathBuf,
}

impl Watcher {
    fn start(world: &World, name: &str, args: &[&str]) -> Self {
        let out = world.path(name);
        let child = Command::new(binaries::path("fusionctl"))
            .args(["--server", &world.url(), "--output", "json", "watch", "--view", "tree"])
            .args(args)
            .stdout(fs::File::create(&out).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, out }
    }

    /// Revision, type and path of every change that it printed.
    fn told(&self) -> Vec<(u64, String, String)> {
        let text = fs::read_to_string(&self.out).unwrap();
        // The last line may be on its way.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|line| told(line, "event_type")).collect()
    }

    /// Waits until it has told of the path.
    async fn until(&mut self, path: &str) {
        for _ in 0..600 {
            if self.told().iter().any(|(_, _, told)| told == path) {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the watcher has ended");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never told of {path}");
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn told(line: &str, kind: &str) -> (u64, String, String) {
    let line: Value = serde_json::from_str(line).unwrap();
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    (line["revision"].as_u64().unwrap(), text(kind), text("path"))
}

/// What the log has, of the changes that readers see.
fn logged(world: &World) -> Vec<(u64, String, String)> {
    let output = Command::new(binaries::path("fusion-server"))
        .args(["store", "export", "--view", "tree", "--data-dir"])
        .arg(world.path("server"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let typed = |(revision, kind, path): (u64, String, String)| {
        let kind = match kind.as_str() {
            "created" => "ENTRY_CREATED",
            "modified" => "ENTRY_MODIFIED",
            "moved" => "ENTRY_MOVED",
            "removed" => "NODE_SOFT_DELETED",
            _ => return None,
        };
        Some((revision, kind.to_owned(), path))
    };
    text.lines().filter_map(|line| typed(told(line, "kind"))).collect()
}

/// Makes, writes, moves and removes files until it is told to stop.
fn churn(root: &Path, stop: &std::sync::atomic::AtomicBool) {
    let mut number = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        let dir = root.join(format!("d{}", number % 7));
        let _ = fs::create_dir(&dir);
        let (first, second) = (dir.join(format!("f{number}")), dir.join(format!("g{number}")));
        fs::write(&first, "1").unwrap();
        fs::write(&first, "12").unwrap();
        fs::rename(&first, &second).unwrap();
        if number % 3 == 0 {
            fs::remove_file(&second).unwrap();
        }
        if number % 50 == 49 {
            fs::remove_dir_all(&dir).unwrap();
        }
        number += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test]
async fn every_change_is_told_once_and_in_order_over_kills_of_the_server() {
    let mut world = World::start_impatient();
    for number in 0..50 {
        fs::write(world.root().join(format!("before-{number}")), "x").unwrap();
    }
    let _agent = world.start_ready_agent("one").await;
    let mut whole = Watcher::start(&world, "whole", &["/", "--from", "0"]);
    let mut part = Watcher::start(&world, "part", &["/d3", "--from", "0"]);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (root, stopping) = (world.root().to_path_buf(), std::sync::Arc::clone(&stop));
    let writer = std::thread::Builder::new()
        .name("writer".into())
        .spawn(move || churn(&root, &stopping))
        .unwrap();
    for kill in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.kill_server();
        world.start_server();
        let mark = format!("/kill-{kill}");
        fs::write(world.root().join(&mark[1..]), "x").unwrap();
        whole.until(&mark).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    fs::create_dir_all(world.root().join("d3")).unwrap();
    fs::write(world.root().join("d3/last"), "x").unwrap();
    world.settle().await;
    whole.until("/d3/last").await;
    part.until("/d3/last").await;
    assert!(world.server().terminate(Duration::from_secs(10)).success());

    let (whole, part, logged) = (whole.told(), part.told(), logged(&world));
    let through = whole.last().unwrap().0;
    let logged: Vec<_> = logged.into_iter().filter(|change| change.0 <= through).collect();
    println!("{} changes over three kills, {} of them at /d3", whole.len(), part.len());
    assert!(whole.len() > 500, "{}", whole.len());
    assert_eq!(whole, logged);
    let through = part.last().unwrap().0;
    let of_part = |path: &str| path == "/d3" || path.starts_with("/d3/");
    let expected: Vec<_> =
        logged.into_iter().filter(|change| change.0 <= through && of_part(&change.2)).collect();
    assert_eq!(part, expected);
}
