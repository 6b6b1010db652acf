//! What server this is.

use std::sync::Arc;

use fusion_core::time::{Clock, ServerTime};
use fusion_proto::convert::admin::{
    EngineGuarantee, ListedServer, ListedView, ServerInfo, ServerLimits, Survival,
};
use fusion_proto::limits;
use fusion_proto::status::Refusal;
use fusion_store::{Guarantee, Survives, ViewId};
use uuid::Uuid;

use super::sessions::Sessions;
use super::views::Views;
use crate::config::InForce;
use crate::ops::log_filter::LogFilter;
use crate::stores::Stores;

/// Tells what server this is; a cheap handle.
#[derive(Clone)]
pub(crate) struct About {
    shared: Arc<Shared>,
}

struct Shared {
    config: InForce,
    views: Views,
    sessions: Sessions,
    stores: Stores,
    log: LogFilter,
    clock: Arc<dyn Clock>,
    server: Uuid,
    started_at: ServerTime,
}

impl About {
    /// `drawn` is the server's id if its stores have none.
    pub(crate) fn new(
        config: InForce,
        views: Views,
        sessions: Sessions,
        stores: Stores,
        log: LogFilter,
        clock: Arc<dyn Clock>,
        drawn: Uuid,
    ) -> Self {
        let (server, started_at) = (stores.server().unwrap_or(drawn), clock.now());
        let shared = Shared { config, views, sessions, stores, log, clock, server, started_at };
        Self { shared: Arc::new(shared) }
    }

    /// Changes what is logged; gives the filter before and the one after.
    pub(crate) fn set_log_filter(&self, filter: &str) -> Result<(String, String), Refusal> {
        let log = &self.shared.log;
        let previous = log.set(filter).map_err(|error| {
            Refusal::invalid("filter", format!("{error}; write it as `info,fusion_server=debug`"))
        })?;
        let now = log.text();
        tracing::warn!(filter = now, previous, "the log filter was set");
        Ok((previous, now))
    }

    /// This server as it is listed when there is no other.
    pub(crate) fn alone(&self) -> ListedServer {
        let views = self.shared.views.all().into_iter().map(|view| ListedView {
            view: view.name().clone(),
            owned: true,
            epoch: 0,
            revision: view.durable().0,
            lag: 0,
            next: None,
        });
        ListedServer {
            server: self.shared.server,
            address: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            memory_bytes: 0,
            draining: false,
            answers: true,
            views: views.collect(),
            silent: false,
            silent_for: None,
        }
    }

    /// What it is; `member` is its id among several servers.
    pub(crate) fn info(&self, member: Option<Uuid>) -> ServerInfo {
        let Shared { config, views, sessions, stores, log, clock, server, started_at } =
            &*self.shared;
        let (all, config) = (views.all(), config.now());
        let bytes = all.iter().map(|view| {
            let (log, blocks) = stores.bytes_of(ViewId(view.id()));
            log + blocks
        });
        let dir = config.data_dir.as_ref();
        ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            server: *server,
            started_at: *started_at,
            server_time: clock.now(),
            data_dir: dir.map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default(),
            data_bytes: bytes.sum(),
            views: count(all.len()),
            sessions: count(sessions.count()),
            log_filter: log.text(),
            limits: ServerLimits {
                max_views: count(config.max_views),
                max_sessions: count(config.session.max),
                batch_rows: count(limits::BATCH_ROWS),
                batch_bytes: count(limits::BATCH_BYTES),
                page_rows: count(limits::PAGE_MAX),
                message_bytes: count(limits::MESSAGE_BYTES),
            },
            state: Some(guarantee_out(stores.state.guarantee())),
            member,
            log: Some(guarantee_out(stores.log.guarantee())),
        }
    }
}

fn guarantee_out(guarantee: Guarantee) -> EngineGuarantee {
    let Guarantee { engine, survives, note } = guarantee;
    let survives = match survives {
        Survives::Power => Survival::Power,
        Survives::Processes => Survival::Processes,
        Survives::Server => Survival::Server,
        Survives::Nothing => Survival::Nothing,
        Survives::Unknown => Survival::Unknown,
    };
    EngineGuarantee { engine, survives, note }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
