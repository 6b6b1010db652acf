//! A server that does what a test tells it, over connections in memory: time can be paused.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use fusion_proto::limits::OWNER_KEY;
use fusion_proto::pb::event_service_server::{EventService, EventServiceServer};
use fusion_proto::pb::evidence::Evidence;
use fusion_proto::pb::push_events_request::Message as Up;
use fusion_proto::pb::push_events_response::Message as Down;
use fusion_proto::pb::session_service_server::{SessionService, SessionServiceServer};
use fusion_proto::pb::{self, EndSessionResponse, HeartbeatResponse};
use fusion_proto::status::Refusal;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::config::ServerUrl;
use crate::spawn::{Task, spawn};

/// What one call is answered instead of what is right.
pub(crate) enum Answer {
    /// This refusal.
    Refuse(Refusal),
    /// Nothing, for ever.
    Hang,
}

/// What a batch is answered instead of an acknowledgement.
pub(crate) enum OnBatch {
    /// The stream ends with this refusal.
    End(Refusal),
    /// It is acknowledged, and its rows are refused for this reason.
    Reject(&'static str),
    /// No answer.
    Silent,
    /// It is acknowledged when this is sent or dropped; what comes behind it waits.
    Late(oneshot::Receiver<()>),
}

/// What the server saw, and what it is to do.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) creates: Vec<(tokio::time::Instant, pb::CreateSessionRequest)>,
    pub(crate) on_create: VecDeque<Answer>,
    /// New sessions follow instead of leading.
    pub(crate) follows: bool,
    /// Where the owner of the view is, as sessions and heartbeats are told.
    pub(crate) owner: Option<&'static str>,
    /// What the view excludes.
    pub(crate) exclude: Vec<String>,
    /// The server's clock, always; [`EPOCH`] if absent.
    pub(crate) clock: Option<i64>,
    /// Between two audits, in milliseconds; an hour if absent.
    pub(crate) audit_interval_ms: Option<i32>,
    /// Heartbeats come every 50 ms instead of every 10 s.
    pub(crate) beats_fast: bool,
    pub(crate) heartbeats: Vec<pb::HeartbeatRequest>,
    pub(crate) on_heartbeat: VecDeque<Answer>,
    pub(crate) commands: Vec<pb::Command>,
    pub(crate) ended: Vec<pb::EndSessionRequest>,
    pub(crate) hang_on_end: bool,
    pub(crate) openings: Vec<(tokio::time::Instant, pb::PushOpening)>,
    pub(crate) on_opening: VecDeque<(pb::Lane, Refusal)>,
    pub(crate) batches: Vec<(pb::Lane, pb::EvidenceBatch)>,
    pub(crate) on_batch: VecDeque<OnBatch>,
    /// The same for batches of the SCAN lane, which go by this first.
    pub(crate) on_scan_batch: VecDeque<OnBatch>,
    /// Sequences that the server has, of the REALTIME lane.
    pub(crate) applied: u64,
    pub(crate) notices: Option<mpsc::Sender<Result<pb::PushEventsResponse, Status>>>,
}

impl Script {
    fn role(&self) -> i32 {
        let role = if self.follows { pb::SessionRole::Follower } else { pb::SessionRole::Leader };
        role.into()
    }

    fn time(&self) -> Option<prost_types::Timestamp> {
        time(self.clock.unwrap_or(EPOCH))
    }

    /// Audits that came to their end, which is the number of the next one.
    fn audits(&self) -> u64 {
        let rows = self.batches.iter().flat_map(|(_, batch)| &batch.rows);
        let (mut running, mut count) = (Vec::new(), 0);
        for row in rows {
            match &row.evidence {
                Some(Evidence::ScanStarted(it)) if it.source() == pb::ScanSource::Audit => {
                    running.push(it.scan_id);
                }
                Some(Evidence::ScanFinished(it)) if it.complete => {
                    count += u64::from(running.contains(&it.scan_id));
                }
                _ => {}
            }
        }
        count
    }
}

#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<Script>>);

impl Fake {
    pub(crate) fn new(prepare: impl FnOnce(&mut Script)) -> Self {
        let mut script = Script::default();
        prepare(&mut script);
        Self(Arc::new(Mutex::new(script)))
    }

    /// Serves on a free port until the task is dropped.
    pub(crate) async fn listen(&self) -> (ServerUrl, Task<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = ServerUrl::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let router = self.router();
        let server = spawn("fake server", async {
            router.serve_with_incoming(incoming).await.unwrap();
        });
        (url, server)
    }

    pub(super) fn router(&self) -> tonic::transport::server::Router {
        Server::builder()
            .add_service(SessionServiceServer::new(self.clone()))
            .add_service(EventServiceServer::new(self.clone()))
    }

    /// Tells the agent on its latest stream.
    pub(crate) async fn notice(&self, notice: pb::PushNotice) {
        let sender = self.script().notices.clone().unwrap();
        sender.send(down(Down::Notice(notice))).await.unwrap();
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    /// An answer that names the owner, if it is another one.
    fn of_owner<T>(&self, answer: T) -> Response<T> {
        let mut response = Response::new(answer);
        if let Some(owner) = self.script().owner {
            response.metadata_mut().insert(OWNER_KEY, owner.parse().unwrap());
        }
        response
    }

    async fn answer(answer: Option<Answer>) -> Result<(), Status> {
        match answer {
            None => Ok(()),
            Some(Answer::Refuse(refusal)) => Err(refusal.into_status()),
            Some(Answer::Hang) => std::future::pending().await,
        }
    }
}

fn span(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn millis(millis: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 })
}

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// Seconds of the server's clock when the runtime's is at its start.
pub(crate) const EPOCH: i64 = 1_800_000_000;

#[tonic::async_trait]
impl SessionService for Fake {
    async fn create_session(
        &self,
        request: Request<pb::CreateSessionRequest>,
    ) -> Result<Response<pb::CreateSessionResponse>, Status> {
        let request = request.into_inner();
        let exclude = self.script().exclude.clone();
        let (answer, epoch, role, beats_fast, audit_interval, clock) = {
            let mut script = self.script();
            script.creates.push((tokio::time::Instant::now(), request.clone()));
            let epoch = script.creates.len() as u64;
            let answer = script.on_create.pop_front();
            let (fast, interval) = (script.beats_fast, script.audit_interval_ms);
            (answer, epoch, script.role(), fast, interval, script.time())
        };
        Self::answer(answer).await?;
        let session_id = Uuid::new_v4().to_string();
        let session = pb::Session {
            session_id: session_id.clone(),
            view: request.view,
            agent_id: request.agent_id,
            client: request.client,
            state: pb::SessionState::Active.into(),
            role,
            leader_epoch: epoch,
            created_at: time(EPOCH),
            last_heartbeat: time(EPOCH),
            timeout: span(30),
            root_uri: request.root.map(|root| root.uri).unwrap_or_default(),
            status: None,
        };
        Ok(self.of_owner(pb::CreateSessionResponse {
            session: Some(session),
            session_id,
            role,
            leader_epoch: epoch,
            timeout: span(30),
            heartbeat_interval: if beats_fast { millis(50) } else { span(10) },
            server_time: clock,
            settings: Some(pb::ViewSettings {
                cache_horizon: span(60),
                hot_threshold: span(30),
                audit_interval: audit_interval.map_or(span(3600), millis),
                deep_audit_one_in: 4,
                batch_rows: 1_000,
                batch_bytes: 512 * 1024,
                exclude,
                withhold: Vec::new(),
            }),
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let (answer, commands, epoch, role, audit_number, clock) = {
            let mut script = self.script();
            script.heartbeats.push(request.into_inner());
            let commands = script.commands.clone();
            let epoch = script.creates.len() as u64;
            let audits = script.audits();
            let answer = script.on_heartbeat.pop_front();
            (answer, commands, epoch, script.role(), audits, script.time())
        };
        Self::answer(answer).await?;
        Ok(self.of_owner(HeartbeatResponse {
            server_time: clock,
            role,
            leader_epoch: epoch,
            commands,
            reports_refused: Vec::new(),
            audit_number,
        }))
    }

    async fn end_session(
        &self,
        request: Request<pb::EndSessionRequest>,
    ) -> Result<Response<EndSessionResponse>, Status> {
        let hang = {
            let mut script = self.script();
            script.ended.push(request.into_inner());
            script.hang_on_end
        };
        Self::answer(hang.then_some(Answer::Hang)).await?;
        Ok(Response::new(EndSessionResponse {}))
    }

    async fn get_session(
        &self,
        _: Request<pb::GetSessionRequest>,
    ) -> Result<Response<pb::GetSessionResponse>, Status> {
        Err(Status::unimplemented("not asked by agents"))
    }

    async fn list_sessions(
        &self,
        _: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        Err(Status::unimplemented("not asked by agents"))
    }
}

type DownStream = ReceiverStream<Result<pb::PushEventsResponse, Status>>;

fn down(message: Down) -> Result<pb::PushEventsResponse, Status> {
    Ok(pb::PushEventsResponse { message: Some(message) })
}

#[tonic::async_trait]
impl EventService for Fake {
    type PushEventsStream = DownStream;

    async fn push_events(
        &self,
        request: Request<Streaming<pb::PushEventsRequest>>,
    ) -> Result<Response<DownStream>, Status> {
        let mut up = request.into_inner();
        let Some(Up::Opening(opening)) = up.message().await?.and_then(|first| first.message) else {
            return Err(Status::internal("no opening"));
        };
        let lane = opening.lane();
        let (sender, stream) = mpsc::channel(64);
        let resume_after_sequence = {
            let mut script = self.script();
            let (first_held, next) = (opening.first_held, opening.next);
            script.openings.push((tokio::time::Instant::now(), opening));
            let refused = script.on_opening.iter().position(|(of, _)| *of == lane);
            if let Some((_, refusal)) = refused.and_then(|at| script.on_opening.remove(at)) {
                return Err(refusal.into_status());
            }
            if lane == pb::Lane::Realtime && script.applied >= next {
                // A new spool id follows, of which it has nothing.
                let applied = std::mem::take(&mut script.applied);
                return Err(Refusal::SpoolRolledBack { applied, next }.into_status());
            }
            script.notices = Some(sender.clone());
            if lane == pb::Lane::Realtime { script.applied.max(first_held - 1) } else { 0 }
        };
        let _ = sender.send(down(Down::Opened(pb::PushOpened { resume_after_sequence }))).await;
        let fake = self.clone();
        // Ends with its stream; `forget` because nobody waits for it.
        std::mem::forget(spawn("fake stream", async move {
            while let Ok(Some(message)) = up.message().await {
                let Some(Up::Batch(batch)) = message.message else { continue };
                if fake.take(lane, batch, &sender).await.is_none() {
                    return;
                }
            }
        }));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn push_event_batch(
        &self,
        _: Request<pb::PushEventBatchRequest>,
    ) -> Result<Response<pb::PushEventBatchResponse>, Status> {
        Err(Status::unimplemented("not used by this agent"))
    }
}

impl Fake {
    /// Takes a batch; `None` if the stream is to end.
    async fn take(
        &self,
        lane: pb::Lane,
        batch: pb::EvidenceBatch,
        sender: &mpsc::Sender<Result<pb::PushEventsResponse, Status>>,
    ) -> Option<()> {
        let sequence = batch.sequence;
        let on_batch = {
            let mut script = self.script();
            script.batches.push((lane, batch));
            let of_scans = (lane == pb::Lane::Scan).then(|| script.on_scan_batch.pop_front());
            of_scans.flatten().or_else(|| script.on_batch.pop_front())
        };
        let mut acknowledgement =
            pb::PushAcknowledgement { through_sequence: sequence, ..Default::default() };
        match on_batch {
            Some(OnBatch::Silent) => return Some(()),
            Some(OnBatch::End(refusal)) => {
                let _ = sender.send(Err(refusal.into_status())).await;
                return None;
            }
            Some(OnBatch::Reject(reason)) => acknowledgement.rejected.push(pb::RejectedRow {
                sequence,
                row: None,
                reason: reason.into(),
                message: "scripted".into(),
            }),
            Some(OnBatch::Late(until)) => {
                let _ = until.await;
            }
            None => {}
        }
        if lane == pb::Lane::Realtime {
            self.script().applied = sequence;
        }
        let _ = sender.send(down(Down::Acknowledgement(acknowledgement))).await;
        Some(())
    }
}
