//! Blind spots of agents on one, both or none of two mounts, without caches and with caches of 30 s.

use std::time::Duration;

use fusion_tests::blind;

const CACHED: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_agent_on_one_mount() {
    blind::on_one(Duration::ZERO).await;
}

#[tokio::test]
async fn an_agent_on_one_mount_that_shows_what_was() {
    blind::on_one(CACHED).await;
}

#[tokio::test]
async fn agents_on_both_mounts() {
    blind::on_both(Duration::ZERO).await;
}

#[tokio::test]
async fn agents_on_both_mounts_that_show_what_was() {
    blind::on_both(CACHED).await;
}

#[tokio::test]
async fn an_agent_on_none_of_the_mounts() {
    blind::on_none(Duration::ZERO).await;
    blind::on_none(CACHED).await;
}
