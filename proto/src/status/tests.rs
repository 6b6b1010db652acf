//! The status table, row by row, there and back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::id::{AgentId, LeaderEpoch, Revision, SessionId, ViewName};
use fusion_core::session::ObsoleteCause;
use fusion_core::time::ServerTime;
use fusion_core::view::ViewState;
use proptest::prelude::*;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Other, Reason, Refusal, Violation};
use crate::limits;

const WAIT: Duration = Duration::from_millis(1_500);

fn view() -> ViewName {
    ViewName::new("home").unwrap()
}

fn session() -> SessionId {
    SessionId::parse("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap()
}

/// The sample of the row after this one's. A new variant does not compile until it has its place
/// here, and [`every_row_has_a_sample`] counts that it is reached.
#[expect(clippy::too_many_lines, reason = "one table, a row a line")]
fn after(refusal: &Refusal) -> Option<Refusal> {
    let path = || r"/ä%,\xFF".to_owned();
    Some(match refusal {
        Refusal::SessionObsolete { .. } => Refusal::AgentIdConflict {
            host: "höst\n1".to_owned(),
            since: ServerTime::from_nanos(-5),
            retry_after: WAIT,
        },
        Refusal::AgentIdConflict { .. } => {
            Refusal::RootMismatch { known: "ext4 2 %".to_owned(), found: "nfs 7, é".to_owned() }
        }
        Refusal::RootMismatch { .. } => Refusal::SpoolRolledBack { applied: u64::MAX, next: 1 },
        Refusal::SpoolRolledBack { .. } => Refusal::NotLeader { current: LeaderEpoch(3) },
        Refusal::NotLeader { .. } => {
            Refusal::LeaderEpochStale { claimed: LeaderEpoch(2), current: LeaderEpoch(3) }
        }
        Refusal::LeaderEpochStale { .. } => {
            Refusal::ViewOccupied { holder: AgentId::new("a.1").unwrap(), host: "b".to_owned() }
        }
        Refusal::ViewOccupied { .. } => Refusal::SessionNotFound { session: session() },
        Refusal::SessionNotFound { .. } => Refusal::ViewNotFound { view: view() },
        Refusal::ViewNotFound { .. } => Refusal::PathNotFound { view: view(), path: path() },
        Refusal::PathNotFound { .. } => Refusal::JobNotFound { job: "j".to_owned() },
        Refusal::JobNotFound { .. } => Refusal::TrashNotFound { trash: "t".to_owned() },
        Refusal::TrashNotFound { .. } => {
            Refusal::AgentNotFound { view: view(), agent: AgentId::new("a.1").unwrap() }
        }
        Refusal::AgentNotFound { .. } => Refusal::PathTaken {
            view: view(),
            path: path(),
            kind: "file".to_owned(),
            inode: u64::MAX,
        },
        Refusal::PathTaken { .. } => Refusal::NotADirectory { view: view(), path: path() },
        Refusal::NotADirectory { .. } => Refusal::InvalidArgument {
            violations: vec![
                Violation {
                    field: "root.identity".to_owned(), description: "ist müde".to_owned()
                },
                Violation { field: "view".to_owned(), description: "is missing".to_owned() },
            ],
        },
        Refusal::InvalidArgument { .. } => Refusal::IdempotencyKeyReused,
        Refusal::IdempotencyKeyReused => Refusal::VersionMismatch { current: 9 },
        Refusal::VersionMismatch { .. } => {
            Refusal::IllegalTransition { from: "RUNNING".to_owned(), to: "PENDING".to_owned() }
        }
        Refusal::IllegalTransition { .. } => Refusal::SequenceGap { expected: 12 },
        Refusal::SequenceGap { .. } => Refusal::RevisionCompacted { oldest: Revision(4) },
        Refusal::RevisionCompacted { .. } => Refusal::RevisionUnknown { latest: Revision(5) },
        Refusal::RevisionUnknown { .. } => Refusal::ViewNotReady {
            view: view(),
            state: ViewState::Snapshotting,
            reasons: vec!["the first scan, is running".to_owned(), "50 %".to_owned()],
            retry_after: WAIT,
        },
        Refusal::ViewNotReady { .. } => Refusal::ScanFailed {
            view: view(),
            agent: AgentId::new("a.1").unwrap(),
            problem: "the röot is away, 50 %".to_owned(),
            retry_after: WAIT,
        },
        Refusal::ScanFailed { .. } => Refusal::ServerDraining { retry_after: WAIT },
        Refusal::ServerDraining { .. } => Refusal::NotOwner {
            view: view(),
            owner: Some("http://server-2:7700".to_owned()),
            retry_after: WAIT,
        },
        Refusal::NotOwner { .. } => Refusal::StoreUnavailable { retry_after: WAIT },
        Refusal::StoreUnavailable { .. } => Refusal::StreamReplaced { retry_after: WAIT },
        Refusal::StreamReplaced { .. } => {
            Refusal::QuotaExceeded { quota: "watchers".to_owned(), limit: 10, retry_after: WAIT }
        }
        Refusal::QuotaExceeded { .. } => {
            Refusal::RateExceeded { rate: "requests".to_owned(), limit: 7, retry_after: WAIT }
        }
        Refusal::RateExceeded { .. } => {
            Refusal::QueueFull { queue: "ingest".to_owned(), retry_after: WAIT }
        }
        Refusal::QueueFull { .. } => {
            Refusal::WatcherTooSlow { resume_after: Revision(6), retry_after: WAIT }
        }
        Refusal::WatcherTooSlow { .. } => {
            Refusal::Unauthenticated { problem: "the token is not known".to_owned() }
        }
        Refusal::Unauthenticated { .. } => {
            Refusal::PermissionDenied { permission: "operator".to_owned() }
        }
        Refusal::PermissionDenied { .. } => Refusal::DeadlineExceeded,
        Refusal::DeadlineExceeded => Refusal::Internal { id: "i-1".to_owned() },
        Refusal::Internal { .. } => return None,
    })
}

/// One sample of every row of the table.
fn all_for_test() -> Vec<Refusal> {
    let first = Refusal::SessionObsolete {
        session: Some(session()),
        view: Some(view()),
        cause: ObsoleteCause::Superseded,
        retry_after: WAIT,
    };
    std::iter::successors(Some(first), after).collect()
}

fn sample(reason: Reason) -> Refusal {
    all_for_test().into_iter().find(|refusal| refusal.reason() == reason).unwrap()
}

#[track_caller]
fn survives(refusal: Refusal) {
    let read = Refusal::from_status(&refusal.clone().into_status());
    assert_eq!(read, Ok(refusal));
}

/// One row of the table: code, reason, and whether a wait and field violations are told.
#[track_caller]
fn row(reason: Reason, code: Code, text: &str, has_wait: bool) {
    let refusal = sample(reason);
    let status = refusal.clone().into_status();
    let details = status.check_error_details().unwrap();
    let info = details.error_info().unwrap();
    assert_eq!(status.code(), code);
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (text, "fusion.v1"));
    assert_eq!(details.retry_info().is_some(), has_wait, "{text}");
    assert_eq!(details.retry_info().and_then(|retry| retry.retry_delay), refusal.retry_after());
    assert_eq!(details.bad_request().is_some(), text == "INVALID_ARGUMENT", "{text}");
    assert!(!status.message().is_empty(), "{text}");
    for (key, value) in &info.metadata {
        assert!(value.bytes().all(|byte| matches!(byte, 0x20..=0x7e)), "{text}: {key}={value}");
    }
    survives(refusal);
}

macro_rules! rows {
    ($($name:ident: $reason:ident, $code:ident, $text:literal, $wait:literal;)*) => {
        $(#[test]
        fn $name() {
            row(Reason::$reason, Code::$code, $text, $wait);
        })*

        #[test]
        fn every_row_has_a_test() {
            let tested = [$(Reason::$reason),*];
            assert_eq!(tested.as_slice(), Reason::ALL);
        }
    };
}

rows! {
    session_obsolete: SessionObsolete, Aborted, "SESSION_OBSOLETE", true;
    agent_id_conflict: AgentIdConflict, AlreadyExists, "AGENT_ID_CONFLICT", true;
    root_mismatch: RootMismatch, FailedPrecondition, "ROOT_MISMATCH", false;
    spool_rolled_back: SpoolRolledBack, FailedPrecondition, "SPOOL_ROLLED_BACK", false;
    not_leader: NotLeader, FailedPrecondition, "NOT_LEADER", false;
    leader_epoch_stale: LeaderEpochStale, FailedPrecondition, "LEADER_EPOCH_STALE", false;
    view_occupied: ViewOccupied, FailedPrecondition, "VIEW_OCCUPIED", false;
    session_not_found: SessionNotFound, NotFound, "SESSION_NOT_FOUND", false;
    view_not_found: ViewNotFound, NotFound, "VIEW_NOT_FOUND", false;
    path_not_found: PathNotFound, NotFound, "PATH_NOT_FOUND", false;
    job_not_found: JobNotFound, NotFound, "JOB_NOT_FOUND", false;
    trash_not_found: TrashNotFound, NotFound, "TRASH_NOT_FOUND", false;
    agent_not_found: AgentNotFound, NotFound, "AGENT_NOT_FOUND", false;
    path_taken: PathTaken, FailedPrecondition, "PATH_TAKEN", false;
    not_a_directory: NotADirectory, FailedPrecondition, "NOT_A_DIRECTORY", false;
    invalid_argument: InvalidArgument, InvalidArgument, "INVALID_ARGUMENT", false;
    idempotency_key_reused: IdempotencyKeyReused, InvalidArgument, "IDEMPOTENCY_KEY_REUSED", false;
    version_mismatch: VersionMismatch, FailedPrecondition, "VERSION_MISMATCH", false;
    illegal_transition: IllegalTransition, FailedPrecondition, "ILLEGAL_TRANSITION", false;
    sequence_gap: SequenceGap, OutOfRange, "SEQUENCE_GAP", false;
    revision_compacted: RevisionCompacted, OutOfRange, "REVISION_COMPACTED", false;
    revision_unknown: RevisionUnknown, OutOfRange, "REVISION_UNKNOWN", false;
    view_not_ready: ViewNotReady, Unavailable, "VIEW_NOT_READY", true;
    scan_failed: ScanFailed, Unavailable, "SCAN_FAILED", true;
    server_draining: ServerDraining, Unavailable, "SERVER_DRAINING", true;
    not_owner: NotOwner, Unavailable, "NOT_OWNER", true;
    store_unavailable: StoreUnavailable, Unavailable, "STORE_UNAVAILABLE", true;
    stream_replaced: StreamReplaced, Unavailable, "STREAM_REPLACED", true;
    quota_exceeded: QuotaExceeded, ResourceExhausted, "QUOTA_EXCEEDED", true;
    rate_exceeded: RateExceeded, ResourceExhausted, "RATE_EXCEEDED", true;
    queue_full: QueueFull, ResourceExhausted, "QUEUE_FULL", true;
    watcher_too_slow: WatcherTooSlow, ResourceExhausted, "WATCHER_TOO_SLOW", true;
    unauthenticated: Unauthenticated, Unauthenticated, "UNAUTHENTICATED", false;
    permission_denied: PermissionDenied, PermissionDenied, "PERMISSION_DENIED", false;
    deadline_exceeded: DeadlineExceeded, DeadlineExceeded, "DEADLINE_EXCEEDED", false;
    internal: Internal, Internal, "INTERNAL", false;
}

#[test]
fn every_row_has_a_sample() {
    let reasons: Vec<Reason> = all_for_test().iter().map(Refusal::reason).collect();
    assert_eq!(reasons, Reason::ALL);
}

#[test]
fn nothing_but_an_obsolete_session_is_aborted() {
    for refusal in all_for_test() {
        let obsolete = matches!(refusal, Refusal::SessionObsolete { .. });
        assert_eq!(refusal.code() == Code::Aborted, obsolete, "{refusal:?}");
        assert_eq!(refusal.into_status().code() == Code::Aborted, obsolete);
    }
}

#[test]
fn reasons_are_read_as_they_are_written() {
    for reason in Reason::ALL {
        assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
    }
    assert_eq!(Reason::parse("SESSION_OBSOLETE "), None);
}

#[test]
fn every_cause_of_an_obsolete_session_survives() {
    use ObsoleteCause::{Evicted, Expired, Superseded, Unknown, ViewReset};
    for cause in [Expired, Superseded, Evicted, ViewReset, Unknown] {
        let (session, view) = (Some(session()), (cause != Unknown).then(view));
        survives(Refusal::SessionObsolete { session, view, cause, retry_after: Duration::ZERO });
    }
}

#[test]
fn a_bare_aborted_is_an_obsolete_session() {
    let obsolete = |retry_after| Refusal::SessionObsolete {
        session: None,
        view: None,
        cause: ObsoleteCause::Unknown,
        retry_after,
    };
    let bare = Status::aborted("whatever");
    assert_eq!(Refusal::from_status(&bare), Ok(obsolete(Duration::ZERO)));

    // What the client's own transport makes of a connection that broke is nothing that the server said.
    let mut broken = Status::aborted("connection aborted");
    broken.set_source(Arc::new(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)));
    let other = Refusal::from_status(&broken).unwrap_err();
    assert_eq!((other.code, other.reason), (Code::Aborted, None));

    let foreign = ErrorDetails::with_error_info("X", "example.org", []);
    let foreign = Status::with_error_details(Code::Aborted, "", foreign);
    assert_eq!(Refusal::from_status(&foreign), Ok(obsolete(Duration::ZERO)));

    let mut newer = ErrorDetails::with_error_info("NEWER", "fusion.v1", []);
    newer.set_retry_info(Some(WAIT));
    let newer = Status::with_error_details(Code::Aborted, "", newer);
    assert_eq!(Refusal::from_status(&newer), Ok(obsolete(WAIT)));
}

#[test]
fn what_is_not_ours_is_told_as_it_came() {
    let bare = Status::unavailable("no route");
    let other = Other { code: Code::Unavailable, reason: None, message: "no route".to_owned() };
    assert_eq!(Refusal::from_status(&bare), Err(other));

    let newer = ErrorDetails::with_error_info("NEWER", "fusion.v1", []);
    let newer = Status::with_error_details(Code::NotFound, "gone", newer);
    let other = Refusal::from_status(&newer).unwrap_err();
    assert_eq!(other.reason.as_deref(), Some("NEWER"));

    // The reason of one row with the code of another, or without what belongs to it.
    for (code, reason) in [(Code::NotFound, "SEQUENCE_GAP"), (Code::OutOfRange, "SEQUENCE_GAP")] {
        let torn = ErrorDetails::with_error_info(reason, "fusion.v1", []);
        let torn = Status::with_error_details(code, "", torn);
        assert_eq!(Refusal::from_status(&torn).unwrap_err().code, code);
    }
}

#[test]
fn a_view_that_is_not_ready_is_not_asked_again_at_once() {
    let refusal = Refusal::ViewNotReady {
        view: view(),
        state: ViewState::Degraded,
        reasons: Vec::new(),
        retry_after: Duration::ZERO,
    };
    let status = refusal.into_status();
    let read = Refusal::from_status(&status).unwrap();
    assert_eq!(read.retry_after(), Some(limits::NOT_READY_RETRY_MIN));
}

#[test]
fn many_violations_are_cut_and_counted() {
    let violation = Violation { field: "f".repeat(500), description: "é".repeat(500) };
    let status = Refusal::InvalidArgument { violations: vec![violation; 100] }.into_status();
    let Ok(Refusal::InvalidArgument { violations }) = Refusal::from_status(&status) else {
        panic!("not what was sent");
    };
    assert_eq!(violations.len(), limits::VIOLATIONS_MAX);
    assert_eq!(violations[7].description, "93 more violations are left out");
    assert!(violations[0].field.ends_with("..."));
    assert!(trailer_bytes(&status) < 8 * 1024);
}

/// What the status takes among the trailers.
fn trailer_bytes(status: &Status) -> usize {
    let headers = status.clone().into_http::<()>();
    headers.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// The row with every text in place of its own.
fn with_text(refusal: &Refusal, text: &str) -> Refusal {
    let text = || text.to_owned();
    match refusal.clone() {
        Refusal::AgentIdConflict { since, retry_after, .. } => {
            Refusal::AgentIdConflict { host: text(), since, retry_after }
        }
        Refusal::RootMismatch { .. } => Refusal::RootMismatch { known: text(), found: text() },
        Refusal::ViewOccupied { holder, .. } => Refusal::ViewOccupied { holder, host: text() },
        Refusal::PathNotFound { view, .. } => Refusal::PathNotFound { view, path: text() },
        Refusal::NotADirectory { view, .. } => Refusal::NotADirectory { view, path: text() },
        Refusal::IllegalTransition { .. } => {
            Refusal::IllegalTransition { from: text(), to: text() }
        }
        Refusal::ViewNotReady { view, state, retry_after, .. } => {
            Refusal::ViewNotReady { view, state, reasons: vec![text(), text()], retry_after }
        }
        Refusal::Unauthenticated { .. } => Refusal::Unauthenticated { problem: text() },
        other => other,
    }
}

proptest! {
    #[test]
    fn texts_survive(text in ".{1,40}") {
        for refusal in all_for_test() {
            let refusal = with_text(&refusal, &text);
            let read = Refusal::from_status(&refusal.clone().into_status());
            prop_assert_eq!(read, Ok(refusal));
        }
    }

    #[test]
    fn a_status_always_fits_the_trailers(character: char, length in 0..2_000_usize) {
        let text: String = std::iter::repeat_n(character, length).collect();
        for refusal in all_for_test() {
            let status = with_text(&refusal, &text).into_status();
            let bytes = trailer_bytes(&status);
            prop_assert!(bytes < 8 * 1024, "{bytes}: {status:?}");
            prop_assert!(Refusal::from_status(&status).is_ok());
        }
    }

    #[test]
    fn any_details_can_be_read(code in 0..18_i32, details: Vec<u8>) {
        let status = Status::with_details(Code::from_i32(code), "x", details.into());
        let aborted = code == Code::Aborted as i32;
        prop_assert_eq!(Refusal::from_status(&status).is_ok(), aborted);
    }

    #[test]
    fn any_metadata_can_be_read(reason in 0..Reason::ALL.len(), metadata: Vec<(String, String)>) {
        let reason = Reason::ALL[reason];
        let keys: HashMap<String, String> = sample(reason)
            .into_status()
            .get_details_error_info()
            .unwrap()
            .metadata
            .into_keys()
            .zip(metadata.into_iter().map(|(_, value)| value))
            .collect();
        let details = ErrorDetails::with_error_info(reason.as_str(), "fusion.v1", keys);
        let status = Status::with_error_details(reason.code(), "x", details);
        let _ = Refusal::from_status(&status);
    }
}

/// The descriptors must let a stranger print what is in the details.
#[test]
fn the_details_are_described() {
    let described = prost_types::FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap();
    let names: Vec<&str> = described.file.iter().filter_map(|file| file.name.as_deref()).collect();
    for needed in [
        "fusion/v1/types.proto",
        "fusion/v1/session_service.proto",
        "fusion/v1/event_service.proto",
        "fusion/v1/view_service.proto",
        "fusion/v1/admin_service.proto",
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
        "google/protobuf/timestamp.proto",
    ] {
        assert!(names.contains(&needed), "{needed} is missing from {names:?}");
    }
}
