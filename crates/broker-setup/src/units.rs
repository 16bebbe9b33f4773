//! Sizes and times as plans write them: `256MiB`, `7d`. Also for serde: `#[serde(with = "broker_setup::units::bytes")]`.

use std::time::Duration;

const BYTES_WORDS: &str = "a size: a whole number and B, KiB, MiB or GiB, such as 256MiB";
const TIME_WORDS: &str = "a time: a whole number and ms, s, m, h or d, such as 5s";

const BYTE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads a size; a number without a unit is in bytes.
///
/// # Errors
/// Says what was expected.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    parse(text, &BYTE_UNITS, "B").ok_or_else(|| format!("{text:?} is not {BYTES_WORDS}"))
}

/// Writes a size with the largest unit that leaves a whole number.
pub fn render_bytes(bytes: u64) -> String {
    render(bytes, &BYTE_UNITS, "B")
}

/// Reads a time in whole milliseconds; the unit is needed.
///
/// # Errors
/// Says what was expected.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    parse(text, &TIME_UNITS, "")
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not {TIME_WORDS}"))
}

/// Writes a time with the largest unit that leaves a whole number; what is finer than a millisecond is cut off.
pub fn render_time(time: Duration) -> String {
    render(
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        &TIME_UNITS,
        "ms",
    )
}

fn parse(text: &str, units: &[(&str, u64)], default: &str) -> Option<u64> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = if unit.is_empty() { default } else { unit };
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

fn render(value: u64, units: &[(&str, u64)], smallest: &str) -> String {
    units
        .iter()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor))
        .map_or_else(
            || format!("{value}{smallest}"),
            |(unit, factor)| format!("{}{unit}", value / factor),
        )
}

/// A size in bytes, written with its unit.
pub mod bytes {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    /// Writes `256MiB`.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::render_bytes(*bytes))
    }

    /// Reads `256MiB` or a number of bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(super::BYTES_WORDS)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<u64, E> {
                Ok(bytes)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
                super::parse_bytes(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A time in whole milliseconds, written with its unit.
pub mod time {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes `7d`.
    pub fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::render_time(*time))
    }

    /// Reads `7d`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        super::parse_time(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1024, "1KiB"),
            (256 << 20, "256MiB"),
            (3 << 30, "3GiB"),
            ((1 << 20) + 1, "1048577B"),
        ] {
            assert_eq!(render_bytes(bytes), text);
            assert_eq!(parse_bytes(text), Ok(bytes));
        }
        for (milliseconds, text) in [
            (0, "0ms"),
            (1500, "1500ms"),
            (5000, "5s"),
            (120_000, "2m"),
            (604_800_000, "7d"),
            (90_000_000, "25h"),
        ] {
            assert_eq!(render_time(Duration::from_millis(milliseconds)), text);
            assert_eq!(parse_time(text), Ok(Duration::from_millis(milliseconds)));
        }
        assert_eq!(parse_bytes("4096"), Ok(4096));
    }

    #[test]
    fn other_words_are_refused_with_the_right_ones() {
        for bad in ["", "MiB", "1MB", "-1B", "1.5GiB", "99999999999GiB"] {
            assert!(parse_bytes(bad).unwrap_err().contains("MiB"), "{bad}");
        }
        for bad in ["", "5", "1 s", "1w", "99999999999999d"] {
            assert!(parse_time(bad).unwrap_err().contains("ms, s"), "{bad}");
        }
    }
}
