//! Writes JSON into a byte buffer without serde's per-value dispatch.

use time::{OffsetDateTime, UtcOffset};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string with its quotes (RFC 8259, section 7).
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..index]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            let low = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(&[b'0', b'0', low[0], low[1]]);
        }
        plain = index + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// Length of [`format_micros`].
pub(crate) const TIME_LENGTH: usize = 27;

/// `2026-11-22T15:04:05.123456Z`: RFC 3339, UTC, microseconds (truncated). Years outside 0–9999 are clamped.
pub(crate) fn format_micros(at: OffsetDateTime) -> [u8; TIME_LENGTH] {
    let at = at.to_offset(UtcOffset::UTC);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    put_digits(&mut text[0..4], at.year().clamp(0, 9999) as u32);
    put_digits(&mut text[5..7], u32::from(u8::from(at.month())));
    put_digits(&mut text[8..10], u32::from(at.day()));
    put_digits(&mut text[11..13], u32::from(at.hour()));
    put_digits(&mut text[14..16], u32::from(at.minute()));
    put_digits(&mut text[17..19], u32::from(at.second()));
    put_digits(&mut text[20..26], at.microsecond());
    text
}

/// `at` as it stands in events: RFC 3339, UTC, microseconds, `Z`.
pub fn rfc3339_micros(at: OffsetDateTime) -> String {
    format_micros(at).iter().copied().map(char::from).collect()
}

fn put_digits(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Length of [`format_sequence`]: `u64::MAX` has twenty digits.
pub(crate) const SEQUENCE_LENGTH: usize = 20;

/// `sequence` zero-padded, so that it sorts as text (CloudEvents sequence extension).
pub(crate) fn format_sequence(mut sequence: u64) -> [u8; SEQUENCE_LENGTH] {
    let mut text = [b'0'; SEQUENCE_LENGTH];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (sequence % 10) as u8;
        sequence /= 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    proptest! {
        #[test]
        fn strings_are_json(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn times_are_rfc3339(micros in 0i64..253_402_300_799_999_999) {
            let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap();
            let text = rfc3339_micros(at);
            prop_assert_eq!(OffsetDateTime::parse(&text, &Rfc3339).unwrap(), at);
        }

        #[test]
        fn sequences_sort_as_text(a in any::<u64>(), b in any::<u64>()) {
            prop_assert_eq!(a.cmp(&b), format_sequence(a).cmp(&format_sequence(b)));
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        push_string(&mut out, "\u{0}\u{1f}\"\\\n\r\t\u{7f}ä");
        assert_eq!(out, "\"\\u0000\\u001f\\\"\\\\\\n\\r\\t\u{7f}ä\"".as_bytes());
    }
}
