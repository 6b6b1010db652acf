mod random;

use std::time::Duration;

use uuid::Uuid;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A table with one view `v` and a driven clock.
struct World {
    table: SessionTable,
    now: Monotonic,
    effects: Vec<SessionEffect>,
    drawn: u128,
}

impl World {
    fn new(rules: ViewRules) -> Self {
        let mut table = SessionTable::new(SessionSettings::default());
        table.set_view(&view(), rules);
        Self { table, now: Monotonic::default(), effects: Vec::new(), drawn: 0 }
    }

    fn wall(&self) -> ServerTime {
        ServerTime::from_nanos(self.now.as_nanos())
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now.plus(span);
    }

    fn join(&mut self, agent: &str, spool: u128) -> Result<Session, JoinRefused> {
        self.join_in(&view(), agent, spool)
    }

    fn join_in(
        &mut self,
        view: &ViewName,
        agent: &str,
        spool: u128,
    ) -> Result<Session, JoinRefused> {
        self.drawn += 1;
        let join = Join {
            id: SessionId::new(Uuid::from_u128(self.drawn)),
            view: view.clone(),
            principal: Principal::anonymous(),
            agent: AgentId::new(agent).unwrap(),
            instance: InstanceId::new(Uuid::from_u128(self.drawn)),
            spool: SpoolId::new(Uuid::from_u128(spool)),
            host: format!("host-of-{agent}"),
            proposed_timeout: None,
        };
        let wall = self.wall();
        self.table.create(join, self.now, wall, &mut self.effects)
    }

    fn beat(&mut self, id: SessionId) -> Result<Session, Obsolete> {
        let wall = self.wall();
        self.table.beat(id, &Principal::anonymous(), self.now, wall, &mut self.effects)
    }

    fn end(&mut self, id: SessionId) -> Result<(), SessionNotFound> {
        let wall = self.wall();
        self.table.end(id, &Principal::anonymous(), self.now, wall, &mut self.effects)
    }

    fn evict(&mut self, id: SessionId) -> Result<(), SessionNotFound> {
        let wall = self.wall();
        self.table.evict(id, self.now, wall, &mut self.effects)
    }

    fn leader(&self) -> Option<SessionId> {
        self.table.leader(&view()).map(|session| session.id)
    }
}

fn view() -> ViewName {
    ViewName::new("v").unwrap()
}

fn timeout() -> Duration {
    ViewRules::default().timeout
}

#[test]
fn first_come_first_served_and_promotion_at_once() {
    let mut world = World::new(ViewRules::default());
    let first = world.join("a", 1).unwrap();
    let second = world.join("b", 2).unwrap();
    let third = world.join("c", 3).unwrap();
    assert_eq!((first.role, first.epoch), (Role::Leader, LeaderEpoch(1)));
    assert_eq!((second.role, third.role), (Role::Follower, Role::Follower));
    world.end(first.id).unwrap();
    assert_eq!(world.leader(), Some(second.id));
    assert_eq!(world.beat(second.id).unwrap().epoch, LeaderEpoch(2));
    assert_eq!(world.join("a", 1).unwrap().role, Role::Follower, "a returning leader follows");
}

#[test]
fn only_a_lively_follower_is_promoted() {
    let mut world = World::new(ViewRules::default());
    let leader = world.join("a", 1).unwrap();
    let silent = world.join("b", 2).unwrap();
    let lively = world.join("c", 3).unwrap();
    world.pass(timeout() - SECOND);
    world.beat(leader.id).unwrap();
    world.beat(lively.id).unwrap();
    world.evict(leader.id).unwrap();
    assert_eq!(world.leader(), Some(lively.id), "{silent:?} was not heard for two intervals");
}

#[test]
fn a_silent_follower_leads_once_it_is_heard() {
    let mut world = World::new(ViewRules::default());
    let leader = world.join("a", 1).unwrap();
    let follower = world.join("b", 2).unwrap();
    world.pass(timeout() - SECOND);
    world.end(leader.id).unwrap();
    assert_eq!(world.leader(), None);
    assert!(world.effects.contains(&SessionEffect::Leaderless { view: view() }));
    assert_eq!(world.beat(follower.id).unwrap().role, Role::Leader);
}

#[test]
fn the_timeout_is_a_lower_bound() {
    let mut world = World::new(ViewRules::default());
    let session = world.join("a", 1).unwrap();
    world.pass(timeout());
    assert!(world.beat(session.id).is_ok());
    world.pass(timeout() + Duration::from_nanos(1));
    let obsolete = world.beat(session.id).unwrap_err();
    assert_eq!((obsolete.cause, obsolete.view), (ObsoleteCause::Expired, Some(view())));
    let again = world.join("a", 1).unwrap();
    assert_eq!((again.role, again.epoch), (Role::Leader, LeaderEpoch(2)));
}

#[test]
fn the_same_spool_supersedes_and_another_is_refused() {
    let mut world = World::new(ViewRules::default());
    let old = world.join("a", 1).unwrap();
    world.pass(SECOND);
    let refused = world.join("a", 2).unwrap_err();
    let JoinRefused::AgentIdConflict { host, retry_after, .. } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!((host.as_str(), retry_after), ("host-of-a", timeout() - SECOND));
    assert!(world.beat(old.id).is_ok(), "the old session is not disturbed");
    let new = world.join("a", 1).unwrap();
    assert_eq!(world.beat(old.id).unwrap_err().cause, ObsoleteCause::Superseded);
    assert_eq!((new.role, new.epoch), (Role::Leader, LeaderEpoch(2)));
}

#[test]
fn an_exclusive_view_takes_one_session() {
    let mut world = World::new(ViewRules { exclusive: true, ..ViewRules::default() });
    let holder = world.join("a", 1).unwrap();
    assert!(matches!(world.join("b", 2), Err(JoinRefused::ViewOccupied { .. })));
    let again = world.join("a", 1).unwrap();
    world.end(again.id).unwrap();
    assert!(world.join("b", 2).is_ok());
    assert_ne!(holder.id, again.id);
}

#[test]
fn who_is_leaving_is_never_told_to_come_back() {
    let mut world = World::new(ViewRules::default());
    let session = world.join("a", 1).unwrap();
    world.evict(session.id).unwrap();
    assert_eq!(world.beat(session.id).unwrap_err().cause, ObsoleteCause::Evicted);
    assert_eq!(world.end(session.id), Err(SessionNotFound(session.id)));
    assert_eq!(world.evict(session.id), Err(SessionNotFound(session.id)));
}

/// However its session was lost, an agent that is alone leads again, under a larger epoch.
#[test]
fn one_agent_alone_leads_again_after_every_recovery() {
    let losses: [fn(&mut World, SessionId); 5] = [
        |world, id| world.end(id).unwrap(),
        |world, id| world.evict(id).unwrap(),
        |world, _| world.pass(timeout() + SECOND),
        // Its new session supersedes the old one.
        |_, _| {},
        |world, _| {
            let wall = world.wall();
            world.table.reset_view(&view(), world.now, wall, &mut world.effects);
        },
    ];
    let mut world = World::new(ViewRules::default());
    let mut last = world.join("a", 1).unwrap();
    for lose in losses {
        lose(&mut world, last.id);
        let next = world.join("a", 1).unwrap();
        assert_eq!((next.role, world.leader()), (Role::Leader, Some(next.id)));
        assert!(next.epoch > last.epoch, "{next:?} after {last:?}");
        last = next;
    }
}

#[test]
fn another_principal_sees_nothing() {
    let mut world = World::new(ViewRules::default());
    let session = world.join("a", 1).unwrap();
    let (wall, other) = (world.wall(), Principal::new("other"));
    let answer = world.table.beat(session.id, &other, world.now, wall, &mut world.effects);
    assert_eq!(answer.unwrap_err().cause, ObsoleteCause::Unknown);
    let answer = world.table.end(session.id, &other, world.now, wall, &mut world.effects);
    assert_eq!(answer, Err(SessionNotFound(session.id)));
    assert!(world.beat(session.id).is_ok());
}

#[test]
fn a_reset_ends_all_and_promotes_nobody() {
    let mut world = World::new(ViewRules::default());
    let ids: Vec<_> = ["a", "b"].map(|agent| world.join(agent, 1).unwrap().id).into();
    world.effects.clear();
    let wall = world.wall();
    world.table.reset_view(&view(), world.now, wall, &mut world.effects);
    let promoted = world.effects.iter().any(|one| matches!(one, SessionEffect::Leads { .. }));
    assert!(!promoted && world.leader().is_none());
    for id in ids {
        assert_eq!(world.beat(id).unwrap_err().cause, ObsoleteCause::ViewReset);
    }
    assert_eq!(world.join("a", 1).unwrap().epoch, LeaderEpoch(3));
}

#[test]
fn timeouts_are_negotiated_within_bounds() {
    let mut world = World::new(ViewRules { timeout: 20 * SECOND, ..ViewRules::default() });
    let mut ask = |agent: &str, proposed| {
        world.drawn += 1;
        let join = Join {
            id: SessionId::new(Uuid::from_u128(world.drawn)),
            view: view(),
            principal: Principal::anonymous(),
            agent: AgentId::new(agent).unwrap(),
            instance: InstanceId::new(Uuid::from_u128(1)),
            spool: SpoolId::new(Uuid::from_u128(1)),
            host: String::new(),
            proposed_timeout: proposed,
        };
        let wall = ServerTime::default();
        world.table.create(join, world.now, wall, &mut world.effects).unwrap().timeout
    };
    assert_eq!(ask("a", None), 20 * SECOND);
    assert_eq!(ask("b", Some(5 * SECOND)), 20 * SECOND);
    assert_eq!(ask("c", Some(40 * SECOND)), 40 * SECOND);
    assert_eq!(ask("d", Some(9999 * SECOND)), 600 * SECOND);
}

#[test]
fn ended_sessions_are_forgotten_after_a_day_and_beyond_the_bound() {
    let settings = SessionSettings { remember_most: 2, ..SessionSettings::default() };
    let mut world = World::new(ViewRules::default());
    world.table = SessionTable::new(settings);
    world.table.set_view(&view(), ViewRules::default());
    let ids: Vec<_> = (0..3)
        .map(|_| {
            let id = world.join("a", 1).unwrap().id;
            world.evict(id).unwrap();
            id
        })
        .collect();
    let causes: Vec<_> = ids.iter().map(|&id| world.beat(id).unwrap_err().cause).collect();
    assert_eq!(causes, [ObsoleteCause::Unknown, ObsoleteCause::Evicted, ObsoleteCause::Evicted]);
    world.pass(Duration::from_secs(24 * 3600));
    assert_eq!(world.beat(ids[2]).unwrap_err().cause, ObsoleteCause::Unknown);
}

#[test]
fn many_that_became_obsolete_at_once_are_spread() {
    let mut world = World::new(ViewRules::default());
    let mut last = None;
    let mut lose = |world: &mut World, many: usize| {
        for number in 0..many {
            let id = world.join(&format!("a{number}"), 1).unwrap().id;
            world.evict(id).unwrap();
            last = Some(id);
        }
        let told = world.beat(last.unwrap()).unwrap_err();
        world.table.recovery_spread(&told, world.now)
    };
    assert_eq!(lose(&mut world, 10), Duration::ZERO);
    assert_eq!(lose(&mut world, 990), Duration::from_secs(5));
    world.pass(2 * SECOND);
    assert_eq!(lose(&mut world, 0), Duration::ZERO);
}

/// After a restart without data nobody is known; each agent asks on three connections.
#[test]
fn sessions_that_were_never_known_count_once_when_they_are_told() {
    let mut world = World::new(ViewRules::default());
    let tell = |world: &mut World, number: u128| {
        let told = world.beat(SessionId::new(Uuid::from_u128(number))).unwrap_err();
        assert_eq!(told.cause, ObsoleteCause::Unknown);
        world.table.recovery_spread(&told, world.now)
    };
    for number in 1..=1_000 {
        let spreads = [0; 3].map(|_| tell(&mut world, number));
        let expected = if number <= 10 { 0 } else { 5 * number as u64 };
        assert_eq!(spreads, [Duration::from_millis(expected); 3]);
    }
    for number in 1_001..20_000 {
        tell(&mut world, number);
    }
    assert_eq!(tell(&mut world, 20_000), Duration::from_secs(50), "bounded");
    world.pass(2 * SECOND);
    assert_eq!(tell(&mut world, 1), Duration::ZERO);
    // Who ended its session itself is known to have.
    let ended = world.join("a", 1).unwrap().id;
    world.end(ended).unwrap();
    for _ in 0..20 {
        let told = world.beat(ended).unwrap_err();
        assert_eq!(world.table.recovery_spread(&told, world.now), Duration::ZERO);
    }
}

/// The table of the next life of the server, with what was kept of this one.
fn restarted(world: &World) -> SessionTable {
    let mut table = SessionTable::new(SessionSettings::default());
    let last_epoch = world.table.last_epoch(&view());
    table.set_view(&view(), ViewRules { last_epoch, ..ViewRules::default() });
    for session in world.table.of_view(&view(), 0) {
        assert!(table.restore(session.save(), Monotonic::default()), "{session:?}");
    }
    table
}

#[test]
fn sessions_survive_a_restart_with_their_standing() {
    let mut world = World::new(ViewRules::default());
    let first = world.join("a", 1).unwrap();
    let second = world.join("b", 2).unwrap();
    let third = world.join("c", 3).unwrap();
    world.end(first.id).unwrap();
    world.table = restarted(&world);
    world.now = Monotonic::default();
    let leader = world.beat(second.id).unwrap();
    assert_eq!((leader.role, leader.epoch), (Role::Leader, LeaderEpoch(2)));
    assert_eq!(world.beat(third.id).unwrap().role, Role::Follower);
    let fourth = world.join("d", 4).unwrap();
    assert!(fourth.standing() > third.standing());
    world.end(second.id).unwrap();
    assert_eq!(world.leader(), Some(third.id), "the order of standing is kept");
    assert_eq!(world.beat(third.id).unwrap().epoch, LeaderEpoch(3), "no epoch is given twice");
}

#[test]
fn timers_start_anew_after_a_restart() {
    let mut world = World::new(ViewRules::default());
    let session = world.join("a", 1).unwrap();
    world.pass(timeout() - SECOND);
    let table = restarted(&world);
    world.table = table;
    world.now = Monotonic::default().plus(timeout());
    assert!(world.beat(session.id).is_ok());
}

#[test]
fn what_contradicts_the_table_is_not_restored() {
    let mut world = World::new(ViewRules::default());
    let leader = world.join("a", 1).unwrap().save();
    let start = Monotonic::default();
    let mut table = restarted(&world);
    let other = SessionId::new(Uuid::from_u128(99));
    let free = SavedSession {
        id: other,
        agent: AgentId::new("b").unwrap(),
        epoch: LeaderEpoch::default(),
        standing: 7,
        ..leader.clone()
    };
    let wrong = [
        leader.clone(),
        SavedSession { agent: leader.agent.clone(), ..free.clone() },
        SavedSession { standing: leader.standing, ..free.clone() },
        SavedSession { epoch: LeaderEpoch(1), ..free.clone() },
        SavedSession { epoch: LeaderEpoch(9), ..free.clone() },
        SavedSession { view: ViewName::new("other").unwrap(), ..free.clone() },
    ];
    for saved in wrong {
        assert!(!table.restore(saved.clone(), start), "{saved:?}");
    }
    assert!(table.restore(free, start));
}

#[test]
fn causes_survive_a_restart() {
    let mut world = World::new(ViewRules::default());
    let session = world.join("a", 1).unwrap();
    world.evict(session.id).unwrap();
    let mut table = restarted(&world);
    let ended = world.table.get_ended(session.id).unwrap();
    table.restore_ended(ended.session.save(), ended.state, ended.ended_at, Monotonic::default());
    world.table = table;
    let told = world.beat(session.id).unwrap_err();
    assert_eq!(told.cause, ObsoleteCause::Evicted);
    let spread = world.table.recovery_spread(&told, world.now);
    assert_eq!(spread, Duration::ZERO, "it did not end just now");
}
