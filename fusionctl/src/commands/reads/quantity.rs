//! Sizes and times as people type them.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::exit::Failure;

/// The range that all of these sizes leave: `+1G` at least, `-10k` at most, `5` just so.
pub(super) fn sizes(texts: &[String]) -> Result<Option<RangeInclusive<u64>>, Failure> {
    let (mut least, mut most) = (0, u64::MAX);
    for text in texts {
        let (sign, number) = match text.split_at_checked(1) {
            Some((sign @ ("+" | "-"), number)) => (sign, number),
            _ => ("", text.as_str()),
        };
        let size = size(number).ok_or_else(|| {
            Failure::usage(format!(
                "--size `{text}` is no size: it is `+1G` (at least), `-10k` (at most) or `5` \
                 (just so), with b, k, m, g, t or ki, mi, gi, ti"
            ))
        })?;
        match sign {
            "+" => least = least.max(size),
            "-" => most = most.min(size),
            _ => (least, most) = (least.max(size), most.min(size)),
        }
    }
    if least > most {
        return Err(Failure::usage(format!(
            "--size: nothing has at least {least} and at most {most} bytes"
        )));
    }
    Ok((!texts.is_empty()).then_some(least..=most))
}

fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// A moment in nanoseconds: a span before now, or a time in UTC.
pub(super) fn moment(option: &str, text: &str, now: Timestamp) -> Result<i64, Failure> {
    let nanos = match humantime::parse_duration(text) {
        Ok(span) => i128::try_from(span.as_nanos()).ok().map(|span| now.as_nanosecond() - span),
        Err(_) => time(text).map(Timestamp::as_nanosecond),
    };
    // Before all times that a file can have is as good as the first of them.
    nanos.map(|nanos| i64::try_from(nanos).unwrap_or(i64::MIN)).ok_or_else(|| {
        Failure::usage(format!(
            "{option} `{text}` is neither a span (`2d`, `1h 30min`) nor a time in UTC (`2026-01-31`, \
             `2026-01-31 12:00:00`, `2026-01-31T12:00:00Z`)"
        ))
    })
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

    fn range(texts: &[&str]) -> Option<Option<RangeInclusive<u64>>> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        sizes(&texts).ok()
    }

    #[test]
    fn sizes_are_those_of_fd() {
        assert_eq!(range(&[]), Some(None));
        assert_eq!(range(&["+1G"]), Some(Some(1_000_000_000..=u64::MAX)));
        assert_eq!(range(&["-10ki"]), Some(Some(0..=10_240)));
        assert_eq!(range(&["5"]), Some(Some(5..=5)));
        assert_eq!(range(&["+1k", "-2kb"]), Some(Some(1_000..=2_000)));
        for bad in ["", "+", "k", "1x", "1.5k", "-1", "99999999t", "é", "18446744073709551616"] {
            assert!(bad == "-1" || range(&[bad]).is_none(), "{bad}");
        }
        assert_eq!(range(&["+2k", "-1k"]), None);
    }

    #[test]
    fn moments_are_spans_before_now_or_times() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        let at = |text: &str| moment("--x", text, now).ok();
        let nanos = |text: &str| text.parse::<Timestamp>().unwrap().as_nanosecond() as i64;
        assert_eq!(at("2d"), Some(nanos("2026-01-29T12:00:00Z")));
        assert_eq!(at("1h 30min"), Some(nanos("2026-01-31T10:30:00Z")));
        assert_eq!(at("2026-01-30"), Some(nanos("2026-01-30T00:00:00Z")));
        assert_eq!(at("2026-01-30 01:02:03"), Some(nanos("2026-01-30T01:02:03Z")));
        assert_eq!(at("2026-01-30T01:02:03+01:00"), Some(nanos("2026-01-30T00:02:03Z")));
        assert_eq!(at("9999y"), Some(i64::MIN));
        for bad in ["", "soon", "2d ago", "2026-13-01"] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }
}
