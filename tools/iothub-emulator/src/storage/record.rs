//! How one device-to-cloud message stands in the messages file and in `GET /messages`.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// One accepted message, borrowed from the packet it came in.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) received_us: u64,
    /// System properties under IoT Hub's names (`message-id`, `content-type`, …).
    pub(crate) system: &'a [(&'a str, &'a str)],
    /// The sender's own properties.
    pub(crate) properties: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// Lines without their `{"index":N,` start, which the file gives them under its lock.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// The constant start of a connection's lines: `"device":"…","module":…,"connected_us":…,`.
#[derive(Debug, Clone)]
pub(crate) struct RecordPrefix(String);

impl RecordPrefix {
    pub(crate) fn new(device: &str, module: Option<&str>, connected_us: u64) -> Self {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        Self(format!(
            "\"device\":{},\"module\":{},\"connected_us\":{connected_us},",
            text(device),
            module.map_or_else(|| "null".to_owned(), text)
        ))
    }
}

impl Batch {
    /// Renders a message as the next line.
    pub(crate) fn push(
        &mut self,
        prefix: &RecordPrefix,
        record: &Record<'_>,
    ) -> serde_json::Result<()> {
        let start = self.bytes.len();
        let rendered = render(&mut self.bytes, prefix, record);
        match rendered {
            Ok(()) => self.ends.push(self.bytes.len()),
            Err(_) => self.bytes.truncate(start),
        }
        rendered
    }

    #[cfg(test)]
    pub(crate) fn push_raw(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(self.ends.iter().copied())
            .map(|(start, end)| &self.bytes[start..end])
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

fn render(out: &mut Vec<u8>, prefix: &RecordPrefix, record: &Record<'_>) -> serde_json::Result<()> {
    out.extend_from_slice(prefix.0.as_bytes());
    // Writing to a Vec cannot fail.
    let _ = write!(out, "\"received_us\":{},\"system\":", record.received_us);
    serde_json::to_writer(&mut *out, &Pairs(record.system))?;
    out.extend_from_slice(b",\"properties\":");
    serde_json::to_writer(&mut *out, &Pairs(record.properties))?;
    match json_body(record) {
        Some(json) => {
            out.extend_from_slice(b",\"body\":");
            // The body stays as it came, number by number; only its line breaks (which JSON allows between tokens, never
            // inside them) would end the record early.
            out.extend(json.get().bytes().map(|byte| {
                if matches!(byte, b'\n' | b'\r') {
                    b' '
                } else {
                    byte
                }
            }));
        }
        None => {
            out.extend_from_slice(b",\"body_base64\":\"");
            out.extend_from_slice(STANDARD.encode(record.body).as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn json_body<'a>(record: &Record<'a>) -> Option<&'a RawValue> {
    let of = |name: &str| {
        record
            .system
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    };
    if !is_json(of("content-type")?)
        || of("content-encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("utf-8"))
    {
        return None;
    }
    serde_json::from_slice(record.body).ok()
}

/// `application/json` or any `…+json`, with or without parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// Pairs as a JSON object; of a repeated name the last one counts.
struct Pairs<'a>(&'a [(&'a str, &'a str)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let last = |position: usize, name: &str| {
            !self.0[position + 1..]
                .iter()
                .any(|(later, _)| *later == name)
        };
        let pairs = self
            .0
            .iter()
            .enumerate()
            .filter(|(position, (name, _))| last(*position, name));
        serializer.collect_map(pairs.map(|(_, pair)| *pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(system: &[(&str, &str)], properties: &[(&str, &str)], body: &[u8]) -> String {
        let mut batch = Batch::default();
        let record = Record {
            received_us: 7,
            system,
            properties,
            body,
        };
        batch
            .push(&RecordPrefix::new("d\"1", Some("m"), 5), &record)
            .unwrap();
        String::from_utf8(batch.records().next().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_json_body_is_kept_to_the_digit() {
        let json = "{\"big\":18446744073709551615,\"x\":1.10,\n\"s\":\"a\\nb\"}";
        assert_eq!(
            line(
                &[
                    ("content-type", "Application/JSON; charset=utf-8"),
                    ("content-encoding", "utf-8")
                ],
                &[("k", "v")],
                json.as_bytes()
            ),
            "\"device\":\"d\\\"1\",\"module\":\"m\",\"connected_us\":5,\"received_us\":7,\
             \"system\":{\"content-type\":\"Application/JSON; charset=utf-8\",\"content-encoding\":\"utf-8\"},\"properties\":{\"k\":\"v\"},\
             \"body\":{\"big\":18446744073709551615,\"x\":1.10, \"s\":\"a\\nb\"}}\n"
        );
    }

    #[test]
    fn what_is_not_json_is_base64() {
        let json = [("content-type", "application/json")];
        assert!(line(&json, &[], b"{\"a\":").ends_with(",\"body_base64\":\"eyJhIjo=\"}\n"));
        assert!(line(&[], &[], b"1").ends_with(",\"body_base64\":\"MQ==\"}\n"));
        assert!(
            line(&[json[0], ("content-encoding", "utf-16")], &[], b"1")
                .ends_with(",\"body_base64\":\"MQ==\"}\n")
        );
        assert!(
            line(
                &[("content-type", "application/cloudevents+json")],
                &[],
                b"1"
            )
            .ends_with(",\"body\":1}\n")
        );
    }

    #[test]
    fn a_repeated_property_appears_once() {
        assert!(
            line(&[], &[("a", "1"), ("b", "2"), ("a", "3")], b"")
                .contains("\"properties\":{\"b\":\"2\",\"a\":\"3\"}")
        );
    }
}
