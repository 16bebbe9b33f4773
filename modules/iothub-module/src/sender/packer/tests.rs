use std::time::SystemTime;

use bytes::Bytes;
use hub_encoding::decode;
use proptest::prelude::*;

use super::*;
use crate::pace::Lane;
use crate::testing::measurement;

const LIVE: Class = Class {
    lane: Lane::Live,
    priority: Priority::DEFAULT,
};
const ALARM: Class = Class {
    lane: Lane::Live,
    priority: Priority::HIGHEST,
};

fn batches(text: serde_json::Value) -> Batches {
    let routes: Vec<RouteConfiguration> = serde_json::from_value(text).unwrap();
    batches_of(&routes)
}

fn trends(batch: serde_json::Value) -> Batches {
    batches(serde_json::json!([{"name": "trends", "batch": batch}, {"name": "single"}]))
}

fn packer(batches: Batches) -> Packer {
    Packer::new(batches, Some(Priority::HIGHEST), None)
}

/// An event of modbus-reader, as it lies in the queue.
fn stored(number: u64, route: &str, properties: &str) -> StoredItem {
    let payload = measurement("press-1", number);
    StoredItem {
        sequence: Sequence(number),
        enqueued: SystemTime::UNIX_EPOCH,
        key: "press-1".to_owned(),
        id: format!("modbus-reader/press-1/fast/e1/{number}"),
        properties: Bytes::from(format!(
            "%24.mid=modbus-reader%3Apress-1%3Afast%3Ae1%3A{number}&%24.ct=application%2Fjson&%24.ce=utf-8&{properties}"
        )),
        payload,
        priority: Priority::DEFAULT,
        route: Route::new(route).unwrap(),
        lifetime: None,
    }
}

fn trend(number: u64) -> StoredItem {
    stored(number, "trends", "type=t&topic=telemetry")
}

fn events_of(parcel: &Parcel) -> Vec<String> {
    match decode(&parcel.message.body).unwrap() {
        hub_encoding::Message::Events(events) => events,
        other => panic!("{other:?}"),
    }
}

fn numbers(parcel: &Parcel) -> Vec<u64> {
    let sequences = parcel.content.sequences();
    sequences.iter().map(|sequence| sequence.0).collect()
}

/// Everything that may go now, in its order.
fn drain(packer: &mut Packer) -> Vec<Parcel> {
    std::iter::from_fn(|| packer.take(false)).collect()
}

#[test]
fn an_event_without_a_batch_is_a_message_at_once() {
    let mut packer = packer(trends(serde_json::json!({})));
    packer.add(stored(7, "single", "topic=telemetry"), LIVE, Instant::now());
    let parcel = packer.take(false).unwrap();
    assert_eq!(numbers(&parcel), [7]);
    assert_eq!(parcel.message.body, measurement("press-1", 7));
    assert_eq!(
        parcel.message.content_type.as_deref(),
        Some("application/json")
    );
    assert_eq!(packer.due(), None);
}

#[test]
fn events_of_a_route_wait_for_each_other_and_not_longer_than_they_may() {
    let mut packer = packer(trends(
        serde_json::json!({"encoding": "compact", "gzip": true, "max_delay": "2s"}),
    ));
    let begin = Instant::now();
    packer.add(trend(1), LIVE, begin);
    packer.add(trend(2), LIVE, begin + Duration::from_secs(1));
    packer.add(trend(3), ALARM, begin);
    assert!(packer.head(false).is_none(), "the message is not due");
    assert_eq!(packer.due(), Some(begin + Duration::from_secs(2)));
    packer.close_due(begin + Duration::from_secs(2));
    let parcel = packer.take(false).unwrap();
    assert_eq!(numbers(&parcel), [1, 2]);
    let message = &parcel.message;
    assert_eq!(
        message.id.as_deref(),
        Some("modbus-reader:press-1:fast:e1:1+1")
    );
    assert_eq!(message.content_encoding.as_deref(), Some("gzip"));
    let events = events_of(&parcel);
    assert_eq!(events[1].as_bytes(), measurement("press-1", 2));
    // One line's message is not another's, and an urgent one has a way of its own.
    assert_eq!(numbers(&packer.take(true).unwrap()), [3]);
    assert!(packer.take(false).is_none());
}

#[test]
fn a_message_says_what_all_its_events_say() {
    let mut packer = packer(trends(serde_json::json!({})));
    let now = Instant::now();
    packer.add(
        stored(1, "trends", "type=t&topic=telemetry&line=4"),
        LIVE,
        now,
    );
    packer.add(
        stored(2, "trends", "type=t&topic=telemetry&line=5"),
        LIVE,
        now,
    );
    packer.close_due(now + Duration::from_secs(60));
    let parcel = packer.take(false).unwrap();
    let of = |key: &str| {
        parcel
            .message
            .properties
            .iter()
            .find(|(name, _)| name == key)
    };
    assert_eq!(of("type").unwrap().1, "t");
    assert_eq!(of("topic").unwrap().1, "telemetry");
    assert_eq!(of("line"), None, "they differ");
    assert_eq!(
        parcel.message.content_type.as_deref(),
        Some("application/cloudevents-batch+json")
    );
}

#[test]
fn a_full_message_goes_at_once_and_none_is_larger_than_it_may_be() {
    let mut packer = packer(trends(
        serde_json::json!({"max_bytes": "4KiB", "max_delay": "1h"}),
    ));
    for number in 1..=100 {
        packer.add(trend(number), LIVE, Instant::now());
    }
    let parcels = drain(&mut packer);
    assert!(parcels.len() > 8);
    for parcel in &parcels {
        assert!(parcel.message.size() <= 4096 && parcel.message.check().is_ok());
        assert!(numbers(parcel).len() > 4);
    }
}

#[test]
fn what_fits_into_no_message_of_its_route_goes_alone_and_in_its_place() {
    let mut packer = packer(trends(
        serde_json::json!({"max_bytes": "1KiB", "max_delay": "1h"}),
    ));
    let now = Instant::now();
    packer.add(trend(1), LIVE, now);
    let mut large = trend(2);
    let text = serde_json::json!({"specversion": "1.0", "id": "2", "source": "/x", "type": "t", "data": "x".repeat(2000)});
    large.payload = Bytes::from(text.to_string());
    packer.add(large.clone(), LIVE, now);
    let mut broken = trend(3);
    broken.payload = Bytes::from_static(b"{");
    packer.add(broken, LIVE, now);
    let parcels = drain(&mut packer);
    let all: Vec<u64> = parcels.iter().flat_map(numbers).collect();
    assert_eq!(all, [1, 2, 3]);
    assert_eq!(parcels[1].message.body, large.payload);
    assert!(matches!(parcels[2].content, Content::One(_)));
}

#[test]
fn an_event_above_the_limit_goes_if_its_route_makes_it_small_enough() {
    let mut packer = packer(trends(serde_json::json!({"gzip": true, "max_delay": "1h"})));
    let mut large = trend(1);
    let text = serde_json::json!({"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "data": "x".repeat(400_000)});
    large.payload = Bytes::from(text.to_string());
    packer.add(large, LIVE, Instant::now());
    packer.close_due(Instant::now() + Duration::from_secs(3601));
    let parcel = packer.take(false).unwrap();
    assert!(parcel.message.check().is_ok() && parcel.message.body.len() < 4096);
    assert_eq!(numbers(&parcel), [1]);
}

#[test]
fn what_the_hub_refused_together_goes_one_by_one() {
    let mut packer = packer(trends(serde_json::json!({"max_delay": "1h"})));
    let now = Instant::now();
    packer.add(trend(2), LIVE, now);
    packer.clear(now);
    packer.send_alone(vec![Sequence(2)]);
    packer.add(trend(1), LIVE, now);
    packer.add(trend(2), LIVE, now);
    // Nor does it pass what is before it.
    assert_eq!(numbers(&packer.take(false).unwrap()), [1]);
    assert!(matches!(
        packer.take(false).unwrap().content,
        Content::One(_)
    ));
}

#[test]
fn a_message_of_several_fits_into_the_minute() {
    let largest = 8 * 1024;
    let batches = trends(serde_json::json!({"max_delay": "1h"}));
    let mut packer = Packer::new(batches, None, Some(largest));
    for number in 1..=100 {
        packer.add(trend(number), LIVE, Instant::now());
    }
    let mut taken = 0;
    while let Some(parcel) = packer.take(false) {
        assert!(parcel.line_bytes <= budget::message_bytes(0, largest));
        taken += numbers(&parcel).len();
    }
    assert!(taken > 50, "{taken}");
}

#[test]
fn a_new_connection_does_not_make_events_wait_anew() {
    let mut packer = packer(trends(serde_json::json!({"max_delay": "1h"})));
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let begin = Instant::now();
    packer.add(trend(2), LIVE, begin);
    for connection in 1..4 {
        let now = begin + minutes(connection * 19);
        packer.clear(now);
        // What was on the wire comes again as well.
        packer.add(trend(1), LIVE, now);
        packer.add(trend(2), LIVE, now);
        assert_eq!(packer.due(), Some(begin + minutes(60)));
    }
    packer.close_due(begin + minutes(60));
    // Full or due, and not let go.
    packer.clear(begin + minutes(61));
    packer.add(trend(1), LIVE, begin + minutes(62));
    assert_eq!(packer.due(), Some(begin + minutes(61)));
}

#[test]
fn a_route_that_changes_lets_go_what_is_there() {
    let mut packer = packer(trends(serde_json::json!({"max_delay": "1h"})));
    packer.add(trend(1), LIVE, Instant::now());
    packer.set(trends(serde_json::json!({"max_delay": "1h"})));
    assert!(packer.head(false).is_none(), "nothing has changed");
    packer.set(Batches::new());
    assert_eq!(numbers(&packer.take(false).unwrap()), [1]);
    packer.add(trend(2), LIVE, Instant::now());
    assert_eq!(numbers(&packer.take(false).unwrap()), [2]);
}

#[test]
fn ids_of_several_stay_within_what_iot_hub_takes() {
    assert_eq!(message::id_of_several("a:1", 3), "a:1+2");
    let long = message::id_of_several(&"x".repeat(MESSAGE_ID_CHARS), 3);
    assert!(long.len() <= MESSAGE_ID_CHARS);
    assert_ne!(
        long,
        message::id_of_several(&"x".repeat(MESSAGE_ID_CHARS), 4)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Every event leaves once, and those of one line and route in their order.
    #[test]
    fn everything_leaves_once_and_in_order(
        events in prop::collection::vec((0_usize..3, any::<bool>(), 0_u64..400), 1..200),
        encoding in prop::sample::select(vec!["plain", "compact", "opcua-pubsub-json"]), gzip in any::<bool>(),
    ) {
        let of = |bytes: &str| serde_json::json!({"encoding": encoding, "gzip": gzip, "max_bytes": bytes, "max_delay": "1s"});
        let mut packer = packer(batches(serde_json::json!([
            {"name": "a", "batch": of("1KiB")}, {"name": "b", "batch": of("16KiB")}, {"name": "c"},
        ])));
        let routes = ["a", "b", "c"];
        let mut now = Instant::now();
        let mut left: Vec<Parcel> = Vec::new();
        for (index, (route, is_alarm, wait)) in events.iter().enumerate() {
            now += Duration::from_millis(*wait);
            packer.close_due(now);
            let item = stored(index as u64, routes[*route], "topic=telemetry");
            packer.add(item, if *is_alarm { ALARM } else { LIVE }, now);
            left.extend(std::iter::from_fn(|| packer.take(true)));
            left.extend(std::iter::from_fn(|| packer.take(false)));
        }
        packer.close_due(now + Duration::from_secs(2));
        left.extend(std::iter::from_fn(|| packer.take(true)));
        left.extend(std::iter::from_fn(|| packer.take(false)));
        prop_assert_eq!(packer.due(), None);
        let mut all: Vec<u64> = left.iter().flat_map(numbers).collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..events.len() as u64).collect::<Vec<_>>());
        for class in [LIVE, ALARM] {
            for route in routes {
                let line = left.iter().filter(|parcel| parcel.class == class && parcel.route.as_str() == route);
                let line: Vec<u64> = line.flat_map(numbers).collect();
                prop_assert!(line.is_sorted(), "{:?}", line);
            }
        }
        prop_assert!(left.iter().all(|parcel| parcel.message.check().is_ok()));
    }
}
