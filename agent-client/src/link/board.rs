//! What the parts of the link tell each other and the rest of the agent: the standing, commands that
//! came, reports that are to go.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fusion_core::id::{LeaderEpoch, SessionId};
use fusion_core::session::Role;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::{Command, CommandReport, CommandState, LinkView, NextAudit, Standing};
use fusion_proto::convert::session::command::ReceivedCommands;

/// Commands that wait for the agent at most; the server repeats what does not fit.
pub(crate) const COMMANDS_WAITING: usize = 256;

/// The standing, written by the parts of the link.
pub(crate) struct Board {
    view: watch::Sender<LinkView>,
    commands: mpsc::Sender<Command>,
}

impl Board {
    pub(crate) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { view: watch::Sender::new(LinkView::default()), commands }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<LinkView> {
        self.view.subscribe()
    }

    /// A session begins, or is over.
    pub(crate) fn set(&self, standing: Option<Standing>) {
        self.view.send_modify(|view| {
            view.standing = standing;
            view.lost = false;
            view.trouble = None;
            view.refused = None;
            view.next_audit = None;
        });
    }

    /// Something is wrong, or all is well again.
    pub(crate) fn trouble(&self, trouble: Option<&str>) {
        self.view.send_if_modified(|view| {
            let changed = view.trouble.as_deref() != trouble;
            if changed {
                view.trouble = trouble.map(str::to_owned);
            }
            changed
        });
    }

    /// The server was not heard for too long, or is heard again.
    pub(crate) fn lost(&self, lost: bool) {
        self.view.send_if_modified(|view| std::mem::replace(&mut view.lost, lost) != lost);
    }

    /// The server said what this session is. What is older than what is known is ignored: answers
    /// and notices come over different connections.
    pub(crate) fn hear(&self, session: SessionId, role: Role, epoch: LeaderEpoch) {
        self.view.send_if_modified(|view| match &mut view.standing {
            Some(standing) if standing.session == session => {
                let over = role == Role::Leader && view.refused.is_some_and(|it| epoch <= it);
                let old = over || (epoch.0 != 0 && epoch < standing.epoch);
                let changed = !old && (standing.role, standing.epoch) != (role, epoch);
                if changed {
                    tracing::info!(role = crate::role::word(role), epoch = epoch.0, "role changed");
                    (standing.role, standing.epoch) = (role, epoch);
                }
                changed
            }
            _ => false,
        });
    }

    /// The server said the number of the next audit. Wakes nobody: whoever needs it looks.
    pub(crate) fn next_audit(&self, next: NextAudit) {
        self.view.send_if_modified(|view| {
            view.next_audit = Some(next);
            false
        });
    }

    /// Evidence of this leadership was refused because it is over. It stays over, whatever an answer
    /// says that was on its way before: no scanning until there is a leadership with a larger number.
    pub(crate) fn demoted(&self, session: SessionId, epoch: LeaderEpoch) {
        self.view.send_if_modified(|view| match &mut view.standing {
            Some(standing)
                if standing.session == session
                    && standing.epoch == epoch
                    && standing.role == Role::Leader =>
            {
                tracing::warn!(epoch = epoch.0, "no longer the leader: scanning stops");
                standing.role = Role::Follower;
                view.refused = Some(epoch);
                true
            }
            _ => false,
        });
    }

    /// Commands came. Gives those that could not be read, as reports.
    pub(crate) fn commands(&self, received: ReceivedCommands, reports: &Reports) {
        for command in received.commands {
            if !reports.is_known(command.id) && self.commands.try_send(command).is_err() {
                break;
            }
        }
        for report in received.unreadable.iter().filter_map(|command| command.report()) {
            reports.put(report);
        }
    }
}

/// How commands go: written by whoever does them, sent by the heartbeat until the server has it.
///
/// A lock, and not a task: held for a look into a small map, never across an await.
#[derive(Debug, Default)]
pub struct Reports(Mutex<BTreeMap<Uuid, (CommandReport, bool)>>);

/// Finished commands whose repetition is still recognised.
const REMEMBERED: usize = 1_000;

impl Reports {
    /// How a command goes now.
    pub fn put(&self, report: CommandReport) {
        let mut reports = self.lock();
        if reports.len() >= REMEMBERED {
            reports.retain(|_, (report, told)| report.state == CommandState::Running || !*told);
        }
        reports.insert(report.id, (report, false));
    }

    /// Whether this command was begun or done before; then it is reported again, not done again.
    #[must_use]
    pub fn is_known(&self, command: Uuid) -> bool {
        self.lock().get_mut(&command).is_some_and(|(_, told)| {
            *told = false;
            true
        })
    }

    /// What a heartbeat has to say, as much as it may: what has ended before what goes on.
    pub(crate) fn pending(&self) -> Vec<CommandReport> {
        let reports = self.lock();
        let untold = || reports.values().filter(|(_, told)| !told).map(|(report, _)| report);
        let goes_on = |report: &&CommandReport| report.state == CommandState::Running;
        let ended = untold().filter(|report| !goes_on(report));
        let all = ended.chain(untold().filter(goes_on));
        all.take(fusion_proto::limits::COMMANDS_MAX).cloned().collect()
    }

    /// The server has these. A running command is told again with every heartbeat.
    pub(crate) fn told(&self, sent: &[CommandReport]) {
        let mut reports = self.lock();
        for report in sent.iter().filter(|report| report.state != CommandState::Running) {
            if let Some((current, told)) = reports.get_mut(&report.id) {
                *told = current == report;
            }
        }
    }

    /// The server knows nothing of these any more, as after its restart, and asks anew for what it still wants:
    /// those that are not done are no longer told of, and not begun.
    pub(crate) fn give_up(&self, refused: &[Uuid]) {
        let mut reports = self.lock();
        for id in refused {
            if reports.get(id).is_some_and(|(report, _)| report.state == CommandState::Running) {
                reports.remove(id);
            }
        }
    }

    /// Whether the server still waits for this command.
    pub(crate) fn is_wanted(&self, command: Uuid) -> bool {
        self.lock().contains_key(&command)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Uuid, (CommandReport, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: usize, state: CommandState) -> CommandReport {
        CommandReport {
            id: Uuid::from_u128(number as u128),
            lease: String::new(),
            state,
            progress: 0,
            result: BTreeMap::new(),
        }
    }

    /// However many there are, one that has ended is not kept back by those that go on.
    #[test]
    fn what_has_ended_is_told_first() {
        const MAX: usize = fusion_proto::limits::COMMANDS_MAX;
        let reports = Reports::default();
        (0..MAX).for_each(|number| reports.put(report(number, CommandState::Running)));
        let last = [report(MAX, CommandState::Done), report(MAX + 1, CommandState::Failed)];
        last.iter().for_each(|report| reports.put(report.clone()));
        let pending = reports.pending();
        assert_eq!((&pending[..2], pending.len()), (&last[..], MAX));
        reports.told(&pending);
        assert!(reports.pending().iter().all(|report| report.state == CommandState::Running));
    }
}
