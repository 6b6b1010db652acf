//! Real trees in short; `soak trees` has the kernel's sources and a million files (docs/soak.md).

use std::path::Path;
use std::time::Duration;

use fusion_tests::pair::World;
use fusion_tests::{compare, unpacked};

/// How long the view may differ on a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_archive_is_unpacked_moved_removed_and_unpacked_again() {
    let folder = tempfile::tempdir().unwrap();
    unpacked::archive(&unpacked::headers(folder.path()), LIMIT).await;
}

#[tokio::test]
async fn generated_files_are_written_moved_removed_and_made_again() {
    unpacked::generated(10_000, LIMIT).await;
}

/// It has names of every sort, and is at rest. Each entry of the view is as the disk has it.
#[tokio::test]
async fn usr_is_scanned_and_equals_the_disk() {
    let world = World::start_on(Path::new("/usr"), &[]);
    let _agent = world.start_agent("one", &[]);
    let mut client = world.client();
    compare::until_ready(&mut client, world.view(), LIMIT).await;
    let took = compare::until_equal(&mut client, world.view(), world.root(), LIMIT).await;
    println!("/usr as the disk has it {took:?} after READY");
}
