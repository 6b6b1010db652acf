//! What must hold after a storm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fusion_core::id::Revision;
use fusion_core::path::TreePath;
use fusion_proto::client::{CallError, CallHook, connect};
use fusion_proto::convert::session::ListSessions;
use fusion_proto::convert::view::Page;
use fusion_proto::views::live::{EventFilter, ListChanges};
use uuid::Uuid;

use super::clerk::Claims;
use super::fleet::{AGENTS, Fleet, SERVERS, agent_name, client, url, view};
use super::witness::{ACKNOWLEDGED, Answer, Seen, Witness, path};
use crate::compare;
use crate::faults::checks::until;
use crate::pair::counter;

/// How long what was under way may take to arrive on a busy machine.
const ARRIVE: Duration = Duration::from_secs(60);
/// Sessions of the tree by agent, as each server lists them.
pub type Sessions = BTreeMap<String, String>;

/// The sessions of the tree: what the owner says.
pub async fn sessions(fleet: &Fleet) -> Sessions {
    until("the sessions", async || {
        let (owner, _) = fleet.owning("tree").await;
        let ask =
            ListSessions { view: Some(view("tree")), page: Page { size: 0, token: String::new() } };
        let mut client = connect(&url(owner), CallHook::none()).expect("a URL");
        let (sessions, _) = client.sessions.list(&ask).await.ok()?;
        let named =
            sessions.into_iter().map(|it| (it.agent.to_string(), format!("{:?}", it.session)));
        Some(named.collect::<Sessions>()).filter(|sessions| sessions.len() == AGENTS)
    })
    .await
}

/// Every server has both trees as the disk has them, READY, and says the same of them as of one revision; gives the
/// revision of the tree.
///
/// # Panics
/// One does not.
pub async fn all_are_equal(fleet: &Fleet) -> Revision {
    for name in ["tree", "beside"] {
        for server in 0..SERVERS {
            let (mut client, view) = (client(server), view(name));
            compare::until_equal(&mut client, &view, &fleet.root(name), ARRIVE).await;
            compare::until_ready(&mut client, &view, ARRIVE).await;
        }
    }
    let revisions = async || {
        let mut all = BTreeSet::new();
        for server in 0..SERVERS {
            all.insert(client(server).view(&view("tree")).await.ok()?.freshness.revision);
        }
        all.first().copied().filter(|_| all.len() == 1)
    };
    Revision(until("all servers are at one revision", revisions).await)
}

/// Whoever was not killed kept the session.
///
/// # Panics
/// One did not.
pub async fn kept_sessions(fleet: &Fleet, before: &Sessions, killed: &BTreeSet<usize>) {
    let after = sessions(fleet).await;
    for agent in (0..AGENTS).filter(|agent| !killed.contains(agent)) {
        let name = agent_name(agent);
        assert_eq!(after.get(&name), before.get(&name), "the session of {name}");
        let recovered = counter(&fleet.agents[agent].http, "fusion_agent_session_recoveries_total");
        assert_eq!(recovered, 0.0, "sessions that {name} lost");
    }
}

/// All evidence that was acknowledged is in the view, on every server.
///
/// # Panics
/// Some is not.
pub async fn has_what_was_acknowledged(seen: &Seen) {
    assert!(!seen.acknowledged.is_empty(), "nothing was acknowledged");
    for server in 0..SERVERS {
        let lost = async || {
            let (mut client, mut known) = (client(server), BTreeSet::new());
            let mut found = client.find(&view(ACKNOWLEDGED), &TreePath::root(), None).await?;
            while let Some(part) = found.next().await? {
                known.extend(part.entries.into_iter().map(|entry| entry.path));
            }
            let files = seen.acknowledged.iter().map(|it| path(it.file));
            Ok::<_, CallError>(files.filter(|file| !known.contains(file)).collect::<Vec<_>>())
        };
        // A follower has it when it has replayed it.
        let has_all = async || lost().await.ok().filter(Vec::is_empty);
        let began = compare::clock();
        while has_all().await.is_none() {
            assert!(began.elapsed() < ARRIVE, "server {server} lost {:?}", lost().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The watcher was told every change after the first revision once and in order: what each server lists.
///
/// # Panics
/// It was not.
pub async fn watched_all(witness: &Witness, first: Revision, last: Revision) {
    let began = compare::clock();
    while witness.notes().through < last {
        let through = witness.notes().through.0;
        assert!(began.elapsed() < ARRIVE, "the watcher is at {through} and not at {}", last.0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told: Vec<_> = {
        let seen = witness.notes();
        seen.told.iter().map(|it| (it.revision, it.id)).filter(|it| it.0 <= last).collect()
    };
    for server in 0..SERVERS {
        let listed = listed(server, first, last).await;
        let place = told.iter().zip(&listed).position(|(told, listed)| told != listed);
        let place = place.unwrap_or_else(|| told.len().min(listed.len()));
        let around = |all: &[(Revision, Uuid)]| all[place.min(all.len())..].first().copied();
        assert!(
            told == listed,
            "server {server}: told {} changes, there are {}; they differ at {place}: told {:?}, there is {:?}",
            told.len(),
            listed.len(),
            around(&told),
            around(&listed),
        );
    }
}

async fn listed(server: usize, after: Revision, through: Revision) -> Vec<(Revision, Uuid)> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let ask = ListChanges {
            view: view("tree"),
            path: TreePath::root(),
            after: Some(after),
            through: Some(through),
            since: None,
            until: None,
            filter: EventFilter::default(),
            correlation: None,
            page: Page { size: 10_000, token },
            itself: false,
        };
        let page = client(server).changes(&ask).await.expect("the changes");
        all.extend(page.events.into_iter().map(|event| (event.revision, event.id)));
        token = page.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}

/// Whoever had owned the tree, and knew nothing of it that others did, did not say READY once another one owned it: such
/// an answer has at least all that anybody had told before.
///
/// # Panics
/// Somebody did.
pub fn no_former_owner_was_ready(answers: &[Answer], claims: &Claims) {
    for pair in claims.windows(2) {
        let [(_, before), (at, now)] = pair else { continue };
        if before.server == now.server {
            continue;
        }
        let told = answers.iter().filter(|answer| answer.answered < *at);
        let known = told.map(|answer| answer.revision).max().unwrap_or_default();
        let zombie = answers
            .iter()
            .filter(|answer| Some(answer.server) == before.server && answer.asked > *at)
            .find(|answer| answer.ready && answer.revision < known);
        assert!(zombie.is_none(), "{zombie:?} after {now:?}, and {known} had been told");
    }
}
