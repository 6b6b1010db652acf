//! Whether the root is there, and what is told of it (R11).
//!
//! Owns the words and the evidence for a root that is away or back. Looks by itself every few seconds;
//! a scan that finds the root away tells at once, so that nothing that it looks at meanwhile counts.
//! Must never: say that a root is back without what it is.

use std::sync::Arc;
use std::time::Duration;

use fusion_core::evidence::{RootIdentity, RootState};

use super::keep::Part;
use super::shared::{ROOT_LIMIT, Shared, State};
use crate::scan::{Root, RootCheck};

/// How often the root is looked at, beside the looks before and after each scan.
const ROOT_EVERY: Duration = Duration::from_secs(5);
/// Every so many looks at a root that is there it is read what it is known by, to know it again when
/// it was mounted anew. What the server is told is read when it is told.
const IDENTITY_EVERY: u32 = 12;

/// Looks at the root until dropped. A look may hang with the storage: it has a time limit, and one
/// that hangs is not joined by a second.
pub(crate) struct RootWatch(pub(crate) Arc<Shared>);

impl Part for RootWatch {
    const NAME: &'static str = "root watch";
    type End = ();

    async fn run(&mut self) {
        watch_root(&self.0).await;
    }

    fn broke_off(&mut self) {}
}

async fn watch_root(shared: &Arc<Shared>) {
    let mut looks = 0_u32;
    loop {
        tokio::time::sleep(ROOT_EVERY).await;
        looks = looks.wrapping_add(1);
        let is_due = looks.is_multiple_of(IDENTITY_EVERY);
        let (root, state) = (Arc::clone(&shared.root), Arc::clone(&shared.state));
        let mut look = tokio::task::spawn_blocking(move || look_at_root(&root, &state, is_due));
        let looked = match tokio::time::timeout(ROOT_LIMIT, &mut look).await {
            Ok(looked) => looked,
            Err(_) => {
                tell(shared, RootState::Unavailable, "the root does not answer");
                look.await
            }
        };
        match looked {
            Ok(Ok(identity)) => is_there(shared, identity),
            Ok(Err(Away::Anew)) => {
                tell(shared, RootState::Unavailable, "the root was mounted anew");
                shared.state.root_anew.notify_one();
            }
            Ok(Err(Away::Replaced)) => {
                let why = "another directory stands at the root's path";
                tell(shared, RootState::Doubtful, why);
            }
            Ok(Err(Away::Gone)) | Err(_) => {
                tell(shared, RootState::Unavailable, "the root is not there");
            }
        }
    }
}

/// One look. A root that was away is read as well: that it is back is told with what it is (R11). May
/// hang with the storage.
fn look_at_root(root: &Root, state: &State, is_due: bool) -> Result<Option<RootIdentity>, Away> {
    let check = root.check();
    // Asked after what may have hung: the root may count as away since.
    let (found, known) = state.root();
    match check {
        RootCheck::Same if found != RootState::Available => {
            state.identify(root).map(Some).map_err(|_| Away::Gone)
        }
        RootCheck::Same => Ok(is_due.then(|| state.identify(root).ok()).flatten()),
        RootCheck::Replaced | RootCheck::Gone(_) if root.stands_again(&known) => Err(Away::Anew),
        RootCheck::Replaced => Err(Away::Replaced),
        RootCheck::Gone(_) => Err(Away::Gone),
    }
}

/// The root is the one that is held.
fn is_there(shared: &Arc<Shared>, identity: Option<RootIdentity>) {
    if identity.is_none() && shared.state.root().0 != RootState::Available {
        // It came to count as away during the look: the next one reads it.
        return;
    }
    shared.state.broken("root", None);
    if shared.state.root_found(RootState::Available) {
        tracing::info!("the root is there again");
        report(shared);
    }
}

/// A life of the agent begins, on a root that was read a moment ago: the one before may have ended
/// while its root was away, and the view counts it as away until it is told otherwise. In the spool
/// before anything that is seen.
pub(super) async fn tell_that_it_is_there(shared: &Arc<Shared>) {
    let told = Arc::clone(shared);
    let tell = tokio::task::spawn_blocking(move || told.spool.root());
    if tell.await.is_err() {
        tracing::error!("that the root is there could not be told");
    }
}

/// How the root is not there.
enum Away {
    /// Nothing answers.
    Gone,
    /// Another directory stands at its path.
    Replaced,
    /// The same tree stands at its path, and is not the one that is held.
    Anew,
}

fn tell(shared: &Arc<Shared>, state: RootState, why: &str) {
    if is_news(shared, state, why) {
        report(shared);
    }
}

/// A scan finds the root away. To be called on a thread that may block: what it says is in the spool
/// when this returns.
pub(super) fn found_away(shared: &Shared, check: RootCheck) {
    let why = match check {
        RootCheck::Same => return,
        RootCheck::Replaced => "another directory stands at the root's path",
        RootCheck::Gone(_) => "the root is not there",
    };
    let state = match check {
        RootCheck::Replaced => RootState::Doubtful,
        RootCheck::Same | RootCheck::Gone(_) => RootState::Unavailable,
    };
    if is_news(shared, state, why) {
        shared.spool.root();
    }
}

fn is_news(shared: &Shared, state: RootState, why: &str) -> bool {
    shared.state.broken("root", Some(why.to_owned()));
    let is_news = shared.state.root_found(state);
    if is_news {
        tracing::warn!("{why}: nothing is reported until it is back");
    }
    is_news
}

/// As evidence (R11), off the async threads: the spool is on a disk.
fn report(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || shared.spool.root());
}
