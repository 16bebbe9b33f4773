//! Small pieces of JSON: strings, decimals and times, without loss.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use time::{Date, Month, OffsetDateTime};

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing into a Vec cannot fail, and a str always has a JSON form.
    let _ = serde_json::to_writer(out, text);
}

/// How many bytes [`push_string`] takes at most.
pub(crate) fn string_bound(text: &str) -> usize {
    // `\u0000` is the longest form of one byte.
    let escapes = text
        .bytes()
        .filter(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'))
        .count();
    text.len() + 5 * escapes + 2
}

pub(crate) fn push_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// How many characters `number` has in decimal.
pub(crate) fn integer_length(number: i64) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(number < 0)
}

/// Borrows where it can; serde does so through a newtype only.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The members of a JSON object in their order, with their values as they stand.
#[derive(Debug, Default)]
pub(crate) struct Members<'a>(pub(crate) Vec<(Cow<'a, str>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(key) = map.next_key::<Text<'de>>()? {
                    members.push((key.0, map.next_value::<&'de RawValue>()?.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Largest magnitude of an integer in a column of differences: a difference of two is then exact in a double, too.
pub(crate) const EXACT: i64 = 1 << 52;
/// Most decimals of a number in a column of differences.
const DECIMALS: u32 = 15;

/// A number `integer · 10^-decimals` whose JSON text follows from the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) integer: i64,
    pub(crate) decimals: u32,
}

impl Decimal {
    /// Takes a number apart if [`push_decimal`] makes the same text of it again.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text.split_first()? {
            (b'-', rest) => (true, rest),
            _ => (false, text),
        };
        // Fifteen digits before and after the point at most; `EXACT` bounds them further.
        if digits.is_empty() || digits.len() > 18 {
            return None;
        }
        let (mut integer, mut decimals, mut point) = (0i64, 0u32, false);
        for &byte in digits {
            match byte {
                b'0'..=b'9' => {
                    integer = integer * 10 + i64::from(byte - b'0');
                    decimals += u32::from(point);
                }
                b'.' if !point => point = true,
                _ => return None,
            }
        }
        let zero_at_end = decimals > 1 && digits.ends_with(b"0");
        if integer > EXACT || decimals > DECIMALS || zero_at_end || (negative && integer == 0) {
            return None;
        }
        Some(Self {
            integer: if negative { -integer } else { integer },
            decimals,
        })
    }

    /// The integer of the same number with more decimals.
    pub(crate) fn scaled(self, decimals: u32) -> Option<i64> {
        let factor = 10i64.checked_pow(decimals.checked_sub(self.decimals)?)?;
        let integer = self.integer.checked_mul(factor)?;
        (integer.unsigned_abs() <= EXACT.unsigned_abs()).then_some(integer)
    }
}

/// The text of `integer · 10^-decimals`: no point without decimals, else at least one digit behind it and no needless zero.
pub(crate) fn push_decimal(out: &mut Vec<u8>, integer: i64, decimals: u32) {
    let decimals = decimals as usize;
    if decimals == 0 {
        push_integer(out, integer);
        return;
    }
    if integer < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(integer.unsigned_abs()).as_bytes();
    let point = digits.len().saturating_sub(decimals);
    if point == 0 {
        out.push(b'0');
    }
    out.extend_from_slice(&digits[..point]);
    out.push(b'.');
    let first = out.len();
    out.resize(first + decimals.saturating_sub(digits.len()), b'0');
    out.extend_from_slice(&digits[point..]);
    while out.len() > first + 1 && out.last() == Some(&b'0') {
        out.pop();
    }
}

/// `2026-11-22T16:31:19.613576Z` as 10^-decimals seconds since 1970, and its decimals, if [`push_time`] makes the same text of it again.
pub(crate) fn parse_time(text: &str) -> Option<Decimal> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0i64, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + i64::from(byte - b'0'))
        })
    };
    let at = |index: usize, byte: u8| bytes.get(index) == Some(&byte);
    let separators = at(4, b'-') && at(7, b'-') && at(10, b'T') && at(13, b':') && at(16, b':');
    if !separators || bytes.last() != Some(&b'Z') {
        return None;
    }
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let month = Month::try_from(u8::try_from(number(5, 7)?).ok()?).ok()?;
    let day = u8::try_from(number(8, 10)?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(number(0, 4)?).ok()?, month, day).ok()?;
    let days =
        i64::from(date.to_julian_day()) - i64::from(OffsetDateTime::UNIX_EPOCH.to_julian_day());
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    let decimals = match bytes.len() {
        20 => 0,
        length @ 22..=30 if at(19, b'.') => length - 21,
        _ => return None,
    };
    let fraction = if decimals == 0 {
        0
    } else {
        number(20, 20 + decimals)?
    };
    let decimals = u32::try_from(decimals).ok()?;
    let integer = seconds
        .checked_mul(10i64.pow(decimals))?
        .checked_add(fraction)?;
    Some(Decimal { integer, decimals })
}

/// Appends what [`parse_time`] reads, without quotes. None if the year is not one of 0 to 9999, or there are more than nine decimals.
pub(crate) fn push_time(out: &mut Vec<u8>, ticks: i64, decimals: u32) -> Option<()> {
    if decimals > 9 {
        return None;
    }
    let unit = 10i64.pow(decimals);
    let at = OffsetDateTime::from_unix_timestamp(ticks.div_euclid(unit)).ok()?;
    let year = u32::try_from(at.year()).ok().filter(|year| *year <= 9999)?;
    let mut put = |number: u64, width: usize, end: &[u8]| {
        let first = out.len();
        out.resize(first + width, b'0');
        let mut rest = number;
        for digit in out[first..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(end);
    };
    put(u64::from(year), 4, b"-");
    put(u64::from(u8::from(at.month())), 2, b"-");
    put(u64::from(at.day()), 2, b"T");
    put(u64::from(at.hour()), 2, b":");
    put(u64::from(at.minute()), 2, b":");
    put(
        u64::from(at.second()),
        2,
        if decimals == 0 { b"Z" } else { b"." },
    );
    if decimals > 0 {
        put(
            ticks.rem_euclid(unit).unsigned_abs(),
            decimals as usize,
            b"Z",
        );
    }
    Some(())
}

/// Whether arrays and objects of a JSON text go deeper than `limit`. The text is known to be JSON.
pub(crate) fn deeper_than(text: &[u8], limit: usize) -> bool {
    let (mut depth, mut string, mut escaped) = (0usize, false, false);
    for &byte in text {
        if string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal_again(text: &str) -> Option<String> {
        let Decimal { integer, decimals } = Decimal::parse(text.as_bytes())?;
        let mut out = Vec::new();
        push_decimal(&mut out, integer, decimals);
        Some(String::from_utf8(out).unwrap())
    }

    fn time_again(text: &str) -> Option<String> {
        let Decimal { integer, decimals } = parse_time(text)?;
        let mut out = Vec::new();
        push_time(&mut out, integer, decimals)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn decimals_come_back_digit_for_digit_or_are_left_alone() {
        for same in [
            "0",
            "-1",
            "35.0",
            "0.0",
            "0.05",
            "-0.5",
            "23.47",
            "4503599627370496",
            "0.000000000000001",
            "100",
            "-120.25",
        ] {
            assert_eq!(decimal_again(same).as_deref(), Some(same), "{same}");
        }
        for other in [
            "-0",
            "-0.0",
            "1e3",
            "1E3",
            "1.50",
            "4503599627370497",
            "18446744073709551615",
            "0.0000000000000001",
            "true",
            "\"1\"",
            "",
            "-",
        ] {
            assert_eq!(Decimal::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_scaled_decimal_is_the_same_number() {
        let number = Decimal::parse(b"1.5").unwrap();
        assert_eq!(number.scaled(3), Some(1500));
        assert_eq!(number.scaled(0), None);
        assert_eq!(number.scaled(17), None);
    }

    #[test]
    fn times_come_back_character_for_character_or_are_left_alone() {
        for same in [
            "2026-11-22T16:31:19.613576Z",
            "1970-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999Z",
            "2024-02-29T12:00:00.1Z",
            "2026-11-22T16:31:19.613576123Z",
        ] {
            assert_eq!(time_again(same).as_deref(), Some(same), "{same}");
        }
        for other in [
            "2026-11-22T16:31:19+01:00",
            "2026-11-22t16:31:19z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T23:59:60Z",
            "2026-11-22 16:31:19Z",
            "2026-11-22T16:31:19.Z",
            "2026-11-22T16:31:19.1234567890Z",
            "9999-12-31T23:59:59.999999999Z",
            "",
            "Z",
            "2026-1a-22T16:31:19Z",
            "ä026-11-22T16:31:1Z",
        ] {
            assert_eq!(parse_time(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_double_is_kept(value in any::<f64>().prop_filter("JSON has no other", |value| value.is_finite())) {
            let text = serde_json::to_string(&value).unwrap();
            if let Some(again) = decimal_again(&text) {
                prop_assert_eq!(again, text);
            }
        }

        #[test]
        fn a_double_is_the_quotient_of_its_parts(integer in -EXACT..=EXACT, decimals in 1u32..=15) {
            // so a receiver may divide instead of building the text
            let mut out = Vec::new();
            push_decimal(&mut out, integer, decimals);
            let parsed: f64 = std::str::from_utf8(&out).unwrap().parse().unwrap();
            prop_assert_eq!(parsed, integer as f64 / 10f64.powi(decimals as i32));
        }

        #[test]
        fn any_time_is_kept(ticks in -62_167_219_200_000_000i64..=253_402_300_799_999_999, decimals in 0u32..=6) {
            let ticks = ticks / 10i64.pow(6 - decimals);
            let mut out = Vec::new();
            push_time(&mut out, ticks, decimals).unwrap();
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(parse_time(&text), Some(Decimal { integer: ticks, decimals }));
        }

        #[test]
        fn lengths_are_known_before(number in any::<i64>(), text in any::<String>()) {
            prop_assert_eq!(integer_length(number), number.to_string().len());
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert!(out.len() <= string_bound(&text));
        }
    }

    #[test]
    fn depth_is_counted_outside_of_strings() {
        assert!(deeper_than(br#"{"a":[1]}"#, 1));
        assert!(!deeper_than(br#"{"a":[1]}"#, 2));
        assert!(!deeper_than(br#"{"a":"[[[\"[[["}"#, 1));
    }
}
