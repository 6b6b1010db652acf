//! What a view wants nothing to be known of: no name under an exclude pattern and no withheld field
//! comes to the server, whatever happens to it; and what was known before a pattern goes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fusion_core::stat::Stat;
use fusion_tests::disk::{self, Tree};
use fusion_tests::pair::{READY, World};
use fusion_tests::{compare, faults};

/// What is done, and how.
type Step = (&'static str, fn(&Path));

const OPEN: &str = r#"
[view_defaults]
cache_horizon = "200ms"
hot_threshold = "100ms"
session_timeout = "6s"
"#;

const GUARDED: &str = r#"
exclude = ["*unspeakable*", "/home/*/private"]
withhold = ["owner", "mode"]
"#;

/// What may be known of the disk. All that may not has a name, or is below one, that says so.
fn shown(root: &Path) -> Tree {
    let is_told = |path: &str| !path.contains("unspeakable") && !path.contains("/private");
    let bare = |stat: Stat| Stat { mode: 0, uid: 0, gid: 0, ..stat };
    let tree = disk::walk(root).into_iter().filter(|(path, _)| is_told(path));
    tree.map(|(path, stat)| (path, bare(stat))).collect()
}

async fn shows_the_rest(world: &World, what: &str) {
    let expected = shown(world.root());
    faults::checks::until(
        &format!("{what}: the view is what may be known of the disk"),
        async || {
            let tree = compare::view_tree(&mut world.client(), world.view()).await.ok()?;
            (tree == expected).then_some(())
        },
    )
    .await;
}

fn fill(root: &Path) {
    for directory in ["home/ann/private/x", "home/ann/open", "unspeakable/deep", "work"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in [
        "home/ann/private/x/unspeakable-1",
        "home/ann/open/file",
        "unspeakable/deep/file",
        "work/unspeakable-2",
        "work/pronounceable",
    ] {
        fs::write(root.join(file), file).unwrap();
    }
    fs::set_permissions(root.join("work/pronounceable"), fs::Permissions::from_mode(0o640))
        .unwrap();
}

/// How often a text stands in what the server wrote.
fn written(world: &World, text: &str) -> usize {
    let mut files = vec![world.path("server"), world.path("server.log")];
    let mut count = 0;
    while let Some(at) = files.pop() {
        if at.is_dir() {
            files.extend(fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let bytes = fs::read(&at).unwrap();
            count += bytes.windows(text.len()).filter(|at| *at == text.as_bytes()).count();
        }
    }
    count
}

#[tokio::test]
async fn no_excluded_name_and_no_withheld_field_comes_to_the_server() {
    let mut world = World::start_configured(&format!("{OPEN}{GUARDED}"));
    fill(world.root());
    let _leader = world.start_ready_agent("one").await;
    let _follower = world.start_agent("two", &[]);
    faults::checks::watching(&world, "two").await;
    shows_the_rest(&world, "the first scan").await;

    let root = world.root().to_owned();
    let steps: [Step; 6] = [
        ("new names", |root| {
            fs::write(root.join("work/unspeakable-3"), "x").unwrap();
            fs::write(root.join("home/ann/private/y"), "x").unwrap();
            fs::write(root.join("work/utterable"), "x").unwrap();
        }),
        ("a new tree", |root| {
            fs::create_dir_all(root.join("work/new/unspeakable-4/below")).unwrap();
            fs::write(root.join("work/new/unspeakable-4/below/z"), "x").unwrap();
            fs::write(root.join("work/new/told"), "x").unwrap();
        }),
        ("into hiding", |root| {
            fs::rename(root.join("work/utterable"), root.join("work/unspeakable-5")).unwrap();
            fs::rename(root.join("work/new"), root.join("home/ann/private/new")).unwrap();
        }),
        ("and out", |root| {
            fs::rename(root.join("work/unspeakable-5"), root.join("work/said")).unwrap();
            fs::rename(root.join("home/ann/private/new"), root.join("work/again")).unwrap();
        }),
        ("modes", |root| {
            for (name, mode) in [("work/said", 0o600), ("work", 0o711)] {
                fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
            }
        }),
        ("removing", |root| {
            fs::remove_dir_all(root.join("unspeakable")).unwrap();
            fs::remove_dir_all(root.join("home")).unwrap();
        }),
    ];
    for (what, step) in steps {
        step(&root);
        shows_the_rest(&world, what).await;
    }
    world.kill_server();
    assert!(written(&world, "pronounceable") > 0, "control: names can be found");
    assert_eq!(
        written(&world, "unspeakable"),
        written(&world, "*unspeakable*"),
        "the pattern alone"
    );
}

/// The agents' sessions from before would go on: they are not taken back, and the next scan of the
/// new leader goes past what it must not tell.
#[tokio::test]
async fn what_was_known_before_a_pattern_goes_when_the_server_begins_with_it() {
    let mut world = World::start_configured(OPEN);
    fill(world.root());
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let session = faults::checks::new_session(&world, "one", None).await;

    world.kill_server();
    fs::write(world.path("server.toml"), format!("{OPEN}{GUARDED}")).unwrap();
    world.start_server();
    faults::checks::new_session(&world, "one", Some(session)).await;
    shows_the_rest(&world, "after the restart").await;
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    fs::write(world.root().join("work/unspeakable-late"), "x").unwrap();
    fs::write(world.root().join("work/late"), "x").unwrap();
    shows_the_rest(&world, "and then").await;
}
