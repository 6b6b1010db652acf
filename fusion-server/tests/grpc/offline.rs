//! A data directory that a server has left, in the hands of an operator.

use std::sync::Arc;

use fusion_core::time::ServerTime;
use fusion_proto::pb;
use fusion_server::clock::RuntimeClock;
use fusion_server::offline::{Offline, OfflineError};
use fusion_server::stores::Stores;
use uuid::Uuid;

use crate::evidence::{batch, file, root};
use crate::harness::{VIEW, config, start_in};
use crate::telling::{Lane, opening};

#[tokio::test]
async fn what_a_server_left_is_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let stores = Stores::open(dir.path(), Uuid::from_u128(1), None).unwrap();
    let mut server = start_in(config(), Arc::new(RuntimeClock::new()), stores).await;
    let session = server.join("a").await;
    let ask = opening(pb::Lane::Realtime, &session.session_id, "a");
    let (mut lane, _) = Lane::open(&mut server, ask).await.unwrap();
    lane.send(batch(1, vec![root(), file("/f", 1)])).await;
    lane.acknowledged(1).await.unwrap();
    let open = || Offline::open(dir.path(), "a test", ServerTime::default());
    let refused = open().err();
    assert!(matches!(refused, Some(OfflineError::Store(_))), "the server has it");
    drop(lane);
    server.ended().await;

    let offline = open().unwrap();
    let report = offline.check(&config()).unwrap();
    assert!(report.in_order, "{report}");
    let view = &report.views[0];
    assert_eq!((view.name.as_str(), view.entries), (VIEW, Some(1)), "{report}");
    assert!(report.state.records.contains(&("session", 1)), "{report}");
    let mut out = Vec::new();
    offline.export_changes(VIEW, None, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\"path\":\"/f\"") && text.contains("\"agent\":\"a\""), "{text}");
}
