//! The data directory on a real disk: who may have it, and what is said if it cannot be had.

#![allow(clippy::unwrap_used, reason = "a test: what fails is told by the panic")]

use std::path::Path;

use fusion_core::time::ServerTime;
use fusion_store::embedded::{BlocksSettings, LogSettings, Store, StoreOptions};
use fusion_store::{
    ChangeLog as _, LogPoint, Origin, ReadFrom, RecordHead, Space, State as _, StoreError, ViewId,
    ViewRef,
};
use uuid::Uuid;

fn options() -> StoreOptions {
    StoreOptions {
        new_server: Uuid::from_u64_pair(1, 2),
        server: None,
        owner: "process 17 on host-a since noon".to_owned(),
        log: LogSettings::default(),
        blocks: BlocksSettings::default(),
    }
}

fn view() -> ViewRef {
    let name = fusion_core::id::ViewName::new("tree").unwrap();
    ViewRef { id: ViewId(Uuid::from_u64_pair(3, 4)), name }
}

fn refused(dir: &Path, options: &StoreOptions) -> StoreError {
    Store::open(dir, options).map(drop).unwrap_err()
}

#[test]
fn one_server_has_it_and_finds_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("a/b");
    let store = Store::open(&data, &options()).unwrap();
    store.log().open(&view()).unwrap();
    let head = RecordHead::new(ServerTime::from_nanos(5), Origin::Election);
    let ticket = store.log().append(view().id, LogPoint::default(), &head, &[]).unwrap();
    ticket.wait().unwrap();
    store.state().put(Space::Session, b"key", b"value", None).unwrap();
    let error = refused(&data, &options());
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("process 17 on host-a since noon"), "{error}");
    drop(store);
    let other = StoreOptions { new_server: Uuid::from_u64_pair(9, 9), ..options() };
    let store = Store::open(&data, &other).unwrap();
    assert_eq!(store.server(), options().new_server);
    assert_eq!(store.log().views().unwrap(), [view()]);
    assert_eq!(store.log().open(&view()).unwrap().end, ticket.point());
    assert_eq!(store.log().read(view().id, ReadFrom::Start).unwrap().count(), 1);
    let now = ServerTime::from_nanos(0);
    assert_eq!(store.state().get(Space::Session, b"key", now).unwrap().unwrap().value, b"value");
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), "mine").unwrap();
    let error = refused(dir.path(), &options());
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written");

    let file = dir.path().join("thesis.txt");
    assert!(matches!(refused(&file, &options()), StoreError::Io { .. }));
}

#[test]
fn another_servers_or_another_versions_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), &options()).unwrap());
    let wanted = StoreOptions { server: Some(Uuid::from_u64_pair(8, 8)), ..options() };
    let error = refused(dir.path(), &wanted);
    assert!(matches!(error, StoreError::OtherServer { .. }), "{error}");
    let same = StoreOptions { server: Some(options().new_server), ..options() };
    drop(Store::open(dir.path(), &same).unwrap());

    let identity = dir.path().join("fusion-store");
    let text = std::fs::read_to_string(&identity).unwrap();
    assert_eq!(text, format!("fusion-store 1\nserver {}\n", options().new_server));
    std::fs::write(&identity, text.replace("store 1", "store 2")).unwrap();
    let error = refused(dir.path(), &options());
    assert!(matches!(error, StoreError::FutureFormat { found: 2, known: 1, .. }), "{error}");
    for broken in ["", "fusion-store 1\n", "fusion-store 0\nserver x", "nonsense"] {
        std::fs::write(&identity, broken).unwrap();
        let error = refused(dir.path(), &options());
        assert!(matches!(error, StoreError::Corrupt { .. }), "{broken}: {error}");
    }
}
