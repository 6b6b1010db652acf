//! Bursts in short; `soak bursts` runs them in long (docs/scanning.md).

use fusion_tests::bursts;

#[tokio::test]
async fn files_in_one_directory_come_and_go() {
    bursts::one_directory(10_000).await;
}

#[tokio::test]
async fn a_tree_is_moved_copied_and_removed() {
    bursts::moved_tree(5_000).await;
}

#[tokio::test]
async fn a_checkout_of_another_version() {
    bursts::checkout(5_000).await;
}

#[tokio::test]
async fn a_build_with_temporary_files() {
    bursts::build(5_000).await;
}
