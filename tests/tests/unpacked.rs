//! Real trees in short; `soak trees` has the kernel's sources and a million files (docs/soak.md).

use std::time::Duration;

use fusion_tests::unpacked;

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
