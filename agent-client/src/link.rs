//! The link: the agent's standing with the server, and everything that goes over the wire.
//!
//! Owns the session state machine (Joining → Leading | Following → … → Stopped), the heartbeat, the
//! time exchange, and the two lanes. Started by `agent`, which reads [`LinkView`] and writes
//! evidence into the spool and into [`ScanSink`]s. Must never: let anything that is broken elsewhere
//! silence the heartbeat, drop evidence that was not acknowledged, or hand a wire type to the rest
//! of the agent. Tested in `tests/` against a scripted server, and by tables and properties below.

pub(crate) mod backoff;
mod batch;
mod board;
mod credentials;
mod exchange;
pub(crate) mod frame;
mod heartbeat;
mod join;
mod lane;
mod reaction;
mod realtime;
mod scan;
mod session;
pub(crate) mod told;
mod ways;
mod withhold;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fusion_core::evidence::RootIdentity;
use fusion_core::id::{AgentId, InstanceId, LeaderEpoch, SessionId, ViewName};
use fusion_core::session::Role;
use fusion_core::time::Monotonic;
use fusion_proto::client::ClientTls;
use futures_util::future::BoxFuture;

pub use batch::{BatchWriter, Delivery, ScanSink, SinkClosed};
pub use board::Reports;
pub use exchange::TimeExchange;
pub use fusion_proto::convert::session::agent::{AgentStatus, ScanProgress as ScanStatus};
pub use fusion_proto::convert::session::command::{
    Action, AgentPart, Command, CommandReport, CommandState,
};
pub use fusion_proto::convert::session::result::ResultValue;
pub use fusion_proto::convert::session::{AgentSettings, Capability, ClientInfo};
pub use session::{Link, LinkHandle};

use crate::clock::SharedClock;
use crate::config::ServerUrls;
use crate::ids::SharedIds;
use crate::ops::metrics::Metrics;
use crate::scan::Exclusion;

/// Longest that an answer may take before a call counts as failed.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// What a link needs to know.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Where the server is, or several that share the views.
    pub servers: ServerUrls,
    /// The files that `https://` needs.
    pub tls: ClientTls,
    /// The file of the token; absent: none is shown.
    pub token_file: Option<PathBuf>,
    /// The view.
    pub view: ViewName,
    /// The agent's name.
    pub agent: AgentId,
    /// This life of the agent.
    pub instance: InstanceId,
    /// The program, for people.
    pub client: ClientInfo,
    /// Where the root is, as `file://HOST/PATH`.
    pub root_uri: String,
    /// The session timeout to ask for; absent: the view's.
    pub proposed_timeout: Option<Duration>,
}

/// What a link is given.
#[derive(Clone)]
pub struct LinkDeps {
    /// The time.
    pub clock: SharedClock,
    /// Ids and chance.
    pub ids: SharedIds,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Whom it asks how the agent is.
    pub reporter: Arc<dyn Reporter>,
    /// Rung when something is to be told before the next heartbeat is due.
    pub news: Arc<tokio::sync::Notify>,
    /// Where realtime evidence waits.
    pub spool: crate::agent::spooler::SharedSpool,
}

/// What a root is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKnown {
    /// Which storage it is.
    pub identity: RootIdentity,
    /// It was read for this answer; else the root does not answer, and that is how it was before.
    pub is_now: bool,
}

/// Who knows how the agent is. Asked by the heartbeat: an answer never waits for anything.
pub trait Reporter: Send + Sync + 'static {
    /// What the agent can do now.
    fn status(&self) -> AgentStatus;
    /// Which storage the root is. The only answer that may take a while: some seconds at most, off the
    /// async threads, and asked for before there is a session.
    fn root_identity(&self) -> BoxFuture<'_, RootKnown>;
    /// A session begins: its exclude patterns hold from now on.
    ///
    /// # Errors
    /// One of them is no pattern; nothing may be told then.
    fn exclude(&self, patterns: &[String]) -> Result<(), String>;
    /// What nothing may be told of.
    fn exclusion(&self) -> Arc<Exclusion>;
    /// All that the agent saw up to then is acknowledged; `None` if it cannot say.
    fn delivered_through(&self) -> Option<Monotonic>;
}

/// A session, as the rest of the agent sees it.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The session.
    pub session: SessionId,
    /// Its role now.
    pub role: Role,
    /// The leadership that it holds or follows; 0 if there is none.
    pub epoch: LeaderEpoch,
    /// The view's settings.
    pub settings: AgentSettings,
    /// Takes what scans find, for as long as the session lives.
    pub scan: ScanSink,
}

/// How the link is.
#[derive(Debug, Clone, Default)]
pub struct LinkView {
    /// The session; none while joining.
    pub standing: Option<Standing>,
    /// The server has not answered for longer than the session's timeout.
    pub lost: bool,
    /// What is wrong, for people.
    pub trouble: Option<String>,
    /// The last leadership of this session that the server refused: it is over for good.
    pub(crate) refused: Option<LeaderEpoch>,
    /// The number of the next audit, as the server last said it.
    pub(crate) next_audit: Option<NextAudit>,
}

/// The number of the next audit (R9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextAudit {
    pub(crate) number: u64,
    /// When the server was asked: an audit whose end was acknowledged before is counted in it.
    pub(crate) asked_at: Monotonic,
}

/// Why a link ends for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The other agent of this name lives on.
    #[error(
        "another live agent on host `{host}` has the name `{agent}`: give one of the two another \
         --agent-id"
    )]
    NameTaken {
        /// The name.
        agent: AgentId,
        /// The host of the other.
        host: String,
    },
    /// The root is another tree than the view's.
    #[error(
        "the root is another tree than the view's (the view knows {known}, found is {found}): \
         mount the right one, or have an operator accept this one"
    )]
    OtherTree {
        /// What the view knows.
        known: String,
        /// What is there.
        found: String,
    },
    /// A newer process took over.
    #[error("a newer process of this agent took over its session")]
    Superseded,
    /// The server says that the request is wrong.
    #[error("the server refuses this agent: {0}")]
    Refused(String),
    /// The spool cannot be renewed.
    #[error("the spool cannot be given a new id: {0}")]
    Spool(String),
}

#[cfg(test)]
pub(crate) mod tests;
