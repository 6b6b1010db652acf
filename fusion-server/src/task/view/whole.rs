//! Scans of the whole tree by the leader: told when they begin and when they end, to who lists all work.
//!
//! The view's thread looks here at what each turn changed. A scan that was given as an errand is its job's
//! own work, and is not told. Bounded: of one view so many a minute are told, whatever an agent reports, so
//! who lists them has no more to do than that. Must never: give anything to do; what is told here is done
//! anyway.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fusion_core::change::{Change, ChangeKind, Note};
use fusion_core::evidence::ScanId;
use fusion_core::id::{CorrelationId, SessionId, ViewName};
use fusion_core::time::Monotonic;
use fusion_core::view::{RunningScan, View};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use uuid::{Builder, Uuid};

use super::Push;
use super::desk::CommandDesk;

/// Scans of one view that are told in this time, at most.
const TOLD: usize = 60;
const IN: Duration = Duration::from_secs(60);

/// A scan of the whole tree.
#[derive(Debug, Clone)]
pub(crate) struct WholeScan {
    /// The same whenever and however often it is told.
    pub(crate) id: Uuid,
    pub(crate) view: ViewName,
    pub(crate) scan: RunningScan,
    /// The view wanted it.
    pub(crate) is_ordered: bool,
    /// The chain that it belongs to.
    pub(crate) correlation: Option<CorrelationId>,
}

/// What is told of the scans of a view.
#[derive(Debug)]
pub(crate) enum ScanNews {
    /// The view begins, maybe anew: these run, and no others.
    Running(ViewName, Vec<WholeScan>),
    Began(WholeScan),
    Ended(WholeScan, ScanEnd),
}

/// What its agent said of a scan at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ScanFigures {
    pub(crate) entries: u64,
    pub(crate) errors: u64,
}

/// How a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanEnd {
    /// All of the tree was read.
    Whole(ScanFigures),
    /// Its agent ended it before that.
    CutOff,
    /// Its agent was lost, or leads no more, or the view was reset.
    Lost,
}

type Key = (SessionId, ScanId);

/// The scans of one view.
pub(super) struct WholeScans {
    view: ViewName,
    id: Uuid,
    out: mpsc::UnboundedSender<ScanNews>,
    running: HashMap<Key, WholeScan>,
    /// When the last of them were told to have begun.
    told: VecDeque<Monotonic>,
}

impl WholeScans {
    /// Of a view that another server owns: that one tells.
    pub(super) fn silent(
        (name, id): (ViewName, Uuid),
        out: mpsc::UnboundedSender<ScanNews>,
    ) -> Self {
        Self { view: name, id, out, running: HashMap::new(), told: VecDeque::new() }
    }

    /// The view is this server's from now on.
    pub(super) fn begin_anew(&mut self, view: &View) {
        *self = Self::new((self.view.clone(), self.id), view, self.out.clone());
    }

    /// Of a view as it was loaded.
    pub(super) fn new(
        (name, id): (ViewName, Uuid),
        view: &View,
        out: mpsc::UnboundedSender<ScanNews>,
    ) -> Self {
        let whole = view.running_scans().filter(|scan| scan.is_whole());
        let whole = whole.map(|scan| WholeScan {
            id: id_of(id, scan),
            view: name.clone(),
            scan: scan.clone(),
            is_ordered: false,
            correlation: None,
        });
        let running: HashMap<Key, WholeScan> =
            whole.map(|it| ((it.scan.session, it.scan.scan), it)).collect();
        // Nobody may listen any more: then the server ends.
        let _ = out.send(ScanNews::Running(name.clone(), running.values().cloned().collect()));
        Self { view: name, id, out, running, told: VecDeque::new() }
    }

    /// What a batch changed.
    pub(super) fn pushed(
        &mut self,
        push: &Push,
        changes: &[Change],
        finished: &[(ScanId, ScanFigures)],
        desk: &Arc<CommandDesk>,
        now: Monotonic,
    ) {
        for change in changes {
            match &change.kind {
                ChangeKind::Noted(Note::ScanBegan(scan)) if scan.is_whole() => {
                    self.began(scan, push, desk, now);
                }
                ChangeKind::Noted(Note::ScanEnded { session, scan, whole }) => {
                    let said = finished.iter().find(|(ended, _)| ended == scan);
                    let end = match (whole, said.filter(|_| *session == push.witness.session)) {
                        (Some(_), said) => {
                            ScanEnd::Whole(said.map(|(_, figures)| *figures).unwrap_or_default())
                        }
                        (None, Some(_)) => ScanEnd::CutOff,
                        (None, None) => ScanEnd::Lost,
                    };
                    self.ended(*session, *scan, end);
                }
                _ => {}
            }
        }
    }

    /// What time changed.
    pub(super) fn ticked(&mut self, changes: &[Change]) {
        for change in changes {
            if let ChangeKind::Noted(Note::ScanEnded { session, scan, .. }) = &change.kind {
                self.ended(*session, *scan, ScanEnd::Lost);
            }
        }
    }

    /// The view forgot all.
    pub(super) fn reset(&mut self) {
        let all: Vec<Key> = self.running.keys().copied().collect();
        all.into_iter().for_each(|(session, scan)| self.ended(session, scan, ScanEnd::Lost));
    }

    fn began(&mut self, scan: &RunningScan, push: &Push, desk: &CommandDesk, now: Monotonic) {
        let command = push.causation.as_ref().and_then(|id| Uuid::try_parse(id.as_str()).ok());
        if command.is_some_and(|id| desk.is_errand(id)) {
            return;
        }
        while self.told.front().is_some_and(|told| now.since(*told) >= IN) {
            self.told.pop_front();
        }
        if self.told.len() >= TOLD {
            return;
        }
        self.told.push_back(now);
        let whole = WholeScan {
            id: id_of(self.id, scan),
            view: self.view.clone(),
            scan: scan.clone(),
            is_ordered: command.is_some_and(|id| desk.is_order(id)),
            correlation: push.correlation.clone(),
        };
        self.running.insert((scan.session, scan.scan), whole.clone());
        let _ = self.out.send(ScanNews::Began(whole));
    }

    fn ended(&mut self, session: SessionId, scan: ScanId, end: ScanEnd) {
        if let Some(whole) = self.running.remove(&(session, scan)) {
            let _ = self.out.send(ScanNews::Ended(whole, end));
        }
    }
}

/// The id of the work that a scan is: made of what tells it from all others, so that a server which is told
/// of it again knows it.
fn id_of(view: Uuid, scan: &RunningScan) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(view.as_bytes());
    hash.update(scan.session.uuid().as_bytes());
    hash.update(scan.scan.0.to_be_bytes());
    hash.update(scan.started_at.as_nanos().to_be_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}
