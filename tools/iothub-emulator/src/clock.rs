//! The wall clock, as IoT Hub shows it and as SAS tokens mean it.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since 1970-01-01 UTC.
pub(crate) fn unix_microseconds() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds since 1970-01-01 UTC, the unit of a SAS token's `se`.
pub(crate) fn unix_seconds() -> u64 {
    unix_microseconds() / 1_000_000
}

/// RFC 3339 in UTC with the precision that the time has.
pub(crate) fn rfc3339(unix_microseconds: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_microseconds) * 1_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_microseconds.to_string())
}
