//! An agent that does what it is told when the test says so.

use std::collections::BTreeMap;

use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence as Said;
use prost_types::value::Kind;

use crate::evidence::{DIR_INODE, batch, listing, row};
use crate::harness::{TestServer, asks_with_top};
use crate::telling::{Lane, opening};

/// An agent that does what it is told when the test says so.
pub(crate) struct Agent {
    pub(crate) session: String,
    pub(crate) scan: Lane,
    sequence: u64,
    /// Of its leadership, if it leads.
    epoch: u64,
}

impl Agent {
    pub(crate) async fn join(server: &mut TestServer, name: &str) -> Self {
        let asks = asks_with_top(name, "z", 7);
        let made = server.sessions.create_session(asks).await.unwrap().into_inner();
        Self { epoch: made.leader_epoch, ..Self::of(server, made.session_id, name).await }
    }

    /// A session that was made before; the first of its view.
    pub(crate) async fn of(server: &mut TestServer, session: String, name: &str) -> Self {
        Self::after(server, session, name, 0).await
    }

    /// The same that has pushed so many batches.
    pub(crate) async fn after(
        server: &mut TestServer,
        session: String,
        name: &str,
        pushed: u64,
    ) -> Self {
        let (first_held, next) = (pushed + 1, pushed + 1);
        let ask = opening(pb::Lane::Scan, &session, name);
        let ask = pb::PushOpening { first_held, next, ..ask };
        let (scan, sequence) = Lane::open(server, ask).await.unwrap();
        Self { session, scan, sequence, epoch: 1 }
    }

    /// The next command of a notice.
    pub(crate) async fn command(&mut self) -> pb::Command {
        loop {
            if let Some(command) = self.scan.notice().await.unwrap().commands.pop() {
                return command;
            }
        }
    }

    /// Lists a directory on behalf of a command: these names are in it. The refused rows.
    pub(crate) async fn list(&mut self, dir: &str, names: &[&str]) -> Vec<pb::RejectedRow> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let source = pb::ScanSource::OnDemand;
        let began = Said::ScanStarted(pb::ScanStarted {
            scan_id: 9,
            source: source.into(),
            path: dir.as_bytes().to_vec().into(),
            root: None,
        });
        let mut listed =
            pb::Listings { scan_id: 9, source: source.into(), ..listing(dir, &names, 0, true) };
        listed.directory_stats.as_mut().unwrap().inodes = vec![DIR_INODE];
        listed.directory_stats.as_mut().unwrap().ctimes_time_ns = vec![2];
        let ended = Said::ScanFinished(pb::ScanFinished {
            scan_id: 9,
            complete: true,
            ..Default::default()
        });
        let next = self.sequence + 1;
        self.sequence += 3;
        self.scan.send(batch(next, vec![row(began)])).await;
        let listed = pb::EvidenceBatch { listings: vec![listed], ..batch(next + 1, vec![]) };
        self.scan.send(listed).await;
        self.scan.send(batch(next + 2, vec![row(ended)])).await;
        self.scan.acknowledged(next + 2).await.unwrap()
    }

    /// One batch of these.
    pub(crate) async fn push(&mut self, rows: Vec<pb::Evidence>) {
        self.push_batch(batch(self.sequence + 1, rows)).await;
    }

    /// The same on behalf of a command.
    pub(crate) async fn push_for(&mut self, command: &pb::Command, rows: Vec<pb::Evidence>) {
        let (correlation_id, causation_id) =
            (command.correlation_id.clone(), command.command_id.clone());
        let batch = batch(self.sequence + 1, rows);
        self.push_batch(pb::EvidenceBatch { correlation_id, causation_id, ..batch }).await;
    }

    async fn push_batch(&mut self, batch: pb::EvidenceBatch) {
        self.sequence += 1;
        self.scan.deliver(pb::EvidenceBatch { leader_epoch: self.epoch, ..batch }).await;
    }

    pub(crate) async fn report(
        &self,
        server: &mut TestServer,
        command: &pb::Command,
        state: pb::CommandState,
    ) {
        self.report_of(server, command, state, true).await;
    }

    /// A report of what is whole, or not.
    pub(crate) async fn report_of(
        &self,
        server: &mut TestServer,
        command: &pb::Command,
        state: pb::CommandState,
        complete: bool,
    ) {
        let value = |kind| prost_types::Value { kind: Some(kind) };
        let fields = BTreeMap::from([
            ("complete".to_owned(), value(Kind::BoolValue(complete))),
            ("entries".to_owned(), value(Kind::NumberValue(3.0))),
            ("directories".to_owned(), value(Kind::NumberValue(1.0))),
            ("error".to_owned(), value(Kind::StringValue("the disk is gone".to_owned()))),
        ]);
        let report = pb::CommandReport {
            command_id: command.command_id.clone(),
            lease_id: command.lease_id.clone(),
            state: state.into(),
            progress: 40,
            result: Some(prost_types::Struct { fields }),
        };
        let beat = pb::HeartbeatRequest {
            session_id: self.session.clone(),
            command_reports: vec![report],
            ..Default::default()
        };
        let heard = server.sessions.heartbeat(beat).await.unwrap().into_inner();
        assert_eq!(heard.reports_refused, [""; 0]);
    }
}
