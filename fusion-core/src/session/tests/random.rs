//! Random interleavings, judged by the effects alone.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Views of the interleavings: `v`, and `x`, which takes one session at a time.
fn either(exclusive: bool) -> ViewName {
    ViewName::new(if exclusive { "x" } else { "v" }).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Join { exclusive: bool, agent: u8, spool: u8 },
    Beat(usize),
    End(usize),
    Evict(usize),
    Reset(bool),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), 0..4u8, 0..2u8)
            .prop_map(|(exclusive, agent, spool)| Step::Join { exclusive, agent, spool }),
        6 => any::<usize>().prop_map(Step::Beat),
        2 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Evict),
        1 => any::<bool>().prop_map(Step::Reset),
        4 => (0..20u64).prop_map(Step::Pass),
    ]
}

fn take(world: &mut World, ids: &mut Vec<SessionId>, step: Step) {
    let pick = |number: usize| ids.get(number % ids.len().max(1)).copied();
    match step {
        Step::Join { exclusive, agent, spool } => {
            let agent = format!("agent{agent}");
            let joined = world.join_in(&either(exclusive), &agent, u128::from(spool));
            ids.extend(joined.ok().map(|session| session.id));
        }
        Step::Beat(number) => drop(pick(number).map(|id| world.beat(id))),
        Step::End(number) => drop(pick(number).map(|id| world.end(id))),
        Step::Evict(number) => drop(pick(number).map(|id| world.evict(id))),
        Step::Reset(exclusive) => {
            let wall = world.wall();
            world.table.reset_view(&either(exclusive), world.now, wall, &mut world.effects);
        }
        Step::Pass(seconds) => world.pass(Duration::from_secs(seconds)),
    }
}

/// What can be known of the table from its effects alone.
#[derive(Default)]
struct Seen {
    over: HashMap<SessionId, SessionState>,
    leaders: HashMap<ViewName, SessionId>,
    last_epochs: HashMap<ViewName, u64>,
}

impl Seen {
    fn take(&mut self, world: &World, effect: SessionEffect) -> Result<(), TestCaseError> {
        match effect {
            SessionEffect::Over { session, state } => {
                prop_assert!(state != SessionState::Active);
                prop_assert!(self.over.insert(session.id, state).is_none(), "ended twice");
                if self.leaders.get(&session.view) == Some(&session.id) {
                    self.leaders.remove(&session.view);
                }
            }
            SessionEffect::Leads { view, session, epoch } => {
                prop_assert!(!self.over.contains_key(&session));
                let last = self.last_epochs.insert(view.clone(), epoch.0).unwrap_or_default();
                prop_assert!(epoch.0 > last);
                let before = self.leaders.insert(view.clone(), session);
                prop_assert_eq!(before, None, "two lead {}", view);
                // Whoever stands longer was passed over for its silence; or beat only now.
                let silent = |one: &Session| {
                    let silence = world.wall().since(one.heard_at);
                    silence > one.heartbeat_interval() * 2 || silence.is_zero()
                };
                let mut older = world.table.of_view(&view, 0).take_while(|one| one.id != session);
                prop_assert!(older.all(silent), "{session:?} is not the longest-standing");
            }
            SessionEffect::Leaderless { view } => {
                prop_assert_eq!(self.leaders.get(&view), None);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// At most one leader per view and epoch, epochs only grow, the longest-standing lively session
    /// leads, an exclusive view has one session, a session never leaves an end state, and every
    /// obsolete answer has the true cause: all read off the effects alone.
    #[test]
    fn any_interleaving_keeps_the_promises(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(ViewRules::default());
        world.table.set_view(&either(true), ViewRules { exclusive: true, ..ViewRules::default() });
        let (mut ids, mut seen) = (Vec::new(), Seen::default());
        for step in steps {
            take(&mut world, &mut ids, step);
            // What expires now is ended here, so that asking below changes nothing.
            let wall = world.wall();
            world.table.expire(world.now, wall, &mut world.effects);
            for effect in std::mem::take(&mut world.effects) {
                seen.take(&world, effect)?;
            }
            for view in [either(false), either(true)] {
                let leader = world.table.leader(&view).map(|session| session.id);
                prop_assert_eq!(leader.as_ref(), seen.leaders.get(&view));
                // Who is lively when nobody leads was so when that began, and is promoted then.
                let lively = |one: &Session| one.is_lively(world.now);
                let passed_over = leader.is_none() && world.table.of_view(&view, 0).any(lively);
                prop_assert!(!passed_over, "nobody leads {view}, and one could");
            }
            prop_assert!(world.table.of_view(&either(true), 0).count() <= 1);
            for id in &ids {
                let live = world.table.get(*id).is_some();
                prop_assert_eq!(live, !seen.over.contains_key(id));
                if let Some(state) = seen.over.get(id) {
                    prop_assert_eq!(world.table.get_ended(*id).unwrap().state, *state);
                    let told = world.beat(*id).unwrap_err().cause;
                    prop_assert_eq!(told, crate::session::ended::cause(*state));
                }
            }
        }
    }
}
