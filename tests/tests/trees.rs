//! Two trees in one agent process: what becomes of one is nothing to the other.
//!
//! One tree is a bindfs mount, which can hang (SIGSTOP) and die (SIGKILL), or a directory that is
//! replaced; the other is a plain directory and must stay READY and follow the disk all the while.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fusion_core::id::ViewName;
use fusion_tests::compare;
use fusion_tests::mounts::Bind;
use fusion_tests::pair::{ARRIVE, Agent, NOTICED, READY, World, counter, get};
use fusion_tests::settings::Settings;
use rustix::process::Signal;

fn view(name: &str) -> ViewName {
    ViewName::new(name).unwrap()
}

fn fill(root: &Path) {
    for number in 0..60 {
        let below = root.join(format!("d{}/e{}", number % 6, number % 3));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join(format!("f{number}")), "1").unwrap();
    }
}

/// A server, and a tree that will be in trouble beside the world's own.
struct Two {
    world: World,
    troubled: PathBuf,
}

impl Two {
    fn new() -> Self {
        let world = World::start_with(&Settings::QUICK);
        let troubled = world.path("troubled");
        for root in [world.root(), &troubled] {
            fs::create_dir_all(root).unwrap();
            fill(root);
        }
        Self { world, troubled }
    }

    /// One agent for both; the one in trouble is seen at `at`.
    fn start(&self, at: &Path) -> Agent {
        let launch = self.world.launch("both").env("FUSION_AGENT__CALL_LIMIT", "1s");
        launch.tree("sound", self.world.root()).tree("troubled", at).start()
    }

    async fn until_ready(&self, name: &str) {
        compare::until_ready(&mut self.world.client(), &view(name), READY).await;
    }

    async fn settle(&self, name: &str, root: &Path) {
        compare::until_equal(&mut self.world.client(), &view(name), root, ARRIVE).await;
    }

    /// What is wrong with a view, until something is. The other is READY all the while, and follows.
    async fn until_degraded(&self) -> String {
        let started = compare::clock();
        for number in 0.. {
            let mut client = self.world.client();
            if let Some(why) = compare::why_not_ready(&mut client, &view("troubled")).await {
                return why;
            }
            assert!(started.elapsed() < NOTICED, "READY as if nothing were wrong");
            self.the_other_goes_on(&format!("while-{number}")).await;
        }
        unreachable!()
    }

    /// The sound tree is READY, and what is written there arrives.
    async fn the_other_goes_on(&self, name: &str) {
        let why = compare::why_not_ready(&mut self.world.client(), &view("sound")).await;
        assert_eq!(why, None);
        fs::write(self.world.root().join("d1").join(name), "x").unwrap();
        self.settle("sound", self.world.root()).await;
    }

    async fn entries(&self) -> usize {
        compare::entries(&mut self.world.client(), &view("troubled")).await
    }
}

/// Sessions that were lost, by view.
fn recoveries(agent: &Agent, view: &str) -> f64 {
    let name = format!("fusion_agent_session_recoveries_total{{view=\"{view}\"}}");
    counter(&agent.http, &name)
}

#[tokio::test]
async fn a_tree_that_hangs_and_then_dies_takes_nothing_from_the_other() {
    let two = Two::new();
    let at = two.world.path("mount");
    let mut mount = Bind::of(&two.troubled, &at, Duration::ZERO);
    let agent = two.start(&at);
    for name in ["sound", "troubled"] {
        two.until_ready(name).await;
    }
    let before = two.entries().await;
    mount.process.signal(Signal::STOP);
    println!("hung: {}", two.until_degraded().await);
    two.the_other_goes_on("hung").await;
    assert_eq!(two.entries().await, before, "nothing is removed");
    mount.process.resume();
    two.until_ready("troubled").await;
    two.the_other_goes_on("healed").await;

    mount.process.kill();
    println!("dead: {}", two.until_degraded().await);
    two.the_other_goes_on("dead").await;
    assert_eq!(two.entries().await, before);
    drop(mount);
    fs::write(two.troubled.join("d1/meanwhile"), "x").unwrap();
    let _mount = Bind::of(&two.troubled, &at, Duration::ZERO);
    two.until_ready("troubled").await;
    two.settle("troubled", &at).await;
    // The agent of the other has the session that it began with.
    assert_eq!(recoveries(&agent, "sound"), 0.0);
    let snapshots =
        r#"fusion_agent_scans_total{outcome="complete",source="snapshot",view="sound"}"#;
    assert_eq!(counter(&agent.http, snapshots), 1.0);
}

#[tokio::test]
async fn a_tree_that_is_replaced_is_doubted_alone() {
    let two = Two::new();
    let agent = two.start(&two.troubled);
    for name in ["sound", "troubled"] {
        two.until_ready(name).await;
    }
    let before = two.entries().await;
    fs::rename(&two.troubled, two.world.path("aside")).unwrap();
    fs::create_dir(&two.troubled).unwrap();
    println!("replaced: {}", two.until_degraded().await);
    two.the_other_goes_on("replaced").await;
    assert_eq!(two.entries().await, before);
    fs::remove_dir(&two.troubled).unwrap();
    fs::rename(two.world.path("aside"), &two.troubled).unwrap();
    two.until_ready("troubled").await;
    two.settle("troubled", &two.troubled).await;
    assert_eq!(recoveries(&agent, "sound"), 0.0);
}

/// It hangs before the process begins, and another agent holds the spool of a third.
#[tokio::test]
async fn trees_that_cannot_be_served_at_the_start_are_served_when_they_can() {
    let two = Two::new();
    let (at, third) = (two.world.path("mount"), two.world.path("third"));
    fs::create_dir(&third).unwrap();
    let mut mount = Bind::of(&two.troubled, &at, Duration::ZERO);
    mount.process.signal(Signal::STOP);
    let spool = two.world.path("both.spool").join("third");
    let holder = two.world.launch("holder").view("third").root(&third).spool(&spool).start();
    let launch = two.world.launch("both").env("FUSION_AGENT__CALL_LIMIT", "1s");
    let launch = launch.tree("troubled", &at).tree("sound", two.world.root());
    let agent = launch.tree("third", &third).start();
    two.until_ready("sound").await;
    two.the_other_goes_on("hung").await;
    let told = get(&agent.http, "/readyz");
    for says in ["does not answer; is its storage hung?", "holder (pid "] {
        assert!(told.contains(says), "no {says:?} in {told}");
    }
    drop(holder);
    two.until_ready("third").await;
    mount.process.resume();
    two.until_ready("troubled").await;
    two.settle("troubled", &at).await;
    two.the_other_goes_on("healed").await;
    assert_eq!(recoveries(&agent, "sound"), 0.0);
}
