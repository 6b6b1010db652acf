//! Several servers: the agent goes to the one that owns the view, and back if that cannot be reached.

use super::*;
use fake::{Fake, Script};

const A: &str = "http://a:1";
const B: &str = "http://b:1";

/// A server that may own the view: the session, and its leadership, were begun elsewhere.
fn server(owner: Option<&'static str>) -> Fake {
    Fake::new(|script| {
        script.beats_fast = true;
        script.owner = owner;
    })
}

/// The one that did not begin the session knows of it all the same.
fn knows_of_it(script: &mut Script) {
    script.creates.push((tokio::time::Instant::now(), pb::CreateSessionRequest::default()));
}

fn sessions(fake: &Fake) -> Vec<String> {
    let script = fake.script();
    let mut all: Vec<_> = script.heartbeats.iter().map(|beat| beat.session_id.clone()).collect();
    all.dedup();
    all
}

#[tokio::test(start_paused = true)]
async fn it_goes_to_the_owner_with_its_session_and_what_was_not_acknowledged() {
    let (a, b) = (server(None), server(None));
    knows_of_it(&mut b.script());
    a.script().on_batch.push_back(OnBatch::Silent);
    let mut rig = Rig::on(&[(A, &a), (B, &b)], A);
    let session = rig.session().await;
    rig.spool.put_for_test(&[upsert("a", Duration::ZERO)]);
    rig.until("sent to the first", |it| !sequences(it, pb::Lane::Realtime).is_empty()).await;
    assert!(b.script().heartbeats.is_empty());
    a.script().owner = Some(B);
    Rig::until_at(&b, "sent again to the owner", |it| {
        sequences(it, pb::Lane::Realtime) == [1] && it.heartbeats.len() > 3
    })
    .await;
    let lanes =
        |fake: &Fake| fake.script().openings.iter().map(|(_, it)| it.lane()).collect::<Vec<_>>();
    assert!(lanes(&b).contains(&pb::Lane::Realtime) && lanes(&b).contains(&pb::Lane::Scan));
    assert_eq!(sessions(&b), [session.to_string()], "the same session");
    let beats = a.script().heartbeats.len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(a.script().heartbeats.len(), beats, "the first is left alone");
    assert_eq!((a.script().creates.len(), b.script().creates.len()), (1, 1));
    rig.stop().await.unwrap();
    assert_eq!((a.script().ended.len(), b.script().ended.len()), (0, 1), "goodbye to the owner");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_the_owner_leads_there() {
    let (a, b) = (server(None), server(None));
    knows_of_it(&mut b.script());
    let view = fusion_core::id::ViewName::new("v").unwrap();
    let refusal =
        Refusal::NotOwner { view, owner: Some(B.into()), retry_after: Duration::from_secs(1) };
    a.script().on_heartbeat.push_back(Answer::Refuse(refusal));
    let rig = Rig::on(&[(A, &a), (B, &b)], A);
    Rig::until_at(&b, "heartbeats", |it| it.heartbeats.len() > 3 && it.openings.len() == 2).await;
    assert_eq!(sessions(&a), sessions(&b));
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_does_not_answer_is_left_for_who_sends_calls_on() {
    let (a, b, c) = (server(Some(B)), server(None), server(None));
    knows_of_it(&mut c.script());
    b.script().on_heartbeat.extend((0..100).map(|_| Answer::Hang));
    let rig = Rig::on(&[(A, &a), (B, &b), ("http://c:1", &c)], A);
    Rig::until_at(&b, "the owner is tried", |it| it.heartbeats.len() == 1).await;
    rig.until("back, with both lanes", |it| it.heartbeats.len() > 10 && it.openings.len() >= 2)
        .await;
    rig.spool.put_for_test(&[upsert("a", Duration::ZERO)]);
    rig.until("evidence", |it| !sequences(it, pb::Lane::Realtime).is_empty()).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = b.script().heartbeats.len();
    assert!((6..=12).contains(&tries), "it is named still, and gone to {tries} times");
    assert_eq!(a.script().creates.len(), 1, "the same session");
    a.script().owner = Some("http://c:1");
    Rig::until_at(&c, "the next owner", |it| it.heartbeats.len() > 3).await;
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_could_not_be_reached_is_gone_to_again_while_it_is_named() {
    let (a, b) = (server(Some(B)), server(None));
    knows_of_it(&mut b.script());
    b.script().on_heartbeat.push_back(Answer::Hang);
    let rig = Rig::on(&[(A, &a), (B, &b)], A);
    Rig::until_at(&b, "the owner is tried", |it| it.heartbeats.len() == 1).await;
    let tried = tokio::time::Instant::now();
    Rig::until_at(&b, "and again", |it| it.heartbeats.len() > 10).await;
    // What it took not to answer, and a wait.
    let waited = tried.elapsed();
    assert!((5_000..20_000).contains(&waited.as_millis()), "{waited:?}");
    let beats = a.script().heartbeats.len();
    assert!(beats > 1, "the other one sent calls on meanwhile");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(a.script().heartbeats.len(), beats, "it stays with the owner");
    assert_eq!(sessions(&a), sessions(&b));
    rig.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_less_safe_or_none_is_not_gone_to() {
    for owner in ["https://b:1", "b:1", "http://b:1/elsewhere?", "file:///etc/passwd"] {
        let a = server(Some(owner));
        let rig = Rig::on(&[(A, &a)], A);
        rig.until("heartbeats", |it| it.heartbeats.len() > 20).await;
        assert_eq!(a.script().openings.len(), 2, "{owner}");
        rig.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn configured_servers_are_tried_in_turn() {
    let (a, b) = (server(None), server(None));
    // Whichever is first does not answer, and the other one does.
    for fake in [&a, &b] {
        fake.script().on_create.push_back(Answer::Hang);
    }
    let mut rig = Rig::on(&[(A, &a), (B, &b)], "http://a:1,http://b:1");
    rig.session().await;
    let creates = (a.script().creates.len(), b.script().creates.len());
    assert!(matches!(creates, (2, 1) | (1, 2)), "{creates:?}");
    rig.stop().await.unwrap();
}
