//! Durations and sizes as people write them: `250ms`, `64KiB`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DURATION_WORDS: &str =
    "a duration: a whole number and ms, s, m or h, such as \"250ms\" or \"5m\"";
const BYTES_WORDS: &str =
    "a size: a whole number and B, KiB, MiB or GiB, such as \"64KiB\", or a number of bytes";

/// A duration in whole milliseconds, written `250ms`, `1s`, `5m` or `1h`. At most 1000 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Duration {
    /// The longest one: 1000 hours. Deadlines far beyond overflow the timers they are given to.
    pub const MAX: Self = Self(1000 * 3_600_000);

    /// A duration of so many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// A duration of so many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1000)
    }

    /// As the standard library's type.
    pub const fn get(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl FromStr for Duration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not {DURATION_WORDS}");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        number
            .checked_mul(factor)
            .map(Self)
            .filter(|duration| *duration <= Self::MAX)
            .ok_or_else(|| format!("{text} is too long; at most {} is allowed", Self::MAX))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0ms"),
            hours if hours % 3_600_000 == 0 => write!(f, "{}h", hours / 3_600_000),
            minutes if minutes % 60_000 == 0 => write!(f, "{}m", minutes / 60_000),
            seconds if seconds % 1000 == 0 => write!(f, "{}s", seconds / 1000),
            milliseconds => write!(f, "{milliseconds}ms"),
        }
    }
}

/// A number of bytes, written `64KiB`, `256MiB`, `1GiB`, `512B` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// A size of so many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many KiB.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// A size of so many MiB.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// In bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not {BYTES_WORDS}");
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("0B"),
            bytes if bytes % (1 << 30) == 0 => write!(f, "{}GiB", bytes >> 30),
            bytes if bytes % (1 << 20) == 0 => write!(f, "{}MiB", bytes >> 20),
            bytes if bytes % (1 << 10) == 0 => write!(f, "{}KiB", bytes >> 10),
            bytes => write!(f, "{bytes}B"),
        }
    }
}

/// The leading digits as a number, and what follows them.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]{1,10}(ms|s|m|h)$",
            "description": format!("Written as {DURATION_WORDS}"),
            "examples": ["1s", "10ms", "24h"],
            "x-expected": DURATION_WORDS,
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(BYTES_WORDS)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]{1,15}(B|KiB|MiB|GiB)?$",
            "minimum": 0,
            "description": format!("Written as {BYTES_WORDS}"),
            "examples": ["64KiB", "16MiB", "1GiB"],
            "x-expected": BYTES_WORDS,
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, milliseconds, shown) in [
            ("250ms", 250, "250ms"),
            ("1s", 1000, "1s"),
            ("90s", 90_000, "90s"),
            ("5m", 300_000, "5m"),
            ("1h", 3_600_000, "1h"),
            ("0ms", 0, "0ms"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_millis(), milliseconds);
            assert_eq!(duration.to_string(), shown);
        }
        for bad in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "1 s",
            "1d",
            "2000h",
            "99999999999999999999s",
        ] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("64KiB", 65536, "64KiB"),
            ("256MiB", 256 << 20, "256MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("512B", 512, "512B"),
            ("2048", 2048, "2KiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.get(), size.to_string().as_str()), (bytes, shown));
        }
        let number: ByteSize = serde_json::from_str("1000").unwrap();
        assert_eq!(number.get(), 1000);
        for bad in ["", "1MB", "-1", "1.5MiB", "99999999999999999999GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
