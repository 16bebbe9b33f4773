//! Amounts of processor time and memory, and how Kubernetes writes them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use module_runtime::configuration::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

const CPU_WORDS: &str =
    "processor cores: a number such as 2 or 0.5, or thousandths such as \"500m\"";

/// Processor time in thousandths of a core, written `500m`, `0.5` or `2`. From 1m to 1024 cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpu(u32);

impl Cpu {
    /// The most: 1024 cores.
    pub const MAX: Self = Self(1_024_000);

    /// So many thousandths of a core.
    pub const fn from_millis(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// In thousandths of a core.
    pub const fn millis(self) -> u32 {
        self.0
    }

    fn from_cores(cores: f64) -> Option<Self> {
        let thousandths = cores * 1000.0;
        let whole = thousandths.round();
        // Kubernetes knows nothing smaller than a thousandth.
        let exact = (thousandths - whole).abs() < 1e-6;
        (exact && (1.0..=f64::from(Self::MAX.0)).contains(&whole)).then_some(Self(whole as u32))
    }
}

impl FromStr for Cpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = match text.strip_suffix('m') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().map(Self)
            }
            Some(_) => None,
            None if text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.') =>
            {
                text.parse().ok().and_then(Self::from_cores)
            }
            None => None,
        };
        found
            .filter(|cpu| (Self(1)..=Self::MAX).contains(cpu))
            .ok_or_else(|| format!("{text:?} is not {CPU_WORDS}"))
    }
}

/// As Kubernetes writes it: `500m`, `2`.
impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            thousandths if thousandths % 1000 == 0 => write!(f, "{}", thousandths / 1000),
            thousandths => write!(f, "{thousandths}m"),
        }
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Cpu;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(CPU_WORDS)
            }

            fn visit_u64<E: de::Error>(self, cores: u64) -> Result<Cpu, E> {
                self.visit_f64(cores as f64)
            }

            fn visit_f64<E: de::Error>(self, cores: f64) -> Result<Cpu, E> {
                Cpu::from_cores(cores)
                    .ok_or_else(|| E::custom(format!("{cores} is not {CPU_WORDS}")))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cpu, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Cpu {
    fn schema_name() -> Cow<'static, str> {
        "Cpu".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "pattern": "^([0-9]{1,7}m|[0-9]{1,4}(\\.[0-9]{1,3})?)$",
            "minimum": 0.001,
            "maximum": 1024,
            "description": format!("Written as {CPU_WORDS}"),
            "examples": ["500m", 0.5, 2],
            "x-expected": CPU_WORDS,
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A size as Kubernetes writes it: `128Mi`, `2Gi`, `1000`.
pub fn quantity(size: ByteSize) -> String {
    size.to_string().trim_end_matches('B').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_and_shown() {
        for (text, millis, shown) in [
            ("500m", 500, "500m"),
            ("0.5", 500, "500m"),
            ("2", 2000, "2"),
            ("1000m", 1000, "1"),
            ("0.001", 1, "1m"),
        ] {
            let cpu: Cpu = text.parse().unwrap();
            assert_eq!((cpu.millis(), cpu.to_string().as_str()), (millis, shown));
        }
        for bad in [
            "", "m", "-1", "0", "0m", "1.5m", "0.0001", "1e3", "2000", "5 m",
        ] {
            assert!(bad.parse::<Cpu>().is_err(), "{bad}");
        }
        let number: Cpu = serde_json::from_str("1.5").unwrap();
        assert_eq!(number.to_string(), "1500m");
    }

    #[test]
    fn sizes_become_quantities() {
        assert_eq!(quantity(ByteSize::from_mib(128)), "128Mi");
        assert_eq!(quantity(ByteSize::from_mib(2048)), "2Gi");
        assert_eq!(quantity(ByteSize::from_bytes(1000)), "1000");
    }
}
