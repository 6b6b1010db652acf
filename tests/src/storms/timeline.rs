//! A story as a picture: who owned the tree, what each server said of it, what was acknowledged and what a watcher
//! was told, second by second, as it was measured.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::Story;
use super::fleet::SERVERS;
use super::plan::Fault;

const WIDTH: f64 = 1_000.0;
/// Where time begins, right of the names of rows.
const LEFT: f64 = 130.0;
const TOP: f64 = 74.0;
const ROW: f64 = 34.0;
const BAR: f64 = 20.0;
/// Two things that are no further apart are drawn as one.
const JOINED: Duration = Duration::from_millis(350);
/// What is drawn after the last fault; what follows are the checks.
const AFTER: Duration = Duration::from_secs(5);
/// Other colours than those of READY and not READY.
const SERVER: [&str; SERVERS] = ["#2f6fb0", "#8a4a2f", "#7d4a9e"];
const READY: &str = "#3f8f5b";
const NOT_READY: &str = "#e0b030";
const TOLD: &str = "#5f6b76";

/// The picture, as SVG.
#[must_use]
pub fn svg(story: &Story) -> String {
    let last = story.faults.iter().map(|(_, _, ended, next)| *ended.max(next)).max();
    let Some(end) = last.map(|last| last + AFTER) else { return String::new() };
    let mut picture = Picture { text: String::new(), began: story.began, end };
    let rows = ROW * (SERVERS as f64 + 3.0);
    picture.begin(TOP + rows + 42.0);
    picture.faults(story, rows);
    let mut y = TOP;
    picture.owners(story, y);
    for server in 0..SERVERS {
        y += ROW;
        picture.answers(story, server, y);
    }
    y += ROW;
    let acknowledged = story.seen.acknowledged.iter().map(|it| it.at).collect::<Vec<_>>();
    picture.spans("acknowledged", &acknowledged, y, TOLD);
    y += ROW;
    let told = story.seen.told.iter().map(|it| it.at).collect::<Vec<_>>();
    picture.spans("watcher told", &told, y, TOLD);
    picture.axis(y + ROW);
    picture.text += "</svg>\n";
    picture.text
}

struct Picture {
    text: String,
    began: Instant,
    end: Instant,
}

impl Picture {
    fn begin(&mut self, height: f64) {
        let _ = writeln!(
            self.text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>"
        );
    }

    /// Where a moment is; later ones are at the right end.
    fn x(&self, at: Instant) -> f64 {
        let all = (self.end - self.began).as_secs_f64().max(1.0);
        let part = at.saturating_duration_since(self.began).as_secs_f64() / all;
        LEFT + part.min(1.0) * (WIDTH - LEFT - 20.0)
    }

    fn word(&mut self, x: f64, y: f64, word: &str, fill: &str) {
        let _ =
            writeln!(self.text, "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{fill}\">{word}</text>");
    }

    fn bar(&mut self, from: Instant, to: Instant, y: f64, height: f64, fill: &str, told: &str) {
        if from > self.end {
            return;
        }
        let (x, end) = (self.x(from), self.x(to));
        let width = (end - x).max(1.0);
        let _ = writeln!(
            self.text,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{fill}\"><title>{told}</title></rect>"
        );
    }

    fn faults(&mut self, story: &Story, rows: f64) {
        for (number, (fault, began, ended, acknowledged)) in story.faults.iter().enumerate() {
            self.bar(*began, *ended, TOP - 10.0, rows + 6.0, "#f3dcdc", "the fault lasts");
            let took = (*acknowledged - *began).as_secs_f64();
            let word = format!("{}: acknowledged after {took:.1} s", name(*fault));
            let y = 18.0 + 16.0 * (number % 3) as f64;
            let x = self.x(*began).min(WIDTH - 290.0);
            self.word(x, y, &word, "#8c2f2f");
        }
    }

    fn owners(&mut self, story: &Story, y: f64) {
        self.word(8.0, y + 15.0, "owner", "#333");
        for (number, (since, owner)) in story.claims.iter().enumerate() {
            if *since > self.end {
                break;
            }
            let until = story.claims.get(number + 1).map_or(self.end, |next| next.0);
            let Some(server) = owner.server else { continue };
            let told = format!("server {server}, epoch {}", owner.epoch);
            self.bar(*since, until, y, BAR, SERVER[server], &told);
            let x = self.x(*since) + 3.0;
            self.word(x, y + 15.0, &format!("{server} ({})", owner.epoch), "white");
        }
    }

    fn answers(&mut self, story: &Story, server: usize, y: f64) {
        self.word(8.0, y + 15.0, &format!("server {server} answers"), SERVER[server]);
        for ready in [true, false] {
            let all = story.seen.answers.iter();
            let its = all.filter(|answer| answer.server == server && answer.ready == ready);
            let (fill, told) = if ready { (READY, "READY") } else { (NOT_READY, "not READY") };
            for (from, to) in joined(its.map(|answer| answer.answered)) {
                self.bar(from, to, y, BAR, fill, told);
            }
        }
    }

    fn spans(&mut self, word: &str, moments: &[Instant], y: f64, fill: &str) {
        self.word(8.0, y + 15.0, word, "#333");
        for (from, to) in joined(moments.iter().copied()) {
            self.bar(from, to, y, BAR, fill, word);
        }
    }

    fn axis(&mut self, y: f64) {
        let seconds = (self.end - self.began).as_secs();
        let step = (seconds / 15).max(1);
        for second in (0..=seconds).step_by(usize::try_from(step).unwrap_or(1)) {
            let x = self.x(self.began + Duration::from_secs(second));
            let _ = writeln!(
                self.text,
                "<path d=\"M{x:.1} {:.1}v6\" stroke=\"#333\"/>\n\
                 <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"#333\" text-anchor=\"middle\">{second} s</text>",
                y - 8.0,
                y + 12.0
            );
        }
        let told = "Owner: server (epoch). Answers: green READY, amber not READY, nothing: none for 0.35 s. \
                    Red: a fault lasts.";
        self.word(LEFT, y + 32.0, told, "#333");
    }
}

/// From when to when something happened again and again.
fn joined(moments: impl Iterator<Item = Instant>) -> Vec<(Instant, Instant)> {
    let mut spans: Vec<(Instant, Instant)> = Vec::new();
    for at in moments {
        match spans.last_mut() {
            Some((_, to)) if at.saturating_duration_since(*to) <= JOINED => *to = at,
            _ => spans.push((at, at)),
        }
    }
    spans
}

fn name(fault: Fault) -> &'static str {
    match fault {
        Fault::KillOwner => "kill -9 of the owner",
        Fault::KillFollower => "kill -9 of a follower",
        Fault::KillTwo => "kill -9 of two servers",
        Fault::Zombie => "the owner is stopped",
        Fault::CutEngines(_) => "the owner loses the engines",
        Fault::CutAgents(_) => "the owner loses the agents",
        Fault::Rolling => "rolling upgrade",
        Fault::Clock => "a clock an hour ahead",
        Fault::KillNats => "kill -9 of a NATS node",
        Fault::KillNatsLeader => "kill -9 of the NATS leader",
        Fault::DiskFull(_) => "disks are full",
        Fault::StateRestarted => "the state loses power",
        Fault::StateFailedOver => "the state fails over",
        Fault::StateSlow => "the state is slow",
        Fault::StateFlushed => "the state is emptied",
        Fault::KillLeader => "kill -9 of the leading agent",
    }
}
