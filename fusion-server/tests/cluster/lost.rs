//! What somebody removed from the engine: all that there was of a view. Of its log alone: see `checkpoints`.

use fusion_proto::pb;
use fusion_proto::status::Refusal;

use crate::evidence::{batch, file, root};
use crate::following::{beat_well, scanned};
use crate::harness::refusal;
use crate::servers::{Engine, One, eventually};
use crate::telling::Lane;

/// A view with `/f` and `/g`, whose server has ended well; gives the session of its agent.
async fn left(engine: &Engine) -> pb::CreateSessionResponse {
    let mut owner = engine.start_many(1).await.remove(0);
    let session = scanned(&mut owner).await;
    let mut lane = Lane::realtime(&mut owner.server, &session.session_id, "a").await;
    lane.deliver(batch(1, vec![root(), file("/g", 1)])).await;
    drop(lane);
    owner.server.ended().await;
    session
}

async fn beat(one: &One, session: &str) -> Result<(), tonic::Status> {
    let beat = pb::HeartbeatRequest { session_id: session.into(), ..Default::default() };
    one.server.sessions.clone().heartbeat(beat).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_gone_agents_begin_anew() {
    let engine = Engine::new();
    let session = left(&engine).await;
    let view = engine.log.views().unwrap()[0].id;
    engine.log.remove(view).unwrap();
    engine.blocks.remove(view).unwrap();
    let mut next = engine.start_many(1).await.remove(0);
    eventually("the session is over", async || {
        let refused = refusal(beat(&next, &session.session_id).await.map(tonic::Response::new));
        matches!(refused, Refusal::SessionObsolete { .. })
    })
    .await;
    let again = next.server.join("a").await;
    assert!(again.leader_epoch > session.leader_epoch, "no epoch is given twice");
    assert_eq!(beat_well(&mut next, &again.session_id).await.role(), pb::SessionRole::Leader);
}
