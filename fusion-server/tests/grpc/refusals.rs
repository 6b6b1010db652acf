//! Obsolete and unknown sessions, bad arguments: the same answer from every RPC.

use fusion_proto::pb;
use fusion_proto::status::{ObsoleteCause, Refusal};
use tonic::{Code, Request};

use crate::evidence::{batch, root};
use crate::harness::{asks, refusal, start, uuid};
use crate::telling::{Lane, opening};

#[tokio::test]
async fn an_unknown_session_is_obsolete_wherever_it_means_to_go_on() {
    let mut server = start().await;
    let session_id = uuid("nobody");
    let beaten = server.beat(&session_id).await.map(|_| ());
    let scan = opening(pb::Lane::Scan, &session_id, "");
    let opened = Lane::open(&mut server, scan).await.map(|_| ());
    // Whoever has an obsolete session is told that first, whatever else is wrong with the call.
    let unary = pb::PushEventBatchRequest { session_id, ..Default::default() };
    let pushed = server.events.push_event_batch(unary).await.map(|_| ());
    for answer in [beaten, opened, pushed] {
        assert_eq!(answer.as_ref().unwrap_err().code(), Code::Aborted);
        match refusal(answer) {
            Refusal::SessionObsolete { cause, view, .. } => {
                assert_eq!((cause, view), (ObsoleteCause::Unknown, None));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn malformed_arguments_are_invalid() {
    let mut server = start().await;
    let malformed = |view: &str, agent: &str, spool: &str| {
        let mut asks = asks("a");
        (asks.view, asks.agent_id, asks.spool_id) = (view.into(), agent.into(), spool.into());
        asks
    };
    let spool = uuid("a");
    for bad in [malformed("V", "a", &spool), malformed("v", "a b", &spool), malformed("v", "a", "")]
    {
        assert_eq!(
            server.sessions.create_session(bad).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    for bad in ["", "x"] {
        assert_eq!(server.beat(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_repeated_unary_batch_is_acknowledged() {
    let mut server = start().await;
    let session_id = server.join("a").await.session_id;
    let push = |sequence| pb::PushEventBatchRequest {
        session_id: session_id.clone(),
        lane: pb::Lane::Realtime.into(),
        spool_id: uuid("a"),
        batch: Some(batch(sequence, vec![root()])),
    };
    for _ in 0..2 {
        let told = server.events.push_event_batch(push(1)).await.unwrap().into_inner();
        assert_eq!(told.acknowledgement.unwrap().through_sequence, 1);
    }
    let refused = refusal(server.events.push_event_batch(push(3)).await);
    assert_eq!(refused, Refusal::SequenceGap { expected: 2 });
}

#[tokio::test]
async fn a_correlation_id_is_taken_made_or_refused() {
    let server = start().await;
    let ask = |id: Option<&str>| {
        let mut request = Request::new(pb::ListViewsRequest::default());
        if let Some(id) = id {
            request.metadata_mut().insert("x-correlation-id", id.parse().unwrap());
        }
        let mut views = server.views.clone();
        async move { views.list_views(request).await }
    };
    let id = |answer: &tonic::Response<_>| {
        answer.metadata().get("x-correlation-id").unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(id(&ask(Some("mine:1")).await.unwrap()), "mine:1");
    assert_eq!(id(&ask(None).await.unwrap()).len(), 36);
    assert_eq!(ask(Some("not mine")).await.unwrap_err().code(), Code::InvalidArgument);
}
