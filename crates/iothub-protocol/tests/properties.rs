//! Whatever goes in comes out again, and no input makes a parser panic.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail this way"
)]

use bytes::Bytes;
use iothub_protocol::twin::{check_patch, merge_patch, parse_desired};
use iothub_protocol::{
    ConnectionString, DeviceTopic, HubIdentity, HubTopic, Message, MethodRequest, PropertyBag,
    SasToken, SharedAccessKey, Subscription, TwinDocument, Username,
};
use proptest::prelude::*;
use serde_json::{Map, Value};

const ID: &str = r"[A-Za-z0-9\-.%_*?!(),:=@$']{1,40}";

fn identity() -> impl Strategy<Value = HubIdentity> {
    (ID, proptest::option::of(ID))
        .prop_map(|(device, module)| HubIdentity::new(&device, module.as_deref()).unwrap())
}

/// Any text, with the characters that mean something in a topic or query more often than chance has them.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), r"[a-z%&=+#/?$. ]{0,20}"]
}

fn message() -> impl Strategy<Value = Message> {
    let optional = || proptest::option::of(text());
    let properties = proptest::collection::vec((text(), text()), 0..6);
    (
        optional(),
        optional(),
        optional(),
        optional(),
        optional(),
        properties,
        proptest::collection::vec(any::<u8>(), 0..64),
    )
        .prop_map(
            |(
                id,
                correlation_id,
                content_type,
                content_encoding,
                creation_time,
                properties,
                body,
            )| {
                let reserved = ["", "iothub-creation-time-utc"];
                let properties = properties
                    .into_iter()
                    .filter(|(key, _)| !key.starts_with("$.") && !reserved.contains(&key.as_str()))
                    .collect();
                let system = Vec::new();
                Message {
                    id,
                    correlation_id,
                    content_type,
                    content_encoding,
                    creation_time,
                    system,
                    properties,
                    body: Bytes::from(body),
                }
            },
        )
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(
            members
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), without_null(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn a_message_survives_its_topic(message in message(), identity in identity()) {
        let bag = message.bag();
        let topic = DeviceTopic::telemetry(&identity, &bag).to_string();
        prop_assert!(!topic.contains(['+', '#', '\0']), "{topic:?} could not be published");
        let DeviceTopic::Telemetry { device, module, bag } = DeviceTopic::parse(&topic).unwrap() else { panic!() };
        prop_assert_eq!(device, identity.device());
        prop_assert_eq!(module, identity.module());
        prop_assert_eq!(Message::from_bag(bag, message.body.clone()), message);
    }

    #[test]
    fn a_bag_survives(entries in proptest::collection::vec(("[^/]{1,8}", proptest::option::of(text())), 0..6)) {
        let bag = PropertyBag { entries };
        prop_assert_eq!(PropertyBag::decode(&bag.to_string()), bag);
    }

    #[test]
    fn hub_topics_survive(name in "[^\0]{1,20}", rid in "[A-Za-z0-9-]{1,36}", status in any::<u16>(), version in proptest::option::of(any::<u64>()), bag in "[a-z=&]{0,10}") {
        let topics = [
            HubTopic::Method { name: name.clone().into(), rid: &rid },
            HubTopic::TwinResponse { status, rid: &rid, version },
            HubTopic::Desired { version },
            HubTopic::CloudMessage { device: "d", bag: &bag },
            HubTopic::ModuleInput { device: "d", module: "m", input: name.into(), bag: &bag },
        ];
        for topic in topics {
            let text = topic.to_string();
            prop_assert_eq!(HubTopic::parse(&text).unwrap(), topic);
        }
    }

    #[test]
    fn device_topics_survive(rid in "[A-Za-z0-9-]{1,36}", status in any::<i32>()) {
        for topic in [DeviceTopic::TwinGet { rid: &rid }, DeviceTopic::Reported { rid: &rid }, DeviceTopic::MethodResponse { status, rid: &rid }] {
            let text = topic.to_string();
            prop_assert_eq!(DeviceTopic::parse(&text).unwrap(), topic);
        }
    }

    #[test]
    fn a_username_survives(identity in identity(), client_type in proptest::option::of(text()), model_id in proptest::option::of(text())) {
        let username = Username { hub: "h.example".to_owned(), identity, api_version: "2021-04-12".to_owned(), client_type, model_id, other: Vec::new() };
        prop_assert_eq!(Username::parse(&username.to_string()).unwrap(), username);
    }

    #[test]
    fn a_token_survives_and_opens(key in proptest::collection::vec(any::<u8>(), 1..80), resource in "[^\0]{1,40}", expiry in 1_u64.., name in proptest::option::of("[a-z]{1,8}")) {
        let key = SharedAccessKey::from_bytes(&key).unwrap();
        let token = SasToken::create(&resource, &key, expiry, name.as_deref());
        let read = SasToken::parse(&token.to_string()).unwrap();
        prop_assert_eq!(&read, &token);
        prop_assert_eq!(read.verify(&key, &resource, expiry - 1), Ok(()));
        prop_assert!(read.verify(&key, &resource, expiry).is_err());
    }

    #[test]
    fn a_connection_string_survives(identity in identity(), key in proptest::collection::vec(any::<u8>(), 1..64), gateway in proptest::option::of("[a-z0-9.-]{1,20}")) {
        let text = ConnectionString { host_name: "h.example".to_owned(), identity, key: SharedAccessKey::from_bytes(&key).unwrap(), gateway_host_name: gateway };
        prop_assert_eq!(ConnectionString::parse(&text.reveal()).unwrap(), text);
    }

    /// RFC 7396: merging the same patch twice is merging it once, and a patch onto nothing is the patch without its nulls.
    #[test]
    fn merge_patch_keeps_its_laws(base in json(), patch in json()) {
        let mut once = base.clone();
        merge_patch(&mut once, &patch);
        let mut twice = once.clone();
        merge_patch(&mut twice, &patch);
        prop_assert_eq!(&once, &twice);
        let mut fresh = Value::Object(Map::new());
        merge_patch(&mut fresh, &patch);
        if patch.is_object() {
            prop_assert_eq!(fresh, without_null(&patch));
        }
    }

    #[test]
    fn nothing_panics(text in text(), bytes in proptest::collection::vec(any::<u8>(), 0..64), value in json()) {
        let identity = HubIdentity::device_only("d").unwrap();
        let _ = (DeviceTopic::parse(&text), HubTopic::parse(&text), Username::parse(&text), SasToken::parse(&text), ConnectionString::parse(&text));
        let _ = (SasToken::parse(&format!("SharedAccessSignature {text}")), HubIdentity::from_client_id(&text), Subscription::parse(&text, &identity));
        let _ = (PropertyBag::decode(&text), Message::from_bag(&text, Bytes::new()), MethodRequest::parse(&text, &bytes));
        let _ = (TwinDocument::parse(&bytes), parse_desired(&bytes, None), check_patch(&value));
        for prefix in ["$iothub/methods/POST/", "$iothub/methods/res/", "$iothub/twin/res/", "devices/", "devices/d/modules/", "$iothub/twin/GET/"] {
            let topic = format!("{prefix}{text}");
            let _ = (DeviceTopic::parse(&topic), HubTopic::parse(&topic));
        }
    }
}
