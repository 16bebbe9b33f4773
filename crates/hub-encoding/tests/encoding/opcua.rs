//! The NetworkMessage, member by member.

use crate::common::{encoding, messages};
use hub_encoding::{Format, Message, decode};
use serde_json::{Value, json};

fn event(sequence: u64, data: Value) -> Vec<u8> {
    let mut data = data;
    let members = json!({"device": "press-1", "group": "fast", "epoch": "e", "sequence": sequence, "timestamp": "2026-11-22T16:31:19.613576Z"});
    data.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    json!({"specversion": "1.0", "id": format!("modbus-reader/press-1/fast/e/{sequence}"), "source": "/fieldgate/gate-7/modbus-reader",
        "type": "com.fieldgate.measurements.v1", "time": "2026-11-22T16:31:19.613576Z", "data": data})
    .to_string()
    .into_bytes()
}

#[test]
fn an_event_is_a_key_frame_with_data_values() {
    let events = [
        event(
            (1 << 32) + 5,
            json!({"values": {"b": true, "f": 35.0, "i": -3, "t": "x", "u": u64::MAX}, "bad": {"z": "timeout"}, "timestamps": {"f": "2026-11-22T16:31:19Z", "z": "2026-11-22T16:31:18Z"}}),
        ),
        event((1 << 32) + 6, json!({"values": {}, "bad": {"b": "parked"}})),
    ];
    let message = &messages(encoding(Format::OpcuaPubsub, false), 100_000, &events)[0];
    let json: Value = serde_json::from_slice(&message.payload).unwrap();
    let id = &json["Messages"][0]["DataSetWriterId"];
    assert!((0x8000..=0xffff).contains(&id.as_u64().unwrap()));
    // 2026-11-22T16:31:19Z in seconds since 2000
    let version = 848_680_279;
    assert_eq!(
        json,
        json!({
            "MessageType": "ua-data", "PublisherId": "/fieldgate/gate-7", "MessageId": json["MessageId"],
            "Messages": [
                {"DataSetWriterId": id, "DataSetWriterName": "press-1/fast", "WriterGroupName": "modbus-reader", "SequenceNumber": 5,
                 "MetaDataVersion": {"MajorVersion": version, "MinorVersion": version}, "Timestamp": "2026-11-22T16:31:19.613576Z",
                 "Status": {"Code": 0x4095_0000u32, "Symbol": "UncertainSubNormal"}, "MessageType": "ua-keyframe",
                 "Payload": {
                    "b": {"UaType": 1, "Value": true},
                    "f": {"UaType": 11, "Value": 35.0, "SourceTimestamp": "2026-11-22T16:31:19Z"},
                    "i": {"UaType": 8, "Value": "-3"},
                    "t": {"UaType": 12, "Value": "x"},
                    "u": {"UaType": 9, "Value": "18446744073709551615"},
                    "z": {"Status": {"Code": 0x800A_0000u32, "Symbol": "BadTimeout"}, "SourceTimestamp": "2026-11-22T16:31:18Z"}}},
                {"DataSetWriterId": id, "DataSetWriterName": "press-1/fast", "WriterGroupName": "modbus-reader", "SequenceNumber": 6,
                 "MetaDataVersion": {"MajorVersion": version + 1, "MinorVersion": version + 1}, "Timestamp": "2026-11-22T16:31:19.613576Z",
                 "Status": {"Code": 0x8000_0000u32, "Symbol": "Bad"}, "MessageType": "ua-keyframe",
                 "Payload": {"b": {"Status": {"Code": 0x808D_0000u32, "Symbol": "BadOutOfService"}}}}
            ]
        })
    );
    let message_id = json["MessageId"].as_str().unwrap();
    assert!(
        message_id.starts_with("modbus-reader/press-1/fast/e/4294967301+1-"),
        "{message_id}"
    );
}

#[test]
fn what_is_read_is_what_the_event_said() {
    let events = [event(
        7,
        json!({"values": {"u": u64::MAX, "i": i64::MIN, "f": 0.1, "t": "x"}, "bad": {"z": "not-read"}, "timestamps": {"f": "2026-11-22T16:31:19Z"}}),
    )];
    let message = &messages(encoding(Format::OpcuaPubsub, true), 100_000, &events)[0];
    let Message::DataSets(sets) = decode(&message.payload).unwrap() else {
        panic!()
    };
    let set = &sets[0];
    assert_eq!(
        (
            set.publisher.as_str(),
            set.writer_group.as_str(),
            set.writer.as_str()
        ),
        ("/fieldgate/gate-7", "modbus-reader", "press-1/fast")
    );
    assert_eq!(
        (set.sequence, set.timestamp.as_str()),
        (7, "2026-11-22T16:31:19.613576Z")
    );
    let field = |name: &str| {
        &set.fields
            .iter()
            .find(|(known, _)| known == name)
            .unwrap()
            .1
    };
    assert_eq!(field("u").value, Some(json!(u64::MAX)));
    assert_eq!(field("i").value, Some(json!(i64::MIN)));
    assert_eq!(field("f").value, Some(json!(0.1)));
    assert_eq!(
        field("f").source_timestamp.as_deref(),
        Some("2026-11-22T16:31:19Z")
    );
    assert_eq!(field("t").status, None);
    assert_eq!(field("z").value, None);
    assert!(!field("z").status.as_ref().unwrap().is_good());
}

#[test]
fn another_appliance_is_another_network_message() {
    let mine = event(1, json!({"values": {"a": 1}}));
    let other = String::from_utf8(mine.clone())
        .unwrap()
        .replace("gate-7", "gate-8")
        .into_bytes();
    let messages = messages(
        encoding(Format::OpcuaPubsub, false),
        100_000,
        &[mine.clone(), other, mine],
    );
    assert_eq!(messages.len(), 3);
}

#[test]
fn a_value_that_is_a_tree_is_not_built() {
    let text = |value: &str| {
        format!(
            r#"{{"MessageType":"ua-data","Messages":[{{"Payload":{{"a":{{"Value":{value}}}}}}}]}}"#
        )
    };
    for value in ["[1]", "{}"] {
        let error = decode(text(value).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("a number, true, false or a text"), "{error}");
    }
    for value in [
        "1",
        "-1.5",
        "true",
        "null",
        "\"x\\n\"",
        "18446744073709551615",
    ] {
        assert!(decode(text(value).as_bytes()).is_ok(), "{value}");
    }
}
