//! Sessions, there and back, and whatever may arrive instead.

use std::collections::BTreeMap;
use std::time::Duration;

use fusion_core::id::{InstanceId, LeaderEpoch, SessionId, SpoolId};
use fusion_core::session::{Role, SessionState};
use fusion_core::time::AgentTime;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use prost::Message;

use super::agent::{AgentStatus, agent_status_from_pb, agent_status_to_pb};
use super::command::{
    Action, AgentPart, Command, CommandReport, CommandState, ReceivedCommands, command_from_pb,
    command_to_pb, report_from_pb, report_to_pb,
};
use super::heartbeat::{Heartbeat, HeartbeatAnswer, HeartbeatHeard};
use super::result::ResultValue;
use super::{
    AgentSettings, CreateSession, CreatedSession, EndSession, EvictSession, ListSessions,
    SessionInfo, Withheld, session_id,
};
use crate::convert::arbitrary as any_of;
use crate::convert::view::Page;
use crate::{limits, pb};

mod strategies;

use strategies::*;

proptest! {
    #[test]
    fn requests_for_a_session_survive(asked in create_session()) {
        let sent = pb::CreateSessionRequest::try_from(&asked).unwrap();
        prop_assert_eq!(CreateSession::try_from(sent), Ok(asked));
    }

    #[test]
    fn new_sessions_survive(created in created()) {
        let sent = pb::CreateSessionResponse::try_from(&created).unwrap();
        prop_assert_eq!(CreatedSession::try_from(sent), Ok(created));
    }

    #[test]
    fn sessions_survive(info in info()) {
        let sent = pb::Session::try_from(&info).unwrap();
        prop_assert_eq!(SessionInfo::try_from(sent), Ok(info));
    }

    #[test]
    fn heartbeats_survive(beat in heartbeat()) {
        let sent = pb::HeartbeatRequest::try_from(&beat).unwrap();
        prop_assert_eq!(Heartbeat::try_from(sent), Ok(beat));
    }

    #[test]
    fn answers_to_heartbeats_survive(answer in answer()) {
        let heard = HeartbeatHeard::try_from(pb::HeartbeatResponse::from(&answer)).unwrap();
        let sent = HeartbeatHeard {
            server_time: answer.server_time,
            role: answer.role,
            leader_epoch: answer.leader_epoch,
            commands: ReceivedCommands { commands: answer.commands, unreadable: Vec::new() },
            reports_refused: answer.reports_refused,
            audit_number: answer.audit_number,
        };
        prop_assert_eq!(heard, sent);
    }

    #[test]
    fn the_rest_survives(
        session in session(),
        allow_missing: bool,
        view in option::of(any_of::view_name()),
        size in 1..=limits::PAGE_MAX,
        token in "[a-zA-Z0-9_-]{0,40}",
    ) {
        let end = EndSession { session, allow_missing };
        prop_assert_eq!(EndSession::try_from(pb::EndSessionRequest::from(&end)), Ok(end));
        let evict = EvictSession { session, allow_missing };
        prop_assert_eq!(EvictSession::try_from(pb::EvictSessionRequest::from(&evict)), Ok(evict));
        let list = ListSessions { view, page: Page { size, token } };
        prop_assert_eq!(ListSessions::try_from(pb::ListSessionsRequest::from(&list)), Ok(list));
        let get = pb::GetSessionRequest { session_id: session.to_string() };
        prop_assert_eq!(SessionId::try_from(get), Ok(session));
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        fn read<M: Message + Default, T: TryFrom<M>>(bytes: &[u8]) {
            if let Ok(message) = M::decode(bytes) {
                let _ = T::try_from(message);
            }
        }
        read::<pb::CreateSessionRequest, CreateSession>(&bytes);
        read::<pb::CreateSessionResponse, CreatedSession>(&bytes);
        read::<pb::Session, SessionInfo>(&bytes);
        read::<pb::HeartbeatRequest, Heartbeat>(&bytes);
        read::<pb::HeartbeatResponse, HeartbeatHeard>(&bytes);
        read::<pb::EndSessionRequest, EndSession>(&bytes);
        read::<pb::GetSessionRequest, SessionId>(&bytes);
        read::<pb::ListSessionsRequest, ListSessions>(&bytes);
    }

    #[test]
    fn a_message_with_one_bad_byte_never_panics(beat in heartbeat(), at: usize, byte: u8) {
        let mut bytes = pb::HeartbeatRequest::try_from(&beat).unwrap().encode_to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(message) = pb::HeartbeatRequest::decode(&*bytes) {
            let _ = Heartbeat::try_from(message);
        }
    }
}

const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

fn request() -> pb::CreateSessionRequest {
    pb::CreateSessionRequest {
        view: "home".to_owned(),
        agent_id: "a".to_owned(),
        instance_id: UUID.to_owned(),
        spool_id: UUID.to_owned(),
        root: Some(pb::Root { identity: Some(pb::RootIdentity::default()), ..Default::default() }),
        ..Default::default()
    }
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let check = |field: &str, spoil: &dyn Fn(&mut pb::CreateSessionRequest)| {
        let mut request = request();
        assert!(CreateSession::try_from(request.clone()).is_ok());
        spoil(&mut request);
        assert_eq!(CreateSession::try_from(request).unwrap_err().field, field);
    };
    let root = |request: &mut pb::CreateSessionRequest, identity| {
        request.root = Some(pb::Root { identity, ..Default::default() });
    };
    check("view", &|request| request.view = "A".to_owned());
    check("agent_id", &|request| request.agent_id = String::new());
    check("instance_id", &|request| request.instance_id = "x".to_owned());
    check("spool_id", &|request| request.spool_id = String::new());
    check("root", &|request| request.root = None);
    check("root.identity", &|request| root(request, None));
    check("root.identity.fs_type", &|request| {
        root(request, Some(pb::RootIdentity { fs_type: "x".repeat(65), ..Default::default() }));
    });
    check("capabilities", &|request| request.capabilities = vec![0]);
    check("proposed_timeout", &|request| {
        request.proposed_timeout = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    });
    check("client.name", &|request| {
        request.client = Some(pb::Client { name: "x".repeat(65), ..Default::default() });
    });
}

#[test]
fn an_empty_session_id_is_malformed() {
    assert_eq!(session_id("").unwrap_err().field, "session_id");
    assert!(session_id(UUID).is_ok());
}

#[test]
fn a_command_that_cannot_be_read_is_reported_and_keeps_none_back() {
    let good = pb::Command {
        command_id: UUID.to_owned(),
        action: Some(pb::command::Action::Stop(pb::StopCommand { why: "w".to_owned() })),
        ..Default::default()
    };
    let newer = pb::Command { action: None, lease_id: "l".to_owned(), ..good.clone() };
    let nameless = pb::Command { command_id: "x".to_owned(), ..good.clone() };
    let received = ReceivedCommands::from_pb(vec![newer, nameless, good]);
    assert_eq!(received.commands.len(), 1);
    let report = received.unreadable[0].report().unwrap();
    assert_eq!((report.state, report.lease.as_str()), (CommandState::Failed, "l"));
    assert!(report_from_pb(report_to_pb(&report)).is_ok());
    assert_eq!(received.unreadable[1].report(), None);
}

#[test]
fn commands_have_limits() {
    let probe = |count: usize| pb::Command {
        command_id: UUID.to_owned(),
        action: Some(pb::command::Action::Probe(pb::ProbeCommand {
            paths: vec![bytes::Bytes::from_static(b"/a"); count],
        })),
        ..Default::default()
    };
    let command = command_from_pb(probe(limits::COMMANDS_MAX)).unwrap();
    assert_eq!(command_to_pb(&command), probe(limits::COMMANDS_MAX));
    assert!(command_from_pb(probe(limits::COMMANDS_MAX + 1)).is_err());
}

fn with_result(result: ResultValue) -> pb::CommandReport {
    report_to_pb(&CommandReport {
        id: uuid::Uuid::nil(),
        lease: String::new(),
        state: CommandState::Done,
        progress: 100,
        result: BTreeMap::from([("r".to_owned(), result)]),
    })
}

#[test]
fn results_have_limits() {
    let nested =
        |depth| (0..depth).fold(ResultValue::Null, |inner, _| ResultValue::List(vec![inner]));
    assert!(report_from_pb(with_result(nested(limits::RESULT_DEPTH_MAX))).is_ok());
    assert!(report_from_pb(with_result(nested(limits::RESULT_DEPTH_MAX + 1))).is_err());
    let wide = |count| ResultValue::List(vec![ResultValue::Null; count]);
    assert!(report_from_pb(with_result(wide(limits::RESULT_VALUES_MAX - 1))).is_ok());
    assert!(report_from_pb(with_result(wide(limits::RESULT_VALUES_MAX))).is_err());
    let long = ResultValue::Text("x".repeat(limits::RESULT_TEXT_MAX + 1));
    assert!(report_from_pb(with_result(long)).is_err());
    let beyond = pb::CommandReport { progress: 101, ..with_result(ResultValue::Null) };
    assert_eq!(report_from_pb(beyond).unwrap_err().field, "progress");
}

#[test]
fn a_heartbeat_is_not_refused_because_much_is_broken() {
    let status = AgentStatus {
        realtime_ready: false,
        watched_directories: 0,
        watch_limit: None,
        unwatched_directories: 0,
        queue_depth: 0,
        spool_bytes: 0,
        oldest_unacknowledged: Some(Duration::ZERO),
        root_state: fusion_core::evidence::RootState::Available,
        errors: vec!["é".repeat(5_000); 1_000],
        scan: None,
        file_stats: 0,
        left_out: vec![fusion_core::path::TreePath::root(); 1_000],
    };
    let read = agent_status_from_pb(agent_status_to_pb(&status).unwrap()).unwrap();
    assert_eq!(read.errors.len(), limits::STATUS_LINES_MAX);
    assert_eq!(read.errors.last().unwrap(), "937 more errors");
    assert_eq!(read.left_out.len(), limits::STATUS_LINES_MAX);
}

#[test]
fn what_is_said_twice_is_said_alike() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let created = created().new_tree(&mut runner).unwrap().current();
    let sent = pb::CreateSessionResponse::try_from(&created).unwrap();
    for (field, spoilt) in [
        ("session_id", pb::CreateSessionResponse { session_id: UUID.to_owned(), ..sent.clone() }),
        ("timeout", {
            let timeout = prost_types::Duration { seconds: 1, nanos: 7 };
            pb::CreateSessionResponse { timeout: Some(timeout), ..sent.clone() }
        }),
        ("role", pb::CreateSessionResponse { role: 3 - sent.role, ..sent.clone() }),
    ] {
        assert_eq!(CreatedSession::try_from(spoilt).unwrap_err().field, field);
    }
}
