//! The table of faults (docs/faults.md) in short. Seeds are printed; `soak` runs the long forms.

use fusion_tests::faults::{
    away, batches, broken, clock, errors, full, kill, memory, partition, pause, promote, rolling,
    torn, twins,
};

#[tokio::test]
async fn kill_9_at_random_moments() {
    kill::rounds(1, 8).await;
}

#[tokio::test]
async fn kill_9_of_two_agents_and_the_server() {
    kill::rounds_of_two(1, 5).await;
}

#[tokio::test]
async fn the_server_is_restarted_under_load() {
    let load = rolling::Load { sessions: 30, readers: 2 };
    rolling::restarts(1, 4, load, rolling::Listening::Itself).await;
}

#[tokio::test]
async fn no_heartbeat_fails_over_restarts_on_sockets_that_are_handed_over() {
    let load = rolling::Load { sessions: 30, readers: 2 };
    rolling::restarts(2, 6, load, rolling::Listening::HandedOver).await;
}

#[tokio::test]
async fn a_leader_is_paused_past_its_timeout() {
    pause::leader_past_its_timeout(500).await;
}

#[tokio::test]
async fn the_only_agent_is_paused_past_its_timeout() {
    pause::only_agent_past_its_timeout(1).await;
}

#[tokio::test]
async fn batches_that_cannot_be_taken() {
    batches::that_cannot_be_taken().await;
}

#[tokio::test]
async fn a_message_above_the_limit() {
    batches::above_the_limit_of_a_message().await;
}

#[tokio::test]
async fn the_server_is_away_while_files_are_made() {
    away::while_files_are_made(10_000).await;
}

#[tokio::test]
async fn a_partition_of_one_of_two() {
    partition::of_the_leader(1).await;
}

#[tokio::test]
async fn a_torn_frame_that_was_not_delivered() {
    torn::not_delivered(1, 2).await;
}

#[tokio::test]
async fn a_torn_frame_that_was_delivered() {
    torn::delivered().await;
}

#[tokio::test]
async fn a_spool_that_is_full() {
    full::by_its_bound().await;
}

#[tokio::test]
async fn a_spool_whose_disk_is_full() {
    full::by_its_disk().await;
}

#[tokio::test]
async fn a_server_whose_disk_is_full() {
    full::of_the_server().await;
}

#[tokio::test]
async fn two_agents_with_one_id() {
    twins::with_one_id().await;
}

#[tokio::test]
async fn a_clock_that_is_off_and_jumps() {
    clock::off_and_jumping(1, 3).await;
}

#[tokio::test]
async fn a_spool_that_is_deleted() {
    memory::spool_deleted().await;
}

#[tokio::test]
async fn a_spool_of_yesterday() {
    memory::spool_rolled_back().await;
}

#[tokio::test]
async fn a_server_whose_data_are_deleted() {
    memory::server_deleted().await;
}

#[tokio::test]
async fn a_server_of_yesterday() {
    memory::server_restored().await;
}

#[tokio::test]
async fn a_follower_is_promoted_by_a_notice() {
    let took = promote::by_notice(5).await;
    assert!(took[took.len() / 2] < promote::SOON, "{took:?}");
}

#[tokio::test]
async fn a_heartbeat_goes_on_without_a_watcher() {
    broken::watcher().await;
}

#[tokio::test]
async fn a_heartbeat_goes_on_while_the_storage_hangs() {
    broken::storage().await;
}

#[tokio::test]
async fn a_heartbeat_goes_on_when_the_storage_is_gone() {
    broken::storage_gone().await;
}

#[tokio::test]
async fn a_known_directory_that_answers_with_errors() {
    errors::of_a_known_directory("ESTALE").await;
}

#[tokio::test]
async fn an_unknown_directory_that_answers_with_errors() {
    errors::of_an_unknown_directory("EIO").await;
}
