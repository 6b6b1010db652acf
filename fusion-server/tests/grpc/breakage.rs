//! What must not take anything else with it: a view that panics, a message that is none, a caller
//! whose time is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::BufMut as _;
use fusion_core::time::{Clock, Monotonic, ServerTime};
use fusion_proto::pb;
use fusion_proto::pb::evidence::Evidence as Said;
use fusion_proto::pb::push_events_request::Message as Ask;
use fusion_proto::status::{ObsoleteCause, Refusal};
use fusion_server::clock::RuntimeClock;
use http::uri::PathAndQuery;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::{Request, Status, Streaming};

use crate::evidence::{batch, file, listing, root, scan_finished, scan_started};
use crate::failing::Flaky;
use crate::harness::{TestServer, VIEW, asks_with_top, config, refusal, start, start_in, start_on};
use crate::telling::{Lane, opening};

/// A clock that breaks the task of the view the so many-th time that it is asked there.
struct Mine {
    clock: RuntimeClock,
    after: AtomicU32,
}

impl Clock for Mine {
    fn now(&self) -> ServerTime {
        let in_view = std::thread::current().name().is_some_and(|name| name.starts_with("view v"));
        if in_view && self.after.load(Ordering::SeqCst) > 0 {
            assert!(self.after.fetch_sub(1, Ordering::SeqCst) > 1, "the mine goes off");
        }
        self.clock.now()
    }

    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic()
    }
}

async fn health(server: &TestServer, service: &str) -> i32 {
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel.clone());
    let ask = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
    health.check(ask).await.unwrap().into_inner().status
}

#[tokio::test]
async fn a_view_that_panics_is_begun_anew_and_takes_nothing_with_it() {
    let mine = Arc::new(Mine { clock: RuntimeClock::new(), after: AtomicU32::new(0) });
    let mut server = start_on(config(), mine.clone()).await;
    let mut other = crate::harness::asks("o");
    other.view = "other".to_owned();
    let other = server.sessions.create_session(other).await.unwrap().into_inner().session_id;
    let first = server.join("a").await;
    let ask = opening(pb::Lane::Realtime, &first.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask.clone()).await.unwrap();
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.acknowledged(1).await.unwrap();

    // The turn hears first and then looks into the batch: its sequence is taken by then.
    tokio::time::sleep(Duration::from_millis(100)).await;
    mine.after.store(2, Ordering::SeqCst);
    lane.send(batch(2, vec![file("/f", 2)])).await;
    let status = lane.end().await;
    match Refusal::from_status(&status).unwrap() {
        Refusal::Internal { .. } => {}
        Refusal::SessionObsolete { cause, .. } => assert_eq!(cause, ObsoleteCause::ViewReset),
        other => panic!("{other:?}"),
    }

    // Its sessions are told, whatever they ask.
    let obsolete = async |server: &mut TestServer, session: &str| loop {
        match server.beat(session).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            refused => break refusal(refused),
        }
    };
    match obsolete(&mut server, &first.session_id).await {
        Refusal::SessionObsolete { cause, .. } => assert_eq!(cause, ObsoleteCause::ViewReset),
        other => panic!("{other:?}"),
    }
    let metrics = server.get("/metrics").await;
    assert!(metrics.contains("fusion_view_panics_total{view=\"v\"} 1"), "{metrics}");
    server.beat(&other).await.unwrap();
    assert_eq!(health(&server, "").await, 1);
    assert_eq!(health(&server, "fusion.v1.view/v").await, 2);

    // A new session leads under a later epoch, sees what was acknowledged, and goes on after the
    // batch that the view failed on.
    let second = server.sessions.create_session(asks_with_top("a", "f", 7)).await;
    let second = second.unwrap().into_inner();
    assert_eq!(second.role(), pb::SessionRole::Leader);
    assert!(second.leader_epoch > first.leader_epoch + 1, "{}", second.leader_epoch);
    let again = pb::PushOpening { session_id: second.session_id, first_held: 2, next: 3, ..ask };
    let (mut lane, resume_after) = Lane::open(&mut server, again).await.unwrap();
    assert_eq!(resume_after, 2);
    lane.deliver(batch(3, vec![root(), file("/g", 3)])).await;
    let ask = |path: &str| pb::GetEntryRequest {
        view: VIEW.to_owned(),
        path: path.to_owned(),
        read_class: 0,
    };
    server.views.get_entry(ask("/g")).await.unwrap();
    let kept = server.views.get_entry(ask("/f")).await.unwrap().into_inner();
    assert_eq!(kept.entry.unwrap().stat.unwrap().size, 1, "the second batch is lost");
    let reasons = kept.freshness.unwrap().reasons;
    assert!(reasons.iter().any(|why| why.contains("lost")), "{reasons:?}");
}

/// A whole scan by the leader, after so many batches of its own.
async fn scan(server: &mut TestServer, leader: &pb::CreateSessionResponse, before: u64) {
    let open = pb::PushOpening {
        next: before + 1,
        first_held: before + 1,
        ..opening(pb::Lane::Scan, &leader.session_id, "")
    };
    let (mut lane, _) = Lane::open(server, open).await.unwrap();
    let led = |batch| pb::EvidenceBatch { leader_epoch: leader.leader_epoch, ..batch };
    let mut began = scan_started();
    if let Some(Said::ScanStarted(began)) = &mut began.evidence {
        began.root = asks_with_top("a", "f", 1).root.unwrap().identity;
    }
    lane.send(led(batch(before + 1, vec![began]))).await;
    let mut listed = batch(before + 2, Vec::new());
    listed.listings = vec![listing("/", &["f".to_owned()], 0, true)];
    lane.send(led(listed)).await;
    lane.deliver(led(batch(before + 3, vec![scan_finished()]))).await;
}

#[tokio::test]
async fn a_view_that_cannot_be_begun_anew_is_not_believed_until_it_is() {
    let mine = Arc::new(Mine { clock: RuntimeClock::new(), after: AtomicU32::new(0) });
    let flaky = Flaky::new(5);
    let mut config = config();
    // Losses end with the audit after the next.
    config.view_defaults.settings.cache_horizon = Duration::from_millis(50);
    let mut server = start_in(config, mine.clone(), flaky.stores.clone()).await;
    let first = server.join("a").await;
    scan(&mut server, &first, 0).await;
    let ask = |class: pb::ReadClass| pb::GetStatsRequest {
        view: VIEW.to_owned(),
        path: "/".to_owned(),
        read_class: class.into(),
    };
    server.views.get_stats(ask(pb::ReadClass::Trusted)).await.unwrap();
    assert_eq!(health(&server, "fusion.v1.view/v").await, 1);

    flaky.moods.fail(1000);
    mine.after.store(1, Ordering::SeqCst);
    while !server.get("/metrics").await.contains("fusion_view_panics_total{view=\"v\"} 1") {
        // What it hears wakes it up.
        let _ = server.beat(&first.session_id).await;
    }
    let refused = refusal(server.views.get_stats(ask(pb::ReadClass::Trusted)).await);
    assert!(matches!(refused, Refusal::ViewNotReady { .. }), "{refused:?}");
    let told = server.views.get_stats(ask(pb::ReadClass::Any)).await.unwrap().into_inner();
    let freshness = told.freshness.unwrap();
    assert_eq!(freshness.state(), pb::ViewState::Degraded);
    assert!(freshness.reasons[0].contains("failed"), "{freshness:?}");
    assert_eq!(health(&server, "fusion.v1.view/v").await, 2);
    // It is tried again, and the sessions are told meanwhile.
    while server.beat(&first.session_id).await.is_ok() {}
    let tried = flaky.moods.failures();
    while flaky.moods.failures() == tried {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    flaky.moods.fail(0);
    let leader = loop {
        match server.sessions.create_session(asks_with_top("a", "f", 1)).await {
            Ok(session) => break session.into_inner(),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::Internal, "{status}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let mut sent = 0;
    while health(&server, "fusion.v1.view/v").await != 1 {
        scan(&mut server, &leader, sent).await;
        sent += 3;
        eprintln!(
            "{:?}",
            server.views.get_stats(ask(pb::ReadClass::Any)).await.unwrap().into_inner().freshness
        );
    }
    server.views.get_stats(ask(pb::ReadClass::Trusted)).await.unwrap();
}

/// Sends bytes as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = pb::PushEventsResponse;
    type Encoder = Self;
    type Decoder = tonic_prost::ProstDecoder<pb::PushEventsResponse>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        tonic_prost::ProstDecoder::default()
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&bytes);
        Ok(())
    }
}

fn bytes(message: Ask) -> Vec<u8> {
    tonic_prost::prost::Message::encode_to_vec(&pb::PushEventsRequest { message: Some(message) })
}

/// A realtime stream of a new session that sends this after its opening.
async fn sending(server: &mut TestServer, rest: Vec<Vec<u8>>) -> Streaming<pb::PushEventsResponse> {
    let session = server.join("a").await.session_id;
    let mut all = vec![bytes(Ask::Opening(opening(pb::Lane::Realtime, &session, "a")))];
    all.extend(rest);
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static("/fusion.v1.EventService/PushEvents");
    let messages = Request::new(tokio_stream::iter(all));
    client.streaming(messages, path, Raw).await.unwrap().into_inner()
}

/// Rejected rows, how far it was acknowledged, and how the stream ended.
async fn told(
    mut stream: Streaming<pb::PushEventsResponse>,
) -> (Vec<pb::RejectedRow>, u64, Option<Status>) {
    let (mut rejected, mut through) = (Vec::new(), 0);
    loop {
        match stream.message().await {
            Ok(None) => return (rejected, through, None),
            Err(status) => return (rejected, through, Some(status)),
            Ok(Some(message)) => {
                if let Some(pb::push_events_response::Message::Acknowledgement(told)) =
                    message.message
                {
                    rejected.extend(told.rejected);
                    through = told.through_sequence;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_batch_that_is_no_protobuf_does_not_stand_in_the_way() {
    let mut server = start().await;
    let mut broken = bytes(Ask::Batch(batch(2, vec![file("/f", 2)])));
    broken.truncate(broken.len() - 3);
    let rest = vec![
        bytes(Ask::Batch(batch(1, vec![root()]))),
        broken,
        bytes(Ask::Batch(batch(3, vec![file("/g", 3)]))),
    ];
    let (rejected, through, status) = told(sending(&mut server, rest).await).await;
    assert_eq!((through, status.map(|status| status.code())), (3, None));
    assert_eq!((rejected[0].sequence, rejected[0].row), (2, None));
    assert_eq!(rejected[0].reason, "INVALID_ARGUMENT");
}

#[tokio::test]
async fn what_has_no_sequence_ends_the_stream_after_what_was_before_it() {
    for broken in [vec![0xff; 9], vec![0; 5 << 20]] {
        let mut server = start().await;
        let rest = vec![bytes(Ask::Batch(batch(1, vec![root()]))), broken];
        let (rejected, through, status) = told(sending(&mut server, rest).await).await;
        assert_eq!((through, rejected), (1, Vec::new()));
        match Refusal::from_status(&status.unwrap()).unwrap() {
            Refusal::InvalidArgument { violations } => assert_eq!(violations[0].field, "message"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_deadline_ends_a_stream() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let ask = Ask::Opening(opening(pb::Lane::Realtime, &session, "a"));
    let (_open, messages) = tokio::sync::mpsc::channel(1);
    _open.send(pb::PushEventsRequest { message: Some(ask) }).await.unwrap();
    let mut request = Request::new(tokio_stream::wrappers::ReceiverStream::new(messages));
    request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let stream = server.events.push_events(request).await.unwrap().into_inner();
    let (.., status) = told(stream).await;
    assert_eq!(refusal(Err::<(), _>(status.unwrap())), Refusal::DeadlineExceeded);
    let metrics = server.get("/metrics").await;
    let counted = "method=\"fusion.v1.EventService/PushEvents\"} 1";
    assert!(!metrics.contains(&format!("fusion_rpc_in_flight{{{counted}")), "{metrics}");
}
