//! Health, reflection, probes, metrics.

use fusion_core::id::ViewName;
use fusion_proto::pb;
use fusion_proto::pb::view_service_client::ViewServiceClient;
use fusion_server::config::ViewConfig;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::certificates::{Authority, Valid};
use crate::evidence::{batch, scan_finished, scan_started};
use crate::harness::{VIEW, config, start, start_with};
use crate::telling::{Lane, opening};

#[tokio::test]
async fn a_view_is_healthy_when_a_trusted_read_is_answered() {
    let mut server = start().await;
    let mut health = HealthClient::new(server.channel.clone());
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in
        ["", "fusion.v1.SessionService", "fusion.v1.EventService", "fusion.v1.ViewService"]
    {
        let told = health.check(ask(service)).await.unwrap().into_inner();
        assert_eq!(told.status(), ServingStatus::Serving, "{service}");
    }
    assert_eq!(health.check(ask("nothing")).await.unwrap_err().code(), Code::NotFound);

    let leader = server.join("a").await;
    let scan = opening(pb::Lane::Scan, &leader.session_id, "");
    let (lane, _) = Lane::open(&mut server, scan).await.unwrap();
    let mut whole = batch(1, vec![scan_started(), scan_finished()]);
    whole.leader_epoch = leader.leader_epoch;
    let mut watched = health.watch(ask("fusion.v1.view/v")).await;
    while watched.is_err() {
        watched = health.watch(ask("fusion.v1.view/v")).await;
    }
    let mut watched = watched.unwrap().into_inner();
    let first = watched.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    lane.send(whole).await;
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let end = pb::EndSessionRequest { session_id: leader.session_id, allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn a_health_watch_is_told_and_does_not_hold_up_the_end() {
    let mut server = start().await;
    let mut health = HealthClient::new(server.channel.clone());
    let ask = HealthCheckRequest { service: String::new() };
    let mut watched = health.watch(ask).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.stop();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    // The grace is 30 s; a server that waited for the watch would end by it.
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, server.ended()).await.unwrap();
}

#[tokio::test]
async fn probes_and_metrics() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    server.beat(&session).await.unwrap();
    server.beat("00000000-0000-4000-8000-000000000000").await.unwrap_err();
    assert!(server.get("/livez").await.starts_with("HTTP/1.1 200"));
    let ready = server.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("view v EMPTY"), "{ready}");
    let metrics = server.get("/metrics").await;
    for line in [
        "fusion_sessions{role=\"leader\",view=\"v\"} 1",
        "fusion_sessions{role=\"follower\",view=\"v\"} 0",
        "fusion_leader_changes_total{view=\"v\"} 1",
        "fusion_obsolete_answers_total{cause=\"unknown\"} 1",
        "fusion_rpc_requests_total{code=\"OK\",method=\"fusion.v1.SessionService/Heartbeat\"} 1",
        "fusion_rpc_requests_total{code=\"ABORTED\",method=\"fusion.v1.SessionService/Heartbeat\"} 1",
        "fusion_view_state{state=\"empty\",view=\"v\"} 1",
        "fusion_build_info{version=",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn unknown_methods_share_one_label() {
    let server = start().await;
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path = "/made.up/Method".parse().unwrap();
    let answer = client.unary(tonic::Request::new(()), path, codec).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
    let metrics = server.get("/metrics").await;
    assert!(
        metrics.contains("fusion_rpc_requests_total{code=\"UNIMPLEMENTED\",method=\"unknown\"} 1")
    );
    assert!(!metrics.contains("made.up"));
}

#[tokio::test]
async fn health_alone_is_served_in_plaintext_and_says_nothing_of_views() {
    let dir = tempfile::TempDir::new().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let mut config = config();
    config.health = Some(([127, 0, 0, 1], 0).into());
    config.tls = Some(ours.sign("server", "localhost", Valid::Now).server(Some(&ours)));
    config.views.insert(ViewName::new(VIEW).unwrap(), ViewConfig::default());
    let mut server = start_with(config).await;
    let channel = Channel::from_shared(format!("http://{}", server.health.unwrap())).unwrap();
    let channel = channel.connect_lazy();
    let mut health = HealthClient::new(channel.clone());
    let ask = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "fusion.v1.ViewService", "fusion.v1.SessionService"] {
        let told = health.check(ask(service)).await.unwrap().into_inner();
        assert_eq!(told.status(), ServingStatus::Serving, "{service}");
    }
    // One that is there, and one that is not: nobody can tell.
    let there = health.check(ask("fusion.v1.view/v")).await.unwrap_err();
    let not_there = health.check(ask("fusion.v1.view/none")).await.unwrap_err();
    assert_eq!((there.code(), there.message()), (not_there.code(), not_there.message()));
    assert_eq!(there.code(), Code::NotFound);
    assert_eq!(health.watch(ask("fusion.v1.view/v")).await.unwrap_err().code(), Code::NotFound);
    let long = health.check(ask(&"x".repeat(10_000))).await.unwrap_err();
    assert_eq!(long.code(), Code::OutOfRange);
    let views = ViewServiceClient::new(channel).list_views(pb::ListViewsRequest::default()).await;
    assert_eq!(views.unwrap_err().code(), Code::Unimplemented);

    let mut told = health.watch(ask("")).await.unwrap().into_inner();
    assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.stop();
    assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
}
