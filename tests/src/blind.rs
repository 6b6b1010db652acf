//! Blind spots: one tree behind two mounts, with agents on both, on one or on none of them, and mounts
//! whose kernel believes for a while what it knew.
//!
//! What is done where no agent watches is found by the audits that should find it, as soon as the caches
//! of the leader's mount have run out, and is BLIND until somebody sees something happen to it; what an
//! agent saw stays, whatever the leader's mount shows of it. The view takes the mounts to be behind by as
//! much as they may be. Must never: wait for more audits than the rules promise.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_core::path::TreePath;
use fusion_proto::convert::view::BlindSpot;
use fusion_proto::views::ViewsClient;

use crate::compare;
use crate::faults::checks::until;
use crate::mounts::Bind;
use crate::pair::{Agent, READY, World, counter};
use crate::process::now;
use crate::settings::Settings;

/// One in so many silent directories is listed in full by each audit.
const K: f64 = 4.0;
/// How long the audits that are due may take on a busy machine.
const AUDITS: Duration = Duration::from_secs(60);

/// What is blind in a view: paths of entries, and of what is gone as `gone: PATH`.
///
/// # Panics
/// The server does not answer.
pub async fn spots(client: &mut ViewsClient, view: &ViewName) -> BTreeSet<String> {
    let found = client.blind_spots(view, &TreePath::root(), "").await.expect("the blind spots");
    let text = |spot| match spot {
        BlindSpot::Entry { entry, .. } => entry.path,
        BlindSpot::Deletion(gone) => format!("gone: {}", gone.path),
    };
    found.rows.into_iter().map(text).collect()
}

/// A tree behind two mounts.
struct Pair {
    a: Bind,
    b: Bind,
    cached: Duration,
    world: World,
}

impl Pair {
    fn new(cached: Duration, settings: Settings) -> Self {
        // A cache of none is one of moments, by the clock of a busy machine.
        let horizon = if cached.is_zero() { "200ms" } else { CACHED };
        let world = World::start_with(&Settings { cache_horizon: horizon, ..settings });
        for number in 0..8 {
            let directory = world.root().join(format!("d{number}"));
            fs::create_dir_all(directory.join("below")).expect("the tree");
            for name in ["f", "g", "below/h"] {
                fs::write(directory.join(name), "1").expect("a file");
            }
        }
        let [a, b] = ["a", "b"].map(|name| Bind::of(world.root(), &world.path(name), cached));
        Self { a, b, cached, world }
    }

    async fn agent(&self, name: &str, root: &Path) -> Agent {
        let agent = self.world.launch(name).root(root).start();
        until(&format!("{name} watches"), async || {
            let status = crate::faults::checks::status_of(&self.world, name).await?;
            status.realtime_ready.then_some(())
        })
        .await;
        compare::until_ready(&mut self.world.client(), self.world.view(), READY).await;
        agent
    }

    async fn has(&self, path: &str) -> bool {
        let path = TreePath::new(path.as_bytes().to_vec()).expect("a path");
        self.world.client().entry(self.world.view(), &path).await.is_ok()
    }

    async fn spots(&self) -> BTreeSet<String> {
        spots(&mut self.world.client(), self.world.view()).await
    }

    /// Waits until all of this is blind, for as many audits as it may take: begun when the caches had
    /// run out, and each ended and acknowledged before the next began.
    async fn found_blind(&self, leader: &Agent, what: &[&str], due: f64) {
        let (before, began) = (audits(leader), now());
        loop {
            let ended = audits(leader) - before;
            let spots = self.spots().await;
            let missing: Vec<_> = what.iter().filter(|path| !spots.contains(**path)).collect();
            if missing.is_empty() {
                println!("blind after {ended} audits: {what:?}");
                return;
            }
            // One was under way, and the one after the last shows that the last is part of the view.
            assert!(ended <= due + 2.0, "after {ended} audits {missing:?} is not in {spots:?}");
            assert!(began.elapsed() < AUDITS, "only {ended} audits");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the kernel believed of the mounts at the beginning is forgotten.
    async fn caches_run_out(&self) {
        tokio::time::sleep(self.cached + Duration::from_millis(500)).await;
    }

    /// The view is the disk when all is quiet; a listing that met a stale cache is made again.
    async fn settles(&self) {
        let (mut client, limit) = (self.world.client(), self.cached + AUDITS);
        compare::until_equal(&mut client, self.world.view(), self.world.root(), limit).await;
    }
}

/// All, without caches and with caches of 30 s.
///
/// # Panics
/// What must hold does not.
pub async fn long() {
    for cached in [Duration::ZERO, Duration::from_secs(30)] {
        on_one(cached).await;
        on_both(cached).await;
        on_none(cached).await;
    }
}

/// The horizon of views whose mounts have caches. No shorter than these.
const CACHED: &str = "30s";

/// Audits that came to their end.
fn audits(agent: &Agent) -> f64 {
    counter(&agent.http, r#"fusion_agent_scans_total{outcome="complete",source="audit"}"#)
}

const AUDITING: Settings = Settings { audit_interval: "1s", ..Settings::QUICK };

/// An agent on one mount; what is done through the other is blind.
///
/// # Panics
/// What must hold does not.
pub async fn on_one(cached: Duration) {
    let pair = Pair::new(cached, AUDITING);
    let agent = pair.agent("one", pair.a.at()).await;
    pair.settles().await;
    let blind = pair.b.at();
    fs::write(blind.join("d0/new"), "new").expect("a file");
    fs::write(blind.join("d1/f"), "longer than before").expect("a file");
    fs::remove_file(blind.join("d2/f")).expect("its removal");
    fs::rename(blind.join("d3/f"), blind.join("d3/moved")).expect("a rename");
    fs::rename(blind.join("d4"), blind.join("d5/tree")).expect("a rename");
    pair.caches_run_out().await;
    // Their directories show it.
    let names = ["/d0/new", "gone: /d2/f", "/d3/moved", "gone: /d3/f", "/d5/tree", "gone: /d4"];
    pair.found_blind(&agent, &names, 1.0).await;
    // No directory shows it: only the rotation finds it (R9).
    pair.found_blind(&agent, &["/d1/f", "/d5/tree/below/h"], K).await;
    pair.settles().await;

    // Seen to happen, it is blind no more.
    let seen = pair.a.at();
    for path in ["d0/new", "d1/f", "d2/f", "d3/moved"] {
        fs::write(seen.join(path), "seen by the agent").expect("a file");
    }
    let mode = fs::Permissions::from_mode(0o711);
    fs::set_permissions(seen.join("d5/tree"), mode).expect("a mode");
    until("what was seen is not blind", async || {
        let spots = pair.spots().await;
        let seen = ["/d0/new", "/d1/f", "gone: /d2/f", "/d2/f", "/d3/moved", "/d5/tree"];
        (!seen.iter().any(|path| spots.contains(*path))).then_some(())
    })
    .await;
    let left = pair.spots().await;
    assert!(left.contains("/d5/tree/below/h") && left.contains("gone: /d3/f"), "{left:?}");
    pair.settles().await;
}

/// Agents on both; the leader's mount shows what was before. What the other saw lives, and is not
/// blind; what neither saw is.
///
/// # Panics
/// What must hold does not.
pub async fn on_both(cached: Duration) {
    let pair = Pair::new(cached, AUDITING);
    let leader = pair.agent("leader", pair.b.at()).await;
    let _other = pair.agent("other", pair.a.at()).await;
    pair.settles().await;
    // Its kernel knows now of what is there, and that these are not.
    for path in ["d0/new", "d3/moved", "d5/tree", "d1/f", "d2/f", "d3/f", "d4/below/h"] {
        let _ = fs::symlink_metadata(pair.b.at().join(path));
    }
    let seen = pair.a.at();
    fs::write(seen.join("d0/new"), "new").expect("a file");
    fs::write(seen.join("d1/f"), "longer than before").expect("a file");
    fs::remove_file(seen.join("d2/f")).expect("its removal");
    fs::rename(seen.join("d3/f"), seen.join("d3/moved")).expect("a rename");
    fs::rename(seen.join("d4"), seen.join("d5/tree")).expect("a rename");
    let there = ["/d0/new", "/d1/f", "/d3/moved", "/d5/tree", "/d5/tree/below/h"];
    until("what was seen", async || {
        for path in there {
            pair.has(path).await.then_some(())?;
        }
        (!pair.has("/d2/f").await && !pair.has("/d3/f").await).then_some(())
    })
    .await;
    let (began, before) = (now(), audits(&leader));
    while began.elapsed() < pair.cached || audits(&leader) < before + K + 1.0 {
        for path in there {
            assert!(pair.has(path).await, "{path} died after {:?}", began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{} audits with stale caches", audits(&leader) - before);
    pair.settles().await;
    let spots = pair.spots().await;
    assert!(spots.is_empty(), "what an agent saw: {spots:?}");
    // Behind both.
    fs::write(pair.world.root().join("d6/third"), "x").expect("a file");
    fs::remove_file(pair.world.root().join("d7/g")).expect("its removal");
    pair.caches_run_out().await;
    pair.found_blind(&leader, &["/d6/third", "gone: /d7/g"], 1.0).await;
    pair.settles().await;
}

/// On none: an agent where the tree itself is sees what is done through every mount of it. No audit runs.
///
/// # Panics
/// What must hold does not.
pub async fn on_none(cached: Duration) {
    let pair = Pair::new(cached, Settings::NO_AUDITS);
    let _agent = pair.agent("storage", pair.world.root()).await;
    pair.settles().await;
    for (mount, own) in [(pair.a.at(), "a"), (pair.b.at(), "b")] {
        fs::write(mount.join("d0").join(own), "new").expect("a file");
        fs::write(mount.join("d1").join("f"), own.repeat(9)).expect("a file");
        fs::remove_file(mount.join("d2").join(if own == "a" { "f" } else { "g" }))
            .expect("its removal");
        fs::create_dir_all(mount.join("d3").join(own).join("x/y")).expect("directories");
    }
    fs::rename(pair.a.at().join("d4"), pair.a.at().join("d5/tree")).expect("a rename");
    pair.world.settle().await;
    // A listing that the server asked for may be quicker than what the agent saw happen.
    until("nothing is blind", async || pair.spots().await.is_empty().then_some(())).await;
    // A directory that was young when it was listed may have been listed again; that is no audit.
    let view = pair.world.client().view(pair.world.view()).await.expect("the view");
    assert_eq!(view.freshness.last_audit, None);
}
