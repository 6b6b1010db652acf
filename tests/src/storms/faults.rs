//! Does the faults of a schedule to a fleet, and undoes them.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use super::fleet::{AGENTS, Fleet, Owner, SERVERS, agent_name, client, view};
use super::plan::Fault;
use crate::faults::checks::{PATIENCE, until};

/// What lasts until it is undone.
#[derive(Debug)]
pub enum Lasting {
    /// These servers do not run.
    Dead(Vec<usize>),
    /// This server is stopped.
    Stopped(usize),
    /// Packets of this server vanish.
    Cut(usize),
    /// This node of NATS does not run.
    Node(usize),
    /// The disks of these nodes are full.
    Full(usize),
    /// The state's engine does not run.
    StateAway,
    /// It is slow.
    StateSlow,
    /// It is empty; this puts it back.
    StateEmpty(PathBuf),
    /// This agent does not run.
    Agent(usize),
    /// Nothing: it is over, or stays as it is.
    Nothing,
}

impl Fleet {
    /// Waits until a server that runs owns a view.
    ///
    /// # Panics
    /// None does.
    pub async fn owning(&self, view: &str) -> (usize, u64) {
        until("a server that runs owns the view", async || match self.owner(view) {
            Some(Owner { epoch, server: Some(server) }) if self.servers[server].is_some() => {
                Some((server, epoch))
            }
            _ => None,
        })
        .await
    }

    /// Does a fault.
    ///
    /// # Panics
    /// There is nothing that it could be done to.
    pub async fn begin(&mut self, fault: Fault) -> Lasting {
        match fault {
            Fault::KillOwner => self.kill(1, 0).await,
            Fault::KillFollower => self.kill(0, 1).await,
            Fault::KillTwo => self.kill(1, 1).await,
            Fault::Zombie => {
                let (owner, _) = self.owning("tree").await;
                self.server(owner).signal(Signal::STOP);
                Lasting::Stopped(owner)
            }
            Fault::CutEngines(way) => {
                let (owner, _) = self.owning("tree").await;
                self.cut_engines(owner, way);
                Lasting::Cut(owner)
            }
            Fault::CutAgents(way) => {
                let (owner, _) = self.owning("tree").await;
                self.cut_agents(owner, way);
                Lasting::Cut(owner)
            }
            Fault::Rolling => self.roll_over().await,
            Fault::Clock => {
                let server = self.clocked().expect("a server whose clock can be set");
                self.set_clock(server, 1);
                Lasting::Nothing
            }
            Fault::KillNats | Fault::KillNatsLeader => {
                let leader = self.engines.nats.leader(&self.stream());
                let node = (leader + usize::from(fault == Fault::KillNats)) % 3;
                self.engines.nats.nodes[node].kill();
                Lasting::Node(node)
            }
            Fault::DiskFull(nodes) => {
                (0..nodes).for_each(|node| self.engines.fill_disk(node));
                Lasting::Full(nodes)
            }
            Fault::StateRestarted => {
                self.engines.kill_state();
                Lasting::StateAway
            }
            Fault::StateFailedOver => {
                self.engines.fail_over_state();
                Lasting::Nothing
            }
            Fault::StateSlow => {
                self.engines.slow_state(true);
                Lasting::StateSlow
            }
            Fault::StateFlushed => {
                let folder = self.folder().to_path_buf();
                Lasting::StateEmpty(self.engines.flush_state(&folder))
            }
            Fault::KillLeader => self.kill_leader().await,
        }
    }

    /// Undoes it.
    ///
    /// # Panics
    /// What was ended does not come up.
    pub fn end(&mut self, lasting: Lasting) {
        match lasting {
            Lasting::Dead(servers) => {
                servers.into_iter().for_each(|server| self.start_server(server));
            }
            Lasting::Stopped(server) => self.server(server).resume(),
            Lasting::Cut(server) => self.lan.heal(server),
            Lasting::Node(node) => self.engines.nats.nodes[node].start(),
            Lasting::Full(nodes) => {
                (0..nodes).for_each(|node| self.engines.empty_disk(node));
            }
            Lasting::StateAway => self.engines.start_state(),
            Lasting::StateSlow => self.engines.slow_state(false),
            Lasting::StateEmpty(kept) => self.engines.put_back(&kept),
            Lasting::Agent(agent) => self.agents[agent] = self.launch(agent).start(),
            Lasting::Nothing => {}
        }
    }

    /// Kills the owner, or not, and so many others.
    async fn kill(&mut self, owners: usize, others: usize) -> Lasting {
        let (owner, _) = self.owning("tree").await;
        let mut dead: Vec<_> =
            (0..SERVERS).filter(|server| *server != owner).take(others).collect();
        dead.extend((owners > 0).then_some(owner));
        dead.iter().for_each(|server| self.kill_server(*server));
        Lasting::Dead(dead)
    }

    /// SIGTERM of each in turn; the next one when the one before answers.
    async fn roll_over(&mut self) -> Lasting {
        for server in 0..SERVERS {
            let status = self.server(server).terminate(PATIENCE);
            assert!(status.success(), "server {server} ended with {status}");
            self.start_server(server);
            until("it answers", async || client(server).view(&view("tree")).await.ok()).await;
            // As an orchestrator does: it waits for a while to see that it stays up.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Lasting::Nothing
    }

    async fn kill_leader(&mut self) -> Lasting {
        let leader = until("an agent leads", async || {
            let (owner, _) = self.owning("tree").await;
            let told = client(owner).view(&view("tree")).await.ok()?;
            (0..AGENTS).find(|agent| agent_name(*agent) == told.leader_agent_id)
        })
        .await;
        self.agents[leader].process.kill();
        Lasting::Agent(leader)
    }
}
