//! Lists, the trash and refreshes, there and back.

use fusion_core::change::{Cause, TrashId};

use super::*;
use crate::convert::admin::{EngineGuarantee, ServerInfo, ServerLimits, Survival, ViewReset};
use crate::convert::view::{
    BlindSpot, ListWithin, RefreshPath, Refreshed, SuspectCause, SuspectInfo, TrashInfo, TrashRef,
};

const CAUSES: [Cause; 7] = [
    Cause::Realtime,
    Cause::Baseline,
    Cause::Audit,
    Cause::Probe,
    Cause::RenamedOver,
    Cause::Expiry,
    Cause::Operator,
];

prop_compose! {
    fn trash()(
        id in 1..=u64::MAX,
        entry in entry(),
        times in (any_of::server_time(), any_of::server_time(), any_of::server_time()),
        cause in prop::sample::select(&CAUSES[..]),
        agent in option::of(any_of::agent_id()),
        blind: bool,
        totals in totals(),
    ) -> TrashInfo {
        let (deleted_at, learned_at, expires_at) = times;
        let Entry { path, stat, .. } = entry;
        let id = TrashId(id);
        TrashInfo { id, path, stat, deleted_at, learned_at, expires_at, cause, agent, blind, totals }
    }
}

prop_compose! {
    fn refreshed()(
        entry in option::of(entry()),
        totals in option::of(totals()),
        counts: [u64; 3],
        flags: [bool; 3],
        agent in any_of::agent_id(),
        started_at in any_of::server_time(),
        took in any_of::span(),
        freshness in freshness(),
    ) -> Refreshed {
        let ([directories, entries, errors], [complete, settled, joined]) = (counts, flags);
        Refreshed {
            entry, totals, directories, entries, errors, complete, settled, agent, started_at, took,
            joined, freshness,
        }
    }
}

proptest! {
    #[test]
    fn requests_survive(
        view in any_of::view_name(),
        path in any_of::path(),
        size in 1..=limits::PAGE_MAX,
        token in "[a-f0-9]{0,40}",
        id in 1..=u64::MAX,
        recursive: bool,
        agent in option::of(any_of::agent_id()),
    ) {
        let page = Page { size, token };
        let asked = ListWithin { view: view.clone(), path: path.clone(), page };
        let back = ListWithin::try_from(pb::ListSuspectsRequest::from(&asked));
        prop_assert_eq!(back, Ok(asked.clone()));
        let back = ListWithin::try_from(pb::ListBlindSpotsRequest::from(&asked));
        prop_assert_eq!(back, Ok(asked.clone()));
        prop_assert_eq!(ListWithin::try_from(pb::ListTrashRequest::from(&asked)), Ok(asked));
        let asked = TrashRef { view: view.clone(), id: TrashId(id) };
        prop_assert_eq!(TrashRef::try_from(pb::RestoreTrashRequest::from(&asked)), Ok(asked.clone()));
        prop_assert_eq!(TrashRef::try_from(pb::PurgeTrashRequest::from(&asked)), Ok(asked));
        let asked = RefreshPath { view, path, recursive, agent };
        prop_assert_eq!(RefreshPath::try_from(pb::RefreshPathRequest::from(&asked)), Ok(asked));
    }

    #[test]
    fn answers_survive(
        entry in entry(),
        quiet_at in any_of::server_time(),
        confirmed in option::of((any_of::agent_id(), any_of::server_time())),
        written: bool,
        listed_at in option::of(any_of::server_time()),
        record in trash(),
        refreshed in refreshed(),
    ) {
        let cause = if written { SuspectCause::Written } else { SuspectCause::Found };
        let suspect = SuspectInfo { entry: entry.clone(), cause, quiet_at, confirmed };
        prop_assert_eq!(SuspectInfo::try_from(pb::Suspect::from(&suspect)), Ok(suspect));
        for blind in [BlindSpot::Entry { entry, listed_at }, BlindSpot::Deletion(record.clone())] {
            prop_assert_eq!(BlindSpot::try_from(pb::BlindSpot::from(&blind)), Ok(blind));
        }
        prop_assert_eq!(TrashInfo::try_from(pb::TrashRecord::from(&record)), Ok(record));
        let sent = pb::RefreshPathResponse::try_from(&refreshed).unwrap();
        prop_assert_eq!(Refreshed::try_from(sent), Ok(refreshed));
    }

    #[test]
    fn what_servers_say_of_themselves_survives(
        version in "\\PC{0,9}",
        server in any_of::uuid(),
        times in (any_of::server_time(), any_of::server_time()),
        data_bytes: u64,
        counts: [u32; 8],
    ) {
        let [views, sessions, max_views, max_sessions, batch_rows, batch_bytes, page_rows, message_bytes] =
            counts;
        let limits = ServerLimits {
            max_views, max_sessions, batch_rows, batch_bytes, page_rows, message_bytes,
        };
        let survives = [
            Survival::Power, Survival::Processes, Survival::Server, Survival::Nothing,
            Survival::Unknown,
        ];
        let info = ServerInfo {
            version, server, started_at: times.0, server_time: times.1, data_dir: "/d".to_owned(),
            log_filter: "info".to_owned(),
            data_bytes, views, sessions, limits,
            state: (views % 2 == 0).then(|| EngineGuarantee {
                engine: "an engine".to_owned(),
                survives: survives[sessions as usize % survives.len()],
                note: "n".repeat(views as usize % 3),
            }),
            member: (sessions % 2 == 0).then_some(server),
            log: (sessions % 2 == 1).then(|| EngineGuarantee {
                engine: "a log".to_owned(),
                survives: survives[views as usize % survives.len()],
                note: String::new(),
            }),
        };
        prop_assert_eq!(ServerInfo::try_from(pb::GetServerInfoResponse::from(&info)), Ok(info));
        let reset = ViewReset { revision: data_bytes, leader_epoch: 1, sessions_ended: views };
        prop_assert_eq!(ViewReset::from(pb::ResetViewResponse::from(reset)), reset);
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        fn read<M: Message + Default, T: TryFrom<M>>(bytes: &[u8]) {
            if let Ok(message) = M::decode(bytes) {
                let _ = T::try_from(message);
            }
        }
        read::<pb::ListTrashRequest, ListWithin>(&bytes);
        read::<pb::RestoreTrashRequest, TrashRef>(&bytes);
        read::<pb::RefreshPathRequest, RefreshPath>(&bytes);
        read::<pb::Suspect, SuspectInfo>(&bytes);
        read::<pb::BlindSpot, BlindSpot>(&bytes);
        read::<pb::RefreshPathResponse, Refreshed>(&bytes);
        read::<pb::GetServerInfoResponse, ServerInfo>(&bytes);
    }
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let list = pb::ListTrashRequest { view: "v".into(), path: "/".into(), ..Default::default() };
    assert!(ListWithin::try_from(list.clone()).is_ok());
    for (field, bad) in [
        ("view", pb::ListTrashRequest { view: "V".into(), ..list.clone() }),
        ("path", pb::ListTrashRequest { path: String::new(), ..list.clone() }),
        ("page_size", pb::ListTrashRequest { page_size: -1, ..list.clone() }),
    ] {
        assert_eq!(ListWithin::try_from(bad).unwrap_err().field, field);
    }
    let record = pb::PurgeTrashRequest { view: "v".into(), trash_id: 0 };
    assert_eq!(TrashRef::try_from(record).unwrap_err().field, "trash_id");
    let asked = pb::RefreshPathRequest {
        view: "v".into(),
        path: "/".into(),
        recursive: false,
        agent_id: "a b".into(),
    };
    assert_eq!(RefreshPath::try_from(asked).unwrap_err().field, "agent_id");
}
