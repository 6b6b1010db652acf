use fusion_core::id::{AgentId, LeaderEpoch, ViewName};
use fusion_core::time::ServerTime;
use fusion_core::view::ViewState;

use super::*;

const WAIT: Duration = Duration::from_secs(7);

/// The refusals that an agent can meet, and what 3-protocol says that it does.
fn table() -> Vec<(Refusal, Reaction)> {
    let obsolete =
        |cause| Refusal::SessionObsolete { session: None, view: None, cause, retry_after: WAIT };
    let anew = |cause| Reaction::NewSession { cause, after: WAIT };
    let epoch = LeaderEpoch(3);
    let text = || "x".to_owned();
    let slow = || Reaction::SlowDown { after: WAIT };
    let again = || Reaction::Reconnect { after: WAIT };
    let view = || ViewName::new("v").unwrap();
    let state = ViewState::Degraded;
    vec![
        (obsolete(ObsoleteCause::Expired), anew(ObsoleteCause::Expired)),
        (obsolete(ObsoleteCause::Evicted), anew(ObsoleteCause::Evicted)),
        (obsolete(ObsoleteCause::ViewReset), anew(ObsoleteCause::ViewReset)),
        (obsolete(ObsoleteCause::Unknown), anew(ObsoleteCause::Unknown)),
        (obsolete(ObsoleteCause::Superseded), Reaction::Superseded),
        (
            Refusal::AgentIdConflict {
                host: text(),
                since: ServerTime::from_nanos(1),
                retry_after: WAIT,
            },
            Reaction::WaitForOther { host: text(), rest: WAIT },
        ),
        (
            Refusal::RootMismatch { known: text(), found: text() },
            Reaction::OtherTree { known: text(), found: text() },
        ),
        (Refusal::SpoolRolledBack { applied: 9, next: 1 }, Reaction::RenewSpool),
        (Refusal::NotLeader { current: epoch }, Reaction::StopScanning),
        (Refusal::LeaderEpochStale { claimed: epoch, current: epoch }, Reaction::StopScanning),
        (
            Refusal::ViewOccupied { holder: AgentId::new("a").unwrap(), host: text() },
            Reaction::BackOff,
        ),
        (Refusal::ViewNotFound { view: view() }, Reaction::BackOff),
        (Refusal::invalid("field", "is wrong"), Reaction::Report),
        (Refusal::SequenceGap { expected: 4 }, Reaction::ResumeFrom { expected: 4 }),
        (Refusal::ServerDraining { retry_after: WAIT }, again()),
        (Refusal::StreamReplaced { retry_after: WAIT }, again()),
        (Refusal::NotOwner { view: view(), owner: None, retry_after: WAIT }, again()),
        (
            Refusal::NotOwner { view: view(), owner: Some(text()), retry_after: WAIT },
            Reaction::GoToOwner { owner: text(), after: WAIT },
        ),
        (Refusal::QuotaExceeded { quota: text(), limit: 1, retry_after: WAIT }, slow()),
        (Refusal::RateExceeded { rate: text(), limit: 1, retry_after: WAIT }, slow()),
        (Refusal::QueueFull { queue: text(), retry_after: WAIT }, slow()),
        (Refusal::StoreUnavailable { retry_after: WAIT }, slow()),
        (Refusal::ViewNotReady { view: view(), state, reasons: vec![], retry_after: WAIT }, slow()),
        (Refusal::Unauthenticated { problem: text() }, Reaction::BackOff),
        (Refusal::PermissionDenied { permission: text() }, Reaction::BackOff),
        (Refusal::DeadlineExceeded, Reaction::BackOff),
        (Refusal::Internal { id: text() }, Reaction::BackOff),
    ]
}

#[test]
fn each_refusal_has_the_reaction_of_the_table_over_the_wire() {
    for (refusal, reaction) in table() {
        let trouble = Trouble::of(refusal.clone().into_status().into());
        assert_eq!(trouble.reaction, reaction, "{refusal:?}");
        assert!(trouble.from_server, "{refusal:?}");
    }
}

#[test]
fn a_status_of_somebody_else_is_no_refusal_of_the_servers() {
    use tonic::Code;
    let cases = [
        (Code::Unavailable, Reaction::BackOff),
        (Code::Unknown, Reaction::BackOff),
        (Code::ResourceExhausted, Reaction::SlowDown { after: Duration::from_millis(500) }),
        (Code::InvalidArgument, Reaction::Report),
    ];
    for (code, reaction) in cases {
        let trouble = Trouble::of(tonic::Status::new(code, "a proxy says so").into());
        assert_eq!(trouble.reaction, reaction, "{code:?}");
        assert!(!trouble.from_server && trouble.text.contains("a proxy says so"), "{trouble:?}");
    }
    // The code alone is enough to act on.
    let aborted = Trouble::of(tonic::Status::aborted("gone").into());
    let cause = ObsoleteCause::Unknown;
    assert_eq!(aborted.reaction, Reaction::NewSession { cause, after: Duration::ZERO });
}
