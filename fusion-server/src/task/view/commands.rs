//! Commands for the leader of a view: given, told, repeated until they are reported, and forgotten.
//!
//! [`CommandTable`] is pure and holds the rules; [`super::desk`] shares it. Nothing here is durable:
//! the view asks again by itself for what it still wants, so a command that is lost, refused or lapsed
//! costs time only.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use fusion_core::evidence::Source;
use fusion_core::id::{CorrelationId, SessionId};
use fusion_core::path::TreePath;
use fusion_core::time::Monotonic;
use fusion_core::view::Order;
use fusion_proto::convert::session::command::{Action, Command, CommandReport, CommandState};
use uuid::Uuid;

/// Paths in commands that are not reported, at most: what an answer repeats stays far below the
/// limit of a message, whatever the paths are.
const OUTSTANDING: usize = 256;
/// A command of which nothing is heard for so long has lapsed.
pub(super) const LEASE: Duration = Duration::from_secs(120);

/// A command under way.
#[derive(Debug)]
struct Given {
    command: Command,
    /// When it lapses.
    until: Monotonic,
    /// A stream has told it; from then on only heartbeats repeat it.
    noticed: bool,
}

/// How commands ended, to be counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
}

/// The commands of one view.
#[derive(Debug, Default)]
pub(super) struct CommandTable {
    leader: Option<SessionId>,
    given: VecDeque<Given>,
    /// An audit was ordered while another was under way. That one may have begun too early for what
    /// the view wants, which asks again only after a long while.
    pub(super) audit_owed: bool,
}

impl CommandTable {
    /// A change of the leader ends all commands: the new one gets what the view asks for again.
    pub(super) fn set_leader(&mut self, leader: Option<SessionId>) {
        if self.leader != leader {
            self.leader = leader;
            self.given.clear();
            // It begins with a scan of the whole tree by itself.
            self.audit_owed = false;
        }
    }

    /// Forgets what has lapsed; how many.
    pub(super) fn lapse(&mut self, now: Monotonic) -> usize {
        let before = self.given.len();
        self.given.retain(|given| given.until > now);
        before - self.given.len()
    }

    /// How many paths may be given now; none while nobody leads.
    pub(super) fn room(&self) -> usize {
        if self.leader.is_none() {
            return 0;
        }
        let taken: usize = self.given.iter().map(|given| paths(&given.command.action).len()).sum();
        OUTSTANDING.saturating_sub(taken)
    }

    /// Makes commands of an order. A path that a command under way names is not named again.
    pub(super) fn give(
        &mut self,
        order: Order,
        now: Monotonic,
        mut draw: impl FnMut() -> Uuid,
    ) -> usize {
        if self.leader.is_none() {
            return 0;
        }
        let actions: Vec<Action> = match order {
            Order::Relist(dirs) => {
                let dirs = self.not_under_way(dirs, |action| matches!(action, Action::Scan { .. }));
                dirs.into_iter().map(relist).collect()
            }
            Order::Probe(names) => {
                let paths =
                    self.not_under_way(names, |action| matches!(action, Action::Probe { .. }));
                if paths.is_empty() { Vec::new() } else { vec![Action::Probe { paths }] }
            }
            Order::Audit { number } => {
                self.audit_owed = self.is_auditing();
                if self.audit_owed { Vec::new() } else { vec![audit(number)] }
            }
        };
        let count = actions.len();
        for action in actions {
            let id = draw();
            let command = Command {
                id,
                lease: draw().to_string(),
                // The chain begins here: the evidence that answers names it.
                correlation: CorrelationId::new(&id.to_string()).ok(),
                traceparent: String::new(),
                action,
            };
            self.given.push_back(Given { command, until: now.plus(LEASE), noticed: false });
        }
        count
    }

    pub(super) fn has(&self, command: Uuid) -> bool {
        self.given.iter().any(|given| given.command.id == command)
    }

    fn is_auditing(&self) -> bool {
        let auditing =
            |given: &Given| matches!(given.command.action, Action::Scan { recursive: true, .. });
        self.given.iter().any(auditing)
    }

    /// Whether an audit that could not be given can be given now.
    pub(super) fn owes_audit(&self) -> bool {
        self.audit_owed && !self.is_auditing()
    }

    fn not_under_way(
        &self,
        mut wanted: Vec<TreePath>,
        same: impl Fn(&Action) -> bool,
    ) -> Vec<TreePath> {
        let actions = self.given.iter().map(|given| &given.command.action);
        let known: HashSet<&TreePath> =
            actions.filter(|action| same(action)).flat_map(paths).collect();
        wanted.retain(|path| !known.contains(path));
        wanted
    }

    /// What this session is to do, all of it: for a heartbeat's answer.
    pub(super) fn all(&mut self, session: SessionId) -> Vec<Command> {
        if self.leader != Some(session) {
            return Vec::new();
        }
        self.given.iter().map(|given| given.command.clone()).collect()
    }

    /// What no stream of this session has told yet.
    pub(super) fn news(&mut self, session: SessionId) -> Vec<Command> {
        if self.leader != Some(session) {
            return Vec::new();
        }
        let untold = self.given.iter_mut().filter(|given| !given.noticed);
        untold
            .map(|given| {
                given.noticed = true;
                given.command.clone()
            })
            .collect()
    }

    /// Takes reports; the ids of those that are of no command of this session's, or of a lapsed
    /// lease. A report that a command is being done extends its lease.
    pub(super) fn report(
        &mut self,
        session: SessionId,
        reports: &[CommandReport],
        now: Monotonic,
    ) -> (Vec<Uuid>, Ended) {
        let (mut refused, mut ended) = (Vec::new(), Ended::default());
        for report in reports {
            let leads = self.leader == Some(session);
            let known = self.given.iter().position(|given| {
                leads && given.command.id == report.id && given.command.lease == report.lease
            });
            let Some(place) = known else {
                refused.push(report.id);
                ended.refused += 1;
                continue;
            };
            match report.state {
                CommandState::Running => {
                    if let Some(given) = self.given.get_mut(place) {
                        given.until = now.plus(LEASE);
                    }
                    continue;
                }
                CommandState::Done => ended.done += 1,
                CommandState::Failed => ended.failed += 1,
            }
            self.given.remove(place);
        }
        (refused, ended)
    }
}

fn relist(path: TreePath) -> Action {
    Action::Scan { path, source: Source::Audit, recursive: false, audit_number: None }
}

fn audit(number: u64) -> Action {
    let number = Some(number).filter(|&number| number > 0);
    Action::Scan {
        path: TreePath::root(),
        source: Source::Audit,
        recursive: true,
        audit_number: number,
    }
}

fn paths(action: &Action) -> &[TreePath] {
    match action {
        Action::Scan { path, .. } => std::slice::from_ref(path),
        Action::Probe { paths } => paths,
        Action::Watch { .. } | Action::Stop { .. } | Action::Restart { .. } => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn session(number: u128) -> SessionId {
        SessionId::new(Uuid::from_u128(number))
    }

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_secs(seconds))
    }

    fn counter() -> impl FnMut() -> Uuid {
        let mut last = 100;
        move || {
            last += 1;
            Uuid::from_u128(last)
        }
    }

    fn report(command: &Command, state: CommandState) -> CommandReport {
        let (id, lease) = (command.id, command.lease.clone());
        CommandReport { id, lease, state, progress: 0, result: BTreeMap::new() }
    }

    #[test]
    fn repeated_until_reported_and_noticed_once() {
        let (mut table, mut draw) = (CommandTable::default(), counter());
        table.set_leader(Some(session(1)));
        let relists = Order::Relist(vec![path("/a"), path("/b")]);
        assert_eq!(table.give(relists.clone(), at(0), &mut draw), 2);
        assert_eq!(table.give(Order::Probe(vec![path("/a"), path("/c")]), at(0), &mut draw), 1);
        assert_eq!(table.give(relists, at(1), &mut draw), 0, "they are under way");
        assert_eq!(table.room(), OUTSTANDING - 4);

        assert_eq!(table.news(session(2)), [], "it does not lead");
        let told = table.news(session(1));
        assert_eq!(told.len(), 3);
        assert_eq!(table.news(session(1)), []);
        assert_eq!(table.all(session(1)), told);

        let reports = [
            report(&told[0], CommandState::Done),
            report(&told[1], CommandState::Running),
            report(&told[2], CommandState::Failed),
        ];
        let (refused, ended) = table.report(session(1), &reports, at(2));
        assert_eq!((refused, ended), (vec![], Ended { done: 1, failed: 1, refused: 0 }));
        assert_eq!(table.all(session(1)), told[1..2]);
        let (refused, _) = table.report(session(1), &reports[..1], at(2));
        assert_eq!(refused, [told[0].id]);
    }

    #[test]
    fn one_audit_at_a_time() {
        let (mut table, mut draw) = (CommandTable::default(), counter());
        table.set_leader(Some(session(1)));
        assert_eq!(table.give(Order::Audit { number: 3 }, at(0), &mut draw), 1);
        assert_eq!(table.give(Order::Audit { number: 3 }, at(1), &mut draw), 0);
        assert!(!table.owes_audit(), "the first is under way");
        let told = table.all(session(1)).remove(0);
        table.report(session(1), &[report(&told, CommandState::Done)], at(2));
        assert!(table.owes_audit(), "it may have begun too early");
        assert_eq!(table.give(Order::Audit { number: 4 }, at(3), &mut draw), 1);
        assert!(!table.owes_audit());
        table.give(Order::Audit { number: 4 }, at(4), &mut draw);
        table.set_leader(Some(session(2)));
        assert!(!table.owes_audit(), "a new leader lists all by itself");
    }

    #[test]
    fn only_the_leader_has_commands_and_only_under_their_lease() {
        let (mut table, mut draw) = (CommandTable::default(), counter());
        let order = Order::Relist(vec![path("/a")]);
        assert_eq!(table.give(order.clone(), at(0), &mut draw), 0, "nobody leads");
        assert_eq!(table.room(), 0);
        table.set_leader(Some(session(1)));
        table.give(order.clone(), at(0), &mut draw);
        let command = table.all(session(1)).remove(0);
        let done = report(&command, CommandState::Done);
        let other_lease = CommandReport { lease: "x".to_owned(), ..done.clone() };
        assert_eq!(table.report(session(1), &[other_lease], at(1)).0, [command.id]);
        assert_eq!(table.report(session(2), std::slice::from_ref(&done), at(1)).0, [command.id]);

        table.set_leader(Some(session(2)));
        assert_eq!(table.all(session(2)), []);
        assert_eq!(table.report(session(1), &[done], at(1)).0, [command.id]);
        table.give(order, at(1), &mut draw);
        table.set_leader(None);
        assert!(table.given.is_empty());
    }

    #[test]
    fn a_lease_lapses_in_silence_and_is_extended_by_reports() {
        let (mut table, mut draw) = (CommandTable::default(), counter());
        table.set_leader(Some(session(1)));
        table.give(Order::Relist(vec![path("/a"), path("/b")]), at(0), &mut draw);
        let told = table.all(session(1));
        table.report(session(1), &[report(&told[1], CommandState::Running)], at(60));
        assert_eq!(table.lapse(at(121)), 1);
        assert_eq!(table.all(session(1)), told[1..]);
        assert_eq!(table.lapse(at(181)), 1);
        let late = [report(&told[1], CommandState::Done)];
        assert_eq!(table.report(session(1), &late, at(182)).0, [told[1].id]);
    }
}
