//! What a decision costs: prints the time per event for a few sets of rules. `cargo run --release -p routes --example cost`
#![allow(clippy::unwrap_used, reason = "an example on its own data")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use measurement::Envelope;
use routes::{Event, RouteConfiguration, Routes};
use serde_json::json;

/// A measurement of so many tags.
fn event(tags: usize) -> String {
    let values: serde_json::Map<_, _> = (0..tags)
        .map(|tag| {
            (
                format!("tag-{tag:03}"),
                json!(f64::from(u32::try_from(tag).unwrap()) * 1.25),
            )
        })
        .collect();
    json!({
        "specversion": "1.0", "id": "modbus-reader/press-1/fast/0mws20guhtjksx9uz/4", "source": "/fieldgate/gate-7/modbus-reader",
        "type": "com.fieldgate.measurements.v1", "subject": "press-1/fast", "time": "2026-11-22T16:31:19.613576Z",
        "partitionkey": "press-1", "sequence": "00000000000000000004", "datacontenttype": "application/json",
        "data": {"device": "press-1", "group": "fast", "epoch": "0mws20guhtjksx9uz", "sequence": 4, "values": values, "bad": {}}
    })
    .to_string()
}

fn rules(count: usize, when: impl Fn(usize) -> serde_json::Value) -> Routes {
    let rules: Vec<RouteConfiguration> = (0..count)
        .map(|index| {
            let rule = json!({"name": format!("r{index}"), "when": when(index)});
            serde_json::from_value(rule).unwrap()
        })
        .collect();
    Routes::compile(&rules)
}

/// The time of one turn, the best of several runs.
fn time(mut turn: impl FnMut()) -> Duration {
    const TURNS: u32 = 20_000;
    (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..TURNS).for_each(|_| turn());
            start.elapsed() / TURNS
        })
        .min()
        .unwrap()
}

fn main() {
    let subject = |index| json!({"subject": format!("saw-{index}/*")});
    let extension = |index| json!({"attributes": {"severity": format!("s{index}")}});
    let data = |index| json!({"data": {format!("values.tag-{index:03}"): {"above": 1e6}}});
    let late = |index| json!({"subject": "saw-*", "data": {format!("values.tag-{index:03}"): {"above": 1e6}}});
    let sets = [
        ("no rules", Routes::default()),
        ("10 rules on the subject", rules(10, subject)),
        ("1 rule on an extension attribute", rules(1, extension)),
        ("1 rule on data", rules(1, data)),
        ("10 rules on data", rules(10, data)),
        (
            "10 rules on data that the subject keeps from it",
            rules(10, late),
        ),
        ("100 rules on data", rules(100, data)),
    ];
    for tags in [4, 40] {
        let text = event(tags);
        let body = text.as_bytes();
        println!("event of {tags} tags, {} bytes", body.len());
        let parse = time(|| drop(black_box(Envelope::parse(black_box(body)).unwrap())));
        println!(
            "  {:9.2} µs  reading its attributes, for comparison",
            parse.as_secs_f64() * 1e6
        );
        let whole = time(|| {
            drop(black_box(
                serde_json::from_slice::<serde_json::Value>(black_box(body)).unwrap(),
            ))
        });
        println!(
            "  {:9.2} µs  reading all of it, for comparison",
            whole.as_secs_f64() * 1e6
        );
        let envelope = Envelope::parse(body).unwrap();
        let event = Event {
            topic: "telemetry",
            envelope: &envelope,
            body,
        };
        for (name, routes) in &sets {
            let cost = time(|| drop(black_box(routes.route(black_box(&event)))));
            println!("  {:9.2} µs  {name}", cost.as_secs_f64() * 1e6);
        }
    }
}
