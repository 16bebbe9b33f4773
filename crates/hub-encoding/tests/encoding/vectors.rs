//! Messages kept as files, for readers in other languages and for the day on which somebody changes the encoder.
//!
//! `UPDATE_VECTORS=1 cargo test -p hub-encoding vectors` writes them anew. A change of an uncompressed one is a change of the contract
//! in `docs/reference/encodings.md`; compressed ones change with the compressor, and only what they unpack to counts.

use std::path::PathBuf;

use crate::common::{ENCODINGS, encoding, messages, values};
use hub_encoding::{Encoding, Format, Message, decode};

/// Large enough for all events in one message of any encoding.
const LIMIT: usize = 64 * 1024;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The events, one in each line as it was published: of two groups with tags that come, go and turn bad, numbers at the ends of their ranges,
/// times by tag, attributes of somebody else's, and two events that are no measurements.
fn events() -> Vec<Vec<u8>> {
    let lines = std::fs::read(folder().join("events.jsonl")).unwrap();
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn name(encoding: Encoding) -> String {
    format!(
        "{}.json{}",
        encoding.format.as_str(),
        if encoding.gzip { ".gz" } else { "" }
    )
}

/// The files and what should be in them.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let events = events();
    // What OPC UA sends as it is makes messages of its own; the vector has the rest.
    let measurements: Vec<_> = events
        .iter()
        .filter(|event| event.windows(12).any(|part| part == b"measurements"))
        .cloned()
        .collect();
    let mut vectors = Vec::new();
    for encoding in ENCODINGS {
        let events = if encoding.format == Format::OpcuaPubsub {
            &measurements
        } else {
            &events
        };
        let mut messages = messages(encoding, LIMIT, events);
        assert_eq!(messages.len(), 1);
        vectors.push((name(encoding), messages.remove(0).payload.to_vec()));
    }
    // One message in several blocks: the same events many times over in as little room as they need.
    let many: Vec<_> = std::iter::repeat_n(&events, 12)
        .flatten()
        .cloned()
        .collect();
    let blocks = messages(encoding(Format::Compact, false), 9_000, &many).remove(0);
    vectors.push(("compact-blocks.json".to_owned(), blocks.payload.to_vec()));
    vectors
}

#[test]
fn messages_are_what_they_were() {
    let update = std::env::var_os("UPDATE_VECTORS").is_some();
    for (name, payload) in vectors() {
        let path = folder().join(&name);
        if update {
            std::fs::write(&path, &payload).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        assert_eq!(decode(&kept).unwrap(), decode(&payload).unwrap(), "{name}");
        if !name.ends_with(".gz") {
            assert_eq!(
                String::from_utf8(kept).unwrap(),
                String::from_utf8(payload).unwrap(),
                "{name}"
            );
        }
    }
}

#[test]
fn kept_messages_have_the_events_they_were_made_of() {
    let expected = values(&events());
    for name in [
        "plain.json",
        "plain.json.gz",
        "compact.json",
        "compact.json.gz",
    ] {
        let Message::Events(events) = decode(&std::fs::read(folder().join(name)).unwrap()).unwrap()
        else {
            panic!()
        };
        let events: Vec<serde_json::Value> = events
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect();
        assert_eq!(events, expected, "{name}");
    }
    let blocks = std::fs::read_to_string(folder().join("compact-blocks.json")).unwrap();
    assert!(blocks.matches("\"streams\":").count() > 1);
    let Message::Events(events) = decode(blocks.as_bytes()).unwrap() else {
        panic!()
    };
    assert!(events.len() > 2 * expected.len());
    for (number, event) in events.iter().enumerate() {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        assert_eq!(event, expected[number % expected.len()]);
    }
}
