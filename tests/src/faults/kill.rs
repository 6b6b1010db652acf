//! kill -9 of agent, of server, of both, at random moments while the tree changes.

use std::time::Duration;

use super::checks::{leads_alone, new_session, recovered, session_of, until_true};
use super::churn::{Churn, Dice};
use crate::pair::{Agent, World, counter, metric};
use crate::process::now;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Agent,
    Server,
    Both,
}

impl Victim {
    fn draw(dice: &mut Dice) -> Self {
        match dice.below(3) {
            0 => Self::Agent,
            1 => Self::Server,
            _ => Self::Both,
        }
    }

    const fn has_agent(self) -> bool {
        matches!(self, Self::Agent | Self::Both)
    }

    const fn has_server(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }
}

/// So many rounds on one tree. After each: READY, view = disk, the agent leads alone, and the counters
/// of whoever survived name what happened: an agent that died has a new session and a larger epoch; a
/// server that died costs neither, and nothing is listed anew. In every fourth round somebody is
/// killed again before the recovery is over.
///
/// # Panics
/// Something of this does not hold.
pub async fn rounds(seed: u64, rounds: u64) {
    let mut world = World::start_impatient();
    let work = world.root().join("work");
    std::fs::create_dir(&work).expect("the tree");
    let mut agent = world.start_ready_agent("one").await;
    let mut epoch = leads_alone(&world, &agent, "one").await;
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        let mut dice = Dice::new(seed);
        let began = now();
        let (victim, again) = (Victim::draw(&mut dice), dice.below(4) == 0);
        println!("kill: seed {seed}: {victim:?}{}", if again { ", and again" } else { "" });
        let before = Counters::read(&world, &agent);
        let old = session_of(&world, "one").await.map(|(id, _)| id);
        let churn = Churn::begin(&work, seed);
        tokio::time::sleep(dice.millis(400)).await;
        kill(&mut world, &mut agent, victim, &mut dice).await;
        let mut agent_died = victim.has_agent();
        if again {
            tokio::time::sleep(dice.millis(400)).await;
            let victim = Victim::draw(&mut dice);
            agent_died |= victim.has_agent();
            kill(&mut world, &mut agent, victim, &mut dice).await;
        }
        tokio::time::sleep(dice.millis(200)).await;
        let operations = churn.end();
        let session = new_session(&world, "one", old.filter(|_| agent_died)).await;
        recovered(&world).await;
        assert!(agent_died || Some(session) == old, "the session was not kept");
        let led_before = std::mem::replace(&mut epoch, leads_alone(&world, &agent, "one").await);
        if !again {
            before.check(&world, &agent, victim);
        }
        let grew = if agent_died { epoch > led_before } else { epoch == led_before };
        assert!(grew, "epoch {epoch} after {led_before}");
        println!("  {operations} operations, recovered after {:?}", began.elapsed());
    }
}

/// The same with two agents and the server, of which chance kills any, so many rounds. After each: one
/// of the two leads and the other follows, both say so by the view's epoch, and view = disk.
///
/// # Panics
/// Something of this does not hold.
pub async fn rounds_of_two(seed: u64, rounds: u64) {
    let mut world = World::start_impatient();
    let work = world.root().join("work");
    std::fs::create_dir(&work).expect("the tree");
    let mut agents = ["a", "b"].map(|name| world.start_agent(name, &[]));
    for round in 0..rounds {
        let seed = seed.wrapping_add(round);
        let mut dice = Dice::new(seed);
        let victims = 1 + dice.below(7);
        println!("kill: seed {seed}: of agents and server {victims:03b}");
        let mut old = Vec::new();
        for name in ["a", "b"] {
            old.push(new_session(&world, name, None).await);
        }
        let churn = Churn::begin(&work, seed);
        tokio::time::sleep(dice.millis(300)).await;
        if victims & 4 != 0 {
            world.kill_server();
        }
        for (number, agent) in agents.iter_mut().enumerate() {
            if victims & (1 << number) != 0 {
                tokio::time::sleep(dice.millis(50)).await;
                agent.process.kill();
            }
        }
        tokio::time::sleep(dice.millis(300)).await;
        for (number, name) in ["a", "b"].into_iter().enumerate() {
            if victims & (1 << number) != 0 {
                agents[number] = world.start_agent(name, &[]);
            }
        }
        if victims & 4 != 0 {
            world.start_server();
        }
        tokio::time::sleep(dice.millis(200)).await;
        let operations = churn.end();
        for (number, name) in ["a", "b"].into_iter().enumerate() {
            let dead = victims & (1 << number) != 0;
            let session = new_session(&world, name, dead.then_some(old[number])).await;
            assert!(dead || session == old[number], "the session of {name} was not kept");
        }
        recovered(&world).await;
        one_leads(&world, &agents).await;
        println!("  {operations} operations");
    }
}

/// One of the two leads, the other follows, and both know.
async fn one_leads(world: &World, agents: &[Agent; 2]) {
    let view = world.client().view(world.view()).await.expect("the view");
    assert_eq!(view.sessions, 2);
    let leads = |name| f64::from(u8::from(view.leader_agent_id == name));
    assert_eq!(leads("a") + leads("b"), 1.0, "{}", view.leader_agent_id);
    until_true("both know their roles", || {
        agents.iter().zip(["a", "b"]).all(|(agent, name)| {
            let says = |role| metric(&agent.http, &format!("fusion_agent_role{{role=\"{role}\"}}"));
            says("leader") == leads(name)
                && says("follower") == 1.0 - leads(name)
                && metric(&agent.http, "fusion_agent_leader_epoch") == view.leader_epoch as f64
        })
    })
    .await;
}

/// Kills and starts again after a while, in an order that is drawn.
async fn kill(world: &mut World, agent: &mut Agent, victim: Victim, dice: &mut Dice) {
    if victim.has_agent() {
        agent.process.kill();
    }
    if victim == Victim::Both {
        tokio::time::sleep(dice.millis(50)).await;
    }
    if victim.has_server() {
        world.kill_server();
    }
    tokio::time::sleep(dice.millis(300)).await;
    let agent_first = dice.below(2) == 0;
    if victim.has_agent() && agent_first {
        *agent = world.start_agent("one", &[]);
    }
    if victim.has_server() {
        world.start_server();
    }
    if victim.has_agent() && !agent_first {
        *agent = world.start_agent("one", &[]);
    }
    // Let whoever came back begin.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// What each side counted before it was killed.
struct Counters {
    superseded: f64,
    recoveries: f64,
    snapshots: f64,
}

const SUPERSEDED: &str = "fusion_sessions_ended_total{state=\"superseded\",view=\"tree\"}";
const RECOVERIES: &str = "fusion_agent_session_recoveries_total";
const SNAPSHOTS: &str = "fusion_agent_scans_total{outcome=\"complete\",source=\"snapshot\"}";

impl Counters {
    fn read(world: &World, agent: &Agent) -> Self {
        Self {
            superseded: counter(world.http(), SUPERSEDED),
            recoveries: counter(&agent.http, RECOVERIES),
            snapshots: counter(&agent.http, SNAPSHOTS),
        }
    }

    /// Whoever survived says what happened; nothing else did.
    fn check(&self, world: &World, agent: &Agent, victim: Victim) {
        let after = Self::read(world, agent);
        // Each counts from its own start. A new agent takes over the session of the one before.
        let (superseded, recoveries) = match victim {
            Victim::Agent => (self.superseded + 1.0, 0.0),
            Victim::Server => (0.0, self.recoveries),
            Victim::Both => (1.0, 0.0),
        };
        assert_eq!((after.superseded, after.recoveries), (superseded, recoveries), "{victim:?}");
        if victim == Victim::Server {
            assert_eq!(after.snapshots, self.snapshots, "nothing is listed anew");
        }
    }
}
