//! Checkpoints on real servers: large ones, ones that break off, and two servers that write them.

use std::collections::BTreeMap;
use std::time::Duration;

use fusion_core::id::Revision;
use fusion_store::engines::nats::{Nats, NatsBlocks, NatsSettings};
use fusion_store::{BlockId, Blocks, Loaded, LogPoint, StoreError, sample};

use super::server::{self, Options};
use super::settings;

fn point(record: u64) -> LogPoint {
    LogPoint { record, revision: Revision(record) }
}

/// Bytes that depend on two numbers.
fn bytes(id: u64, round: u64, count: usize) -> Vec<u8> {
    (0..count).map(|at| (at as u64 * (id + 3) + round) as u8).collect()
}

fn load(blocks: &NatsBlocks) -> (Option<LogPoint>, BTreeMap<BlockId, Vec<u8>>) {
    let mut found = BTreeMap::new();
    let contains = blocks.load(sample::view(1).id, &mut |part| {
        if let Loaded::Block(id, bytes) = part {
            assert_eq!(found.insert(id, bytes.to_vec()), None, "each is handed out once");
        }
        Ok(())
    });
    (contains.unwrap(), found)
}

/// Puts blocks of this size; what is live afterwards.
fn put(
    blocks: &NatsBlocks,
    round: u64,
    ids: std::ops::Range<u64>,
    size: usize,
) -> Result<BTreeMap<BlockId, Vec<u8>>, StoreError> {
    let mut writer = blocks.begin(&sample::view(1), point(round))?;
    let mut put = BTreeMap::new();
    for id in ids {
        let bytes = bytes(id, round, size + id as usize);
        writer.put(BlockId(id), &bytes)?;
        put.insert(BlockId(id), bytes);
    }
    writer.commit()?;
    Ok(put)
}

#[test]
fn blocks_larger_than_messages_and_many_messages() {
    if !server::is_there("blocks_larger_than_messages_and_many_messages") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let settings = NatsSettings { message_bytes: 16 << 10, ..settings(servers.urls()) };
    let nats = Nats::connect(settings).unwrap();
    let blocks = nats.blocks();
    let mut kept = BTreeMap::new();
    for (round, ids, size) in [(1, 0..300, 5_000), (2, 5..9, 300_000), (3, 8..200, 0)] {
        kept.extend(put(&blocks, round, ids, size).unwrap());
        assert!(load(&blocks) == (Some(point(round)), kept.clone()), "round {round}");
        assert!(load(&nats.blocks()) == (Some(point(round)), kept.clone()), "round {round}");
    }
    blocks.compact(sample::view(1).id).unwrap();
    let figures = blocks.figures(sample::view(1).id).unwrap();
    assert!(figures.stored_bytes < figures.live_bytes * 5 / 4, "{figures:?}");
    assert!(load(&nats.blocks()) == (Some(point(3)), kept), "compacting changes nothing");
}

#[test]
fn a_checkpoint_that_breaks_off_counts_whole_or_not_at_all() {
    if !server::is_there("a_checkpoint_that_breaks_off_counts_whole_or_not_at_all") {
        return;
    }
    let mut servers = server::Nats::one(&Options { sync_always: true, ..Options::default() });
    let timeout = Duration::from_secs(2);
    let message_bytes = 16 << 10;
    let settings = NatsSettings { timeout, message_bytes, ..settings(servers.urls()) };
    let nats = Nats::connect(settings).unwrap();
    let blocks = nats.blocks();
    let mut kept = put(&blocks, 1, 0..50, 5_000).unwrap();
    for round in 2..5 {
        let mut writer = blocks.begin(&sample::view(1), point(round)).unwrap();
        let mut late = kept.clone();
        for id in 0..30 {
            let bytes = bytes(id, round, 5_000);
            writer.put(BlockId(id), &bytes).unwrap();
            late.insert(BlockId(id), bytes);
        }
        servers.nodes[0].kill();
        let broken = writer.commit().unwrap_err();
        assert!(broken.is_of_the_engine(), "{broken}");
        servers.nodes[0].start();
        servers.wait_until_well();
        // What the client had sent can arrive until the next checkpoint is there.
        for blocks in [&blocks, &nats.blocks()] {
            let found = load(blocks);
            let is_before = found == (Some(point(round - 1)), kept.clone());
            assert!(is_before || found == (Some(point(round)), late.clone()));
        }
        let put = || put(&blocks, round, 20..40, 5_000);
        let put = match put() {
            Err(StoreError::Overtaken { found: Some(found), .. }) if found == point(round) => put(),
            outcome => outcome,
        };
        let put = put.unwrap();
        kept.extend(put.clone());
        late.extend(put);
        let (contains, found) = load(&blocks);
        assert!(contains == Some(point(round)) && (found == kept || found == late));
        assert!(load(&nats.blocks()) == (contains, found.clone()));
        kept = found;
    }
}

#[test]
fn of_two_servers_one_counts() {
    if !server::is_there("of_two_servers_one_counts") {
        return;
    }
    let servers = server::Nats::one(&Options::default());
    let settings = settings(servers.urls());
    let (one, two) = (Nats::connect(settings.clone()), Nats::connect(settings));
    let (one, two) = (one.unwrap().blocks(), two.unwrap().blocks());
    let first = put(&one, 1, 0..20, 100).unwrap();
    let mut zombie = one.begin(&sample::view(1), point(2)).unwrap();
    zombie.follows(Some(point(1))).unwrap();
    zombie.put(BlockId(1), b"never").unwrap();
    assert!(load(&two) == (Some(point(1)), first.clone()), "the other one takes over");
    let mut kept = first;
    kept.extend(put(&two, 3, 10..15, 100).unwrap());
    let refused = zombie.commit();
    assert!(
        matches!(refused, Err(StoreError::Overtaken { found: Some(found), .. }) if found == point(3)),
        "{refused:?}"
    );
    let mut zombie = one.begin(&sample::view(1), point(4)).unwrap();
    let refused = zombie.follows(Some(point(1)));
    assert!(matches!(refused, Err(StoreError::Overtaken { .. })), "{refused:?}");
    drop(zombie);
    assert!(load(&one) == (Some(point(3)), kept));
}
