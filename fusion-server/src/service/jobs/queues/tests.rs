use fusion_core::id::CorrelationId;
use fusion_core::job::{NewJob, Outcome, Plan, StepKind};
use fusion_core::path::TreePath;
use fusion_core::session::Principal;

use super::*;

fn spec(id: usize, agents: &[&str], view: &str, depends_on: Option<usize>) -> StepSpec {
    StepSpec {
        id: id.to_string(),
        kind: StepKind::Scan,
        view: ViewName::new(view).unwrap(),
        path: TreePath::root(),
        recursive: true,
        agents: agents.iter().map(|agent| AgentId::new(agent).unwrap()).collect(),
        depends_on: depends_on.map(|id| id.to_string()).into_iter().collect(),
    }
}

fn job(number: u128, priority: i32, steps: Vec<StepSpec>) -> Job {
    let new = NewJob {
        id: Uuid::from_u128(number),
        principal: Principal::anonymous(),
        correlation: CorrelationId::new("c").unwrap(),
        priority,
        plan: Plan::new(steps).unwrap(),
    };
    Job::new(new, ServerTime::from_nanos(number as i64))
}

fn who(view: &str, agent: Option<&str>) -> Who {
    (ViewName::new(view).unwrap(), agent.map(|agent| AgentId::new(agent).unwrap()))
}

/// The jobs in a queue, in their order.
fn queue(queues: &Queues, who: &Who) -> Vec<u128> {
    let first = queues.next(who, None);
    let rest = std::iter::successors(first, |turn| queues.next(who, Some(*turn)));
    rest.map(|turn| turn.2.as_u128()).collect()
}

#[test]
fn the_most_urgent_are_first_and_of_those_the_oldest() {
    let mut queues = Queues::default();
    for (number, priority) in [(1, 0), (2, 5), (3, 0), (4, 5), (5, -1), (6, i32::MIN)] {
        queues.note(&job(number, priority, vec![spec(0, &[], "v", None)]));
    }
    assert_eq!(queue(&queues, &who("v", None)), [2, 4, 1, 3, 5, 6]);
}

#[test]
fn a_job_waits_for_whoever_can_do_a_step_of_it_now() {
    let mut queues = Queues::default();
    let (a, b, leader) = (who("v", Some("a")), who("v", Some("b")), who("w", None));
    let steps = vec![spec(0, &["a", "b"], "v", None), spec(1, &[], "w", Some(0))];
    let mut one = job(1, 0, steps);
    queues.note(&one);
    assert_eq!((queue(&queues, &a), queue(&queues, &b)), (vec![1], vec![1]));
    assert_eq!(queues.awaited().count(), 2, "the second step waits for the first");

    let (agent, now) = (AgentId::new("a").unwrap(), ServerTime::from_nanos(9));
    one.begin(0, &agent, now).unwrap();
    queues.note(&one);
    assert_eq!(queues.awaited().count(), 0);
    assert_eq!(queues.at_work(), &HashMap::from([(a.0.clone(), 1)]));

    assert!(one.end_try(0, &agent, Outcome::Lost { why: "gone".into() }, now));
    queues.note(&one);
    assert_eq!(queue(&queues, &b), [1], "handed on");
    assert!(queues.at_work().is_empty());

    one.begin(0, &agent, now).unwrap();
    one.end_try(0, &agent, Outcome::Done { entries: 1, errors: 0 }, now);
    queues.note(&one);
    assert_eq!(queue(&queues, &leader), [1]);
    assert_eq!(queues.awaited().count(), 1);

    one.cancel(now).unwrap();
    queues.note(&one);
    assert_eq!(queues.awaited().count(), 0);
    assert!(queues.jobs.is_empty() && queues.at_work.is_empty());
}
