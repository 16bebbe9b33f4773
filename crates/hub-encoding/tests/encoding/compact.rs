//! `compact` loses nothing, whatever events it is given.

use crate::common::{encoding, events_of, messages, press, values};
use hub_encoding::{Format, Message, decode};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const LIMIT: usize = 256 * 1024 - 600;

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "press-1", "fast", "0mws20guhtjksx9uz", "b", "x/y"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000i64..1000).prop_map(Value::from),
        (-100_000i64..100_000, 0..6).prop_map(|(n, digits)| json!(n as f64 / 10f64.powi(digits))),
        any::<f64>()
            .prop_filter("JSON has no other", |n| n.is_finite())
            .prop_map(|n| json!(n)),
        any::<f32>()
            .prop_filter("JSON has no other", |n| n.is_finite())
            .prop_map(|n| json!(f64::from(n))),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![6 => number(), 2 => any::<bool>().prop_map(Value::from), 1 => word().prop_map(Value::from)]
}

fn time() -> impl Strategy<Value = String> {
    let micros = (1_700_000_000i64..1_900_000_000, 0u32..1_000_000).prop_map(|(s, us)| {
        measurement::rfc3339_micros(
            time::OffsetDateTime::from_unix_timestamp_nanos(
                i128::from(s) * 1_000_000_000 + i128::from(us) * 1000,
            )
            .unwrap(),
        )
    });
    prop_oneof![
        8 => micros,
        1 => prop::sample::select(vec!["2026-11-22T16:31:19Z", "2026-11-22T16:31:19.5Z", "2026-11-22T17:31:19.613576+01:00", "1969-07-20T20:17:40.123456789Z", "soon", ""])
            .prop_map(str::to_owned),
    ]
}

/// An event that is a measurement to the letter, or nearly.
fn measurement_event() -> impl Strategy<Value = Value> {
    let data = (
        word(),
        word(),
        word(),
        prop_oneof![4 => 0u64..50, 1 => any::<u64>()],
        btree_map(word(), scalar(), 0..6),
        option::weighted(0.8, btree_map(word(), word().prop_map(Value::from), 0..3)),
        option::weighted(0.2, btree_map(word(), time().prop_map(Value::from), 0..3)),
    );
    let odd = (
        option::weighted(0.1, word()),
        option::weighted(0.8, option::weighted(0.1, word())),
        option::weighted(0.8, option::weighted(0.1, word())),
        option::weighted(0.8, option::weighted(0.1, word())),
        option::weighted(0.8, option::weighted(0.1, word())),
        btree_map(
            prop::sample::select(vec!["traceparent", "x", "note"]),
            scalar(),
            0..2,
        ),
        // Something no column holds.
        option::weighted(
            0.05,
            prop::sample::select(vec!["member", "value", "attribute", "bad"]),
        ),
    );
    (data, odd, time(), option::weighted(0.1, time()), word()).prop_map(|(data, odd, time, timestamp, module)| {
        let (device, group, epoch, sequence, values, bad, timestamps) = data;
        let (id, subject, key, text, kind, extensions, no_column) = odd;
        let mut object = Map::new();
        object.insert("specversion".into(), json!("1.0"));
        object.insert("id".into(), json!(id.unwrap_or(format!("{module}/{device}/{group}/{epoch}/{sequence}"))));
        object.insert("source".into(), json!(format!("/fieldgate/gate-7/{module}")));
        object.insert("type".into(), json!("com.fieldgate.measurements.v1"));
        object.insert("time".into(), json!(time));
        let derived = [
            ("subject", subject, format!("{device}/{group}")),
            ("partitionkey", key, device.clone()),
            ("sequence", text, format!("{sequence:020}")),
            ("datacontenttype", kind, "application/json".into()),
        ];
        for (name, own, usual) in derived {
            if let Some(own) = own {
                object.insert(name.into(), json!(own.unwrap_or(usual)));
            }
        }
        object.extend(extensions.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let mut data = json!({"device": device, "group": group, "epoch": epoch, "sequence": sequence, "timestamp": timestamp.unwrap_or(time), "values": values});
        if let Some(bad) = bad {
            data["bad"] = json!(bad);
        }
        if let Some(timestamps) = timestamps {
            data["timestamps"] = json!(timestamps);
        }
        match no_column {
            Some("member") => data["unit"] = json!("bar"),
            Some("value") => data["values"]["a"] = json!([1, null]),
            Some("attribute") => drop(object.insert("note".into(), json!({"a": 1}))),
            Some(_) => data["bad"] = json!({"a": 7}),
            None => {}
        }
        object.insert("data".into(), data);
        Value::Object(object)
    })
}

fn any_event() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => measurement_event(),
        1 => (word(), scalar()).prop_map(|(id, data)| json!({"specversion": "1.0", "id": id, "source": "/x", "type": "t", "data": data})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_event_comes_back_as_it_was(events in vec(any_event(), 1..40), gzip in any::<bool>(), limit in prop_oneof![Just(LIMIT), 6_000usize..12_000]) {
        let bytes: Vec<Vec<u8>> = events.iter().map(|event| event.to_string().into_bytes()).collect();
        prop_assume!(bytes.iter().all(|event| event.len() < 4_000));
        for format in [Format::Plain, Format::Compact] {
            prop_assert_eq!(&events_of(&messages(encoding(format, gzip), limit, &bytes)), &events);
        }
        for message in messages(encoding(Format::OpcuaPubsub, gzip), limit * 4, &bytes) {
            prop_assert!(decode(&message.payload).is_ok());
        }
    }

    #[test]
    fn numbers_come_back_digit_for_digit(texts in vec("-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", 1..20)) {
        // Not through a JSON library's numbers, which would round some of these.
        let bytes: Vec<Vec<u8>> = texts.iter().enumerate().map(|(n, text)| own_event(n, &format!(r#"{{"a":{text}}}"#))).collect();
        for message in messages(encoding(Format::Compact, false), LIMIT, &bytes) {
            let Message::Events(events) = decode(&message.payload).unwrap() else { panic!() };
            for (event, bytes) in events.iter().zip(&bytes) {
                prop_assert_eq!(event.as_bytes(), bytes);
            }
        }
    }
}

/// An event of our own modules, with these values.
fn own_event(sequence: usize, values: &str) -> Vec<u8> {
    format!(
        r#"{{"specversion":"1.0","id":"m/d/g/e/{sequence}","source":"/fieldgate/gate-7/m","type":"com.fieldgate.measurements.v1","subject":"d/g","time":"2026-11-22T16:31:{:02}.000001Z","partitionkey":"d","sequence":"{sequence:020}","datacontenttype":"application/json","data":{{"device":"d","group":"g","epoch":"e","sequence":{sequence},"timestamp":"2026-11-22T16:31:{:02}.000001Z","values":{values},"bad":{{}}}}}}"#,
        sequence % 60, sequence % 60
    )
    .into_bytes()
}

#[test]
fn events_of_our_own_come_back_byte_for_byte() {
    let events = press("press-1", 40, 300);
    let good: Vec<_> = events
        .into_iter()
        .filter(|event| event.ends_with(br#""bad":{}}}"#))
        .collect();
    assert!(good.len() > 200);
    for gzip in [false, true] {
        let decoded: Vec<_> = messages(encoding(Format::Compact, gzip), LIMIT, &good)
            .iter()
            .flat_map(|message| match decode(&message.payload).unwrap() {
                Message::Events(events) => events,
                Message::DataSets(_) => panic!(),
            })
            .collect();
        assert!(
            decoded
                .iter()
                .map(String::as_bytes)
                .eq(good.iter().map(Vec::as_slice))
        );
    }
}

#[test]
fn events_of_several_devices_keep_their_order() {
    let streams: Vec<_> = (0..5)
        .map(|n| press(&format!("press-{n}"), 10, 50))
        .collect();
    let mut events = Vec::new();
    for row in 0..50 {
        for (number, stream) in streams.iter().enumerate() {
            events.push(stream[row].clone());
            if (row + number) % 11 == 0 {
                events.push(json!({"specversion": "1.0", "id": format!("{row}-{number}"), "source": "/x", "type": "t"}).to_string().into_bytes());
            }
        }
    }
    for limit in [LIMIT, 8_000] {
        assert_eq!(
            events_of(&messages(encoding(Format::Compact, true), limit, &events)),
            values(&events)
        );
    }
}

#[test]
fn tags_that_come_and_go_and_a_group_with_new_tags_are_kept() {
    let events: Vec<_> = (0..400)
        .map(|n| {
            own_event(
                n,
                &format!(r#"{{"a{}":{n},"b":true,"c{}":"x"}}"#, n % 7, n / 50),
            )
        })
        .collect();
    for limit in [LIMIT, 3_000] {
        for gzip in [false, true] {
            assert_eq!(
                events_of(&messages(encoding(Format::Compact, gzip), limit, &events)),
                values(&events)
            );
        }
    }
}

#[test]
fn a_compact_message_is_a_fraction_of_the_events() {
    let events = press("press-1", 200, 60);
    let plain: usize = events.iter().map(Vec::len).sum();
    let compact = messages(encoding(Format::Compact, false), LIMIT, &events)[0]
        .payload
        .len();
    let compressed = messages(encoding(Format::Compact, true), LIMIT, &events)[0]
        .payload
        .len();
    assert!(compact * 3 < plain, "{compact} of {plain}");
    assert!(compressed * 8 < plain, "{compressed} of {plain}");
}
