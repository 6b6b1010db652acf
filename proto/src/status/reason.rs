//! The reasons of the status table: what `ErrorInfo.reason` and `RejectedRow.reason` say.

use std::fmt;

use fusion_core::session::ObsoleteCause;
use tonic::Code;

/// Declares the table once, so that the enum, its texts, its codes and [`Reason::ALL`] cannot come
/// apart.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal => $code:ident,)*) => {
        /// Why something was refused; one per row of the status table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it is written on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Reads what is written on the wire; `None` if this version does not know it.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code of a status with this reason.
            #[must_use]
            pub const fn code(self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)*
                }
            }
        }
    };
}

reasons! {
    /// The session is no longer honoured. The only reason with ABORTED.
    SessionObsolete = "SESSION_OBSOLETE" => Aborted,
    /// Another live agent holds the agent id.
    AgentIdConflict = "AGENT_ID_CONFLICT" => AlreadyExists,
    /// The root is another tree than the view's.
    RootMismatch = "ROOT_MISMATCH" => FailedPrecondition,
    /// The spool was rolled back.
    SpoolRolledBack = "SPOOL_ROLLED_BACK" => FailedPrecondition,
    /// Leader-only evidence from a follower.
    NotLeader = "NOT_LEADER" => FailedPrecondition,
    /// Leader-only evidence under an old leadership.
    LeaderEpochStale = "LEADER_EPOCH_STALE" => FailedPrecondition,
    /// An exclusive view is taken.
    ViewOccupied = "VIEW_OCCUPIED" => FailedPrecondition,
    /// No such session, said to who is leaving or asks about one.
    SessionNotFound = "SESSION_NOT_FOUND" => NotFound,
    /// No such view.
    ViewNotFound = "VIEW_NOT_FOUND" => NotFound,
    /// No such path in the view.
    PathNotFound = "PATH_NOT_FOUND" => NotFound,
    /// No such job.
    JobNotFound = "JOB_NOT_FOUND" => NotFound,
    /// No such trash record.
    TrashNotFound = "TRASH_NOT_FOUND" => NotFound,
    /// No live agent of that id in the view.
    AgentNotFound = "AGENT_NOT_FOUND" => NotFound,
    /// Something stands at the path.
    PathTaken = "PATH_TAKEN" => FailedPrecondition,
    /// The path is known and is no directory.
    NotADirectory = "NOT_A_DIRECTORY" => FailedPrecondition,
    /// An argument breaks a rule of the contract.
    InvalidArgument = "INVALID_ARGUMENT" => InvalidArgument,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED" => InvalidArgument,
    /// The stored version is not the one expected.
    VersionMismatch = "VERSION_MISMATCH" => FailedPrecondition,
    /// The state does not go over into the one asked for.
    IllegalTransition = "ILLEGAL_TRANSITION" => FailedPrecondition,
    /// A batch was left out.
    SequenceGap = "SEQUENCE_GAP" => OutOfRange,
    /// The revision is no longer kept.
    RevisionCompacted = "REVISION_COMPACTED" => OutOfRange,
    /// The revision is of the future.
    RevisionUnknown = "REVISION_UNKNOWN" => OutOfRange,
    /// The view cannot give the class of read asked for.
    ViewNotReady = "VIEW_NOT_READY" => Unavailable,
    /// An agent was to look, and could not, or went.
    ScanFailed = "SCAN_FAILED" => Unavailable,
    /// The server is going down.
    ServerDraining = "SERVER_DRAINING" => Unavailable,
    /// Another server owns the view.
    NotOwner = "NOT_OWNER" => Unavailable,
    /// The server's disk cannot be written.
    StoreUnavailable = "STORE_UNAVAILABLE" => Unavailable,
    /// A newer stream of the same lane took over.
    StreamReplaced = "STREAM_REPLACED" => Unavailable,
    /// A quota is used up.
    QuotaExceeded = "QUOTA_EXCEEDED" => ResourceExhausted,
    /// Calls come too fast.
    RateExceeded = "RATE_EXCEEDED" => ResourceExhausted,
    /// A queue of the server is full.
    QueueFull = "QUEUE_FULL" => ResourceExhausted,
    /// A watcher does not take changes as fast as they come.
    WatcherTooSlow = "WATCHER_TOO_SLOW" => ResourceExhausted,
    /// No or wrong credentials.
    Unauthenticated = "UNAUTHENTICATED" => Unauthenticated,
    /// The principal may not do this.
    PermissionDenied = "PERMISSION_DENIED" => PermissionDenied,
    /// The caller's deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED" => DeadlineExceeded,
    /// A bug of the server.
    Internal = "INTERNAL" => Internal,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A cause as it is written in the metadata `cause`.
#[must_use]
pub const fn cause_to_text(cause: ObsoleteCause) -> &'static str {
    match cause {
        ObsoleteCause::Expired => "EXPIRED",
        ObsoleteCause::Superseded => "SUPERSEDED",
        ObsoleteCause::Evicted => "EVICTED",
        ObsoleteCause::ViewReset => "VIEW_RESET",
        ObsoleteCause::Unknown => "UNKNOWN",
    }
}

/// Reads the metadata `cause`. What this version does not know is [`ObsoleteCause::Unknown`]: the
/// agent does the same for every cause but SUPERSEDED.
#[must_use]
pub fn cause_from_text(text: &str) -> ObsoleteCause {
    match text {
        "EXPIRED" => ObsoleteCause::Expired,
        "SUPERSEDED" => ObsoleteCause::Superseded,
        "EVICTED" => ObsoleteCause::Evicted,
        "VIEW_RESET" => ObsoleteCause::ViewReset,
        _ => ObsoleteCause::Unknown,
    }
}
