//! Errands: what one session was asked to do for somebody who waits for the outcome.
//!
//! Told until it is reported, like the leader's commands, but to the session that it was given to,
//! whoever leads. It ends once: done, failed, lapsed, or with the session. Nothing here is durable: who
//! waits goes with the server. Pure, and shared by [`super::desk`].

use std::collections::BTreeMap;

use fusion_core::id::SessionId;
use fusion_core::time::Monotonic;
use fusion_proto::convert::session::command::{Command, CommandReport, CommandState};
use fusion_proto::convert::session::result::ResultValue;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::commands::{Ended, LEASE};

/// Errands of a view under way at most: what an answer repeats stays small.
const ERRANDS: usize = 64;

/// How an errand ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ErrandEnd {
    /// It is done; this came of it.
    Done(BTreeMap<String, ResultValue>),
    /// It cannot be done; the agent says why.
    Failed(String),
    /// Nothing was heard of it for too long.
    Lapsed,
    /// Its session is over.
    SessionOver,
}

#[derive(Debug)]
struct Errand {
    session: SessionId,
    command: Command,
    until: Monotonic,
    noticed: bool,
    progress: watch::Sender<u8>,
    end: oneshot::Sender<ErrandEnd>,
}

/// An errand that was sent.
#[derive(Debug)]
pub(crate) struct Sent {
    /// How far it is, 0 to 100.
    pub(crate) progress: watch::Receiver<u8>,
    /// How it ended.
    pub(crate) end: oneshot::Receiver<ErrandEnd>,
}

/// The errands of one view.
#[derive(Debug, Default)]
pub(super) struct Errands {
    given: Vec<Errand>,
}

impl Errands {
    pub(super) fn send(
        &mut self,
        session: SessionId,
        command: Command,
        now: Monotonic,
    ) -> Option<Sent> {
        // Nobody waits for them any more, but the agent is on its way: they are told and reported.
        if self.given.len() >= ERRANDS {
            return None;
        }
        let (end, ended) = oneshot::channel();
        let (progress, told) = watch::channel(0);
        let until = now.plus(LEASE);
        self.given.push(Errand { session, command, until, noticed: false, progress, end });
        Some(Sent { progress: told, end: ended })
    }

    pub(super) fn has(&self, command: Uuid) -> bool {
        self.given.iter().any(|errand| errand.command.id == command)
    }

    /// How many lapsed.
    pub(super) fn lapse(&mut self, now: Monotonic) -> usize {
        self.end_if(|errand| errand.until <= now, &ErrandEnd::Lapsed)
    }

    pub(super) fn session_over(&mut self, session: SessionId) {
        self.end_if(|errand| errand.session == session, &ErrandEnd::SessionOver);
    }

    fn end_if(&mut self, over: impl Fn(&Errand) -> bool, end: &ErrandEnd) -> usize {
        let over: Vec<_> = self.given.extract_if(.., |errand| over(errand)).collect();
        let count = over.len();
        for errand in over {
            let _ = errand.end.send(end.clone());
        }
        count
    }

    /// What this session is to do, all of it.
    pub(super) fn all(&self, session: SessionId) -> impl Iterator<Item = Command> + '_ {
        let mine = self.given.iter().filter(move |errand| errand.session == session);
        mine.map(|errand| errand.command.clone())
    }

    /// What no stream of this session has told yet.
    pub(super) fn news(&mut self, session: SessionId) -> impl Iterator<Item = Command> + '_ {
        let mine = self.given.iter_mut().filter(move |it| it.session == session && !it.noticed);
        mine.map(|errand| {
            errand.noticed = true;
            errand.command.clone()
        })
    }

    /// Takes reports; gives back those that are of no errand of this session's.
    pub(super) fn report(
        &mut self,
        session: SessionId,
        reports: &[CommandReport],
        now: Monotonic,
    ) -> (Vec<CommandReport>, Ended) {
        let (mut rest, mut ended) = (Vec::new(), Ended::default());
        for report in reports {
            let known = self.given.iter().position(|errand| {
                let Command { id, lease, .. } = &errand.command;
                errand.session == session && *id == report.id && *lease == report.lease
            });
            let Some(place) = known else {
                rest.push(report.clone());
                continue;
            };
            let end = match report.state {
                CommandState::Running => {
                    if let Some(errand) = self.given.get_mut(place) {
                        errand.until = now.plus(LEASE);
                        errand.progress.send_replace(report.progress);
                    }
                    continue;
                }
                CommandState::Done => {
                    ended.done += 1;
                    ErrandEnd::Done(report.result.clone())
                }
                CommandState::Failed => {
                    ended.failed += 1;
                    ErrandEnd::Failed(why(&report.result))
                }
            };
            let _ = self.given.remove(place).end.send(end);
        }
        (rest, ended)
    }
}

fn why(result: &BTreeMap<String, ResultValue>) -> String {
    match result.get("error") {
        Some(ResultValue::Text(text)) => text.clone(),
        _ => "it does not say why".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fusion_proto::convert::session::command::Action;

    use super::*;

    fn session(number: u128) -> SessionId {
        SessionId::new(Uuid::from_u128(number))
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_secs(seconds))
    }

    fn command(number: u128) -> Command {
        Command {
            id: Uuid::from_u128(number),
            lease: "l".to_owned(),
            correlation: None,
            traceparent: String::new(),
            action: Action::Probe { paths: Vec::new() },
        }
    }

    fn report(number: u128, state: CommandState) -> CommandReport {
        let error = ResultValue::Text("no".to_owned());
        let result = BTreeMap::from([("error".to_owned(), error)]);
        CommandReport {
            id: Uuid::from_u128(number),
            lease: "l".to_owned(),
            state,
            progress: 0,
            result,
        }
    }

    #[test]
    fn told_to_its_session_until_it_reports() {
        let mut errands = Errands::default();
        let Sent { mut end, progress } = errands.send(session(1), command(7), at(0)).unwrap();
        assert_eq!(errands.all(session(2)).count() + errands.news(session(2)).count(), 0);
        assert_eq!(errands.news(session(1)).count(), 1);
        assert_eq!(errands.news(session(1)).count(), 0, "noticed once");
        assert_eq!(errands.all(session(1)).count(), 1, "repeated by heartbeats");

        let halfway = CommandReport { progress: 50, ..report(7, CommandState::Running) };
        errands.report(session(2), std::slice::from_ref(&halfway), at(1));
        assert_eq!(*progress.borrow(), 0, "another session's");
        errands.report(session(1), &[halfway], at(1));
        assert_eq!(*progress.borrow(), 50);
        let reports = [report(7, CommandState::Done), report(8, CommandState::Done)];
        let (rest, ended) = errands.report(session(2), &reports, at(1));
        assert_eq!((rest.len(), ended.done), (2, 0), "another session's");
        assert!(end.try_recv().is_err());
        let (rest, ended) = errands.report(session(1), &reports, at(1));
        assert_eq!((rest, ended.done), (reports[1..].to_vec(), 1));
        assert!(matches!(end.try_recv(), Ok(ErrandEnd::Done(_))));
        assert_eq!(errands.all(session(1)).count(), 0);
    }

    #[test]
    fn it_ends_once_however_it_ends() {
        let mut errands = Errands::default();
        let mut ends: Vec<_> = (1..=3)
            .map(|number| errands.send(session(1), command(number), at(0)).unwrap().end)
            .collect();
        errands.report(session(1), &[report(1, CommandState::Failed)], at(1));
        assert_eq!(ends[0].try_recv(), Ok(ErrandEnd::Failed("no".to_owned())));
        errands.report(session(1), &[report(2, CommandState::Running)], at(60));
        errands.lapse(at(121));
        assert_eq!(ends[2].try_recv(), Ok(ErrandEnd::Lapsed));
        assert!(ends[1].try_recv().is_err(), "its lease was extended");
        errands.session_over(session(2));
        assert!(ends[1].try_recv().is_err());
        errands.session_over(session(1));
        assert_eq!(ends[1].try_recv(), Ok(ErrandEnd::SessionOver));
    }

    #[test]
    fn there_are_not_too_many() {
        let mut errands = Errands::default();
        let sent = (0..ERRANDS as u128 + 9)
            .filter_map(|number| errands.send(session(1), command(number), at(0)));
        assert_eq!(sent.count(), ERRANDS);
    }
}
