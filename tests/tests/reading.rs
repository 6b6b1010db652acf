//! Reads while the tree changes, with the real binaries: pages of a directory in which files are made
//! and removed, and fresh reads of several views at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_proto::convert::view::{FindEntries, ReadClass, ViewRank};
use fusion_tests::compare;
use fusion_tests::mounts::Bind;
use fusion_tests::pair::{READY, World};

/// Files that stay, and as many that come and go between them.
const FILES: usize = 3_000;

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes().to_vec()).unwrap()
}

/// Makes and removes files between those that stay until it is told to end; counts its rounds.
fn churn(directory: &Path, over: &AtomicBool, rounds: &AtomicU64) {
    let mut round = 0;
    while !over.load(Ordering::Relaxed) {
        for number in (0..FILES).filter(|number| number % 7 == round % 7) {
            let come = directory.join(format!("f{number:05}-{}", round % 5));
            fs::write(&come, "x").unwrap();
            let gone = directory.join(format!("f{number:05}-{}", (round + 2) % 5));
            let _ = fs::remove_file(gone);
        }
        round += 1;
        rounds.store(round as u64, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_pages_through_a_directory_that_changes_sees_what_stays_exactly_once() {
    let world = World::start_impatient();
    let directory = world.root().join("many");
    fs::create_dir(&directory).unwrap();
    for number in 0..FILES {
        fs::write(directory.join(format!("f{number:05}")), "stays").unwrap();
    }
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let (over, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut client = world.client();
    let (mut walks, mut came_and_went) = (0, 0);
    std::thread::scope(|scope| {
        let writer = std::thread::Builder::new();
        let writer = writer.spawn_scoped(scope, || churn(&directory, &over, &rounds)).unwrap();
        let pages = async {
            while walks < 5 || rounds.load(Ordering::Relaxed) < 10 || came_and_went == 0 {
                let mut seen = BTreeMap::<String, usize>::new();
                let mut token = String::new();
                loop {
                    let page = client.list(world.view(), &path("/many"), &token).await.unwrap();
                    for entry in page.entries {
                        *seen.entry(entry.path).or_default() += 1;
                    }
                    token = page.next_page_token;
                    if token.is_empty() {
                        break;
                    }
                }
                for number in 0..FILES {
                    let name = format!("/many/f{number:05}");
                    assert_eq!(seen.get(&name), Some(&1), "{name} in walk {walks}");
                }
                let twice = seen.iter().find(|(_, times)| **times > 1);
                assert_eq!(twice, None, "by name nothing can come twice");
                came_and_went += seen.len() - FILES;
                walks += 1;
            }
            let mut found = client.find(world.view(), &path("/many"), None).await.unwrap();
            let mut seen = BTreeMap::<String, usize>::new();
            while let Some(part) = found.next().await.unwrap() {
                for entry in part.entries {
                    *seen.entry(entry.path).or_default() += 1;
                }
            }
            for number in 0..FILES {
                let name = format!("/many/f{number:05}");
                assert_eq!(seen.get(&name), Some(&1), "{name} in a search");
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(pages));
        over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });
    world.settle().await;
}

/// Two views, each behind a mount that tells nothing of what is done beside it, served by an agent
/// each: a fresh read of both scans both, and answers for both what stands there now.
#[tokio::test]
async fn a_fresh_read_of_two_views_is_scanned_by_both_agents() {
    let world = World::start_impatient();
    let views = ["left", "right"].map(|name| ViewName::new(name).unwrap());
    let parts = ["left", "right"].map(|name| {
        let behind = world.path(&format!("{name}.behind"));
        fs::create_dir_all(behind.join("in")).unwrap();
        fs::write(behind.join("in/before"), "x").unwrap();
        let mount = Bind::of(&behind, &world.path(&format!("{name}.mount")), Duration::ZERO);
        let agent = world.launch(name).view(name).root(mount.at()).start();
        (agent, mount, behind)
    });
    for view in &views {
        compare::until_ready(&mut world.client(), view, READY).await;
    }
    for (number, (_, _, behind)) in parts.iter().enumerate() {
        fs::create_dir(behind.join("in/below")).unwrap();
        for file in 0..=number {
            fs::write(behind.join(format!("in/below/new{file}")), "new").unwrap();
        }
        fs::remove_file(behind.join("in/before")).unwrap();
    }
    let known = world.client().compare(&views, &path("/in"), ViewRank::Files).await.unwrap();
    let files = known.iter().map(|view| view.answer.as_ref().unwrap().totals.files);
    assert_eq!(files.collect::<Vec<_>>(), [1, 1], "no event told of it");

    let mut fresh = world.client().demanding(ReadClass::Fresh);
    let compared = fresh.compare(&views, &path("/in"), ViewRank::Files).await.unwrap();
    let ranked = compared.iter().map(|view| {
        let totals = &view.answer.as_ref().unwrap().totals;
        (view.view.as_str(), totals.files, totals.directories)
    });
    assert_eq!(ranked.collect::<Vec<_>>(), [("right", 2, 1), ("left", 1, 1)]);

    for (_, _, behind) in &parts {
        fs::write(behind.join("in/below/newer"), "newer").unwrap();
    }
    let asked = FindEntries {
        more_views: vec![views[1].clone()],
        class: ReadClass::Fresh,
        ..FindEntries::all(views[0].clone(), path("/in"))
    };
    let mut found = fresh.find_entries(&asked).await.unwrap();
    let mut seen = Vec::new();
    while let Some(part) = found.next().await.unwrap() {
        assert_eq!(part.error, None);
        let view = part.view.map_or(String::new(), |view| view.to_string());
        seen.extend(part.entries.into_iter().map(|entry| format!("{view}{}", entry.path)));
    }
    seen.sort();
    let expected = [
        "left/in/below",
        "left/in/below/new0",
        "left/in/below/newer",
        "right/in/below",
        "right/in/below/new0",
        "right/in/below/new1",
        "right/in/below/newer",
    ];
    assert_eq!(seen, expected);
}
