//! Spans and moments as people type them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// A span of time, more than 0: `30s`, `5min`, `1h 30min`, `7d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).ok().filter(|span| !span.is_zero());
    span.ok_or_else(|| "a span with its unit, more than 0: `30s`, `5min`, `1h 30min`, `7d`".into())
}

/// A moment in nanoseconds since 1970: a span before now, or a time in UTC. What lies before all times
/// that are kept is the first of them.
pub(super) fn moment(text: &str) -> Result<i64, String> {
    before(Timestamp::now(), text)
}

fn before(now: Timestamp, text: &str) -> Result<i64, String> {
    let nanos = match humantime::parse_duration(text) {
        Ok(span) => i128::try_from(span.as_nanos()).ok().map(|span| now.as_nanosecond() - span),
        Err(_) => time(text).map(Timestamp::as_nanosecond),
    };
    let nanos = nanos.ok_or(
        "neither a span before now (`2d`, `1h 30min`) nor a time in UTC (`2026-01-31`, \
         `2026-01-31 12:00:00`, `2026-01-31T12:00:00Z`)",
    )?;
    let first = i64::try_from(nanos.max(i128::from(i64::MIN)));
    first.map_err(|_| "a time before the year 2262".to_owned())
}

fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let civil = text
        .parse::<DateTime>()
        .ok()
        .or_else(|| text.parse::<Date>().ok().map(|date| date.at(0, 0, 0, 0)))?;
    civil.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(span("5min"), Ok(Duration::from_secs(300)));
        assert_eq!(span("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(span("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in ["", "30", "0s", "-5s", "soon"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_spans_before_now_or_times() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let at = |text: &str| before(now, text).ok();
        let nanos = |text: &str| text.parse::<Timestamp>().unwrap().as_nanosecond() as i64;
        assert_eq!(at("2d"), Some(nanos("2026-01-29T12:00:00Z")));
        assert_eq!(at("1h 30min"), Some(nanos("2026-01-31T10:30:00Z")));
        assert_eq!(at("2026-01-30"), Some(nanos("2026-01-30T00:00:00Z")));
        assert_eq!(at("2026-01-30 01:02:03"), Some(nanos("2026-01-30T01:02:03Z")));
        assert_eq!(at("2026-01-30T01:02:03+01:00"), Some(nanos("2026-01-30T00:02:03Z")));
        assert_eq!(at("9999y"), Some(i64::MIN));
        for bad in ["", "soon", "2d ago", "2026-13-01", "yesterday", "9999-01-01T00:00:00Z"] {
            assert_eq!(at(bad), None, "{bad}");
        }
        assert!(moment("1h").unwrap() < moment("1min").unwrap());
    }
}
