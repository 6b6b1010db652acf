//! How much one principal may ask for, and how many queries all of them together.
//!
//! Owns an account for each principal that has called: a bucket of requests, and places for the calls that it
//! has under way. The edge asks [`Quotas::begin`] for every call, and holds what it gives for as long as the
//! call lasts, its answer included. Nothing waits here: a call that finds no place is told when to come again.
//!
//! Where no token is asked for there is one principal, and whoever took its share would take everybody's: it
//! has no account, and only the bound on all queries holds. Must never: refuse what keeps a session alive, or
//! what says whether the server lives, because of queries.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fusion_core::session::Principal;
use fusion_core::time::{Clock, Monotonic};
use fusion_proto::status::Refusal;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter, clock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Caller;
use crate::config::{InForce, QuotaConfig};
use crate::ops::metrics::Metrics;

/// When a call that found no place should come again.
const PLACE_RETRY: Duration = Duration::from_secs(1);
/// Shortest wait that is told: what comes sooner than this is told late by the network anyway.
const RATE_RETRY: Duration = Duration::from_millis(10);

/// What a call takes of its principal's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A place only: what keeps a session alive is counted by its session, and a health check is for all.
    Place,
    /// A request too.
    Request,
    /// A place among the queries too.
    Query,
    /// A place among the watchers, which stay, instead.
    Watch,
}

/// All accounts; a cheap handle.
#[derive(Clone)]
pub(crate) struct Quotas {
    shared: Arc<Shared>,
}

struct Shared {
    config: InForce,
    queries: Places,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    /// As many as the file of tokens has named, and one.
    accounts: Mutex<HashMap<Principal, Arc<Account>>>,
}

struct Account {
    limits: QuotaConfig,
    rate: Rate,
    calls: Places,
    queries: Places,
    watchers: Places,
}

/// What a call holds while it lasts.
#[derive(Clone)]
pub(crate) struct Held(#[expect(dead_code, reason = "held")] Arc<[Option<Place>; 3]>);

type Place = OwnedSemaphorePermit;
type Rate = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>;

/// So many places, each for one call.
struct Places {
    /// The setting that says how many.
    quota: &'static str,
    limit: usize,
    free: Arc<Semaphore>,
}

impl Places {
    fn new(quota: &'static str, limit: usize) -> Self {
        Self { quota, limit, free: Arc::new(Semaphore::new(limit)) }
    }

    fn take(&self, metrics: &Metrics) -> Result<Option<Place>, Refusal> {
        let place = Arc::clone(&self.free).try_acquire_owned();
        place.map(Some).map_err(|_| used_up(metrics, self.quota, self.limit, PLACE_RETRY))
    }
}

/// The server's clock as the bucket reads it.
struct Ticks(Arc<dyn Clock>);

impl clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic().since(Monotonic::default())
    }
}

/// Refuses what is over a quota, and counts it under the setting's name.
pub(crate) fn used_up(
    metrics: &Metrics,
    quota: &'static str,
    limit: usize,
    retry_after: Duration,
) -> Refusal {
    metrics.quota_refusals.with_label_values(&[quota]).inc();
    Refusal::QuotaExceeded { quota: quota.to_owned(), limit: limit as u64, retry_after }
}

impl Quotas {
    pub(crate) fn new(config: InForce, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        let queries = Places::new("max_queries", config.now().max_queries);
        let accounts = Mutex::default();
        Self { shared: Arc::new(Shared { config, queries, clock, metrics, accounts }) }
    }

    /// Lets a call begin; it is under way until what this gives is dropped.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED with the setting that is used up: of its principal, or of all queries.
    pub(crate) fn begin(&self, caller: &Caller, demand: Demand) -> Result<Held, Refusal> {
        let Shared { queries, metrics, .. } = &*self.shared;
        let account = self.account(caller);
        let account = account.as_deref();
        if let Some(account) = account.filter(|_| demand != Demand::Place) {
            self.spend(account)?;
        }
        let call = account.map(|account| account.calls.take(metrics)).transpose()?;
        let (own, shared) = match demand {
            Demand::Place | Demand::Request => (None, None),
            Demand::Watch => (account.map(|account| account.watchers.take(metrics)), None),
            // Those of all last: who is over its own share has no part in them.
            Demand::Query => {
                let own = account.map(|account| account.queries.take(metrics));
                (own, Some(queries))
            }
        };
        let own = own.transpose()?;
        let shared = shared.map(|queries| queries.take(metrics)).transpose()?;
        Ok(Held(Arc::new([call.flatten(), own.flatten(), shared.flatten()])))
    }

    /// Takes a request of what a principal has, for a call that took only a place.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: it has none left.
    pub(crate) fn request(&self, caller: &Caller) -> Result<(), Refusal> {
        self.account(caller).map_or(Ok(()), |account| self.spend(&account))
    }

    fn spend(&self, account: &Account) -> Result<(), Refusal> {
        let Shared { clock, metrics, .. } = &*self.shared;
        account.rate.check().map_err(|early| {
            const RATE: &str = "quotas.requests_per_second";
            metrics.quota_refusals.with_label_values(&[RATE]).inc();
            let now = clock.monotonic().since(Monotonic::default());
            let retry_after = early.wait_time_from(now).max(RATE_RETRY);
            let limit = account.limits.requests_per_second as u64;
            Refusal::RateExceeded { rate: RATE.to_owned(), limit, retry_after }
        })
    }

    /// The account of a caller, if it has one.
    fn account(&self, caller: &Caller) -> Option<Arc<Account>> {
        if caller.is_everybody() {
            return None;
        }
        let Shared { config, clock, accounts, .. } = &*self.shared;
        let limits = &config.now().quotas;
        let mut accounts = accounts.lock().unwrap_or_else(PoisonError::into_inner);
        // With other limits it begins anew: what is under way then is not held against them.
        if let Some(account) = accounts.get(&caller.principal).filter(|it| it.limits == *limits) {
            return Some(Arc::clone(account));
        }
        let account = Arc::new(Account::new(limits, clock));
        accounts.insert(caller.principal.clone(), Arc::clone(&account));
        Some(account)
    }
}

impl Account {
    fn new(limits: &QuotaConfig, clock: &Arc<dyn Clock>) -> Self {
        let rate = u32::try_from(limits.requests_per_second).unwrap_or(u32::MAX);
        // What was not used of a second can be used at once.
        let quota = Quota::per_second(NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN));
        Self {
            limits: limits.clone(),
            rate: RateLimiter::direct_with_clock(quota, Ticks(Arc::clone(clock))),
            calls: Places::new("quotas.max_calls", limits.max_calls),
            queries: Places::new("quotas.max_queries", limits.max_queries),
            watchers: Places::new("quotas.max_watchers", limits.max_watchers),
        }
    }
}
