//! What a piece of work costs: by the wall clock, and in processor time of either side.
//!
//! On a machine that others use too, the wall clock says more about them than about us; processor time
//! says what the clock would say at best.

use std::time::{Duration, Instant};

use super::median;
use crate::process::now;

/// Clock ticks of `/proc/PID/stat` in a second; 100 on every Linux of today.
const TICKS: f64 = 100.0;

/// How quickly something was done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    /// Pieces per second of the wall clock.
    pub(super) rate: f64,
    /// Nanoseconds of processor time of the server for a piece, and of this process.
    pub(super) server: f64,
    load: f64,
}

impl Speed {
    /// Medians of the processor time, in words.
    pub(super) fn cost(speeds: &[Self]) -> String {
        let server = median(speeds.iter().map(|speed| speed.server).collect()) / 1e3;
        let load = median(speeds.iter().map(|speed| speed.load).collect()) / 1e3;
        format!("processor: server {server:.2} us, load {load:.2} us each")
    }
}

/// Measures from its beginning to its end.
pub(super) struct Count {
    server: u32,
    began: Instant,
    used: (f64, f64),
}

impl Count {
    pub(super) fn begin(server: u32) -> Self {
        Self { server, began: now(), used: used(server) }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn end(self, pieces: u64) -> Speed {
        let (seconds, used) = (self.elapsed().as_secs_f64(), used(self.server));
        let each = |from: f64, to: f64| (to - from) * 1e9 / pieces as f64;
        Speed {
            rate: pieces as f64 / seconds,
            server: each(self.used.0, used.0),
            load: each(self.used.1, used.1),
        }
    }
}

/// Seconds of processor time of a process and of this one so far.
fn used(server: u32) -> (f64, f64) {
    (of(&server.to_string()), of("self"))
}

/// Seconds of processor time of a process so far.
pub(super) fn of(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in parentheses, may have blanks; user and system time are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}
