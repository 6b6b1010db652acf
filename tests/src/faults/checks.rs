//! What must hold after every fault.

use std::time::Duration;

use fusion_core::id::SessionId;
use fusion_proto::client::{CallHook, Client, connect};
use fusion_proto::convert::session::agent::AgentStatus;
use fusion_proto::convert::session::{ListSessions, SessionInfo};
use fusion_proto::convert::view::Page;

use crate::compare;
use crate::pair::{Agent, READY, World, metric};
use crate::process::now;

/// How long what a process does in its own time may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A session, as [`SessionId`] and all that is told of it.
pub type Live = (SessionId, SessionInfo);

/// All clients of the world's server.
///
/// # Panics
/// Our own address is malformed.
#[must_use]
pub fn client(world: &World) -> Client {
    connect(&world.url(), CallHook::none()).expect("a URL")
}

/// The live sessions of the view; none while the server does not answer.
pub async fn sessions(world: &World) -> Vec<Live> {
    let ask = ListSessions {
        view: Some(world.view().clone()),
        page: Page { size: 0, token: String::new() },
    };
    match client(world).sessions.list(&ask).await {
        Ok((sessions, _)) => {
            sessions.into_iter().filter_map(|info| Some((info.session?, info))).collect()
        }
        Err(_) => Vec::new(),
    }
}

/// The live session of an agent, if it has one.
pub async fn session_of(world: &World, name: &str) -> Option<Live> {
    sessions(world).await.into_iter().find(|(_, info)| info.agent.as_str() == name)
}

/// What an agent last said of itself.
pub async fn status_of(world: &World, name: &str) -> Option<AgentStatus> {
    session_of(world, name).await?.1.status
}

/// Waits until an agent has a session other than `old`.
///
/// # Panics
/// It has none after [`PATIENCE`].
pub async fn new_session(world: &World, name: &str, old: Option<SessionId>) -> SessionId {
    until(&format!("a new session of {name}"), async || {
        let (id, _) = session_of(world, name).await?;
        (Some(id) != old).then_some(id)
    })
    .await
}

/// Waits until an agent says that it watches everything.
///
/// # Panics
/// It does not after [`PATIENCE`].
pub async fn watching(world: &World, name: &str) {
    until(&format!("{name} watches"), async || {
        status_of(world, name).await?.realtime_ready.then_some(())
    })
    .await;
}

/// Asks again and again, every 5 ms, until there is an answer.
///
/// # Panics
/// There is none after [`PATIENCE`].
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The same for what only holds or does not.
///
/// # Panics
/// It does not hold after [`PATIENCE`].
pub async fn until_true(what: &str, mut holds: impl FnMut() -> bool) {
    until(what, async || holds().then_some(())).await;
}

/// After a recovery: the view is READY and equals the disk, entry for entry and total for total.
///
/// # Panics
/// It is not, or does not.
pub async fn recovered(world: &World) {
    compare::until_ready(&mut world.client(), world.view(), READY).await;
    world.settle().await;
}

/// One agent alone leads again: the view says so, has no other session, and the agent knows it by
/// the same epoch. Gives the epoch.
///
/// # Panics
/// It does not lead, or not alone.
pub async fn leads_alone(world: &World, agent: &Agent, name: &str) -> u64 {
    let view = world.client().view(world.view()).await.expect("the view");
    assert_eq!((view.leader_agent_id.as_str(), view.sessions), (name, 1), "leader, sessions");
    let epoch = view.leader_epoch as f64;
    // The agent's gauges follow its standing within 200 ms.
    until_true("the agent knows that it leads", || {
        metric(&agent.http, "fusion_agent_role{role=\"leader\"}") == 1.0
            && metric(&agent.http, "fusion_agent_leader_epoch") == epoch
    })
    .await;
    view.leader_epoch
}

/// Copies a directory and all below it, as a back-up would.
///
/// # Panics
/// `cp` fails.
pub fn copy(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(done.expect("cp can be run").success(), "cp {} {}", from.display(), to.display());
}
