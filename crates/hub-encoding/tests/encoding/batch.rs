//! What the sender of messages relies on.

use crate::common::{ENCODINGS, encoding, events_of, messages, press, values};
use hub_encoding::{Batch, DecodeError, Format, Message, Refusal, decode};
use serde_json::{Value, json};

/// What IoT Hub takes, less properties.
const LIMIT: usize = 256 * 1024 - 600;

fn event(id: &str, data: &Value) -> Vec<u8> {
    json!({"specversion": "1.0", "id": id, "source": "/x/y", "type": "com.example.x", "data": data})
        .to_string()
        .into_bytes()
}

/// Text that gzip can make little of.
fn noise(bytes: usize) -> String {
    let mut noise = crate::common::Noise(3);
    (0..bytes)
        .map(|_| char::from(b' ' + (noise.next() % 95) as u8))
        .map(|c| if c == '"' || c == '\\' { 'x' } else { c })
        .collect()
}

#[test]
fn formats_have_words_for_configurations() {
    for format in Format::ALL {
        assert_eq!(Format::from_word(format.as_str()), Some(format));
    }
    assert_eq!(Format::from_word("opcua"), None);
    assert_eq!(Format::default().as_str(), "plain");
}

#[test]
fn a_single_plain_event_goes_as_it_is() {
    let event =
        b" {\"specversion\":\"1.0\", \"id\":\"a\",\"source\":\"/x\",\"type\":\"t\"} ".to_vec();
    let message = &messages(
        encoding(Format::Plain, false),
        LIMIT,
        std::slice::from_ref(&event),
    )[0];
    assert_eq!(message.payload, event);
    assert_eq!(
        (message.content_type, message.content_encoding),
        ("application/json", "utf-8")
    );
}

#[test]
fn several_plain_events_are_a_batch_of_cloudevents() {
    let events = [event("a", &json!(1)), event("b", &json!(2))];
    let message = &messages(encoding(Format::Plain, false), LIMIT, &events)[0];
    let text = [b"[", events[0].as_slice(), b",", events[1].as_slice(), b"]"].concat();
    assert_eq!(message.payload, text);
    assert_eq!(
        (message.content_type, message.content_encoding),
        ("application/cloudevents-batch+json", "utf-8")
    );
}

#[test]
fn gzip_shows_in_the_content_encoding_alone() {
    for format in Format::ALL {
        let message = &messages(encoding(format, true), LIMIT, &press("press-1", 5, 1))[0];
        assert_eq!(
            (message.content_type, message.content_encoding),
            ("application/json", "gzip")
        );
        assert_eq!(message.payload[..2], [0x1f, 0x8b]);
    }
}

#[test]
fn no_message_is_above_its_limit_and_most_are_nearly_full() {
    let events = press("press-1", 60, 600);
    for encoding in ENCODINGS {
        for limit in [20_000, LIMIT] {
            let messages = messages(encoding, limit, &events);
            if let Some((_, full)) = messages.split_last() {
                let fill = full
                    .iter()
                    .map(|message| message.payload.len())
                    .sum::<usize>() as f64
                    / (full.len() * limit) as f64;
                assert!(
                    full.is_empty() || fill > 0.75,
                    "{encoding:?}, {limit}: {fill}"
                );
            }
        }
    }
}

#[test]
fn a_batch_that_was_full_and_one_that_was_finished_begin_anew() {
    let mut batch = Batch::new(encoding(Format::Compact, false), LIMIT);
    assert_eq!(batch.finish(), None);
    batch.add(&event("a", &json!(1)), "a").unwrap();
    assert_eq!((batch.len(), batch.items()), (1, &["a"][..]));
    let first = batch.finish().unwrap();
    assert_eq!(batch.finish(), None);
    batch.add(&event("a", &json!(1)), "a").unwrap();
    assert_eq!(batch.finish().unwrap(), first);
}

#[test]
fn the_same_events_make_the_same_bytes() {
    let events = press("press-1", 30, 40);
    for encoding in ENCODINGS {
        assert_eq!(
            messages(encoding, LIMIT, &events),
            messages(encoding, LIMIT, &events)
        );
    }
}

#[test]
fn an_event_above_the_limit_is_refused_unless_the_encoding_makes_it_fit() {
    let mut large = Batch::new(encoding(Format::Plain, false), 1000);
    let long = event("a", &json!("x".repeat(5000)));
    let refused = large.add(&long, 7).unwrap_err();
    assert_eq!(refused.item, 7);
    assert!(matches!(
        refused.why,
        Refusal::TooLarge {
            message: 5..,
            limit: 1000,
            ..
        }
    ));
    assert_eq!(large.finish(), None);

    for format in Format::ALL {
        let mut compressed = Batch::new(encoding(format, true), 1000);
        compressed.add(&long, 7).unwrap();
        let message = compressed.finish().unwrap();
        assert_eq!(
            decode(&message.payload).unwrap(),
            Message::Events(vec![String::from_utf8(long.clone()).unwrap()])
        );

        let noisy = event("a", &json!(noise(5000)));
        assert!(matches!(
            compressed.add(&noisy, 8).unwrap_err().why,
            Refusal::TooLarge {
                message: 3000..,
                ..
            }
        ));
        compressed.add(&event("b", &json!(1)), 9).unwrap();
    }

    // A hundred texts that are the same but for the tag do not fit as they are, nor as columns, but compressed.
    let measurement = press("press-1", 400, 1).remove(0);
    let mut batch = Batch::new(encoding(Format::Compact, true), measurement.len() / 2);
    batch.add(&measurement, 1).unwrap();
    assert_eq!(
        events_of(&[batch.finish().unwrap()]),
        values(&[measurement])
    );
}

#[test]
fn large_events_that_fit_only_one_by_one_go_one_by_one() {
    let events: Vec<_> = (0..4)
        .map(|n| event(&n.to_string(), &json!(noise(150_000))))
        .collect();
    for encoding in ENCODINGS {
        let messages = messages(encoding, LIMIT, &events);
        assert_eq!(messages.len(), 4, "{encoding:?}");
        assert_eq!(events_of(&messages), values(&events));
    }
}

#[test]
fn what_is_no_json_object_is_refused_and_leaves_the_batch_as_it_was() {
    for encoding in ENCODINGS {
        let mut batch = Batch::new(encoding, LIMIT);
        let good = press("press-1", 3, 2);
        batch.add(&good[0], 0).unwrap();
        for bad in [
            &b"{\"a\":"[..],
            b"",
            b"[1]",
            b"{} {}",
            b"\xff",
            b"{\"a\":\"\xff\"}",
        ] {
            assert!(
                matches!(batch.add(bad, 9).unwrap_err().why, Refusal::NotJson(_)),
                "{bad:?}"
            );
        }
        batch.add(&good[1], 1).unwrap();
        assert_eq!(batch.finish().unwrap().items, [0, 1]);
    }
}

#[test]
fn an_event_too_deep_for_many_parsers_goes_alone() {
    let deep = event(
        "deep",
        &serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap(),
    );
    let events = [
        event("a", &json!(1)),
        event("b", &json!(1)),
        deep,
        event("c", &json!(1)),
        event("d", &json!(1)),
    ];
    for encoding in ENCODINGS.into_iter().take(4) {
        let messages = messages(encoding, LIMIT, &events);
        let items: Vec<_> = messages
            .iter()
            .map(|message| message.items.clone())
            .collect();
        assert_eq!(items, [vec![0, 1], vec![2], vec![3, 4]]);
        assert_eq!(events_of(&messages), values(&events));
    }
}

#[test]
fn opc_ua_takes_measurements_and_sends_others_as_they_are() {
    let events = [
        press("press-1", 3, 2),
        vec![event("a", &json!(1))],
        press("press-1", 3, 1),
    ]
    .concat();
    let messages = messages(encoding(Format::OpcuaPubsub, false), LIMIT, &events);
    let items: Vec<_> = messages
        .iter()
        .map(|message| message.items.clone())
        .collect();
    assert_eq!(items, [vec![0, 1], vec![2], vec![3]]);
    assert_eq!(messages[1].payload, events[2]);
    assert!(
        matches!(decode(&messages[0].payload).unwrap(), Message::DataSets(sets) if sets.len() == 2)
    );
}

#[test]
fn a_message_never_holds_more_than_a_decoder_takes() {
    // A column that never changes costs nothing in a message, and its events much behind it.
    let text = "x".repeat(8000);
    let events: Vec<_> = (0..2500u64)
        .map(|n| {
            json!({"specversion": "1.0", "id": format!("m/d/g/e/{n}"), "source": "/x/m", "type": "com.fieldgate.measurements.v1", "subject": "d/g",
                "time": "2026-11-22T16:31:19Z", "data": {"device": "d", "group": "g", "epoch": "e", "sequence": n,
                "timestamp": "2026-11-22T16:31:19Z", "values": {"text": text}, "bad": {}}})
            .to_string()
            .into_bytes()
        })
        .collect();
    let messages = messages(encoding(Format::Compact, true), LIMIT, &events);
    assert!(messages.len() > 1);
    assert_eq!(events_of(&messages).len(), events.len());
}

#[test]
fn a_message_of_another_kind_is_named() {
    assert!(matches!(decode(b"{}"), Err(DecodeError::Unknown)));
    assert!(matches!(decode(b"[1]"), Err(DecodeError::Unknown)));
    assert!(matches!(decode(b"x"), Err(DecodeError::Json(_))));
    assert!(matches!(decode(b""), Err(DecodeError::Json(_))));
    assert!(matches!(
        decode(&[0x1f, 0x8b, 8, 0]),
        Err(DecodeError::Gzip(_))
    ));
    let later = br#"{"encoding":"fieldgate-compact","version":2,"columns":7}"#;
    assert!(matches!(decode(later), Err(DecodeError::Version(2))));
}
