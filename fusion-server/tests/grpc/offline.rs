//! A data directory that a server has left, in the hands of an operator.

use std::sync::Arc;

use fusion_core::time::ServerTime;
use fusion_server::clock::RuntimeClock;
use fusion_server::config::StateConfig;
use fusion_server::offline::{Offline, OfflineError};
use fusion_server::stores::Stores;
use uuid::Uuid;

use crate::harness::{VIEW, config, start_in};
use crate::telling::with_a_file;

#[tokio::test]
async fn what_a_server_left_is_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let stores = Stores::open(dir.path(), Uuid::from_u128(1), None).unwrap();
    let mut server = start_in(config(), Arc::new(RuntimeClock::new()), stores).await;
    let (_, lane) = with_a_file(&mut server).await;
    let open =
        || Offline::open(dir.path(), &StateConfig::default(), "a test", ServerTime::default());
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
