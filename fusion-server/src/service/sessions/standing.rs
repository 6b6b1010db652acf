//! A live session beside the table: what its streams must learn at once, and who has its lanes.

use std::time::Duration;

use fusion_core::id::{LeaderEpoch, Revision};
use fusion_core::session::{Role, Session};
use fusion_core::time::Monotonic;
use fusion_core::view::AgentReport;
use fusion_proto::convert::session::ClientInfo;
use fusion_proto::convert::session::agent::AgentStatus;
use fusion_proto::status::ObsoleteCause;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::stores::SavePoint;

/// One of the two streams of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneName {
    Realtime,
    Scan,
}

impl LaneName {
    /// Its name in metrics and logs.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Scan => "scan",
        }
    }
}

/// What a session's streams follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// The epoch of the view's leadership, whoever has it; 0 if nobody.
    pub(crate) epoch: LeaderEpoch,
    /// Why the session is over.
    pub(crate) over: Option<ObsoleteCause>,
}

/// A stream's hold on its lane.
#[derive(Debug)]
pub(crate) struct StreamSeat {
    /// What the session is, to be followed.
    pub(crate) standing: watch::Receiver<Standing>,
    /// Cancelled when another stream has taken the lane.
    pub(crate) replaced: CancellationToken,
}

/// What the store has of a session.
#[derive(Debug)]
pub(super) struct Saved {
    /// When it was last written.
    pub(super) point: SavePoint,
    /// What its agent had said by then.
    pub(super) report: AgentReport,
    /// Up to where its agent had reported all directories that it cannot have seen appear.
    pub(super) reported: Option<Revision>,
}

/// What is kept of a live session beside the table.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) client: ClientInfo,
    pub(super) root_uri: String,
    pub(super) status: Option<AgentStatus>,
    /// What the store has of it when all is written.
    pub(super) saved: Saved,
    standing: watch::Sender<Standing>,
    realtime: CancellationToken,
    scan: CancellationToken,
    /// When the interval began that is under way, and the heartbeats since.
    beats: (Monotonic, u32),
}

impl Live {
    /// `epoch` is that of the view's leadership, whoever has it.
    pub(super) fn new(
        session: &Session,
        epoch: LeaderEpoch,
        client: ClientInfo,
        root_uri: String,
        report: AgentReport,
    ) -> Self {
        let standing = Standing { role: session.role, epoch, over: None };
        Self {
            client,
            root_uri,
            status: None,
            saved: Saved { point: SavePoint::default(), report, reported: None },
            standing: watch::Sender::new(standing),
            realtime: CancellationToken::new(),
            scan: CancellationToken::new(),
            beats: (Monotonic::default(), 0),
        }
    }

    /// Counts a heartbeat; how many there were in this interval.
    pub(super) fn counts_beat(&mut self, now: Monotonic, interval: Duration) -> u32 {
        if now.since(self.beats.0) >= interval {
            self.beats = (now, 0);
        }
        self.beats.1 = self.beats.1.saturating_add(1);
        self.beats.1
    }

    pub(super) fn take_seat(&mut self, lane: LaneName) -> StreamSeat {
        let holder = match lane {
            LaneName::Realtime => &mut self.realtime,
            LaneName::Scan => &mut self.scan,
        };
        let replaced = CancellationToken::new();
        std::mem::replace(holder, replaced.clone()).cancel();
        StreamSeat { standing: self.standing.subscribe(), replaced }
    }

    pub(super) fn end(&self, cause: ObsoleteCause) {
        self.standing.send_modify(|standing| standing.over = Some(cause));
    }

    /// What tells its streams their role and the epoch; to be called when that is durable.
    pub(super) fn set_role(&self, role: Role, epoch: LeaderEpoch) -> impl FnOnce() + use<> {
        let standing = self.standing.clone();
        move || {
            standing.send_if_modified(|standing| {
                let changed = (standing.role, standing.epoch) != (role, epoch);
                (standing.role, standing.epoch) = (role, epoch);
                changed
            });
        }
    }
}
