use std::collections::BTreeMap;

use fusion_core::change::{Cause, Facts, Tombstone};
use fusion_core::evidence::Witness;
use fusion_core::id::LeaderEpoch;
use fusion_core::stat::Stat;

use super::agent::TOLD_AT_ONCE;
use super::*;
use fusion_proto::convert::session::command::Action;

/// The table with agents of names of one letter, each with the session of its number, and what the view
/// does not have any more.
struct Rig {
    unseen: Unseen,
    revision: u64,
    gone: Vec<TreePath>,
    drawn: u128,
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

fn session(name: &str) -> SessionId {
    SessionId::new(Uuid::from_u128(name.as_bytes()[0].into()))
}

fn path(text: &str) -> TreePath {
    TreePath::new(text.as_bytes()).unwrap()
}

fn at(second: i64) -> Option<ServerTime> {
    Some(ServerTime::from_nanos(second))
}

fn directory(ctime: i64) -> Stat {
    let time = StorageTime::from_nanos(ctime);
    let (kind, mtime, ctime) = (Kind::Directory, time, time);
    Stat { kind, size: 0, mtime, ctime, inode: 1, mode: 0, uid: 0, gid: 0, nlink: 2 }
}

impl Rig {
    fn of(agents: &[&str]) -> Self {
        let unseen = Unseen::new(Revision(0));
        let mut rig = Self { unseen, revision: 0, gone: Vec::new(), drawn: 0 };
        for name in agents {
            rig.join(name, 1);
            rig.unseen.heard(session(name), true);
        }
        rig
    }

    fn join(&mut self, name: &str, life: u128) {
        let instance = InstanceId::new(Uuid::from_u128(life));
        let since = StorageTime::from_nanos(100);
        self.unseen.joined(session(name), &agent(name), instance, since, None);
    }

    fn change(&mut self, by: &str, horizon: Option<ServerTime>, kind: ChangeKind) {
        let session = session(by);
        let witness = Witness { agent: agent(by), session, epoch: LeaderEpoch(0) };
        let (cause, by) = (Cause::Realtime, Some(witness));
        let revision = Revision(self.revision + 1);
        let change = Change { revision, at: ServerTime::default(), cause, by, kind };
        self.revision = change.last_revision().0;
        self.unseen.take(&[change], horizon);
    }

    fn made(&mut self, by: &str, what: &str, horizon: Option<ServerTime>) {
        let (path, stat, facts) = (path(what), directory(200), Facts::default());
        self.change(by, horizon, ChangeKind::Created { path, stat, facts });
    }

    fn give(&mut self) {
        let Self { unseen, gone, drawn, .. } = self;
        let draw = || {
            *drawn += 1;
            Uuid::from_u128(*drawn)
        };
        unseen.give(&|path| !gone.contains(&path.to_owned()), draw);
    }

    /// What an agent has to do.
    fn has(&self, name: &str) -> Vec<String> {
        let Some(command) = self.unseen.all(session(name)) else { return Vec::new() };
        let Action::Watch { paths } = command.action else { panic!("{command:?}") };
        paths.iter().map(|path| String::from_utf8(path.as_bytes().to_vec()).unwrap()).collect()
    }

    fn reports(&mut self, name: &str, state: CommandState) -> Ended {
        let Command { id, lease, .. } = self.unseen.all(session(name)).unwrap();
        let report = CommandReport { id, lease, state, progress: 0, result: BTreeMap::new() };
        let (rest, ended) = self.unseen.report(session(name), &[report]);
        assert_eq!(rest, []);
        ended
    }
}

#[test]
fn told_to_all_who_cannot_have_seen_it_until_they_report() {
    let mut rig = Rig::of(&["a", "b", "c", "d"]);
    rig.unseen.heard(session("c"), false);
    rig.join("d", 2);
    rig.made("a", "/", at(1));
    rig.made("a", "/x", at(1));
    rig.give();
    assert_eq!((rig.has("a"), rig.has("b")), (vec![], vec!["/x".to_owned()]));
    assert_eq!((rig.has("c"), rig.has("d")), (vec![], vec![]), "all or not known yet");
    assert!(rig.unseen.news(session("b")).is_some());
    assert!(rig.unseen.news(session("b")).is_none(), "noticed once");
    let first = rig.unseen.all(session("b"));
    rig.made("a", "/y", at(2));
    rig.give();
    assert_eq!(rig.unseen.all(session("b")), first, "one at a time");
    assert_eq!(rig.reports("b", CommandState::Running), Ended::default());
    assert_eq!(rig.unseen.all(session("b")), first);
    assert_eq!(rig.reports("b", CommandState::Done).done, 1);
    rig.give();
    assert_eq!(rig.has("b"), ["/y"]);
    rig.reports("b", CommandState::Done);
    rig.give();
    assert_eq!(
        (rig.has("b"), rig.unseen.appeared.len()),
        (vec![], 2),
        "d has to say how it watches"
    );
    rig.unseen.heard(session("d"), true);
    rig.give();
    assert_eq!((rig.has("d"), rig.unseen.appeared.len()), (vec!["/x".into(), "/y".into()], 2));
    rig.reports("d", CommandState::Done);
    rig.give();
    assert_eq!(rig.unseen.appeared.len(), 0, "nobody needs it any more");
}

#[test]
fn the_horizon_waits_for_the_oldest_that_is_not_reported() {
    let mut rig = Rig::of(&["a", "b", "c"]);
    assert_eq!(rig.unseen.now().hold, Hold::None);
    rig.made("a", "/x", at(1));
    rig.give();
    rig.made("a", "/y", at(5));
    rig.give();
    assert_eq!((rig.unseen.now().hold, rig.unseen.now().count), (Hold::At(at(1)), 2));
    rig.reports("b", CommandState::Done);
    rig.give();
    assert_eq!(rig.unseen.now().hold, Hold::At(at(1)));
    rig.reports("c", CommandState::Done);
    rig.give();
    assert_eq!(rig.unseen.now().hold, Hold::At(at(5)));
    rig.reports("b", CommandState::Done);
    assert!(!rig.unseen.now().is_degraded);
    rig.reports("c", CommandState::Failed);
    assert_eq!((rig.unseen.now().hold, rig.unseen.now().is_degraded), (Hold::None, true));
    rig.made("a", "/z", None);
    rig.give();
    assert_eq!(rig.unseen.now().hold, Hold::At(None), "it was not known before, nor is it now");
    rig.reports("c", CommandState::Done);
    assert!(!rig.unseen.now().is_degraded);
}

#[test]
fn what_lies_below_is_not_told_and_too_many_are_the_one_above() {
    let mut rig = Rig::of(&["a", "b"]);
    for made in ["/x/deep", "/x-1", "/x/deep/er", "/x", "/x/other", "/x"] {
        rig.made("a", made, at(1));
    }
    rig.give();
    assert_eq!(rig.has("b"), ["/x", "/x-1"]);
    rig.reports("b", CommandState::Done);
    for number in 0..=TOLD_AT_ONCE {
        rig.made("a", &format!("/in/run-{number}/x"), at(1));
    }
    rig.give();
    assert_eq!(rig.has("b"), ["/in"]);
    rig.reports("b", CommandState::Done);
    rig.unseen.session_over(session("b"), false);
    for number in 0..=KEPT {
        rig.made("a", &format!("/in/run-{number}"), at(1));
    }
    rig.join("b", 1);
    rig.give();
    assert_eq!(rig.has("b"), ["/"], "it is further back than what is kept");
    assert_eq!(rig.unseen.now().hold, Hold::At(None));
}

#[test]
fn what_is_gone_is_not_waited_for_and_what_moved_goes_along() {
    let mut rig = Rig::of(&["a", "b"]);
    rig.made("a", "/x/y", at(1));
    rig.made("a", "/z", at(1));
    rig.give();
    let removed =
        ChangeKind::Removed { path: path("/x"), stat: directory(1), tombstone: None, blind: false };
    rig.change("a", at(2), removed);
    rig.gone = vec![path("/x"), path("/x/y"), path("/w")];
    assert_eq!(rig.unseen.now().count, 1);
    rig.made("a", "/w", at(3));
    rig.reports("b", CommandState::Done);
    rig.give();
    assert_eq!((rig.has("b"), rig.unseen.now().hold), (vec![], Hold::None));

    // Who moves what it was not told of yet is told where that is now; who moves else knows it.
    let moved = |from: &str, to: &str| ChangeKind::Moved {
        from: path(from),
        to: path(to),
        before: directory(1),
        stat: directory(1),
        facts: Facts::default(),
        tombstone: Tombstone {
            deleted_at: ServerTime::default(),
            seen_in: None,
            since: ServerTime::default(),
        },
    };
    rig.change("b", at(4), moved("/known", "/elsewhere"));
    rig.give();
    assert_eq!((rig.has("a"), rig.has("b")), (vec!["/elsewhere".to_owned()], vec![]));
    rig.made("a", "/p/q", at(5));
    rig.give();
    rig.change("b", at(6), moved("/p", "/r"));
    rig.give();
    assert_eq!(rig.has("b"), ["/r"]);
}

#[test]
fn an_agent_that_comes_back_is_told_again_and_another_life_of_it_is_not() {
    let mut rig = Rig::of(&["a", "b"]);
    rig.made("a", "/x", at(1));
    rig.give();
    let reported = rig.unseen.reported(session("b"));
    assert_eq!(reported, Some(Revision(0)));
    rig.unseen.session_over(session("b"), false);
    assert_eq!(rig.unseen.now().hold, Hold::None, "it is no witness now");
    rig.made("a", "/y", at(2));
    rig.join("b", 1);
    rig.give();
    assert_eq!(rig.has("b"), ["/x", "/y"]);
    rig.reports("b", CommandState::Done);
    assert_eq!(rig.unseen.reported(session("b")), Some(Revision(2)));
    rig.made("a", "/z", at(3));
    rig.unseen.session_over(session("b"), false);
    rig.join("b", 2);
    rig.unseen.heard(session("b"), true);
    rig.give();
    assert_eq!(rig.has("b"), [] as [&str; 0], "it walks the tree by itself");
}

#[test]
fn the_next_life_of_a_view_goes_on_where_the_one_before_was() {
    let mut rig = Rig::of(&["a", "b"]);
    rig.made("a", "/x", at(1));
    rig.give();
    ["a", "b"].iter().for_each(|name| rig.unseen.session_over(session(name), false));
    let before = std::mem::replace(&mut rig.unseen, Unseen::new(Revision(1)));
    rig.made("a", "/y", at(2));
    rig.unseen.take_over(before);
    ["a", "b"].iter().for_each(|name| rig.join(name, 1));
    rig.made("a", "/z", at(3));
    rig.give();
    assert_eq!((rig.has("a"), rig.has("b")), (vec![], vec!["/x".into(), "/y".into(), "/z".into()]));
}
