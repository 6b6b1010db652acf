//! Queries against what `find`, `sort` and `head` say of the same disk: a few hundred small trees made
//! from seeds, some larger ones, and `/usr/share`.

mod asks;
mod disk;
mod made;

use std::path::Path;

use fusion_core::path::TreePath;
use fusion_tests::pair::World;

use asks::Asker;

/// Trees below one root; each is a directory at its top.
const TREES: u64 = 200;

#[tokio::test]
async fn a_few_hundred_small_trees() {
    let world = World::start();
    for seed in 0..TREES {
        made::tree(&world.root().join(name(seed)), seed, 40);
    }
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let mut asker = Asker::new(&world);
    for seed in 0..TREES {
        asker.some(&format!("/{}", name(seed)), (seed % 4) as usize, 4).await;
    }
    assert!(asker.found > TREES * 10, "the filters let next to nothing through: {}", asker.found);
    asker.all("/").await;
}

#[tokio::test]
async fn larger_trees() {
    let world = World::start();
    for seed in 1_000..1_003 {
        made::tree(&world.root().join(name(seed)), seed, 2_500);
    }
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    let mut asker = Asker::new(&world);
    for seed in 1_000..1_003 {
        asker.all(&format!("/{}", name(seed))).await;
    }
    asker.all("/").await;
}

/// Large, with names of every sort, and at rest.
#[tokio::test]
async fn usr_share() {
    let world = World::start_on(Path::new("/usr/share"), &[]);
    let _agent = world.start_ready_agent("one").await;
    world.settle().await;
    Asker::new(&world).all("/").await;
}

fn name(seed: u64) -> String {
    format!("t{seed:04}")
}

fn tree_path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).expect("a path")
}
