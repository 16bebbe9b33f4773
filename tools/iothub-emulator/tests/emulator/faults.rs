//! Faults on request.

use std::time::{Duration, Instant};

use crate::support::{Bench, eventually};
use tokio::net::TcpStream;

#[tokio::test]
async fn down_closes_the_socket_and_the_connections_and_ends_by_itself() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut device = bench.connect(&login).await;
    device.tell("1").await;
    bench.fault(r#"{"kind":"down","seconds":600}"#).await;
    device.expect_closed().await;
    eventually("nobody listens", async || {
        TcpStream::connect(("127.0.0.1", bench.ports().mqtt))
            .await
            .is_err()
            .then_some(())
    })
    .await;
    assert_eq!(bench.http("GET", "/faults", "").await.1[0]["kind"], "down");

    // A new time replaces the former.
    bench.fault(r#"{"kind":"down","seconds":0.2}"#).await;
    eventually("it listens", async || {
        TcpStream::connect(("127.0.0.1", bench.ports().mqtt))
            .await
            .ok()
    })
    .await;
    bench.connect(&login).await.tell("2").await;
    assert_eq!(bench.messages().await.len(), 2);
}

#[tokio::test]
async fn clearing_ends_the_down_time() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    bench.fault(r#"{"kind":"down","seconds":600}"#).await;
    eventually("nobody listens", async || {
        TcpStream::connect(("127.0.0.1", bench.ports().mqtt))
            .await
            .is_err()
            .then_some(())
    })
    .await;
    assert_eq!(bench.http("DELETE", "/faults", "").await.0, 200);
    eventually("it listens", async || {
        TcpStream::connect(("127.0.0.1", bench.ports().mqtt))
            .await
            .ok()
    })
    .await;
    bench.connect(&login).await.tell("1").await;
}

#[tokio::test]
async fn refuse_answers_5_until_it_is_cleared() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    bench.fault(r#"{"kind":"refuse","seconds":600}"#).await;
    assert_eq!(bench.try_connect(&login).await.1, 5);
    bench.http("DELETE", "/faults", "").await;
    assert_eq!(bench.try_connect(&login).await.1, 0);
}

#[tokio::test]
async fn drop_ends_the_connections_once() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut device = bench.connect(&login).await;
    bench.fault(r#"{"kind":"drop"}"#).await;
    device.expect_closed().await;
    bench.connect(&login).await.tell("1").await;
}

#[tokio::test]
async fn one_client_can_be_dropped_and_kept_out_while_the_others_go_on() {
    let bench = Bench::start().await;
    bench.register("dev1").await;
    let login = bench.register("dev1/line-1").await;
    let other = bench.register("dev1/line-2").await;
    let mut device = bench.connect(&login).await;
    let mut stays = bench.connect(&other).await;
    bench
        .fault(r#"{"kind":"refuse","seconds":600,"client":"dev1/line-1"}"#)
        .await;
    bench
        .fault(r#"{"kind":"drop","client":"dev1/line-1"}"#)
        .await;
    device.expect_closed().await;
    assert_eq!(bench.try_connect(&login).await.1, 5);
    stays.tell("1").await;
    bench.http("DELETE", "/faults", "").await;
    assert_eq!(bench.try_connect(&login).await.1, 0);
}

#[tokio::test]
async fn messages_tell_their_connections_apart() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut device = bench.connect(&login).await;
    device.tell("1").await;
    device.tell("2").await;
    bench.fault(r#"{"kind":"drop"}"#).await;
    device.expect_closed().await;
    bench.connect(&login).await.tell("3").await;
    let messages = bench.messages().await;
    let connected: Vec<u64> = messages
        .iter()
        .map(|message| message["connected_us"].as_u64().unwrap())
        .collect();
    assert!(connected[0] == connected[1] && connected[1] < connected[2]);
    let received = messages[2]["received_us"].as_u64().unwrap();
    assert!(connected[2] <= received);
}

#[tokio::test]
async fn pubacks_can_be_held_back_and_swallowed_but_the_message_is_kept() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    bench.fault(r#"{"kind":"swallow-puback","count":1}"#).await;
    device
        .publish(&device.telemetry(""), "never acknowledged")
        .await;
    device.tell("2").await;
    assert_eq!(bench.messages().await.len(), 2);

    bench
        .fault(r#"{"kind":"delay-puback","milliseconds":300,"seconds":600}"#)
        .await;
    let begun = Instant::now();
    device.tell("3").await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        bench
            .http("POST", "/faults", r#"{"kind":"earthquake"}"#)
            .await
            .0,
        400
    );
}
