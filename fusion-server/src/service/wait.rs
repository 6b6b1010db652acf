//! Waiting until a path is quiet: the one answer to *is the upload complete?*
//!
//! Quiet is: the view is READY; something stands at the path, with the files, bytes and the marker asked
//! for; nothing at or below it is suspect; and from its last change up to the view's horizon the time
//! asked for has passed. Looked at again after every turn of the view, so after every change and every
//! news of a witness. Must never: count up to now. What is not known yet is waited for.

use std::time::Duration;

use fusion_core::stat::{Kind, Stat};
use fusion_core::time::ServerTime;
use fusion_core::view::{EntryInfo, Totals, View, ViewState, ViewStatus};
use fusion_proto::convert::view::Freshness;
use fusion_proto::convert::view::live::{NotQuiet, Quiet, WaitQuiet};
use fusion_proto::entries::printable;
use fusion_proto::status::Refusal;
use tokio::time::Instant;

use super::views::Views;
use super::watch::{Seat, gone};
use crate::task::view::{News, ViewHandle, quiet_for};

/// Least time between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Most time between two looks, whether anything is heard or not.
const LOOK: Duration = Duration::from_secs(1);
/// Suspects that are told by name.
const SUSPECTS: usize = 5;

/// Somebody who waits.
pub(crate) struct Wait {
    views: Views,
    view: ViewHandle,
    news: News,
    asked: WaitQuiet,
    /// What stands at the path, and since when at least it is known to be so: for what has no last
    /// change of its own.
    since: Option<(Stat, ServerTime)>,
    /// What was told last, and when.
    told: Option<(Vec<NotQuiet>, Instant)>,
    _seat: Seat,
}

impl Wait {
    /// Begins to wait.
    ///
    /// # Errors
    /// No such view, or too many who watch or wait.
    pub(crate) fn begin(views: &Views, asked: WaitQuiet) -> Result<Self, Refusal> {
        let view = views.get(&asked.view)?;
        let seat = views.seats().take(&views.deps().metrics, view.name(), "wait")?;
        let news = view.news();
        Ok(Self { views: views.clone(), view, news, asked, since: None, told: None, _seat: seat })
    }

    /// The next report: at once if the reasons are others than before, else when one is due. The one
    /// that says that it is quiet is the last.
    ///
    /// # Errors
    /// The view is gone.
    pub(crate) async fn next(&mut self) -> Result<Quiet, Refusal> {
        loop {
            let mut quiet = self.look_twice().await?;
            let due = self.told.as_ref().is_none_or(|(reasons, at)| {
                *reasons != quiet.reasons || at.elapsed() >= self.asked.progress
            });
            if due {
                self.told = Some((quiet.reasons.clone(), Instant::now()));
                if quiet.reasons.contains(&NotQuiet::Suspects) {
                    quiet.suspects = self.suspects().await?;
                }
                return Ok(quiet);
            }
            self.turn().await?;
        }
    }

    /// The first few suspects at or below the path. A view that is too busy to tell them is not waited for:
    /// the reasons are told all the same.
    async fn suspects(&self) -> Result<Vec<String>, Refusal> {
        let path = self.asked.path.clone();
        let first = move |view: &View| -> Vec<String> {
            let text = |path: &[u8]| String::from_utf8_lossy(&printable(path)).into_owned();
            let suspects = view.suspects_within(path.as_ref(), None).take(SUSPECTS);
            suspects.map(|suspect| text(suspect.path.as_bytes())).collect()
        };
        match tokio::time::timeout(LOOK, self.view.ask(first)).await {
            Ok(first) => first.map_err(|_| gone(self.view.name())),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Waits until it is worth to look again.
    async fn turn(&mut self) -> Result<(), Refusal> {
        let report = match &self.told {
            Some((_, at)) => self.asked.progress.saturating_sub(at.elapsed()),
            None => Duration::ZERO,
        };
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            news = self.news.next() => news.map_err(|_| gone(self.view.name())),
            () = self.view.ended() => Err(gone(self.view.name())),
            () = tokio::time::sleep(LOOK.min(report)) => Ok(()),
        }
    }

    /// How it stands now. What was delivered up to the horizon is in the tree, save what the view was told
    /// of and cannot place yet. So where it looks quiet, the view is asked for such doubts after the
    /// horizon was taken, and the tree is read once more after its answer.
    async fn look_twice(&mut self) -> Result<Quiet, Refusal> {
        let status = self.views.status(&self.view);
        let mut first = self.look(&status);
        if !first.is_quiet() {
            return Ok(first);
        }
        let asked = tokio::time::timeout(LOOK, self.view.in_doubt(&self.asked.path)).await;
        match asked {
            Ok(Ok(false)) => Ok(self.look(&status)),
            Ok(Err(_)) => Err(gone(self.view.name())),
            // A view that does not answer is busy: it may be with just this.
            Ok(Ok(true)) | Err(_) => {
                first.reasons.push(NotQuiet::InDoubt);
                Ok(first)
            }
        }
    }

    /// How it stands. The order of looking matters: how far the witnesses were heard, then the marker,
    /// then what is below with its last change. What happens meanwhile can only make it less quiet.
    fn look(&mut self, status: &ViewStatus) -> Quiet {
        let marker = self.asked.marker_path();
        let reader = self.view.reader();
        let marked = marker.is_none_or(|path| reader.entry(path.as_ref()).is_some());
        // A directory without totals went between the two looks at it.
        let is_whole =
            |entry: &EntryInfo| entry.totals.is_some() || entry.stat.kind != Kind::Directory;
        let entry = reader.entry(self.asked.path.as_ref()).filter(is_whole);
        let last_change = entry.as_ref().and_then(|entry| self.last_change(entry));
        let totals = entry.as_ref().map(totals);
        let mut reasons = Vec::new();
        let mut because = |reason, holds: bool| reasons.extend(holds.then_some(reason));
        because(NotQuiet::ViewNotReady, status.state != ViewState::Ready);
        match &totals {
            None => because(NotQuiet::PathNotFound, true),
            Some(totals) => {
                because(NotQuiet::Suspects, totals.suspects > 0);
                let known = quiet_for(status, last_change);
                let enough = known.is_some_and(|known| known >= self.asked.quiet_for);
                because(NotQuiet::ChangedRecently, !enough);
                because(NotQuiet::TooFewFiles, totals.files < self.asked.min_files);
                because(NotQuiet::TooFewBytes, totals.bytes < self.asked.min_bytes);
                because(NotQuiet::MarkerMissing, !marked);
            }
        }
        told(status, reasons, totals, last_change)
    }

    /// When it was last changed, or a later time. A directory knows of what is below it; a file and a
    /// directory in which nothing ever happened have not changed since their parent last did, nor
    /// since they were first seen here as they are.
    fn last_change(&mut self, entry: &EntryInfo) -> Option<ServerTime> {
        if let Some(below) = entry.totals.and_then(|totals| totals.last_change) {
            return Some(below);
        }
        let parent = self.asked.path.as_ref().split_last().map(|(parent, _)| parent);
        let parent = parent.and_then(|parent| self.view.reader().totals(parent).ok());
        // After the entry was read, so that its change cannot be later.
        let now = self.views.deps().clock.now();
        let since = match self.since {
            Some((stat, since)) if stat == entry.stat => since,
            _ => now,
        };
        self.since = Some((entry.stat, since));
        Some(parent.and_then(|totals| totals.last_change).map_or(since, |above| above.min(since)))
    }
}

fn told(
    status: &ViewStatus,
    reasons: Vec<NotQuiet>,
    totals: Option<Totals>,
    last_change: Option<ServerTime>,
) -> Quiet {
    let freshness = Freshness::of(status, quiet_for(status, last_change));
    Quiet { reasons, totals, suspects: Vec::new(), last_change, freshness }
}

/// What counts at a path: all that is below it, and of what is no directory itself.
fn totals(entry: &EntryInfo) -> Totals {
    let mut totals = entry.totals.unwrap_or_else(|| {
        let Stat { kind, size, mtime, .. } = entry.stat;
        let is_file = kind == Kind::File;
        Totals {
            files: is_file.into(),
            others: (!is_file).into(),
            bytes: if is_file { size } else { 0 },
            blind: entry.blind.into(),
            newest_mtime: Some(mtime),
            ..Totals::default()
        }
    });
    totals.suspects += u64::from(entry.suspect);
    totals
}
