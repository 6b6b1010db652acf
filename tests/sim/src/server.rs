//! The server of a schedule: the view, and the durable log of everything that was done to it.
//!
//! A crash throws the view away and replays the durable changes, in half of the schedules those after
//! the last checkpoint; whatever was applied after them was never acknowledged and is sent again. The
//! log of all calls, done again, must give the same changes and the same view (property 4), and so must
//! the changes alone (property 6).

use std::ops::Range;
use std::rc::Rc;

use fusion_core::change::{Change, TrashId};
use fusion_core::evidence::{ChildColumns, Witness};
use fusion_core::id::{AgentId, LeaderEpoch, SessionId};
use fusion_core::path::TreePath;
use fusion_core::time::ServerTime;
use fusion_core::view::{
    AgentReport, Leadership, LossCause, Order, Verdict, View, ViewReader, ViewSettings,
};

use crate::checkpoints::Checkpoints;
use crate::dice::Dice;
use crate::row::{Batch, Row};
use crate::storage::Time;

/// Something that was done to the view.
#[derive(Debug, Clone)]
enum Call {
    Apply {
        batch: Rc<Batch>,
        row: usize,
        witness: Rc<Witness>,
        now: ServerTime,
    },
    Tick(ServerTime),
    Orders(ServerTime, usize),
    Lead(Option<Leadership>),
    Hear(AgentId, Box<AgentReport>, ServerTime),
    Lose(AgentId, bool, ServerTime),
    LoseEvents(AgentId, ServerTime),
    Assign(SessionId),
    /// A record of the trash is restored, or else purged.
    Trash(TrashId, bool, ServerTime),
    /// The server came back with so many changes.
    Restart(usize),
}

/// A batch that was applied: agent, lane, its number there, and the life of the lane.
pub(crate) type Applied = (usize, usize, usize, u32);

/// The server.
#[derive(Debug)]
pub(crate) struct Server {
    settings: ViewSettings,
    view: View,
    reader: ViewReader,
    log: Vec<Call>,
    /// All changes so far, and those of the last call.
    pub(crate) history: Vec<Change>,
    pub(crate) fresh: Range<usize>,
    /// How many of them are durable.
    durable: usize,
    /// Batches applied since the last commit: agent, lane, number, life of the lane.
    pub(crate) uncommitted: Vec<Applied>,
    epoch: u64,
    sessions: u64,
    pub(crate) leader: Option<usize>,
    leadership: Option<Leadership>,
    pub(crate) down_until: Time,
    scratch: ChildColumns,
    checkpoints: Option<Checkpoints>,
    /// Directories ordered to be listed, and names to be probed, so far.
    pub(crate) ordered: u64,
    /// Pieces of evidence applied.
    pub(crate) applied: u64,
}

impl Server {
    pub(crate) fn new(settings: ViewSettings, dice: Dice) -> Self {
        let view = View::new(settings.clone());
        Self {
            settings,
            reader: view.reader(),
            view,
            log: Vec::with_capacity(512),
            history: Vec::with_capacity(256),
            fresh: 0..0,
            durable: 0,
            uncommitted: Vec::new(),
            epoch: 0,
            sessions: 0,
            leader: None,
            leadership: None,
            down_until: 0,
            scratch: ChildColumns::default(),
            checkpoints: Checkpoints::of(dice),
            ordered: 0,
            applied: 0,
        }
    }

    pub(crate) const fn reader(&self) -> &ViewReader {
        &self.reader
    }

    pub(crate) const fn view(&self) -> &View {
        &self.view
    }

    /// A new session number.
    pub(crate) fn new_session(&mut self) -> Option<SessionId> {
        self.sessions += 1;
        SessionId::parse(&format!("00000000-0000-4000-8000-{:012x}", self.sessions)).ok()
    }

    // === What is done to the view; every call is logged ===

    /// Applies one row of a batch.
    pub(crate) fn apply(
        &mut self,
        batch: &Rc<Batch>,
        row: usize,
        witness: &Rc<Witness>,
        now: ServerTime,
    ) -> Verdict {
        let call = Call::Apply { batch: Rc::clone(batch), row, witness: Rc::clone(witness), now };
        self.log.push(call);
        self.applied += 1;
        let before = self.history.len();
        let Self { view, scratch, history, .. } = self;
        let verdict =
            batch.rows[row].lend(scratch, |evidence| view.apply(witness, evidence, now, history));
        self.fresh = before..self.history.len();
        self.flush();
        verdict
    }

    /// Lets the flusher of checkpoints do its part.
    fn flush(&mut self) {
        let (call, changes) = (self.log.len(), self.history.len());
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.go(&mut self.view, call, changes, self.durable);
        }
    }

    pub(crate) fn tick(&mut self, now: ServerTime) {
        self.log.push(Call::Tick(now));
        let before = self.history.len();
        self.view.tick(now, &mut self.history);
        self.fresh = before..self.history.len();
        self.flush();
    }

    pub(crate) fn orders(&mut self, now: ServerTime, limit: usize) -> Vec<Order> {
        self.log.push(Call::Orders(now, limit));
        let orders = self.view.orders(now, limit);
        let paths = |order: &Order| match order {
            Order::Relist(paths) | Order::Probe(paths) => paths.len() as u64,
            #[allow(unreachable_patterns, reason = "audits may be ordered as well")]
            _ => 0,
        };
        self.ordered += orders.iter().map(paths).sum::<u64>();
        orders
    }

    pub(crate) fn hear(&mut self, agent: &AgentId, report: AgentReport, now: ServerTime) {
        self.view.hear(agent, &report, now);
        self.log.push(Call::Hear(agent.clone(), Box::new(report), now));
    }

    pub(crate) fn lose(&mut self, agent: &AgentId, ended: bool, now: ServerTime) {
        self.view.lose(agent, ended, now);
        self.log.push(Call::Lose(agent.clone(), ended, now));
    }

    /// An agent came back as another process (R10).
    pub(crate) fn lose_events(&mut self, agent: &AgentId, now: ServerTime) {
        self.view.lose_events(agent, LossCause::NewInstance, now);
        self.log.push(Call::LoseEvents(agent.clone(), now));
    }

    /// Somebody asked a session for a scan of everything.
    pub(crate) fn assign(&mut self, session: SessionId) {
        self.view.assign_scan(session, TreePath::root());
        self.log.push(Call::Assign(session));
    }

    /// An operator restores a record of the trash, or else purges it; it may be refused.
    pub(crate) fn operate_trash(&mut self, id: TrashId, restore: bool, now: ServerTime) {
        self.log.push(Call::Trash(id, restore, now));
        let before = self.history.len();
        operate_trash(&mut self.view, id, restore, now, &mut self.history);
        self.fresh = before..self.history.len();
        self.flush();
    }

    /// Gives the leadership to a session, under a new epoch, or to nobody.
    pub(crate) fn lead(&mut self, session: Option<SessionId>) -> LeaderEpoch {
        self.epoch += u64::from(session.is_some());
        let epoch = LeaderEpoch(self.epoch);
        let leadership = session.map(|session| Leadership { session, epoch });
        self.leadership = leadership;
        self.view.set_leadership(leadership);
        self.log.push(Call::Lead(leadership));
        epoch
    }

    // === Durability ===

    /// Everything so far is durable.
    pub(crate) fn commit(&mut self) -> Vec<Applied> {
        self.durable = self.history.len();
        std::mem::take(&mut self.uncommitted)
    }

    /// The server dies and loads what was durable: the last checkpoint if there are any, and the
    /// changes after it, replayed.
    ///
    /// # Errors
    /// Nothing had been lost and yet the view is another.
    pub(crate) fn crash(&mut self) -> Result<(), String> {
        let whole = self.durable == self.history.len();
        let before = if whole { self.view.dump() } else { String::new() };
        self.uncommitted.clear();
        self.log.push(Call::Restart(self.durable));
        self.history.truncate(self.durable);
        self.view = self.restarted()?;
        self.reader = self.view.reader();
        let after = if whole { self.view.dump() } else { String::new() };
        self.view.set_leadership(self.leadership);
        if before == after { Ok(()) } else { Err(difference(&before, &after)) }
    }

    /// The view from what is durable.
    fn restarted(&mut self) -> Result<View, String> {
        let Some(checkpoints) = &mut self.checkpoints else {
            return Ok(replayed(&self.settings, &self.history));
        };
        checkpoints.restart(&self.settings, &self.history)
    }

    /// Does the whole log again on an empty view.
    fn redo(&mut self) -> (View, Vec<Change>) {
        let mut view = View::new(self.settings.clone());
        let mut changes = Vec::with_capacity(self.history.len());
        let mut leadership = None;
        for call in &self.log {
            match call {
                Call::Apply { batch, row, witness, now } => {
                    batch.rows[*row].lend(&mut self.scratch, |evidence| {
                        view.apply(witness, evidence, *now, &mut changes)
                    });
                }
                Call::Tick(now) => view.tick(*now, &mut changes),
                Call::Orders(now, limit) => drop(view.orders(*now, *limit)),
                Call::Lead(leader) => {
                    leadership = *leader;
                    view.set_leadership(leadership);
                }
                Call::Hear(agent, report, now) => view.hear(agent, report, *now),
                Call::Lose(agent, ended, now) => view.lose(agent, *ended, *now),
                Call::LoseEvents(agent, now) => {
                    view.lose_events(agent, LossCause::NewInstance, *now);
                }
                Call::Assign(session) => drop(view.assign_scan(*session, TreePath::root())),
                Call::Trash(id, restore, now) => {
                    operate_trash(&mut view, *id, *restore, *now, &mut changes);
                }
                Call::Restart(durable) => {
                    changes.truncate(*durable);
                    view = replayed(&self.settings, &changes);
                    view.set_leadership(leadership);
                }
            }
        }
        (view, changes)
    }

    /// Whether the whole log, done again, gives the same changes and the same view.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn check_determinism(&mut self) -> Result<(), String> {
        let (view, changes) = self.redo();
        if changes != self.history {
            let at = changes.iter().zip(&self.history).find(|(again, first)| again != first);
            return Err(format!("the same evidence gave other changes: {at:?}"));
        }
        let (first, again) = (self.view.dump(), view.dump());
        if first == again { Ok(()) } else { Err(difference(&first, &again)) }
    }

    /// Whether the changes alone give the view, and the last checkpoint with those after it.
    ///
    /// # Errors
    /// They do not.
    pub(crate) fn check_replay(&mut self) -> Result<(), String> {
        let (first, last) = (self.view.dump(), self.restarted()?.dump());
        if first != last {
            return Err(format!("from its checkpoint: {}", difference(&first, &last)));
        }
        let again = replayed(&self.settings, &self.history).dump();
        if first == again { Ok(()) } else { Err(difference(&first, &again)) }
    }
}

fn operate_trash(
    view: &mut View,
    id: TrashId,
    restore: bool,
    now: ServerTime,
    changes: &mut Vec<Change>,
) {
    let _ = if restore { view.restore(id, now, changes) } else { view.purge(id, now, changes) };
}

fn replayed(settings: &ViewSettings, changes: &[Change]) -> View {
    let mut view = View::new(settings.clone());
    changes.iter().for_each(|change| view.replay(change));
    view
}

/// The first line in which two dumps differ.
fn difference(first: &str, again: &str) -> String {
    let lines = first.lines().map(Some).chain(std::iter::repeat(None));
    let others = again.lines().map(Some).chain(std::iter::repeat(None));
    let longest = first.lines().count().max(again.lines().count());
    let differs = lines.zip(others).take(longest).find(|(one, other)| one != other);
    match differs {
        Some((one, other)) => format!("was: {}; is: {}", one.unwrap_or(""), other.unwrap_or("")),
        None => "no line differs".to_owned(),
    }
}

impl Batch {
    /// The row with this number.
    pub(crate) fn row(&self, number: usize) -> &Row {
        &self.rows[number]
    }
}
