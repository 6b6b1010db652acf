//! Times and spans: `google.protobuf` types to and from the clocks of the core.
//!
//! Nothing saturates in silence: a time that the core cannot hold (before 1677 or after 2262) is an
//! error, and so is a negative span.

use std::time::Duration;

use fusion_core::time::{AgentTime, ServerTime, StorageTime};

use super::{ConvertError, InField as _, Problem, Unsendable};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Longest span that `google.protobuf.Duration` can tell: 10,000 years, in seconds.
pub const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

/// A time of the server on the wire. Every time of the core can be told.
#[must_use]
pub fn server_time_to_pb(time: ServerTime) -> prost_types::Timestamp {
    timestamp(time.as_nanos())
}

/// A time of the server from the wire.
///
/// # Errors
/// Nanoseconds below 0 or of a whole second, or a time that 64 bits of nanoseconds cannot hold.
pub fn server_time_from_pb(time: &prost_types::Timestamp) -> Result<ServerTime, Problem> {
    nanos(time).map(ServerTime::from_nanos)
}

/// A time of the server from a field that may be absent.
pub(super) fn time_in(
    field: &'static str,
    time: Option<&prost_types::Timestamp>,
) -> Result<Option<ServerTime>, ConvertError> {
    time.map(server_time_from_pb).transpose().in_field(field)
}

/// A time of the server from a field that must be there.
pub(super) fn needed_time_in(
    field: &'static str,
    time: Option<&prost_types::Timestamp>,
) -> Result<ServerTime, ConvertError> {
    time_in(field, time)?.ok_or(ConvertError::missing(field))
}

/// A time of an agent on the wire. Every time of the core can be told.
#[must_use]
pub fn agent_time_to_pb(time: AgentTime) -> prost_types::Timestamp {
    timestamp(time.as_nanos())
}

/// A time of an agent from the wire.
///
/// # Errors
/// Nanoseconds below 0 or of a whole second, or a time that 64 bits of nanoseconds cannot hold.
pub fn agent_time_from_pb(time: &prost_types::Timestamp) -> Result<AgentTime, Problem> {
    nanos(time).map(AgentTime::from_nanos)
}

/// A time of the storage on the wire. Every time of the core can be told.
#[must_use]
pub fn storage_time_to_pb(time: StorageTime) -> prost_types::Timestamp {
    timestamp(time.as_nanos())
}

/// A time of the storage from the wire.
///
/// # Errors
/// Nanoseconds below 0 or of a whole second, or a time that 64 bits of nanoseconds cannot hold.
pub fn storage_time_from_pb(time: &prost_types::Timestamp) -> Result<StorageTime, Problem> {
    nanos(time).map(StorageTime::from_nanos)
}

/// A span on the wire.
///
/// # Errors
/// A span above [`DURATION_SECONDS_MAX`], naming its field.
pub fn duration_to_pb(
    field: &'static str,
    span: Duration,
) -> Result<prost_types::Duration, Unsendable> {
    match i64::try_from(span.as_secs()) {
        Ok(seconds) if span.as_secs() <= DURATION_SECONDS_MAX => Ok(prost_types::Duration {
            seconds,
            // Below 1,000,000,000, so it is the same number.
            nanos: span.subsec_nanos().cast_signed(),
        }),
        _ => Err(Unsendable { field, why: "a span has at most 10,000 years" }),
    }
}

/// A span from the wire.
///
/// # Errors
/// A negative span, nanoseconds of a whole second, or a span above [`DURATION_SECONDS_MAX`].
pub fn duration_from_pb(span: &prost_types::Duration) -> Result<Duration, Problem> {
    let prost_types::Duration { seconds, nanos } = *span;
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
        return Err(Problem::Invalid("a span must not be negative".into()));
    };
    if i64::from(nanos) >= NANOS_PER_SECOND {
        return Err(Problem::Invalid("the nanoseconds of a span are below one second".into()));
    }
    if seconds > DURATION_SECONDS_MAX {
        return Err(Problem::Invalid("a span has at most 10,000 years".into()));
    }
    Ok(Duration::new(seconds, nanos))
}

fn timestamp(nanos: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: nanos.div_euclid(NANOS_PER_SECOND),
        // Below 1,000,000,000, so it fits.
        nanos: nanos.rem_euclid(NANOS_PER_SECOND) as i32,
    }
}

fn nanos(time: &prost_types::Timestamp) -> Result<i64, Problem> {
    let prost_types::Timestamp { seconds, nanos } = *time;
    if !(0..NANOS_PER_SECOND).contains(&i64::from(nanos)) {
        return Err(Problem::Invalid("the nanoseconds of a time are 0 to 999,999,999".into()));
    }
    // In 128 bits: the earliest times are told as a second that alone does not fit.
    let total = i128::from(seconds) * i128::from(NANOS_PER_SECOND) + i128::from(nanos);
    i64::try_from(total)
        .map_err(|_| Problem::Invalid("a time lies between the years 1677 and 2262".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_survive(nanos: i64) {
            let time = ServerTime::from_nanos(nanos);
            prop_assert_eq!(server_time_from_pb(&server_time_to_pb(time)), Ok(time));
            let time = AgentTime::from_nanos(nanos);
            prop_assert_eq!(agent_time_from_pb(&agent_time_to_pb(time)), Ok(time));
            let time = StorageTime::from_nanos(nanos);
            prop_assert_eq!(storage_time_from_pb(&storage_time_to_pb(time)), Ok(time));
        }

        #[test]
        fn spans_survive(seconds in 0..=DURATION_SECONDS_MAX, nanos in 0..1_000_000_000_u32) {
            let span = Duration::new(seconds, nanos);
            prop_assert_eq!(duration_from_pb(&duration_to_pb("span", span).unwrap()), Ok(span));
        }

        #[test]
        fn what_is_accepted_has_one_form(seconds: i64, nanos: i32) {
            let time = prost_types::Timestamp { seconds, nanos };
            if let Ok(read) = server_time_from_pb(&time) {
                prop_assert_eq!(server_time_to_pb(read), time);
            }
            let span = prost_types::Duration { seconds, nanos };
            if let Ok(read) = duration_from_pb(&span) {
                prop_assert_eq!(duration_to_pb("span", read), Ok(span));
            }
        }
    }

    #[test]
    fn out_of_range_is_an_error() {
        for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000)] {
            let time = prost_types::Timestamp { seconds, nanos };
            assert!(server_time_from_pb(&time).is_err(), "{time:?}");
            let span = prost_types::Duration { seconds, nanos };
            assert!(duration_from_pb(&span).is_err(), "{span:?}");
        }
        assert!(duration_to_pb("span", Duration::MAX).is_err());
    }
}
