//! What the server can be asked for: every method, for whom it is, and whether it changes anything.
//!
//! The one list of methods. The layers around the handlers ask it: who may call, what a call is told of by in
//! metrics and spans, which calls are done once under a key and leave an audit record. Must never: lack a
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
    effect: Effect,
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

/// Methods with a stream beside those that watch.
const STREAMS: [&str; 5] =
    ["/PushEvents", "/FindEntries", "/GetBreakdown", "/ExportEntries", "/ServerReflectionInfo"];

const METHODS: &[Method] = &[
    repeats("fusion.v1.SessionService/CreateSession", Least::Agent),
    repeats("fusion.v1.SessionService/Heartbeat", Least::Agent),
    repeats("fusion.v1.SessionService/EndSession", Least::Agent),
    looks("fusion.v1.SessionService/GetSession", Least::AgentOrOperator),
    looks("fusion.v1.SessionService/ListSessions", Least::Operator),
    repeats("fusion.v1.EventService/PushEvents", Least::Agent),
    repeats("fusion.v1.EventService/PushEventBatch", Least::Agent),
    reads("fusion.v1.ViewService/ListViews", Least::Reader),
    reads("fusion.v1.ViewService/GetView", Least::Reader),
    reads("fusion.v1.ViewService/GetEntry", Least::Reader),
    reads("fusion.v1.ViewService/ListEntries", Least::Reader),
    reads("fusion.v1.ViewService/GetStats", Least::Reader),
    reads("fusion.v1.ViewService/FindEntries", Least::Reader),
    reads("fusion.v1.ViewService/GetBreakdown", Least::Reader),
    reads("fusion.v1.ViewService/CompareViews", Least::Reader),
    watches("fusion.v1.ViewService/WatchView", Least::Reader),
    reads("fusion.v1.ViewService/ListChanges", Least::Reader),
    watches("fusion.v1.ViewService/WaitQuiet", Least::Reader),
    reads("fusion.v1.ViewService/ListSuspects", Least::Reader),
    reads("fusion.v1.ViewService/ListBlindSpots", Least::Reader),
    reads("fusion.v1.ViewService/ListTrash", Least::Reader),
    reads("fusion.v1.ViewService/ExportEntries", Least::Reader),
    changes("fusion.v1.ViewService/RestoreTrash", Least::Operator),
    changes("fusion.v1.ViewService/PurgeTrash", Least::Operator),
    changes("fusion.v1.ViewService/RefreshPath", Least::Operator),
    changes("fusion.v1.JobService/CreateJob", Least::Operator),
    reads("fusion.v1.JobService/GetJob", Least::Operator),
    reads("fusion.v1.JobService/ListJobs", Least::Operator),
    watches("fusion.v1.JobService/WatchJob", Least::Operator),
    changes("fusion.v1.JobService/CancelJob", Least::Operator),
    changes("fusion.v1.JobService/RetryJob", Least::Operator),
    looks("fusion.v1.AdminService/GetServerInfo", Least::Admin),
    changes("fusion.v1.AdminService/DeleteIdempotencyKey", Least::Operator),
    changes("fusion.v1.AdminService/EvictSession", Least::Admin),
    changes("fusion.v1.AdminService/ResetView", Least::Admin),
    changes("fusion.v1.AdminService/AcceptRoot", Least::Admin),
    reads("fusion.v1.AdminService/ListAuditRecords", Least::Admin),
    changes("fusion.v1.AdminService/SetLogFilter", Least::Admin),
    changes("fusion.v1.AdminService/ReloadConfig", Least::Admin),
    // Of a view only who may see it is told.
    looks("grpc.health.v1.Health/Check", Least::Anyone),
    watches("grpc.health.v1.Health/Watch", Least::Anyone),
    reads("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Least::Anyone),
    reads("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Least::Anyone),
];

const fn reads(name: &'static str, least: Least) -> Method {
    Method { name, least, effect: Effect::Reads }
}

const fn looks(name: &'static str, least: Least) -> Method {
    Method { name, least, effect: Effect::Looks }
}

const fn watches(name: &'static str, least: Least) -> Method {
    Method { name, least, effect: Effect::Watches }
}

const fn repeats(name: &'static str, least: Least) -> Method {
    Method { name, least, effect: Effect::Repeats }
}

const fn changes(name: &'static str, least: Least) -> Method {
    Method { name, least, effect: Effect::Changes }
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
