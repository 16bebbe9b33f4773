//! Whatever the decoder is fed, it answers, soon, and within its memory.

use std::io::Write as _;

use crate::common::{ENCODINGS, messages, press};
use hub_encoding::{DecodeError, TEXT_BYTES, decode};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: usize = 256 * 1024 - 600;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A compact message with one stream of `rows` events and these `values`.
fn compact(rows: usize, tags: usize, values: &str) -> Vec<u8> {
    let names: Vec<String> = (0..tags).map(|tag| format!("\"{tag}\"")).collect();
    let values = vec![values; tags].join(",");
    let sequence = vec!["1"; rows].join(",");
    format!(
        r#"{{"encoding":"fieldgate-compact","version":1,"blocks":[{{"streams":[{{"stream":0,"source":"/s","device":"d","group":"g","epoch":"e",
        "tags":[{}],"sequence":[{sequence}],"time":{{"runs":[{rows},"x"]}},"values":[{values}]}}]}}]}}"#,
        names.join(",")
    )
    .into_bytes()
}

#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(matches!(decode(&bomb), Err(DecodeError::TooLarge)));
    assert!(matches!(
        decode(&vec![b' '; TEXT_BYTES + 1]),
        Err(DecodeError::TooLarge)
    ));
}

#[test]
fn columns_that_stand_for_more_events_than_there_may_be_are_refused() {
    // one value, written once for 100,000 events with 2,000 tags each
    let many = compact(100_000, 2_000, r#"{"runs":[100000,1]}"#);
    assert!(matches!(decode(&many), Err(DecodeError::TooManyEvents)));
    // the same without a single value: cells that cost time and no memory
    let empty = compact(500_000, 5_000, r#"{"runs":[500000,null]}"#);
    assert!(matches!(decode(&empty), Err(DecodeError::TooManyEvents)));
    // a long text, repeated
    let long = compact(
        10_000,
        1,
        &format!(r#"{{"runs":[10000,"{}"]}}"#, "x".repeat(100_000)),
    );
    assert!(matches!(decode(&long), Err(DecodeError::TooManyEvents)));
}

#[test]
fn a_message_that_contradicts_itself_is_refused_with_the_reason() {
    let good = String::from_utf8(compact(3, 1, "[1,2,3]")).unwrap();
    assert!(decode(good.as_bytes()).is_ok());
    for (from, to, reason) in [
        ("[1,2,3]", "[1,2]", "a column has 2 cells for 3 events"),
        (
            "[1,2,3]",
            "{\"runs\":[18446744073709551615,1,2,1]}",
            "cells for 3 events",
        ),
        (
            "[1,2,3]",
            "{\"decimals\":16,\"delta\":[1,2,3]}",
            "16 decimals",
        ),
        (
            "[1,2,3]",
            "{\"decimals\":0,\"delta\":[9223372036854775807,1,1]}",
            "beyond 64 bits",
        ),
        (
            "{\"runs\":[3,\"x\"]}",
            "{\"decimals\":0,\"delta\":[9000000000000,1,1]}",
            "years 0 to 9999",
        ),
        (
            "{\"runs\":[3,\"x\"]}",
            "{\"runs\":[3,null]}",
            "`time` is empty",
        ),
        ("[1,1,1]", "[1,-2,1]", "0 to 2^64-1"),
        (
            "[1,1,1]",
            "[170141183460469231731687303715884105727,170141183460469231731687303715884105727,1]",
            "0 to 2^64-1",
        ),
        ("\"device\":\"d\",", "", "no `device`"),
        (
            "\"tags\":[\"0\"]",
            "\"tags\":[]",
            "more columns in `values` than tags",
        ),
        (
            "{\"streams\"",
            "{\"order\":[0,0],\"streams\"",
            "fewer events",
        ),
        (
            "{\"streams\"",
            "{\"order\":[0,0,0,0],\"streams\"",
            "more events than a stream",
        ),
        (
            "{\"streams\"",
            "{\"order\":[0,0,1],\"streams\"",
            "names a stream",
        ),
        (
            "{\"streams\"",
            "{\"order\":[0,0,0,-1],\"streams\"",
            "more events than `other`",
        ),
        ("[1,2,3]", "[1,[],3]", "an array or an object"),
        ("[1,2,3]", "{\"runs\":[3]}", "a count without a value"),
        ("[1,2,3]", "{}", "neither or both"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = decode(good.replacen(from, to, 1).as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(reason), "{to}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn noise_is_answered(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let _ = decode(&gzip(&bytes));
    }

    #[test]
    fn damaged_messages_are_answered(which in 0usize..6, cuts in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), end in any::<prop::sample::Index>()) {
        let mut payload = messages(ENCODINGS[which], LIMIT, &press("press-1", 6, 12))[0].payload.to_vec();
        for (place, byte) in cuts {
            let place = place.index(payload.len());
            payload[place] = byte;
        }
        let _ = decode(&payload);
        payload.truncate(end.index(payload.len()));
        let _ = decode(&payload);
    }

    #[test]
    fn words_of_a_message_in_any_order_are_answered(words in vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"encoding\":\"fieldgate-compact\"", "\"version\":1", "\"blocks\":[", "\"streams\":[", "\"stream\":0", "\"sequence\":[1,1]",
        "\"time\":", "\"values\":[", "\"runs\":[2,1]", "\"delta\":[1,null]", "\"decimals\":3", "\"order\":[0,-1]", "\"other\":[{}]", "null", "1", "\"x\"",
        "\"MessageType\":\"ua-data\"", "\"Messages\":[", "\"Payload\":{",
    ]), 0..40)) {
        let _ = decode(words.concat().as_bytes());
        let _ = decode(format!("{{\"encoding\":\"fieldgate-compact\",\"version\":1,\"blocks\":[{{\"streams\":[{{{}}}]}}]}}", words.concat()).as_bytes());
    }
}
