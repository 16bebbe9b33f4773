//! Who gets in, who is thrown out, and what a session keeps.

use std::time::Duration;

use crate::support::{Bench, HUB, Login, now, token};
use iothub_emulator::UndocumentedTopics;
use iothub_protocol::{HubIdentity, SasToken, SharedAccessKey};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{LastWill, Packet, Publish};

const REFUSED: u8 = 5;

async fn refused(bench: &Bench, login: &Login) {
    let (mut device, code, present) = bench.try_connect(login).await;
    assert_eq!((code, present), (REFUSED, false));
    device.expect_closed().await;
}

#[tokio::test]
async fn devices_and_modules_with_a_good_token_get_in() {
    let bench = Bench::start().await;
    let device = bench.register("dev1").await;
    let module = bench.register("dev1/mod1").await;
    bench.connect(&device).await.expect_silence().await;
    bench.connect(&module).await.expect_silence().await;
    // A device's signature is over the resource as it is sent, encoded or not.
    let expiry = now() + 60;
    for resource in [format!("{HUB}/devices/dev1"), HUB.to_owned()] {
        let password = SasToken::create(&resource, &device.key, expiry, None).to_string();
        bench
            .connect(&Login {
                password,
                ..device.clone()
            })
            .await
            .expect_silence()
            .await;
    }
}

#[tokio::test]
async fn everything_else_is_refused_with_code_5() {
    let bench = Bench::start().await;
    let good = bench.register("dev1").await;
    let other = bench.register("dev2").await;
    let identity = &good.identity;
    let another_key = SharedAccessKey::from_bytes(b"another").unwrap();
    let unknown = HubIdentity::device_only("nobody").unwrap();
    let cases = [
        (
            "signed with another key",
            Login {
                password: token(identity, &another_key, now() + 60),
                ..good.clone()
            },
        ),
        (
            "expired",
            Login {
                password: token(identity, &good.key, now() - 1),
                ..good.clone()
            },
        ),
        (
            "for another device",
            Login {
                password: token(&other.identity, &good.key, now() + 60),
                ..good.clone()
            },
        ),
        (
            "no token",
            Login {
                password: "secret".to_owned(),
                ..good.clone()
            },
        ),
        ("not registered", Login::new(unknown, good.key.clone())),
        (
            "another client id",
            Login {
                client_id: "dev2".to_owned(),
                ..good.clone()
            },
        ),
        (
            "another hub",
            Login {
                username: identity.username("other.example", "t"),
                ..good.clone()
            },
        ),
        (
            "no api-version",
            Login {
                username: format!("{HUB}/dev1/?x=y"),
                ..good.clone()
            },
        ),
    ];
    for (case, login) in cases {
        println!("{case}");
        refused(&bench, &login).await;
    }
    bench.connect(&good).await;
}

#[tokio::test]
async fn the_connection_is_dropped_when_the_token_expires() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let mut device = bench
        .connect(&Login {
            password: token(&login.identity, &login.key, now() + 2),
            ..login
        })
        .await;
    device.tell("1").await;
    device.expect_closed().await;
}

#[tokio::test]
async fn a_silent_client_is_dropped_after_one_and_a_half_keep_alives() {
    let bench = Bench::start().await;
    let login = Login {
        keep_alive: 1,
        ..bench.register("dev1").await
    };
    let mut device = bench.connect(&login).await;
    let begun = std::time::Instant::now();
    device.expect_closed().await;
    assert!(begun.elapsed() >= Duration::from_millis(1400));
}

#[tokio::test]
async fn a_new_connection_takes_over_and_the_other_one_is_dropped() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let bystander = bench.register("dev2").await;
    let mut bystander = bench.connect(&bystander).await;
    let mut first = bench.connect(&login).await;
    let mut second = bench.connect(&login).await;
    first.expect_closed().await;
    second.tell("2").await;
    bystander.tell("3").await;
    let (_, devices) = bench.http("GET", "/devices", "").await;
    assert_eq!(devices[0]["connected"], true);
    assert_eq!(devices[0]["counts"]["connections"], 2);
}

#[tokio::test]
async fn a_session_is_kept_unless_a_clean_one_is_asked_for() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let (mut device, code, present) = bench.try_connect(&login).await;
    assert_eq!((code, present), (0, false));
    assert_eq!(device.subscribe("$iothub/twin/res/#").await, 1);
    device.send(&Packet::Disconnect).await;
    device.expect_closed().await;

    let bench = bench.restart().await;
    let (mut device, _, present) = bench.try_connect(&login).await;
    assert!(present);
    let (topic, _) = device.twin("$iothub/twin/GET/?$rid=1", " ").await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=1");

    let (_, _, present) = bench
        .try_connect(&Login {
            clean_session: true,
            ..login.clone()
        })
        .await;
    assert!(!present);
    let (mut device, _, present) = bench.try_connect(&login).await;
    assert!(!present);
    device
        .send(&Packet::Publish(Publish::new(
            "$iothub/twin/GET/?$rid=2",
            QoS::AtMostOnce,
            " ",
        )))
        .await;
    device.expect_silence().await;
}

#[tokio::test]
async fn the_will_is_recorded_unless_the_client_says_goodbye() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    let will = LastWill::new(
        "devices/dev1/messages/events/a=b",
        "gone",
        QoS::AtLeastOnce,
        false,
    );
    let login = Login {
        will: Some(will),
        ..login
    };
    let mut polite = bench.connect(&login).await;
    polite.send(&Packet::Disconnect).await;
    polite.expect_closed().await;
    drop(bench.connect(&login).await);
    let messages = crate::support::eventually("the will", async || {
        Some(bench.messages().await).filter(|messages| !messages.is_empty())
    })
    .await;
    assert_eq!(messages.len(), 1);
    assert_eq!(
        messages[0]["properties"],
        serde_json::json!({"a": "b", "iothub-MessageType": "Will"})
    );
    assert_eq!(messages[0]["body_base64"], "Z29uZQ==");
}

#[tokio::test]
async fn undocumented_topics_end_the_connection() {
    let bench = Bench::start().await;
    let login = bench.register("dev1").await;
    bench.register("dev2").await;
    for topic in [
        "tele/tasmota/STATE",
        "devices/dev2/messages/events/",
        "$iothub/twin/PATCH/properties/desired/?$rid=1",
    ] {
        let mut device = bench.connect(&login).await;
        device.publish(topic, "1").await;
        device.expect_closed().await;
    }
    for filter in ["#", "devices/dev2/messages/devicebound/#", "$iothub/#"] {
        let mut device = bench.connect(&login).await;
        let mut subscribe = rumqttc::mqttbytes::v4::Subscribe::new(filter, QoS::AtMostOnce);
        subscribe.pkid = 1;
        device.send(&Packet::Subscribe(subscribe)).await;
        device.expect_closed().await;
    }
    assert!(bench.messages().await.is_empty());
}

#[tokio::test]
async fn undocumented_topics_can_be_refused_instead() {
    let bench =
        Bench::start_with(|options| options.undocumented_topics = UndocumentedTopics::Refuse).await;
    let login = bench.register("dev1").await;
    let mut device = bench.connect(&login).await;
    assert_eq!(device.subscribe("#").await, 0x80);
    let pkid = device.publish("tele/tasmota/STATE", "1").await;
    device.expect_puback(pkid).await;
    device.tell("1").await;
    assert_eq!(bench.messages().await.len(), 1);
}

#[tokio::test]
async fn qos_2_ends_the_connection() {
    let bench = Bench::start().await;
    let mut device = bench.connect(&bench.register("dev1").await).await;
    let mut publish = Publish::new(device.telemetry(""), QoS::ExactlyOnce, "1");
    publish.pkid = 7;
    device.send(&Packet::Publish(publish)).await;
    device.expect_closed().await;
}
