//! Numbers of changes: none is ever given twice, whatever becomes of a view.

use fusion_core::evidence::{Evidence, Witness};
use fusion_core::id::{AgentId, LeaderEpoch, Revision, SessionId};
use fusion_core::path::PathRef;
use fusion_core::stat::{Kind, Stat};
use fusion_core::time::{ServerTime, StorageTime};
use fusion_core::view::{View, ViewSettings};

#[test]
fn a_view_begun_anew_numbers_on() {
    let settings = ViewSettings::default();
    let mut view = View::begun_anew(settings.clone(), Revision(41));
    assert_eq!(view.revision(), Revision(41));
    assert_eq!(view.reader().revision(), Revision(41));

    let by = Witness {
        agent: AgentId::new("a").unwrap(),
        session: SessionId::new(uuid::Uuid::from_u64_pair(0, 1)),
        epoch: LeaderEpoch(0),
    };
    let time = StorageTime::from_nanos(1);
    let stat = Stat {
        kind: Kind::Directory,
        size: 0,
        mtime: time,
        ctime: time,
        inode: 2,
        mode: 0,
        uid: 0,
        gid: 0,
        nlink: 2,
    };
    let now = ServerTime::from_nanos(1_000);
    let root = Evidence::Upsert {
        path: PathRef::ROOT,
        stat,
        parent: None,
        atomic: true,
        observed_at: now,
    };
    let mut changes = Vec::new();
    let _ = view.apply(&by, &root, now, &mut changes);
    assert_eq!(changes.first().map(|change| change.revision), Some(Revision(42)));

    let mut replayed = View::begun_anew(settings, Revision(41));
    changes.iter().for_each(|change| replayed.replay(change));
    assert_eq!(replayed.dump(), view.dump());
}
