//! Several witnesses of one tree, of whom none sees everything; in long, and for any seed, by
//! `fusion-tests soak witnesses --rounds 1 --from SEED`.

use fusion_tests::witnesses::{self, Caches};

#[tokio::test]
async fn two_mounts_and_a_blind_third() {
    witnesses::of_one_tree(1, 7_000, Caches::None).await;
}

#[tokio::test]
async fn two_mounts_that_show_what_was_and_a_blind_third() {
    witnesses::of_one_tree(2, 7_000, Caches::Some).await;
}
