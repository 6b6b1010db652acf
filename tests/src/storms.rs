//! Storms: random faults over three servers, three NATS nodes, their state and five agents, while files change.
//!
//! [`plan`] draws a schedule from its seed, [`fleet`] is what it comes over, [`faults`] does it, [`witness`], [`readers`]
//! and [`clerk`] see what can be seen from outside meanwhile, and [`checks`] and [`promises`] say what must hold.
//! Run by `fusion-tests soak cluster`; docs/storms.md has what was seen and what does not hold yet. Needs root,
//! because every server has a network of its own. Must never: excuse what was seen, or wait longer than is said.

pub mod aside;
pub mod checks;
pub mod clerk;
pub mod engines;
pub mod faults;
pub mod fleet;
pub mod lan;
pub mod plan;
pub mod promises;
pub mod readers;
pub mod timeline;
pub mod witness;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use self::clerk::Claims;
use self::faults::Lasting;
use self::fleet::{Fleet, Setup, client, view};
use self::plan::{Fault, Schedule, Step};
use self::promises::{Judged, Notes, judge};
use self::readers::Readers;
use self::witness::{Seen, Witness};
use crate::faults::checks::{PATIENCE, until};
use crate::faults::churn::Churn;
use crate::process::now;

/// What came of a schedule that held.
#[derive(Debug, Clone)]
pub struct Story {
    /// When it began.
    pub began: Instant,
    /// When each fault began and was over, and when evidence was acknowledged that was sent after it began.
    pub faults: Vec<(Fault, Instant, Instant, Instant)>,
    /// Who owned the tree.
    pub claims: Claims,
    /// What was seen from outside.
    pub seen: Seen,
    /// Operations on the trees.
    pub operations: u64,
}

/// Runs a schedule, and checks what must hold after it.
///
/// # Panics
/// Something does not hold.
pub async fn run(schedule: &Schedule) -> Story {
    println!("{schedule}");
    let mut storm = Storm::begin(schedule).await;
    let mut lasting = None;
    for (number, step) in schedule.steps.iter().enumerate() {
        let begun = storm.step(*step).await;
        let goes_on = schedule.steps.get(number + 1).is_some_and(|next| next.within);
        if goes_on {
            lasting = Some(begun);
            continue;
        }
        for (fault, began, it) in lasting.take().into_iter().chain([begun]) {
            storm.fleet.end(it);
            storm.over.push((fault, began, now()));
        }
        storm.is_well().await;
    }
    storm.end().await
}

/// A fault, when it began, and what lasts.
type Begun = (Fault, Instant, Lasting);

struct Storm {
    churns: Vec<Churn>,
    readers: Option<Readers>,
    witness: Witness,
    clerk: clerk::Clerk,
    fleet: Fleet,
    began: Instant,
    first: fusion_core::id::Revision,
    sessions: checks::Sessions,
    killed: BTreeSet<usize>,
    over: Vec<(Fault, Instant, Instant)>,
    told: Vec<(Fault, Instant, Instant, Instant)>,
}

impl Storm {
    async fn begin(schedule: &Schedule) -> Self {
        let fleet = Fleet::start(&Setup {
            small_disks: schedule.fills_disks(),
            clocked: schedule.clocked,
            ..Setup::on(schedule.state)
        });
        let sessions = checks::sessions(&fleet).await;
        let first = checks::all_are_equal(&fleet).await;
        let (witness, clerk) = (witness::begin(first), fleet.clerk());
        let readers = schedule.reads.then(|| readers::begin(&fleet.root("tree")));
        let churns = ["tree/work", "beside/work"].map(|place| {
            Churn::begin(&fleet.path(place), schedule.seed.wrapping_mul(31) + place.len() as u64)
        });
        let mut storm = Self {
            churns: churns.into(),
            readers,
            witness,
            clerk,
            fleet,
            began: now(),
            first,
            sessions,
            killed: BTreeSet::new(),
            over: Vec::new(),
            told: Vec::new(),
        };
        storm.is_well().await;
        storm
    }

    async fn step(&mut self, step: Step) -> Begun {
        tokio::time::sleep(step.before).await;
        let began = now();
        println!("  {:>5.1} s: {:?}", (began - self.began).as_secs_f64(), step.fault);
        let lasting = self.fleet.begin(step.fault).await;
        if let Lasting::Agent(agent) = lasting {
            self.killed.insert(agent);
        }
        tokio::time::sleep(step.hold).await;
        (step.fault, began, lasting)
    }

    /// Waits until evidence that was sent from now on is acknowledged, and says how long each fault took until then.
    async fn is_well(&mut self) {
        let from = now();
        until("evidence is acknowledged", async || {
            let trouble = self.witness.notes().trouble.clone();
            assert!(trouble.is_empty(), "{trouble:?}");
            let seen = self.witness.notes();
            seen.acknowledged.last().is_some_and(|it| it.at > from).then_some(())
        })
        .await;
        for (fault, began, ended) in std::mem::take(&mut self.over) {
            let seen = self.witness.notes();
            let next = seen.acknowledged.iter().find(|it| it.sent > began).map_or(from, |it| it.at);
            println!(
                "         {fault:?}: acknowledged after {:.1} s, over after {:.1} s",
                (next - began).as_secs_f64(),
                (ended - began).as_secs_f64()
            );
            drop(seen);
            self.told.push((fault, began, ended, next));
        }
    }

    async fn end(self) -> Story {
        let operations = self.churns.into_iter().map(Churn::end).sum();
        let (read, judged) = match self.readers {
            Some(readers) => read(readers, self.fleet.clocked().is_some()).await,
            None => Default::default(),
        };
        let fleet = &self.fleet;
        until("every server answers", async || {
            for server in 0..fleet::SERVERS {
                client(server).view(&view("tree")).await.ok()?;
            }
            Some(())
        })
        .await;
        let last = checks::all_are_equal(fleet).await;
        checks::watched_all(&self.witness, self.first, last).await;
        let seen = self.witness.end();
        assert!(seen.trouble.is_empty(), "{:?}", seen.trouble);
        checks::has_what_was_acknowledged(&seen).await;
        checks::kept_sessions(fleet, &self.sessions, &self.killed).await;
        let claims = self.clerk.end();
        let trusted = read.trusted.iter().map(|told| told.answer);
        let answers: Vec<_> = seen.answers.iter().copied().chain(trusted).collect();
        checks::no_former_owner_was_ready(&answers, &claims);
        println!(
            "  all holds after {:.0} s: {operations} operations, {} changes told, {} pieces of evidence acknowledged, {} owners, {judged}",
            self.began.elapsed().as_secs_f64(),
            seen.told.len(),
            seen.acknowledged.len(),
            claims.len(),
        );
        Story { began: self.began, faults: self.told, claims, seen, operations }
    }
}

/// Ends the readers, once answers of both classes can be judged; what they were told, and what of it was judged.
async fn read(readers: Readers, is_clocked: bool) -> (Notes, Judged) {
    let began = now();
    loop {
        let judged = judge(&readers.notes(), is_clocked);
        // What breaks a promise is told at once.
        if judged.as_ref().map_or(true, |judged| judged.is_of_both(is_clocked)) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "no answers to readers to judge: {judged:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let notes = readers.end();
    let judged = judge(&notes, is_clocked).unwrap_or_else(|broken| panic!("{broken:#?}"));
    (notes, judged)
}
