//! Refreshing a path: who is asked, what is waited for, and every way in which it is refused.

use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::pb::command::Action;
use fusion_proto::pb::evidence::Evidence as Said;
use fusion_proto::status::Refusal;

use crate::agent::Agent;
use crate::evidence::{batch, row};
use crate::harness::{TestServer, VIEW, advance, refusal, start};
use crate::views::filled;

fn asked(path: &str, agent: &str) -> pb::RefreshPathRequest {
    pb::RefreshPathRequest {
        view: VIEW.to_owned(),
        path: path.to_owned(),
        recursive: false,
        agent_id: agent.to_owned(),
    }
}

type Answered = tokio::task::JoinHandle<Result<pb::RefreshPathResponse, tonic::Status>>;

fn refresh(server: &TestServer, asked: pb::RefreshPathRequest) -> Answered {
    let mut views = server.views.clone();
    #[expect(clippy::disallowed_methods, reason = "a caller of its own, for as long as the test")]
    tokio::spawn(async move { Ok(views.refresh_path(asked).await?.into_inner()) })
}

#[tokio::test]
async fn a_named_agent_scans_and_all_who_ask_get_its_answer() {
    let mut server = filled().await;
    let mut follower = Agent::join(&mut server, "b").await;
    let first = refresh(&server, asked("/d", "b"));
    let command = follower.command().await;
    let Some(Action::Scan(scan)) = &command.action else { panic!("{command:?}") };
    assert_eq!((&scan.path[..], scan.recursive), (&b"/d"[..], false));
    assert_eq!(scan.source(), pb::ScanSource::OnDemand);
    let second = refresh(&server, asked("/d", "b"));
    let third = refresh(&server, asked("/d", "b"));
    // The heartbeat repeats it: also to a follower.
    let beat = server.beat(&follower.session).await.unwrap();
    assert_eq!(beat.commands, std::slice::from_ref(&command));
    assert_eq!(follower.list("/d", &["a", "new"]).await, []);
    follower.report(&mut server, &command, pb::CommandState::Running).await;
    assert!(!first.is_finished(), "it has not been reported as done");
    follower.report(&mut server, &command, pb::CommandState::Done).await;

    let mut joined = 0;
    for answer in [first, second, third] {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!((answer.agent_id.as_str(), answer.complete), ("b", true));
        assert_eq!((answer.entries, answer.directories, answer.errors), (3, 1, 0));
        assert_eq!(answer.entry.unwrap().path, "/d");
        assert!(answer.totals.is_some() && answer.freshness.is_some() && answer.took.is_some());
        joined += u32::from(answer.joined);
    }
    assert_eq!(joined, 2);
    let found = pb::GetEntryRequest { view: VIEW.into(), path: "/d/new".into(), read_class: 0 };
    assert!(server.views.get_entry(found).await.unwrap().into_inner().entry.unwrap().blind);
    assert_eq!(server.beat(&follower.session).await.unwrap().commands, []);
    for state in ["given", "done"] {
        let series = format!("fusion_commands_total{{state=\"{state}\",view=\"v\"}}");
        assert_eq!(server.metric(&series).await, 1, "{state}");
    }
    // What was not asked for is not taken.
    let refused = follower.list("/d", &["a"]).await;
    assert!(!refused.is_empty());
}

#[tokio::test]
async fn nobody_scans_in_its_place() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let end = pb::EndSessionRequest { session_id: session, allow_missing: false };
    server.sessions.end_session(end).await.unwrap();
    match refusal(server.views.refresh_path(asked("/", "")).await) {
        Refusal::ViewNotReady { reasons, .. } => {
            assert!(reasons[0].contains("leads"), "{reasons:?}")
        }
        other => panic!("{other:?}"),
    }
    server.join("a").await;
    match refusal(server.views.refresh_path(asked("/", "b")).await) {
        Refusal::AgentNotFound { agent, .. } => assert_eq!(agent.as_str(), "b"),
        other => panic!("{other:?}"),
    }
    let stranger = pb::RefreshPathRequest { view: "w".into(), ..asked("/", "") };
    let stranger = refusal(server.views.refresh_path(stranger).await);
    assert!(matches!(stranger, Refusal::ViewNotFound { .. }), "{stranger:?}");
}

#[tokio::test]
async fn an_agent_that_fails_or_tells_nothing_or_goes_is_told_of() {
    let mut server = filled().await;
    let mut follower = Agent::join(&mut server, "b").await;
    let problem = async |answer: Answered| match refusal(answer.await.unwrap()) {
        Refusal::ScanFailed { agent, problem, .. } => {
            assert_eq!(agent.as_str(), "b");
            problem
        }
        other => panic!("{other:?}"),
    };
    let answer = refresh(&server, asked("/d", "b"));
    let command = follower.command().await;
    follower.report(&mut server, &command, pb::CommandState::Failed).await;
    assert_eq!(problem(answer).await, "the disk is gone");

    let answer = refresh(&server, asked("/d", "b"));
    let command = follower.command().await;
    follower.report(&mut server, &command, pb::CommandState::Done).await;
    let said = problem(answer).await;
    assert!(said.contains("not taken"), "it told nothing: {said}");

    let answer = refresh(&server, asked("/d", "b"));
    follower.command().await;
    let evict =
        pb::EvictSessionRequest { session_id: follower.session.clone(), allow_missing: false };
    server.admin.evict_session(evict).await.unwrap();
    assert_eq!(problem(answer).await, "its session is over");
}

#[tokio::test(start_paused = true)]
async fn silence_is_an_answer_after_a_while_and_a_deadline_sooner() {
    let mut server = filled().await;
    let mut follower = Agent::join(&mut server, "b").await;
    let mut late = tonic::Request::new(asked("/d", "b"));
    late.set_timeout(Duration::from_secs(1));
    let mut views = server.views.clone();
    #[expect(clippy::disallowed_methods, reason = "a caller of its own, for as long as the test")]
    let late = tokio::spawn(async move { views.refresh_path(late).await });
    let answer = refresh(&server, asked("/d", "b"));
    follower.command().await;
    advance(Duration::from_secs(2)).await;
    // The client's own library ends it at the same moment, and calls it CANCELLED.
    let status = late.await.unwrap().unwrap_err();
    let late = [tonic::Code::DeadlineExceeded, tonic::Code::Cancelled];
    assert!(late.contains(&status.code()), "{status:?}");
    for _ in 0..13 {
        assert!(server.beat(&follower.session).await.is_ok());
        advance(Duration::from_secs(10)).await;
    }
    match refusal(answer.await.unwrap()) {
        Refusal::ScanFailed { problem, .. } => assert!(problem.contains("too long"), "{problem}"),
        other => panic!("{other:?}"),
    }
}

/// A view with its leader, and a read of `/d` that demands a scan.
async fn to_be_read_fresh() -> (TestServer, Agent, pb::ListEntriesRequest) {
    let mut server = filled().await;
    let leader = server.sessions.list_sessions(pb::ListSessionsRequest::default()).await.unwrap();
    let leader = leader.into_inner().sessions[0].session_id.clone();
    let agent = Agent::of(&mut server, leader, "a").await;
    let list = pb::ListEntriesRequest {
        view: VIEW.into(),
        path: "/d".into(),
        read_class: pb::ReadClass::Fresh.into(),
        ..Default::default()
    };
    (server, agent, list)
}

/// The paths that a read gives.
fn read(
    server: &TestServer,
    list: &pb::ListEntriesRequest,
) -> tokio::task::JoinHandle<Vec<String>> {
    let (mut views, list) = (server.views.clone(), list.clone());
    #[expect(clippy::disallowed_methods, reason = "a caller of its own, for as long as the test")]
    tokio::spawn(async move {
        let listed = views.list_entries(list).await.unwrap().into_inner();
        listed.entries.into_iter().map(|entry| entry.path).collect()
    })
}

#[tokio::test]
async fn a_fresh_read_does_not_take_a_scan_that_began_before_it() {
    let (mut server, mut agent, list) = to_be_read_fresh().await;
    let first = read(&server, &list);
    let command = agent.command().await;
    let (second, third) = (read(&server, &list), read(&server, &list));
    let reads = "fusion_rpc_in_flight{method=\"fusion.v1.ViewService/ListEntries\"} 3\n";
    while !server.get("/metrics").await.contains(reads) {}
    assert_eq!(agent.list("/d", &["a"]).await, []);
    agent.report(&mut server, &command, pb::CommandState::Done).await;
    assert!(!first.await.unwrap().contains(&"/d/late".to_owned()));

    let late = async { [second.await.unwrap(), third.await.unwrap()] };
    let scanned = async {
        loop {
            let command = agent.command().await;
            assert_eq!(agent.list("/d", &["a", "late"]).await, []);
            agent.report(&mut server, &command, pb::CommandState::Done).await;
        }
    };
    tokio::select! {
        answers = late => for answer in answers {
            assert!(answer.contains(&"/d/late".to_owned()), "{answer:?}");
        },
        () = scanned => {}
    }
}

#[tokio::test]
async fn a_fresh_read_scans_first_and_never_answers_without() {
    let (mut server, mut agent, list) = to_be_read_fresh().await;
    let answer = read(&server, &list);
    let command = agent.command().await;
    assert_eq!(agent.list("/d", &["a", "fresh"]).await, []);
    agent.report(&mut server, &command, pb::CommandState::Done).await;
    let listed = answer.await.unwrap();
    assert!(listed.contains(&"/d/fresh".to_owned()), "{listed:?}");

    let evict = pb::EvictSessionRequest { session_id: agent.session.clone(), allow_missing: false };
    server.admin.evict_session(evict).await.unwrap();
    let refused = refusal(server.views.list_entries(list).await);
    assert!(matches!(refused, Refusal::ViewNotReady { .. }), "{refused:?}");
    let read_class = pb::ReadClass::Fresh.into();
    let stats = pb::GetStatsRequest { view: VIEW.into(), path: "/".into(), read_class };
    let refused = refusal(server.views.get_stats(stats).await);
    assert!(matches!(refused, Refusal::ViewNotReady { .. }), "{refused:?}");
}

#[tokio::test]
async fn directories_that_are_not_known_are_listed_from_above() {
    let mut server = filled().await;
    let mut follower = Agent::join(&mut server, "b").await;
    let answer = refresh(&server, asked("/d/new/below", "b"));
    let command = follower.command().await;
    let Some(Action::Scan(scan)) = &command.action else { panic!("{command:?}") };
    assert_eq!(&scan.path[..], b"/d/new");
    // It is no directory there: what is below it is not asked for.
    let began = Said::ScanStarted(pb::ScanStarted {
        scan_id: 9,
        source: pb::ScanSource::OnDemand.into(),
        path: "/d/new".into(),
        root: None,
    });
    let ended =
        Said::ScanFinished(pb::ScanFinished { scan_id: 9, complete: true, ..Default::default() });
    follower.scan.send(batch(1, vec![row(began), row(ended)])).await;
    follower.scan.acknowledged(1).await.unwrap();
    follower.report(&mut server, &command, pb::CommandState::Done).await;
    let answer = answer.await.unwrap().unwrap();
    assert_eq!((answer.entry, answer.totals), (None, None));
}
