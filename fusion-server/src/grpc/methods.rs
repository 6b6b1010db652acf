//! What the server can be asked for: every method, for whom it is, and whether it changes anything.
//!
//! The one list of methods. The layers around the handlers ask it: who may call, what of it is for those who
//! may see a path only, what a call is told of by in metrics and spans, which calls are done once under a key and leave an audit record. Must never: lack a
//! method that is served; what it lacks is for administrators, has no name, and is done anew with each call.

use crate::access::Least;
use crate::access::quotas::Demand;

/// A method.
#[derive(Debug)]
pub(super) struct Method {
    /// Its full name, as in the path of a call but for the `/` that it begins with.
    pub(super) name: &'static str,
    /// For whom it is.
    pub(super) least: Least,
    of: Of,
    whose: Whose,
    effect: Effect,
}

/// What a method tells of, or changes, and so what it may do for somebody who may see what lies at a path and
/// below it, and nothing else of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Nothing that lies in a view.
    Nothing,
    /// What lies at the `path` of its request (field 2, a text) and below it: it must be theirs.
    Path,
    /// Things that are in a view: its use case leaves out what is not theirs ([`crate::access::Reach`]).
    Things,
    /// A view as a whole, its sessions, or the server: it is not for them.
    Whole,
}

/// What a call of a method does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// It is a query.
    Reads,
    /// It is asked to run things: of sessions, of the server, of its health.
    Looks,
    /// It stays, and is told what happens.
    Watches,
    /// It changes something, and repeats safely by its own rules: what agents say of themselves and see.
    Repeats,
    /// It changes something: done once under an idempotency key, and recorded.
    Changes,
}

/// Which of several servers answers a method, and where its request names the view that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Any of them: of what it has, or of itself.
    Anyones,
    /// The owner of the view in field 1.
    Owners,
    /// Any that follows the view in field 1, for what a follower can say; else its owner. The class of the read is in
    /// this field.
    Readers(u32),
    /// The owner of the view of the session in field 1.
    Sessions,
    /// The same, in the opening of a stream.
    Openings,
    /// The owner of the view that the job in field 1 belongs to.
    Jobs,
    /// The owner of the view of the first step in field 1.
    Plans,
    /// The server whose id is in field 1.
    Servers,
}

impl Whose {
    /// Whether it is found by something that is in the store, and not by the name of a view.
    pub(super) fn is_stored(self) -> bool {
        matches!(self, Self::Sessions | Self::Openings | Self::Jobs)
    }
}

/// Methods with a stream beside those that watch.
const STREAMS: [&str; 5] =
    ["/PushEvents", "/FindEntries", "/GetBreakdown", "/ExportEntries", "/ServerReflectionInfo"];

const METHODS: &[Method] = &[
    repeats("fusion.v1.SessionService/CreateSession", Least::Agent, Of::Whole, Whose::Owners),
    repeats("fusion.v1.SessionService/Heartbeat", Least::Agent, Of::Whole, Whose::Sessions),
    repeats("fusion.v1.SessionService/EndSession", Least::Agent, Of::Whole, Whose::Sessions),
    looks(
        "fusion.v1.SessionService/GetSession",
        Least::AgentOrOperator,
        Of::Whole,
        Whose::Sessions,
    ),
    looks("fusion.v1.SessionService/ListSessions", Least::Operator, Of::Whole, Whose::Owners),
    repeats("fusion.v1.EventService/PushEvents", Least::Agent, Of::Whole, Whose::Openings),
    repeats("fusion.v1.EventService/PushEventBatch", Least::Agent, Of::Whole, Whose::Sessions),
    reads("fusion.v1.ViewService/ListViews", Least::Reader, Of::Things, Whose::Anyones),
    reads("fusion.v1.ViewService/GetView", Least::Reader, Of::Things, Whose::Anyones),
    reads("fusion.v1.ViewService/GetEntry", Least::Reader, Of::Path, Whose::Readers(3)),
    reads("fusion.v1.ViewService/ListEntries", Least::Reader, Of::Path, Whose::Readers(5)),
    reads("fusion.v1.ViewService/GetStats", Least::Reader, Of::Path, Whose::Readers(3)),
    reads("fusion.v1.ViewService/FindEntries", Least::Reader, Of::Path, Whose::Readers(6)),
    reads("fusion.v1.ViewService/GetBreakdown", Least::Reader, Of::Path, Whose::Readers(3)),
    reads("fusion.v1.ViewService/CompareViews", Least::Reader, Of::Path, Whose::Anyones),
    watches("fusion.v1.ViewService/WatchView", Least::Reader, Of::Path, Whose::Anyones),
    reads("fusion.v1.ViewService/ListChanges", Least::Reader, Of::Path, Whose::Anyones),
    watches("fusion.v1.ViewService/WaitQuiet", Least::Reader, Of::Path, Whose::Anyones),
    reads("fusion.v1.ViewService/ListSuspects", Least::Reader, Of::Path, Whose::Anyones),
    reads("fusion.v1.ViewService/ListBlindSpots", Least::Reader, Of::Path, Whose::Anyones),
    reads("fusion.v1.ViewService/ListTrash", Least::Reader, Of::Path, Whose::Anyones),
    reads("fusion.v1.ViewService/ExportEntries", Least::Reader, Of::Path, Whose::Readers(3)),
    changes("fusion.v1.ViewService/RestoreTrash", Least::Operator, Of::Things, Whose::Owners),
    changes("fusion.v1.ViewService/PurgeTrash", Least::Operator, Of::Things, Whose::Owners),
    changes("fusion.v1.ViewService/RefreshPath", Least::Operator, Of::Path, Whose::Owners),
    changes("fusion.v1.JobService/CreateJob", Least::Operator, Of::Things, Whose::Plans),
    reads("fusion.v1.JobService/GetJob", Least::Operator, Of::Things, Whose::Jobs),
    reads("fusion.v1.JobService/ListJobs", Least::Operator, Of::Things, Whose::Anyones),
    watches("fusion.v1.JobService/WatchJob", Least::Operator, Of::Things, Whose::Jobs),
    changes("fusion.v1.JobService/CancelJob", Least::Operator, Of::Things, Whose::Jobs),
    changes("fusion.v1.JobService/RetryJob", Least::Operator, Of::Things, Whose::Jobs),
    looks("fusion.v1.AdminService/GetServerInfo", Least::Admin, Of::Whole, Whose::Anyones),
    changes(
        "fusion.v1.AdminService/DeleteIdempotencyKey",
        Least::Operator,
        Of::Nothing,
        Whose::Anyones,
    ),
    changes("fusion.v1.AdminService/EvictSession", Least::Admin, Of::Whole, Whose::Sessions),
    changes("fusion.v1.AdminService/ResetView", Least::Admin, Of::Whole, Whose::Owners),
    changes("fusion.v1.AdminService/AcceptRoot", Least::Admin, Of::Whole, Whose::Owners),
    reads("fusion.v1.AdminService/ListAuditRecords", Least::Admin, Of::Whole, Whose::Anyones),
    reads("fusion.v1.AdminService/ListServers", Least::Admin, Of::Whole, Whose::Anyones),
    changes("fusion.v1.AdminService/MoveView", Least::Admin, Of::Whole, Whose::Anyones),
    changes("fusion.v1.AdminService/DrainServer", Least::Admin, Of::Whole, Whose::Servers),
    changes("fusion.v1.AdminService/SetLogFilter", Least::Admin, Of::Whole, Whose::Anyones),
    changes("fusion.v1.AdminService/ReloadConfig", Least::Admin, Of::Whole, Whose::Anyones),
    // Of a view only who may see it is told.
    looks("grpc.health.v1.Health/Check", Least::Anyone, Of::Nothing, Whose::Anyones),
    watches("grpc.health.v1.Health/Watch", Least::Anyone, Of::Nothing, Whose::Anyones),
    reads(
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Least::Anyone,
        Of::Nothing,
        Whose::Anyones,
    ),
    reads(
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Least::Anyone,
        Of::Nothing,
        Whose::Anyones,
    ),
];

const fn reads(name: &'static str, least: Least, of: Of, whose: Whose) -> Method {
    Method { name, least, of, whose, effect: Effect::Reads }
}

const fn looks(name: &'static str, least: Least, of: Of, whose: Whose) -> Method {
    Method { name, least, of, whose, effect: Effect::Looks }
}

const fn watches(name: &'static str, least: Least, of: Of, whose: Whose) -> Method {
    Method { name, least, of, whose, effect: Effect::Watches }
}

const fn repeats(name: &'static str, least: Least, of: Of, whose: Whose) -> Method {
    Method { name, least, of, whose, effect: Effect::Repeats }
}

const fn changes(name: &'static str, least: Least, of: Of, whose: Whose) -> Method {
    Method { name, least, of, whose, effect: Effect::Changes }
}

/// All methods, each at its number.
pub(super) const fn all() -> &'static [Method] {
    METHODS
}

/// The number of the method that a call's path names.
pub(super) fn number(path: &str) -> Option<usize> {
    let name = path.strip_prefix('/')?;
    METHODS.iter().position(|method| method.name == name)
}

/// For whom the method is that a call's path names. One that is not here is for administrators.
pub(super) fn least(path: &str) -> Least {
    number(path).map_or(Least::Admin, |number| METHODS[number].least)
}

/// What a call tells of. One that is not here tells of everything.
pub(super) fn of(path: &str) -> Of {
    number(path).map_or(Of::Whole, |number| METHODS[number].of)
}

/// Which of several servers answers a call. One that is not here is told that there is no such method by any.
pub(super) fn whose(path: &str) -> Whose {
    number(path).map_or(Whose::Anyones, |number| METHODS[number].whose)
}

/// What a call takes of its principal's share.
pub(super) fn demand(path: &str) -> Demand {
    let Some(number) = number(path) else { return Demand::Request };
    match (METHODS[number].name, METHODS[number].effect) {
        ("fusion.v1.SessionService/Heartbeat" | "grpc.health.v1.Health/Check", _) => Demand::Place,
        (_, Effect::Reads) => Demand::Query,
        (_, Effect::Watches) => Demand::Watch,
        (_, Effect::Looks | Effect::Repeats | Effect::Changes) => Demand::Request,
    }
}

/// Whether a call may go on for as long as its caller likes.
pub(super) fn stands(path: &str) -> bool {
    number(path).is_none_or(|number| {
        let Method { name, effect, .. } = METHODS[number];
        effect == Effect::Watches || STREAMS.iter().any(|last| name.ends_with(last))
    })
}

/// The names of the methods whose calls are done once under a key, and leave an audit record.
pub(super) fn changing() -> impl Iterator<Item = &'static str> {
    METHODS.iter().filter(|method| method.effect == Effect::Changes).map(|method| method.name)
}

/// The name of the method that a call's path names, if it is one of [`changing`].
pub(super) fn changing_at(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix('/')?;
    changing().find(|method| *method == name)
}

#[cfg(test)]
mod tests;
