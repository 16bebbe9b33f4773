//! Links against a server that misbehaves: what a user would see in the events.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use measurement::Measurements;
use support::{Bench, Manner, Server};

/// Two devices on one link.
fn two_devices(server: &Server, device: &str) -> String {
    format!(
        "links: [{{name: cell, tcp: {{host: 127.0.0.1, port: {}}}, timeout: 100ms, reconnect: 20ms}}]\n\
         devices:\n\
         - {{name: one, link: cell, unit: 1, {device}}}\n\
         - {{name: two, link: cell, unit: 2, {device}}}\n\
         groups:\n\
         - name: fast\n  \
           devices: [one, two]\n  \
           period: 20ms\n  \
           tags:\n  \
           - {{name: a, table: holding-register, address: 100, type: u16}}\n  \
           - {{name: b, table: holding-register, address: 101, type: u32, order: word-swapped}}\n  \
           - {{name: far, table: holding-register, address: 500, type: i16, scale: 0.5}}\n  \
           - {{name: coil, table: coil, address: 7}}\n",
        server.address.port()
    )
}

fn of(device: &'static str) -> impl Fn(&Measurements) -> bool {
    move |event| event.device == device && event.bad.is_empty()
}

fn bad<'a>(device: &'a str, reason: &'a str) -> impl Fn(&Measurements) -> bool + 'a {
    move |event| event.device == device && event.bad.get("a").is_some_and(|bad| bad == reason)
}

#[tokio::test]
async fn values_arrive_with_the_fewest_requests() {
    let server = Server::start().await;
    let mut bench = Bench::new();
    bench.apply(&two_devices(&server, "")).await;
    let event = bench.until("of two", of("two")).await;
    assert_eq!(event.values["a"], 100);
    assert_eq!(event.values["b"], 102 << 16 | 101);
    assert_eq!(event.values["far"], 250.0);
    assert_eq!(event.values["coil"], true);
    bench
        .until("a tenth", |event| {
            event.device == "one" && event.sequence == 10
        })
        .await;
    bench.check_sequences();
    let requests = server.requests_of(1);
    assert_eq!(requests[..3], [(1, 7, 1), (3, 100, 3), (3, 500, 1)]);
    assert!(requests.len() <= 3 * (bench.seen.len() / 2 + 2));
    bench.engine.stop().await;
}

#[tokio::test]
async fn a_dead_device_is_parked_and_the_other_goes_on() {
    let server = Server::start().await;
    server.set(2, Manner::Silent);
    let mut bench = Bench::new();
    bench
        .apply(&two_devices(
            &server,
            "retries: 1, park_after: 2, park_for: 1s",
        ))
        .await;
    bench.until("timeout", bad("two", "timeout")).await;
    let parked = bench.until("parked", bad("two", "parked")).await;
    assert_eq!(parked.bad.len(), 4, "every tag has a reason");
    // Two cycles: the first with one repetition.
    assert_eq!(server.requests_of(2).len(), 3);
    assert_eq!(bench.states.details()["devices"]["two"]["state"], "parked");
    let before = parked.sequence;
    bench
        .until("events go on", |event| {
            event.device == "two" && event.sequence > before + 10
        })
        .await;
    bench.until("the other", of("one")).await;
    assert_eq!(server.requests_of(2).len(), 3, "no request while parked");

    server.set(2, Manner::Well);
    bench.until("back", of("two")).await;
    assert_eq!(
        bench.states.details()["devices"]["two"]["state"],
        "connected"
    );
    bench.check_sequences();
    bench.engine.stop().await;
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_another() {
    let server = Server::start().await;
    server.set(1, Manner::Late(Duration::from_millis(150)));
    let mut bench = Bench::new();
    bench
        .apply(&two_devices(&server, "retries: 0, park_after: 1000"))
        .await;
    bench.until("timeout", bad("one", "timeout")).await;
    bench.until("of two", of("two")).await;
    server.set(1, Manner::Well);
    bench.until("of one", of("one")).await;
    for event in bench.seen.iter().filter(|event| !event.values.is_empty()) {
        assert_eq!(
            event
                .values
                .get("a")
                .map_or(100, |value| value.as_u64().unwrap()),
            100
        );
        assert_eq!(
            event
                .values
                .get("far")
                .map_or(250.0, |value| value.as_f64().unwrap()),
            250.0
        );
    }
    bench.engine.stop().await;
}

#[tokio::test]
async fn exceptions_and_wrong_lengths_have_their_reason() {
    let server = Server::start().await;
    let mut bench = Bench::new();
    bench
        .apply(&two_devices(&server, "retries: 0, park_after: 1000"))
        .await;
    for (manner, reason) in [
        (Manner::Exception(2), "illegal-data-address"),
        (Manner::Exception(6), "device-busy"),
        (Manner::Exception(11), "gateway-target-failed"),
        (Manner::Short, "bad-response"),
        (Manner::Silent, "timeout"),
    ] {
        server.set(1, manner);
        bench.until(reason, bad("one", reason)).await;
    }
    bench.until("the other", of("two")).await;
    server.set(1, Manner::Well);
    bench.until("back", of("one")).await;
    bench.check_sequences();
    bench.engine.stop().await;
}

#[tokio::test]
async fn a_connection_that_was_closed_once_costs_no_value() {
    let server = Server::start().await;
    let mut bench = Bench::new();
    bench.apply(&two_devices(&server, "retries: 0")).await;
    for _ in 0..3 {
        let before = bench.until("of two", of("two")).await.sequence;
        server.set(2, Manner::CloseOnce);
        bench
            .until("five more", |event| {
                event.device == "two" && event.sequence > before + 5
            })
            .await;
    }
    assert!(bench.seen.iter().all(|event| event.bad.is_empty()));
    bench.check_sequences();
    bench.engine.stop().await;
}

#[tokio::test]
async fn a_device_whose_requests_close_the_connection_is_parked() {
    let server = Server::start().await;
    server.set(2, Manner::Close);
    let mut bench = Bench::new();
    bench
        .apply(&two_devices(&server, "park_after: 2, park_for: 1s"))
        .await;
    bench.until("parked", bad("two", "parked")).await;
    bench.until("the other", of("one")).await;
    server.set(2, Manner::Well);
    bench.until("back", of("two")).await;
    bench.check_sequences();
    bench.engine.stop().await;
}

/// The link's only device, on a server that answers nothing and closes connections nobody uses.
#[tokio::test]
async fn a_silent_device_has_a_connection() {
    let server = Server::start().await;
    server.set(1, Manner::Silent);
    server.close_idle(Duration::from_millis(300));
    let mut bench = Bench::new();
    let text =
        two_devices(&server, "park_after: 2, park_for: 1200ms").replace("[one, two]", "[one]");
    bench.apply(&text).await;
    bench.until("timeout", bad("one", "timeout")).await;
    bench.until("parked", bad("one", "parked")).await;
    // Every try after parking begins with a connection that was closed meanwhile.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while server.requests_of(1).len() < 6 {
        assert!(tokio::time::Instant::now() < deadline, "it is not asked");
        bench.until("parked on", bad("one", "parked")).await;
        let state = &bench.states.details()["devices"]["one"]["state"];
        assert!(
            ["failing", "parked"].contains(&state.as_str().unwrap()),
            "{state}"
        );
    }
    let reasons: BTreeSet<&str> = (bench.seen.iter())
        .flat_map(|event| event.bad.values().map(String::as_str))
        .collect();
    assert_eq!(reasons, BTreeSet::from(["parked", "timeout"]));
    server.set(1, Manner::Well);
    bench.until("back", of("one")).await;
    bench.check_sequences();
    bench.engine.stop().await;
}

#[tokio::test]
async fn a_server_that_accepts_and_closes_is_tried_at_a_steady_pace() {
    let server = Server::start().await;
    server.set(1, Manner::Close);
    server.set(2, Manner::Close);
    let mut bench = Bench::new();
    bench
        .apply(&two_devices(&server, "retries: 0, park_after: 1000"))
        .await;
    // The waits would be 20 ms, 40 ms, …, 10 s if they grew, too long for as many attempts.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while server.connections() < 30 {
        assert!(tokio::time::Instant::now() < deadline);
        bench.until("an event", |event| !event.bad.is_empty()).await;
    }
    bench.check_sequences();
    bench.engine.stop().await;
}

#[tokio::test]
async fn without_a_connection_events_go_on_with_the_reason() {
    // A port that nobody listens on yet.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let server = Server::start().await;
    let text = two_devices(&server, "").replace(
        &server.address.port().to_string(),
        &address.port().to_string(),
    );
    let mut bench = Bench::new();
    bench.apply(&text).await;
    bench
        .until("tenth", |event| {
            event.sequence == 10 && event.bad.len() == 4
        })
        .await;
    bench
        .until("no connection", bad("one", "no-connection"))
        .await;
    let state = &bench.states.details()["devices"]["one"];
    assert_eq!(state["state"], "no-connection");
    assert!(
        state["last_error"]
            .as_str()
            .unwrap()
            .contains("cannot connect to 127.0.0.1")
    );
    Server::listen(address).await;
    bench.until("of one", of("one")).await;
    bench.check_sequences();
    bench.engine.stop().await;
}

#[tokio::test]
async fn a_changed_configuration_continues_the_sequences() {
    let server = Server::start().await;
    let mut bench = Bench::new();
    let text = two_devices(&server, "");
    bench.apply(&text).await;
    bench
        .until("fifth", |event| {
            event.device == "two" && event.sequence >= 5
        })
        .await;
    // Device two is gone for a while, then there again.
    let without = text
        .replace("- {name: two, link: cell, unit: 2, }\n", "")
        .replace("[one, two]", "[one]");
    bench.apply(&without).await;
    let before = bench.until("of one", of("one")).await.sequence;
    bench
        .until("more of one", |event| {
            event.device == "one" && event.sequence > before + 3
        })
        .await;
    bench
        .apply(&text.replace("period: 20ms", "period: 30ms"))
        .await;
    let seen = bench.seen.len();
    bench.until("of two", of("two")).await;
    assert!(
        bench.seen[seen..]
            .iter()
            .any(|event| event.device == "two" && event.sequence > 5)
    );
    bench.check_sequences();
    bench.engine.stop().await;
}
