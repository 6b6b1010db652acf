//! Several witnesses of one tree, of whom none sees everything; in long by `soak witnesses`.

use fusion_tests::witnesses;

#[tokio::test]
async fn two_mounts_and_a_blind_third() {
    witnesses::of_one_tree(1, 1_500).await;
}
