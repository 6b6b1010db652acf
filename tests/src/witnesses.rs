//! Two agents on two mounts of one tree, and a third host that has none: none of them sees what the
//! others do but by listing. When it is quiet, the view equals the disk after K audits.
//!
//! The operations come from a seed and are done one after the other, so a seed gives the same tree again,
//! which is checked; what the agents see of it when is up to the machine, and to the caches of the
//! mounts. Must never: do less where a cache shows what was, or the seed would give another tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fusion_core::stat::Kind;

use crate::compare;
use crate::disk;
use crate::faults::churn::{self, Dice};
use crate::mounts::Bind;
use crate::pair::{World, counter};
use crate::process::now;
use crate::settings::Settings;

/// One in so many silent directories is listed in full by each audit (R9).
const K: usize = Settings::QUICK.deep_audit_one_in as usize;
/// After the horizon has passed.
const AUDITS: usize = K + 1;
/// How long all of that may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// How long the kernel believes what it knows of a mount, and what the view takes the mounts to be
/// behind the tree.
#[derive(Debug, Clone, Copy)]
pub enum Caches {
    /// Nothing, and [`Settings::QUICK`].
    None,
    /// Half a second, and a little more, since an agent looks at a name and its directory one after the other.
    Some,
}

impl Caches {
    const fn times(self) -> (Duration, Duration, &'static str) {
        let millis = Duration::from_millis;
        match self {
            Self::None => (Duration::ZERO, millis(200), "200ms"),
            Self::Some => (millis(500), millis(800), "800ms"),
        }
    }
}

/// So many random operations, each through one of the mounts or behind both; names are drawn blindly, so
/// that one in five has an effect.
///
/// # Panics
/// The view does not become equal to the disk by the audits that it needs, or the seed gives another
/// tree when it is replayed.
pub async fn of_one_tree(seed: u64, drawn: u64, caches: Caches) {
    let (cached, behind, horizon) = caches.times();
    let settings = Settings { cache_horizon: horizon, audit_interval: "2s", ..Settings::QUICK };
    let world = World::start_with(&settings);
    fs::create_dir(world.root().join("work")).expect("the tree");
    let mounts = ["a", "b"].map(|name| Bind::of(world.root(), &world.path(name), cached));
    let agents = mounts.each_ref().map(|mount| {
        let name = mount.at().file_name().expect("a name").to_string_lossy().into_owned();
        world.launch(&name).root(mount.at()).start()
    });
    crate::faults::checks::recovered(&world).await;

    let sides = [mounts[0].at(), mounts[1].at(), world.root()].map(|side| side.join("work"));
    let began = now();
    let done = operate(seed, drawn, &sides).await;
    let unknown = differing(&world).await;
    println!(
        "witnesses: seed {seed}, {caches:?} caches: {done} operations of {drawn} drawn in {:?}; \
         {unknown} entries differ then",
        began.elapsed()
    );

    tokio::time::sleep(behind).await;
    let audits = audits_until_equal(&world).await;
    println!("witnesses: equal after {audits} audits");
    assert!(audits <= AUDITS, "seed {seed}: equal only after {audits} audits");
    for agent in &agents {
        assert_eq!(counter(&agent.http, "fusion_agent_session_recoveries_total"), 0.0);
    }

    let replayed = world.path("replayed");
    fs::create_dir(&replayed).expect("a directory");
    operate(seed, drawn, &[(); 3].map(|()| replayed.clone())).await;
    assert_eq!(outline(&replayed), outline(&sides[2]), "seed {seed}: another tree");
}

/// What a seed decides of a tree: what kind is where. What is appended through a mount that believes another
/// size is written where that would end.
fn outline(root: &Path) -> BTreeMap<String, Kind> {
    disk::walk(root).into_iter().map(|(path, stat)| (path, stat.kind)).collect()
}

/// Draws so many, and gives how many had an effect, as far as the mounts say. Files have one name each then (see
/// [`churn::part`]).
async fn operate(seed: u64, drawn: u64, sides: &[PathBuf; 3]) -> u64 {
    let sides = sides.clone();
    let work = tokio::task::spawn_blocking(move || {
        let (mut dice, mut linked, mut done) = (Dice::new(seed), BTreeSet::new(), 0);
        for _ in 0..drawn {
            let side = &sides[dice.below(3) as usize];
            let before = dice.clone();
            let mut outcome = churn::one(side, &mut dice, &mut linked);
            if outcome.is_err() {
                // A cache may have refused it.
                dice = before;
                outcome = churn::one(&sides[2], &mut dice, &mut linked);
            }
            done += u64::from(outcome.is_ok());
        }
        churn::part(&sides[2], &linked);
        done
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
