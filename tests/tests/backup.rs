//! A back-up of a running server, and what becomes of a server that is put back to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fusion_tests::binaries;
use fusion_tests::compare;
use fusion_tests::pair::{READY, World};

fn store(command: &str, dir: &Path, more: &[&str]) -> Output {
    let mut server = Command::new(binaries::path("fusion-server"));
    server.args(["store", command, "--data-dir"]).arg(dir).args(more).output().unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[tokio::test]
async fn a_back_up_holds_what_was_known_and_a_server_goes_on_from_it() {
    let mut world = World::start_impatient();
    let write =
        |number: u32| fs::write(world.root().join(format!("before-{number}")), "x").unwrap();
    (0..100).for_each(write);
    let _agent = world.start_ready_agent("one").await;
    (100..300).for_each(write);
    world.settle().await;
    let (root, stop) = (world.root().to_path_buf(), Arc::new(AtomicBool::new(false)));
    let writing = std::thread::Builder::new().name("writer".into());
    let stopped = Arc::clone(&stop);
    let writing = writing
        .spawn(move || {
            for number in 0.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                fs::write(root.join(format!("beside-{number}")), "x").unwrap();
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        })
        .unwrap();
    let copy = world.path("copy");
    let taken = store("backup", &world.path("server"), &["--to", copy.to_str().unwrap()]);
    assert!(taken.status.success(), "{}", text(&taken));
    assert!(text(&taken).contains("copied 1 view(s)"), "{}", text(&taken));
    stop.store(true, Ordering::SeqCst);
    writing.join().unwrap();
    let busy = store("check", &world.path("server"), &[]);
    assert_eq!(busy.status.code(), Some(1));
    let owner = format!("a server, process {}", world.server().id());
    assert!(text(&busy).contains(&owner), "{}", text(&busy));

    let checked = store("check", &copy, &[]);
    assert!(checked.status.success(), "{}", text(&checked));
    let exported = store("export", &copy, &["--view", "tree", "--entries"]);
    let lines = String::from_utf8(exported.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let paths: BTreeSet<_> = lines.map(|line| line["path"].as_str().unwrap().to_owned()).collect();
    for number in 0..300 {
        assert!(paths.contains(&format!("/before-{number}")), "{number} of {}", paths.len());
    }

    // What the server has learned since is gone with its directory; its agents make up for it.
    world.settle().await;
    world.kill_server();
    fs::remove_dir_all(world.path("server")).unwrap();
    fs::rename(&copy, world.path("server")).unwrap();
    fs::remove_file(world.root().join("before-7")).unwrap();
    world.start_server();
    world.settle().await;
    compare::until_ready(&mut world.client(), world.view(), READY).await;
}
