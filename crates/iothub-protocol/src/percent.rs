//! Percent-encoding as IoT Hub wants it: RFC 3986, everything but unreserved characters.

use std::borrow::Cow;
use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A space must become `%20` and a plus `%2B`: a raw `+` or `#` in a topic is a wildcard and ends the connection (device guide, MQTT support).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(crate) fn encode_into(text: &str, out: &mut String) {
    for part in utf8_percent_encode(text, RESERVED) {
        out.push_str(part);
    }
}

pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    encode_into(text, &mut out);
    out
}

/// Never fails: a broken escape stays as it is, bytes that are not UTF-8 become U+FFFD.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// Writes `text` percent-encoded.
pub(crate) fn write(text: &str, out: &mut impl Write) -> std::fmt::Result {
    utf8_percent_encode(text, RESERVED).try_for_each(|part| out.write_str(part))
}
