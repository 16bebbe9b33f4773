//! Durations as people write them in a plan: `200ms`, `1s`, `5m`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de::Error};

fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    })
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is not a duration; write for example 200ms, 1s or 5m"
        ))
    })
}

pub(crate) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let micros = duration.as_micros();
    if micros.is_multiple_of(1000) {
        serializer.collect_str(&format_args!("{}ms", micros / 1000))
    } else {
        serializer.collect_str(&format_args!("{micros}us"))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn durations_are_read_with_their_unit_and_nothing_else() {
        assert_eq!(parse("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(parse("2s"), Some(Duration::from_secs(2)));
        assert_eq!(parse("5m"), Some(Duration::from_secs(300)));
        for wrong in [
            "",
            "200",
            "ms",
            "1.5s",
            "-1s",
            "1h",
            "99999999999999999999s",
            "307445734561825861m",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
