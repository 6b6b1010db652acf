//! Two agents on two mounts of one tree, and a third host that has none: none of them sees what the
//! others do but by listing. When it is quiet, the view equals the disk after K audits.
//!
//! The operations come from a seed and are done one after the other, so a seed gives the same again,
//! save for what the agents saw of it when.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::compare;
use crate::disk;
use crate::faults::churn::{self, Dice};
use crate::mounts::Bind;
use crate::pair::{World, counter};
use crate::process::now;
use crate::settings::Settings;

/// One in so many silent directories is listed in full by each audit (R9).
const K: usize = Settings::QUICK.deep_audit_one_in as usize;
/// What the view takes the mounts to be behind the tree ([`Settings::QUICK`]).
const HORIZON: Duration = Duration::from_millis(200);
/// After the horizon has passed.
const AUDITS: usize = K + 1;
/// How long all of that may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// So many random operations that succeed, each through one of the mounts or behind both. The kernel caches nothing of
/// the mounts: with caches bindfs itself was seen to go round for ever.
///
/// # Panics
/// The view does not become equal to the disk by the audits that it needs.
pub async fn of_one_tree(seed: u64, operations: u64) {
    let world = World::start_with(&Settings { audit_interval: "2s", ..Settings::QUICK });
    fs::create_dir(world.root().join("work")).expect("the tree");
    let mounts = ["a", "b"].map(|name| Bind::of(world.root(), &world.path(name), Duration::ZERO));
    let agents = mounts.each_ref().map(|mount| {
        let name = mount.at().file_name().expect("a name").to_string_lossy().into_owned();
        world.launch(&name).root(mount.at()).start()
    });
    crate::faults::checks::recovered(&world).await;

    let sides = [mounts[0].at(), mounts[1].at(), world.root()].map(|side| side.join("work"));
    let began = now();
    let tried = operate(seed, operations, &sides).await;
    let unknown = differing(&world).await;
    println!(
        "witnesses: seed {seed}: {operations} operations of {tried} tried in {:?}; {unknown} entries \
         differ then",
        began.elapsed()
    );

    tokio::time::sleep(HORIZON).await;
    let audits = audits_until_equal(&world).await;
    println!("witnesses: equal after {audits} audits");
    assert!(audits <= AUDITS, "seed {seed}: equal only after {audits} audits");
    for agent in &agents {
        assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
    }
}

/// Gives how many were tried until so many had succeeded: names are drawn blindly. Files have one name each then (see [`churn::part`]).
async fn operate(seed: u64, operations: u64, sides: &[PathBuf; 3]) -> u64 {
    let sides = sides.clone();
    let work = tokio::task::spawn_blocking(move || {
        let (mut dice, mut linked, mut done) = (Dice::new(seed), BTreeSet::new(), 0);
        let mut tried = 0_u64;
        while done < operations {
            tried += 1;
            let side = &sides[dice.below(3) as usize];
            done += u64::from(churn::one(side, &mut dice, &mut linked).is_ok());
        }
        churn::part(&sides[2], &linked);
        tried
    });
    work.await.expect("the operations")
}

/// Entries of the disk that the view has not, or has otherwise.
async fn differing(world: &World) -> usize {
    let on_disk = disk::walk(world.root());
    let tree = compare::view_tree(&mut world.client(), world.view()).await.expect("its tree");
    on_disk.iter().filter(|(path, stat)| tree.get(*path) != Some(stat)).count()
}

/// Waits until the view equals the disk, and gives how many audits were completed meanwhile.
async fn audits_until_equal(world: &World) -> usize {
    let on_disk = disk::walk(world.root());
    let (began, mut client) = (now(), world.client());
    let mut audits = BTreeSet::new();
    loop {
        let view = client.view(world.view()).await.expect("the view");
        audits.extend(view.freshness.last_audit);
        let tree = compare::view_tree(&mut client, world.view()).await.expect("the view's tree");
        if tree == on_disk {
            // The first was completed before.
            return audits.len().saturating_sub(1);
        }
        if began.elapsed() > LIMIT {
            let mut client = world.client();
            compare::until_equal(&mut client, world.view(), world.root(), Duration::ZERO).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
