//! Directories that an agent cannot have seen appear: who is told, for how long, and what waits for it.

use std::sync::Arc;

use fusion_proto::pb;
use fusion_proto::pb::command::Action;
use fusion_proto::pb::evidence::Evidence as Said;
use fusion_server::clock::RuntimeClock;
use fusion_server::stores::Stores;
use prost_types::Timestamp;

use crate::evidence::{DIR, DIR_INODE, ROOT_INODE, batch, root, row, stat};
use crate::harness::{TestServer, VIEW, asks_with_top, config, start_in};
use crate::telling::{Lane, opening};

/// Two agents that watch directory by directory, and one that watches its whole file system.
struct Rig {
    server: TestServer,
    sessions: Vec<String>,
    lane: Lane,
    sequence: u64,
}

const AGENTS: [(&str, u64); 3] = [("a", 100), ("b", 100), ("whole", 0)];

async fn on(stores: &Stores) -> TestServer {
    start_in(config(), Arc::new(RuntimeClock::new()), stores.clone()).await
}

impl Rig {
    async fn start(stores: &Stores) -> Self {
        let mut server = on(stores).await;
        let mut sessions = Vec::new();
        for (name, _) in AGENTS {
            let asks = asks_with_top(name, "z", 7);
            let joined = server.sessions.create_session(asks).await.unwrap().into_inner();
            sessions.push(joined.session_id);
        }
        let lane = Lane::realtime(&mut server, &sessions[0], "a").await;
        let mut rig = Self { server, sessions, lane, sequence: 0 };
        rig.tell(vec![root()]).await;
        rig
    }

    /// Agent `a` tells this.
    async fn tell(&mut self, rows: Vec<pb::Evidence>) {
        self.sequence += 1;
        self.lane.deliver(batch(self.sequence, rows)).await;
    }

    async fn makes(&mut self, path: &str) {
        let parent = Some(stat(DIR, 0, ROOT_INODE));
        let path = path.as_bytes().to_vec().into();
        let stat = Some(stat(DIR, 0, DIR_INODE + self.sequence));
        self.tell(vec![row(Said::Upsert(pb::Upsert { path, stat, parent, atomic: true }))]).await;
    }

    /// A heartbeat of an agent: what it is to do.
    async fn beat(
        &mut self,
        number: usize,
        through: Option<Timestamp>,
        reports: Vec<pb::CommandReport>,
    ) -> pb::HeartbeatResponse {
        let status = pb::AgentStatus {
            realtime_ready: true,
            watch_limit: AGENTS[number].1,
            root_state: pb::RootState::Available.into(),
            ..Default::default()
        };
        let beat = pb::HeartbeatRequest {
            session_id: self.sessions[number].clone(),
            delivered_through: through,
            status: Some(status),
            command_reports: reports,
            ..Default::default()
        };
        self.server.sessions.heartbeat(beat).await.unwrap().into_inner()
    }

    /// Every agent has delivered all up to now; what that is.
    async fn all_heard(&mut self) -> Timestamp {
        let now = self.beat(0, None, Vec::new()).await.server_time.unwrap();
        for number in 0..AGENTS.len() {
            self.beat(number, Some(now), Vec::new()).await;
        }
        now
    }

    /// What an agent is told to watch; once more with each heartbeat.
    async fn told(&mut self, number: usize) -> Option<(pb::Command, Vec<String>)> {
        let commands = self.beat(number, None, Vec::new()).await.commands;
        commands.into_iter().find_map(|command| match &command.action {
            Some(Action::Watch(watch)) => {
                let text = |path: &bytes::Bytes| String::from_utf8(path.to_vec()).unwrap();
                let paths = watch.paths.iter().map(text).collect();
                Some((command, paths))
            }
            _ => None,
        })
    }

    async fn report(&mut self, number: usize, command: &pb::Command, state: pb::CommandState) {
        let report = pb::CommandReport {
            command_id: command.command_id.clone(),
            state: state.into(),
            ..Default::default()
        };
        let heard = self.beat(number, None, vec![report]).await;
        assert_eq!(heard.reports_refused, [""; 0]);
    }

    async fn freshness(&mut self) -> pb::Freshness {
        let asked = pb::GetEntryRequest { view: VIEW.into(), path: "/".into(), read_class: 0 };
        self.server.views.get_entry(asked).await.unwrap().into_inner().freshness.unwrap()
    }

    /// Waits until the horizon is this.
    async fn horizon(&mut self, expected: Option<Timestamp>) {
        for _ in 0..500 {
            if self.freshness().await.horizon == expected {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let metrics = self.server.get("/metrics").await;
        let unseen =
            metrics.lines().filter(|line| line.contains("fusion_unseen")).collect::<Vec<_>>();
        panic!("{:?} and not {expected:?}; {unseen:?}", self.freshness().await);
    }
}

#[tokio::test]
async fn another_agent_is_told_until_it_reports_and_the_horizon_waits() {
    let mut rig = Rig::start(&Stores::memory()).await;
    let before = rig.all_heard().await;
    rig.horizon(Some(before)).await;
    rig.makes("/run").await;
    let (command, paths) = rig.told(1).await.expect("told");
    assert_eq!(paths, ["/run"]);
    assert_eq!(rig.told(1).await.expect("repeated").0.command_id, command.command_id);
    assert_eq!((rig.told(0).await, rig.told(2).await), (None, None));

    // However far all are heard: what `b` did in there nobody knows.
    let heard = rig.all_heard().await;
    assert_ne!(heard, before);
    rig.horizon(Some(before)).await;
    let metrics = rig.server.get("/metrics").await;
    assert!(metrics.contains("fusion_unseen_directories{view=\"v\"} 1"), "{metrics}");
    rig.report(1, &command, pb::CommandState::Running).await;
    rig.all_heard().await;
    rig.horizon(Some(before)).await;
    rig.report(1, &command, pb::CommandState::Done).await;
    let heard = rig.all_heard().await;
    rig.horizon(Some(heard)).await;
    assert_eq!(rig.told(1).await, None);
}

#[tokio::test]
async fn an_agent_that_does_not_know_such_a_command_degrades_the_coverage_and_holds_nothing() {
    let mut rig = Rig::start(&Stores::memory()).await;
    rig.all_heard().await;
    rig.makes("/run").await;
    let (command, _) = rig.told(1).await.expect("told");
    rig.report(1, &command, pb::CommandState::Failed).await;
    let heard = rig.all_heard().await;
    rig.horizon(Some(heard)).await;
    let coverage = rig.freshness().await.coverage();
    assert_eq!(coverage, pb::Coverage::WatchDegraded);
}

#[tokio::test]
async fn a_stream_tells_it_at_once() {
    let mut rig = Rig::start(&Stores::memory()).await;
    rig.all_heard().await;
    let session = rig.sessions[1].clone();
    let mut lane = Lane::realtime(&mut rig.server, &session, "b").await;
    rig.makes("/run").await;
    let command = loop {
        if let Some(command) = lane.notice().await.unwrap().commands.pop() {
            break command;
        }
    };
    assert!(matches!(&command.action, Some(Action::Watch(watch)) if watch.paths == ["/run"]));
}

#[tokio::test]
async fn what_was_not_reported_is_told_by_the_next_life_of_the_server() {
    let stores = Stores::memory();
    let mut rig = Rig::start(&stores).await;
    rig.all_heard().await;
    rig.makes("/one").await;
    let (command, _) = rig.told(1).await.expect("told");
    rig.makes("/two").await;
    rig.report(1, &command, pb::CommandState::Done).await;
    let (_, paths) = rig.told(1).await.expect("told of what came meanwhile");
    assert_eq!(paths, ["/two"]);
    let Rig { server, sessions, lane, sequence } = rig;
    drop(lane);
    server.ended().await;

    let mut server = on(&stores).await;
    let ask = opening(pb::Lane::Realtime, &sessions[0], "a");
    let ask = pb::PushOpening { first_held: sequence + 1, next: sequence + 1, ..ask };
    let (lane, _) = Lane::open(&mut server, ask).await.unwrap();
    let mut rig = Rig { server, sessions, lane, sequence };
    let (command, paths) = rig.told(1).await.expect("told again");
    assert!(paths.contains(&"/two".to_owned()), "{paths:?}");
    assert_eq!((rig.told(0).await, rig.told(2).await), (None, None));
    rig.all_heard().await;
    rig.horizon(None).await;
    rig.report(1, &command, pb::CommandState::Done).await;
    let heard = rig.all_heard().await;
    rig.horizon(Some(heard)).await;
}
