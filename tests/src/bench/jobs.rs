//! Rows 14 to 16, of jobs: made and done, what a key adds to a call, and listed when there are many.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fusion_proto::limits::IDEMPOTENCY_KEY;
use fusion_proto::pb;
use fusion_proto::pb::job_service_client::JobServiceClient;
use tonic::Request;
use tonic::transport::Channel;
use uuid::Uuid;

use crate::pair::{Agent, World, metric};
use crate::process::now;

use super::cost::{Count, Speed};
use super::queries::{self, IN_FLIGHT, load_all};
use super::{Line, Options, median, part};

/// Jobs that may be open: more than are made before they are done.
const OPEN: u64 = 1_000_000;
/// Pages that are read in a round.
const PAGES: usize = 200;
/// Jobs on a page.
const PAGE: i32 = 100;

/// A pair whose view is empty: a job that looks at its suspects has nothing to look at.
pub(super) struct Pair {
    world: World,
    server: u32,
    _agent: Agent,
}

impl Pair {
    pub(super) async fn begin() -> Self {
        let mut world = World::start_configured(&format!("max_open_jobs = {OPEN}\n"));
        let agent = world.start_ready_agent("bench").await;
        let server = world.server().id();
        Self { world, server, _agent: agent }
    }

    /// Row 14: small jobs from the call that makes them until the last of them is complete.
    pub(super) async fn done(&mut self, options: &Options) -> Result<Line> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let (empty, _) = self.load(options, queries::empty).await?;
            theirs.push(empty.rate);
            let before = self.complete();
            let count = Count::begin(self.server);
            let (_, calls) = self.load(options, |channel, _| self.make(channel, false)).await?;
            self.until_complete(before + calls.len() as u64).await?;
            ours.push(count.end(calls.len() as u64));
        }
        Ok(Line {
            row: 14,
            what: "small jobs made and done",
            ours: median(ours.iter().map(|speed| speed.rate).collect()),
            yardstick: "empty unary RPC",
            theirs: median(theirs),
            unit: "/s",
            note: format!("{}; goal ≥ 2,000/s", Speed::cost(&ours)),
        })
    }

    /// Row 15: a call that changes something, with a key of its own and without; alone and many at a time.
    pub(super) async fn keys(&mut self, options: &Options) -> Result<[Line; 2]> {
        let (mut alone, mut many) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..options.rounds {
            for (of, has_key) in [(0, false), (1, true)] {
                alone[of].push(self.one_by_one(options.span(), has_key).await?);
                let (speed, _) =
                    self.load(options, |channel, _| self.make(channel, has_key)).await?;
                many[of].push(speed.server / 1e3);
                self.until_all_complete().await?;
            }
        }
        let [[without, with], [without_many, with_many]] = [alone, many].map(|of| of.map(median));
        Ok([
            Line {
                row: 15,
                what: "a call with an idempotency key, p50",
                ours: with,
                yardstick: "the same without a key",
                theirs: without,
                unit: "ms",
                note: format!("adds {:.2} ms; goal ≤ 0.5 ms, one commit", with - without),
            },
            Line {
                row: 15,
                what: "processor of the server for it, 60 in flight",
                ours: with_many,
                yardstick: "the same without a key",
                theirs: without_many,
                unit: "us",
                note: "with the job that it makes; goal ≤ 1.10".to_owned(),
            },
        ])
    }

    /// Row 16: pages of the list of all jobs, from its beginning on.
    pub(super) async fn listed(&mut self, options: &Options) -> Result<Line> {
        while self.complete() < options.jobs {
            self.load(options, |channel, _| self.make(channel, false)).await?;
            self.until_all_complete().await?;
        }
        let kept = self.complete();
        let (mut ours, mut worst, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.rounds {
            let channel = self.channel()?;
            let (mut pages, mut empty) = (Vec::new(), Vec::new());
            let mut asked = pb::ListJobsRequest { page_size: PAGE, ..Default::default() };
            while pages.len() < PAGES {
                let began = now();
                let page = JobServiceClient::new(channel.clone()).list_jobs(asked.clone()).await?;
                pages.push(began.elapsed());
                let page = page.into_inner();
                ensure!(page.jobs.len() == PAGE as usize, "a page of {PAGE}");
                asked.page_token = page.next_page_token;
                let began = now();
                queries::empty(channel.clone(), 0).await?;
                empty.push(began.elapsed());
            }
            pages.sort_unstable();
            empty.sort_unstable();
            ours.push(part(&pages, 50));
            worst.push(part(&pages, 99));
            theirs.push(part(&empty, 50));
        }
        Ok(Line {
            row: 16,
            what: "a page of 100 jobs, p50",
            ours: median(ours),
            yardstick: "empty unary RPC",
            theirs: median(theirs),
            unit: "ms",
            note: format!("{kept} jobs kept; p99 {:.2} ms; goal ≤ 5 ms", median(worst)),
        })
    }

    async fn load<F: Future<Output = Result<()>>>(
        &self,
        options: &Options,
        call: impl Fn(Channel, u64) -> F + Copy,
    ) -> Result<(Speed, Vec<Duration>)> {
        load_all(&self.world, self.server, options.span(), IN_FLIGHT, call).await
    }

    /// The p50 of calls one after the other, in milliseconds.
    async fn one_by_one(&self, span: Duration, has_key: bool) -> Result<f64> {
        let (channel, began, mut times) = (self.channel()?, now(), Vec::new());
        while began.elapsed() < span {
            let asked = now();
            self.make(channel.clone(), has_key).await?;
            times.push(asked.elapsed());
        }
        times.sort_unstable();
        Ok(part(&times, 50))
    }

    fn channel(&self) -> Result<Channel> {
        fusion_proto::client::lazy_channel(&self.world.url()).context("our address")
    }

    fn in_state(&self, state: &str) -> u64 {
        metric(self.world.http(), &format!("fusion_jobs{{state=\"{state}\"}}")) as u64
    }

    fn complete(&self) -> u64 {
        self.in_state("COMPLETED")
    }

    async fn until_complete(&self, jobs: u64) -> Result<()> {
        while self.complete() < jobs {
            let failed = self.in_state("FAILED") + self.in_state("PARTIAL_FAILURE");
            ensure!(failed == 0, "{failed} jobs failed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn until_all_complete(&self) -> Result<()> {
        while self.in_state("PENDING") + self.in_state("RUNNING") > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Makes a job that is done as soon as it is given out.
    async fn make(&self, channel: Channel, has_key: bool) -> Result<()> {
        let step = pb::JobStepSpec {
            step_id: "only".into(),
            kind: pb::StepKind::ProbeSuspects.into(),
            view: self.world.view().to_string(),
            path: "/".into(),
            ..Default::default()
        };
        let mut request = Request::new(pb::CreateJobRequest { steps: vec![step], priority: 0 });
        if has_key {
            let key = Uuid::new_v4().to_string().parse().context("a key")?;
            request.metadata_mut().insert(IDEMPOTENCY_KEY, key);
        }
        JobServiceClient::new(channel).create_job(request).await?;
        Ok(())
    }
}
