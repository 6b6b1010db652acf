//! Properties of plans, states and jobs, over anything that can happen to them.

use proptest::prelude::*;

use super::*;
use crate::id::ViewName;
use crate::path::TreePath;

fn spec(id: &str, depends_on: &[String]) -> StepSpec {
    StepSpec {
        id: id.to_owned(),
        kind: StepKind::Scan,
        view: ViewName::new("v").unwrap(),
        path: TreePath::root(),
        recursive: true,
        agents: Vec::new(),
        depends_on: depends_on.to_vec(),
    }
}

fn steps(edges: &[&[usize]]) -> Vec<StepSpec> {
    let name = |at: &usize| format!("s{at}");
    let with =
        |(at, on): (usize, &&[usize])| spec(&name(&at), &on.iter().map(name).collect::<Vec<_>>());
    edges.iter().enumerate().map(with).collect()
}

fn at(seconds: i64) -> ServerTime {
    ServerTime::from_nanos(seconds * 1_000_000_000)
}

fn job(edges: &[&[usize]]) -> Job {
    let plan = Plan::new(steps(edges)).unwrap();
    let new = NewJob {
        id: Uuid::from_u128(1),
        principal: Principal::anonymous(),
        correlation: CorrelationId::new("c").unwrap(),
        priority: 0,
        plan,
    };
    Job::new(new, at(0))
}

fn agent(number: u8) -> AgentId {
    AgentId::new(&format!("a{number}")).unwrap()
}

fn done() -> Outcome {
    Outcome::Done { entries: 7, errors: 1 }
}

#[test]
fn a_step_that_was_done_in_part_is_not_complete() {
    for (entries, state) in [(7, JobState::PartialFailure), (0, JobState::Failed)] {
        let mut job = job(&[&[], &[0]]);
        job.begin(0, &agent(1), at(1)).unwrap();
        let why = "the rest".to_owned();
        assert!(job.end_try(0, &agent(1), Outcome::Partial { entries, errors: 2, why }, at(2)));
        let result = &job.steps[0].results[0];
        assert_eq!((job.steps[0].state, result.state), (StepState::Failed, StepState::Failed));
        assert_eq!((result.entries, result.errors, &*result.why), (entries, 2, "the rest"));
        assert_eq!(job.steps[1].state, StepState::Skipped, "what it rests on is not there");
        assert_eq!(job.state, state);
        let again = job.retry(Uuid::from_u128(2), Principal::anonymous(), at(3)).unwrap();
        assert_eq!(again.steps.len(), 2);
    }
}

#[test]
fn a_plan_that_cannot_be_run_is_refused_by_name() {
    assert_eq!(Plan::new(Vec::new()), Err(PlanError::Empty));
    let many = steps(&vec![&[][..]; STEPS_MAX + 1]);
    assert_eq!(Plan::new(many), Err(PlanError::TooMany(STEPS_MAX + 1)));
    let twice = vec![spec("a", &[]), spec("a", &[])];
    assert_eq!(Plan::new(twice), Err(PlanError::Duplicate("a".to_owned())));
    let unknown = vec![spec("a", &["b".to_owned()])];
    let refused = PlanError::Unknown { step: "a".to_owned(), on: "b".to_owned() };
    assert_eq!(Plan::new(unknown), Err(refused));
    let cycle = Plan::new(steps(&[&[], &[0, 3], &[1], &[2]])).unwrap_err();
    assert_eq!(cycle.to_string(), "the steps wait for each other: s1 -> s3 -> s2 -> s1");
    assert!(matches!(Plan::new(steps(&[&[0]])), Err(PlanError::Cycle(of)) if of == ["s0", "s0"]));
    for id in ["", "a b", "ü", &"x".repeat(STEP_ID_MAX + 1)] {
        assert!(matches!(Plan::new(vec![spec(id, &[])]), Err(PlanError::BadId(_))), "{id}");
    }
    let below = TreePath::new(*b"/d").unwrap();
    let audit = StepSpec { kind: StepKind::Audit, path: below, ..spec("a", &[]) };
    assert_eq!(Plan::new(vec![audit]), Err(PlanError::PathOfWhole("a".to_owned())));
    let named = StepSpec { kind: StepKind::Audit, agents: vec![agent(1)], ..spec("a", &[]) };
    assert_eq!(Plan::new(vec![named]), Err(PlanError::AgentsOfLeaders("a".to_owned())));
}

#[test]
fn no_way_leads_out_of_an_end_or_onto_itself() {
    for from in JobState::ALL {
        assert!(from.go(from).is_err());
        for to in JobState::ALL {
            assert!(!(from.is_end() && from.go(to).is_ok()), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn steps_follow_each_other_and_the_job_is_complete() {
    let mut job = job(&[&[], &[0], &[0], &[1, 2]]);
    assert_eq!(job.ready().collect::<Vec<_>>(), [0]);
    job.begin(0, &agent(1), at(1)).unwrap();
    assert_eq!(
        (job.state, job.started_at, job.ready().count()),
        (JobState::Running, Some(at(1)), 0)
    );
    assert!(job.advance(0, &agent(1), 40, at(2)));
    assert!(!job.advance(0, &agent(1), 30, at(3)), "it never goes back");
    assert_eq!(job.progress, 10);
    assert!(job.end_try(0, &agent(1), done(), at(4)));
    assert_eq!(job.ready().collect::<Vec<_>>(), [1, 2]);
    for step in 1..=3 {
        job.begin(step, &agent(2), at(5)).unwrap();
        assert!(job.end_try(step, &agent(2), done(), at(6)));
    }
    assert_eq!((job.state, job.progress, job.ended_at), (JobState::Completed, 100, Some(at(6))));
    assert_eq!(job.cancel(at(7)).unwrap_err().from, JobState::Completed);
    assert_eq!(job.retry(Uuid::from_u128(2), Principal::anonymous(), at(8)), None);
}

#[test]
fn a_lost_agent_hands_on_its_step_and_comes_too_late() {
    let mut job = job(&[&[]]);
    job.begin(0, &agent(1), at(1)).unwrap();
    assert!(job.end_try(0, &agent(1), Outcome::Lost { why: "gone".to_owned() }, at(2)));
    assert_eq!(job.ready().collect::<Vec<_>>(), [0]);
    job.begin(0, &agent(2), at(3)).unwrap();
    assert!(!job.end_try(0, &agent(1), done(), at(4)), "its late result is refused");
    assert!(job.end_try(0, &agent(2), done(), at(5)));
    assert_eq!(job.state, JobState::Completed);
    let states: Vec<_> = job.steps[0].results.iter().map(|result| result.state).collect();
    assert_eq!(states, [StepState::Skipped, StepState::Complete]);
}

#[test]
fn what_failed_takes_with_it_what_waits_for_it_and_no_more() {
    let mut job = job(&[&[], &[0], &[1], &[]]);
    job.begin(0, &agent(1), at(1)).unwrap();
    job.begin(3, &agent(1), at(1)).unwrap();
    assert!(job.end_try(0, &agent(1), Outcome::Failed { why: "EIO".to_owned() }, at(2)));
    assert_eq!(job.state, JobState::Running);
    assert!(job.end_try(3, &agent(1), done(), at(3)));
    assert_eq!(job.state, JobState::PartialFailure);
    let states: Vec<_> = job.steps.iter().map(|step| step.state).collect();
    let (failed, skipped) = (StepState::Failed, StepState::Skipped);
    assert_eq!(states, [failed, skipped, skipped, StepState::Complete]);

    let again = job.retry(Uuid::from_u128(2), Principal::anonymous(), at(9)).unwrap();
    let left: Vec<_> = again.steps.iter().map(|step| step.spec.id.as_str()).collect();
    assert_eq!((left, again.retry_of), (vec!["s0", "s1", "s2"], Some(job.id)));
    assert_eq!(again.steps[1].spec.depends_on, ["s0"]);
}

#[test]
fn a_job_that_is_silent_for_half_an_hour_is_over() {
    let mut job = job(&[&[], &[0]]);
    assert!(!job.end_if_stalled(at(100_000)), "who waits is not silent");
    job.begin(0, &agent(1), at(0)).unwrap();
    assert!(!job.end_if_stalled(at(1799)));
    job.advance(0, &agent(1), 1, at(1799));
    assert!(!job.end_if_stalled(at(3598)));
    // Handed from one to the next it does not come further.
    assert!(job.end_try(0, &agent(1), Outcome::Lost { why: String::new() }, at(3000)));
    job.begin(0, &agent(1), at(3001)).unwrap();
    assert!(job.end_if_stalled(at(3599)));
    assert_eq!(job.state, JobState::Failed);
    assert!(!job.end_try(0, &agent(1), done(), at(3600)), "it is over");
}

fn observed(origin: JobOrigin) -> Job {
    let plan = Plan::new(steps(&[&[]])).unwrap();
    let principal = Principal::new("");
    let correlation = CorrelationId::new("c").unwrap();
    let new = NewJob { id: Uuid::from_u128(1), principal, correlation, priority: 0, plan };
    Job::observed(new, origin, &agent(1), at(0))
}

#[test]
fn what_is_only_watched_is_never_given_out_handed_on_called_off_or_stalled() {
    for origin in JobOrigin::ALL.into_iter().filter(|origin| !origin.is_given_out()) {
        let mut job = observed(origin);
        assert_eq!((job.state, job.started_at), (JobState::Running, Some(at(0))));
        assert!(job.observe(&agent(1), 40, (7, 1), at(1)));
        assert!(!job.observe(&agent(1), 30, (7, 1), at(2)), "it never goes back");
        assert!(!job.observe(&agent(2), 50, (8, 1), at(2)), "another's");
        let result = &job.steps[0].results[0];
        assert_eq!((job.progress, result.entries, result.errors), (40, 7, 1));
        assert!(!job.end_if_stalled(at(100_000)));
        let refused = job.cancel(at(3)).unwrap_err();
        assert_eq!((refused.from, job.state), (JobState::Running, JobState::Running));
        assert!(job.end_try(0, &agent(1), Outcome::Lost { why: "gone".to_owned() }, at(4)));
        assert_eq!((job.state, job.ready().count()), (JobState::Failed, 0));
        assert_eq!(job.steps[0].results[0].why, "gone");
        let again = job.retry(Uuid::from_u128(2), Principal::new("me"), at(5)).unwrap();
        assert_eq!((again.origin, again.ready().count()), (JobOrigin::Request, 1));
    }
}

#[test]
fn the_time_without_a_server_is_no_silence() {
    let mut job = job(&[&[]]);
    job.begin(0, &agent(1), at(0)).unwrap();
    job.taken_back(at(100_000));
    assert!(!job.end_if_stalled(at(101_799)) && job.end_if_stalled(at(101_800)));
}

/// What may happen to a job.
#[derive(Debug, Clone)]
enum Event {
    Begin(usize, u8),
    Advance(usize, u8, u8),
    End(usize, u8, u8),
    GiveUp(usize),
    Cancel,
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..6_usize, 0..3_u8).prop_map(|(step, who)| Event::Begin(step, who)),
        4 => (0..6_usize, 0..3_u8, any::<u8>()).prop_map(|(s, who, p)| Event::Advance(s, who, p)),
        6 => (0..6_usize, 0..3_u8, 0..4_u8).prop_map(|(s, who, how)| Event::End(s, who, how)),
        1 => (0..6_usize).prop_map(Event::GiveUp),
        1 => Just(Event::Cancel),
        2 => (0..1_200_i64).prop_map(Event::Wait),
    ]
}

/// Steps that depend on earlier ones only.
fn edges() -> impl Strategy<Value = Vec<Vec<usize>>> {
    proptest::collection::vec(proptest::collection::vec(any::<prop::sample::Index>(), 0..3), 1..6)
        .prop_map(|drawn| {
            let on = |(at, on): (usize, Vec<prop::sample::Index>)| {
                if at == 0 { Vec::new() } else { on.iter().map(|on| on.index(at)).collect() }
            };
            drawn.into_iter().enumerate().map(on).collect()
        })
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold(
        edges in edges(),
        watched in prop::option::of(prop::sample::select(&JobOrigin::ALL[1..])),
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let edges = if watched.is_some() { vec![Vec::new()] } else { edges };
        let edges: Vec<&[usize]> = edges.iter().map(Vec::as_slice).collect();
        let mut job = watched.map_or_else(|| job(&edges), observed);
        let mut now = 0;
        for event in events {
            let before = job.clone();
            now += 1;
            match event {
                Event::Begin(step, who) => drop(job.begin(step % edges.len(), &agent(who), at(now))),
                Event::Advance(step, who, p) => drop(job.advance(step, &agent(who), p, at(now))),
                Event::End(step, who, how) => {
                    let outcome = match how {
                        0 | 1 => done(),
                        2 => Outcome::Failed { why: String::new() },
                        _ => Outcome::Lost { why: String::new() },
                    };
                    job.end_try(step, &agent(who), outcome, at(now));
                }
                Event::GiveUp(step) => job.give_up(step, "no such view", at(now)),
                Event::Cancel => drop(job.cancel(at(now))),
                Event::Wait(seconds) => {
                    now += seconds;
                    job.end_if_stalled(at(now));
                }
            }
            check(&before, &job)?;
        }
    }

    #[test]
    fn a_plan_has_a_cycle_or_can_be_done_to_its_end(
        drawn in proptest::collection::vec(proptest::collection::vec(0..7_usize, 0..3), 1..7)
    ) {
        let len = drawn.len();
        let edges: Vec<Vec<usize>> =
            drawn.into_iter().map(|on| on.into_iter().map(|at| at % len).collect()).collect();
        let borrowed: Vec<&[usize]> = edges.iter().map(Vec::as_slice).collect();
        match Plan::new(steps(&borrowed)) {
            Ok(_) => {
                let mut job = job(&borrowed);
                loop {
                    let Some(step) = job.ready().next() else { break };
                    job.begin(step, &agent(0), at(1)).unwrap();
                    prop_assert!(job.end_try(step, &agent(0), done(), at(2)));
                }
                prop_assert_eq!(job.state, JobState::Completed);
            }
            Err(PlanError::Cycle(cycle)) => {
                prop_assert!(cycle.len() >= 2 && cycle.first() == cycle.last());
                for pair in cycle.windows(2) {
                    let place = |id: &String| id[1..].parse::<usize>().unwrap();
                    prop_assert!(edges[place(&pair[0])].contains(&place(&pair[1])));
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

fn check(before: &Job, job: &Job) -> Result<(), TestCaseError> {
    if job.state != before.state {
        prop_assert!(JobState::WAYS.contains(&(before.state, job.state)), "{before:?} {job:?}");
    }
    if before.state.is_end() {
        prop_assert_eq!(before, job, "what is over does not change");
    }
    prop_assert_eq!(before == job, before.version == job.version, "every change has its version");
    prop_assert!(job.origin.is_given_out() || job.ready().next().is_none());
    prop_assert!(job.version >= before.version && job.progress >= before.progress);
    prop_assert!(job.progress <= 100);
    prop_assert_eq!(job.state.is_end(), job.ended_at.is_some());
    for (step, was) in job.steps.iter().zip(&before.steps) {
        prop_assert!(step.progress >= was.progress);
        prop_assert!(!was.state.is_end() || was.state == step.state);
        let open = step.results.iter().filter(|result| result.ended_at.is_none()).count();
        prop_assert_eq!(open, usize::from(step.state == StepState::Running));
        if step.state == StepState::Running || step.state == StepState::Complete {
            for on in &step.spec.depends_on {
                let on = job.steps.iter().find(|other| other.spec.id == *on).unwrap();
                prop_assert_eq!(on.state, StepState::Complete);
            }
        }
    }
    let over = job.steps.iter().all(|step| step.state.is_end());
    prop_assert_eq!(over, job.state.is_end());
    if job.state == JobState::Completed {
        prop_assert!(job.steps.iter().all(|step| step.state == StepState::Complete));
    }
    Ok(())
}
