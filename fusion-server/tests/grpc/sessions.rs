//! Sessions: creation, roles, expiry, supersession, listing.

use std::time::Duration;

use fusion_proto::pb;
use fusion_proto::status::{ObsoleteCause, Refusal};

use crate::evidence::{batch, file, root};
use crate::harness::{VIEW, advance, asks, config, refusal, start, start_with, uuid};
use crate::telling::{Lane, opening};

const LEADER: i32 = pb::SessionRole::Leader as i32;
const FOLLOWER: i32 = pb::SessionRole::Follower as i32;

fn obsolete_cause(refused: Refusal) -> ObsoleteCause {
    match refused {
        Refusal::SessionObsolete { cause, .. } => cause,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_first_leads_and_is_told_what_it_needs() {
    let mut server = start().await;
    let first = server.join("a").await;
    assert_eq!((first.role, first.leader_epoch), (LEADER, 1));
    assert_eq!(first.timeout.unwrap().seconds, 30);
    assert_eq!(first.heartbeat_interval.unwrap().seconds, 10);
    assert_eq!(first.session_id.len(), 36);
    assert_eq!(first.session.as_ref().unwrap().session_id, first.session_id);
    assert_eq!(first.settings.unwrap().audit_interval.unwrap().seconds, 3600);

    let second = server.join("b").await;
    assert_eq!((second.role, second.leader_epoch), (FOLLOWER, 1));
    assert_eq!(second.session.unwrap().leader_epoch, 0);

    let mut eager = asks("c");
    eager.proposed_timeout = Some(prost_types::Duration { seconds: 10_000, nanos: 0 });
    let eager = server.sessions.create_session(eager).await.unwrap().into_inner();
    assert_eq!(eager.timeout.unwrap().seconds, 600);
}

#[tokio::test(start_paused = true)]
async fn silence_expires_and_promotes_on_driven_time() {
    let mut server = start().await;
    let leader = server.join("a").await.session_id;
    let follower = server.join("b").await.session_id;
    let scan = opening(pb::Lane::Scan, &follower, "");
    let (mut lane, _) = Lane::open(&mut server, scan).await.unwrap();
    assert_eq!(lane.notice().await.unwrap().role, FOLLOWER);
    let mut doomed = Lane::realtime(&mut server, &leader, "a").await;

    for _ in 0..2 {
        advance(Duration::from_secs(15)).await;
        assert_eq!(server.beat(&follower).await.unwrap().role, FOLLOWER);
    }
    advance(Duration::from_millis(10)).await;
    let notice = lane.notice().await.unwrap();
    assert_eq!((notice.role, notice.leader_epoch), (LEADER, 2));
    assert_eq!(obsolete_cause(refusal(Err::<(), _>(doomed.end().await))), ObsoleteCause::Expired);
    assert_eq!(obsolete_cause(refusal(server.beat(&leader).await)), ObsoleteCause::Expired);

    let returned = server.join("a").await;
    assert_eq!((returned.role, returned.leader_epoch), (FOLLOWER, 2));
}

#[tokio::test]
async fn the_same_spool_supersedes_and_another_is_a_conflict() {
    let mut server = start().await;
    let old = server.join("a").await.session_id;
    let mut other = asks("a");
    other.spool_id = uuid("another");
    match refusal(server.sessions.create_session(other).await) {
        Refusal::AgentIdConflict { host, retry_after, .. } => {
            assert_eq!(host, "host-a");
            assert!(retry_after > Duration::from_secs(25), "{retry_after:?}");
        }
        refused => panic!("{refused:?}"),
    }
    server.beat(&old).await.unwrap();
    let new = server.join("a").await;
    assert_eq!((new.role, new.leader_epoch), (LEADER, 2));
    assert_eq!(obsolete_cause(refusal(server.beat(&old).await)), ObsoleteCause::Superseded);
}

#[tokio::test]
async fn ending_is_never_obsolete_and_promotes_at_once() {
    let mut server = start().await;
    let first = server.join("a").await.session_id;
    let second = server.join("b").await.session_id;
    let end = |session: &str, allow_missing| pb::EndSessionRequest {
        session_id: session.to_owned(),
        allow_missing,
    };
    server.sessions.end_session(end(&first, false)).await.unwrap();
    let beaten = server.beat(&second).await.unwrap();
    assert_eq!((beaten.role, beaten.leader_epoch), (LEADER, 2));

    for session in [&first, &uuid("nobody")] {
        let again = refusal(server.sessions.end_session(end(session, false)).await);
        assert!(matches!(again, Refusal::SessionNotFound { .. }), "{again:?}");
        server.sessions.end_session(end(session, true)).await.unwrap();
        assert_eq!(obsolete_cause(refusal(server.beat(session).await)), ObsoleteCause::Unknown);
    }
    let shown = pb::GetSessionRequest { session_id: first };
    let shown = server.sessions.get_session(shown).await.unwrap().into_inner().session.unwrap();
    assert_eq!(shown.state(), pb::SessionState::Ended);
}

#[tokio::test]
async fn an_evicted_session_is_obsolete_and_a_follower_leads_at_once() {
    let mut server = start().await;
    let leader = server.join("a").await.session_id;
    let follower = server.join("b").await.session_id;
    let scan = opening(pb::Lane::Scan, &follower, "");
    let (mut lane, _) = Lane::open(&mut server, scan).await.unwrap();
    assert_eq!(lane.notice().await.unwrap().role, FOLLOWER);
    let mut doomed = Lane::realtime(&mut server, &leader, "a").await;

    let evict = |session: &str, allow_missing| pb::EvictSessionRequest {
        session_id: session.to_owned(),
        allow_missing,
    };
    let evicted = server.admin.evict_session(evict(&leader, false)).await.unwrap().into_inner();
    let evicted = evicted.session.unwrap();
    assert_eq!((evicted.state(), &evicted.session_id), (pb::SessionState::Evicted, &leader));
    let notice = lane.notice().await.unwrap();
    assert_eq!((notice.role, notice.leader_epoch), (LEADER, 2));
    assert_eq!(obsolete_cause(refusal(Err::<(), _>(doomed.end().await))), ObsoleteCause::Evicted);
    assert_eq!(obsolete_cause(refusal(server.beat(&leader).await)), ObsoleteCause::Evicted);

    let again = refusal(server.admin.evict_session(evict(&leader, false)).await);
    assert!(matches!(again, Refusal::SessionNotFound { .. }), "{again:?}");
    let missing = server.admin.evict_session(evict(&leader, true)).await.unwrap().into_inner();
    assert_eq!(missing.session, None);
    let malformed = server.admin.evict_session(evict("x", true)).await.unwrap_err();
    assert_eq!(malformed.code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn an_exclusive_view_takes_one() {
    let mut config = config();
    config.view_defaults.exclusive = true;
    let mut server = start_with(config).await;
    server.join("a").await;
    match refusal(server.sessions.create_session(asks("b")).await) {
        Refusal::ViewOccupied { holder, host } => {
            assert_eq!((holder.as_str(), host.as_str()), ("a", "host-a"));
        }
        refused => panic!("{refused:?}"),
    }
    server.join("a").await;
}

#[tokio::test]
async fn views_are_made_only_where_that_is_allowed() {
    let mut config = config();
    config.auto_create_views = false;
    let mut server = start_with(config).await;
    let refused = refusal(server.sessions.create_session(asks("a")).await);
    assert!(matches!(refused, Refusal::ViewNotFound { .. }), "{refused:?}");

    let mut config = crate::harness::config();
    config.max_views = 1;
    let mut server = start_with(config).await;
    server.join("a").await;
    let mut other = asks("a");
    other.view = "w".to_owned();
    let refused = refusal(server.sessions.create_session(other).await);
    assert!(matches!(refused, Refusal::QuotaExceeded { .. }), "{refused:?}");
}

#[tokio::test]
async fn another_tree_is_refused() {
    let mut server = start().await;
    let session = server.join("a").await.session_id;
    let mut lane = Lane::realtime(&mut server, &session, "a").await;
    lane.send(batch(1, vec![root(), file("/here", 1)])).await;
    lane.acknowledged(1).await.unwrap();

    let with = |top: &[(&str, u64)]| {
        let mut asks = asks("b");
        let top = top.iter().map(|(name, inode)| pb::root_identity::TopEntry {
            name: name.as_bytes().to_vec().into(),
            inode: *inode,
        });
        let identity = pb::RootIdentity { top: top.collect(), ..Default::default() };
        asks.root = Some(pb::Root { uri: String::new(), identity: Some(identity) });
        asks
    };
    for top in [&[][..], &[("here", 8)], &[("there", 7)]] {
        let refused = refusal(server.sessions.create_session(with(top)).await);
        match refused {
            Refusal::RootMismatch { known, .. } => assert_eq!(known, "here (inode 7)"),
            other => panic!("{other:?}"),
        }
    }
    server.sessions.create_session(with(&[("new", 9), ("here", 7)])).await.unwrap();
}

#[tokio::test]
async fn sessions_are_listed_in_pages() {
    let mut server = start().await;
    for agent in ["c", "a", "b"] {
        server.join(agent).await;
    }
    let mut other = asks("z");
    other.view = "another".to_owned();
    server.sessions.create_session(other).await.unwrap();

    for (view, expected) in [("", vec!["z", "c", "a", "b"]), (VIEW, vec!["c", "a", "b"])] {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let ask = pb::ListSessionsRequest { view: view.to_owned(), page_size: 2, page_token };
            let page = server.sessions.list_sessions(ask).await.unwrap().into_inner();
            assert!(page.sessions.len() <= 2);
            seen.extend(page.sessions.into_iter().map(|session| session.agent_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
            let stray =
                pb::ListSessionsRequest { page_token: page_token.clone(), ..Default::default() };
            assert_eq!(server.sessions.list_sessions(stray).await.is_ok(), view.is_empty());
        }
        assert_eq!(seen, expected);
    }
}
