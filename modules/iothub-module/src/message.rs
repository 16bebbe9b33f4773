//! An event as a row of the queue, and a row as a device-to-cloud message.

use std::fmt::Write as _;

use bytes::Bytes;
use iothub_protocol::limits::{MESSAGE_ID_CHARS, TOPIC_BYTES};
use iothub_protocol::{Message, MessageError};
use measurement::Envelope;
use store_forward::{NewItem, StoredItem};

use crate::hash::fnv1a;

/// Bytes of the topic before the property bag: `devices/{128}/modules/{128}/messages/events/` and some room.
const TOPIC_PREFIX: usize = 512;

/// The queue's row for an event. Its properties are the message's encoded property bag, those of its route at the end; its payload is the event
/// as it came.
///
/// # Errors
/// When IoT Hub would not take the message; that never changes.
pub fn encode(
    topic: &str,
    envelope: &Envelope<'_>,
    body: Bytes,
    of_route: Vec<(&str, String)>,
) -> Result<NewItem, MessageError> {
    let mut properties = vec![
        ("type".to_owned(), envelope.kind.as_ref().to_owned()),
        ("source".to_owned(), envelope.source.as_ref().to_owned()),
    ];
    if let Some(subject) = &envelope.subject {
        properties.push(("subject".to_owned(), subject.as_ref().to_owned()));
    }
    properties.push(("topic".to_owned(), topic.to_owned()));
    let of_route = of_route.into_iter();
    properties.extend(of_route.map(|(name, value)| (name.to_owned(), value)));
    let message = Message {
        id: Some(message_id(&envelope.id)),
        properties,
        ..Message::json(body)
    };
    message.check()?;
    let bag = message.bag();
    if bag.len() + TOPIC_PREFIX > TOPIC_BYTES {
        return Err(MessageError::Topic(bag.len() + TOPIC_PREFIX));
    }
    let key = envelope
        .partition_key
        .as_ref()
        .or(envelope.subject.as_ref())
        .unwrap_or(&envelope.source);
    Ok(NewItem {
        key: key.as_ref().to_owned(),
        id: envelope.id.as_ref().to_owned(),
        properties: Bytes::from(bag),
        payload: message.body,
        ..NewItem::default()
    })
}

/// The message of a row. Never fails: what is damaged in the properties is left out, the payload arrives.
#[must_use]
pub fn decode(item: &StoredItem) -> Message {
    Message::from_bag(
        &String::from_utf8_lossy(&item.properties),
        item.payload.clone(),
    )
}

/// The id of a message with several events, of which the first has the message id `first`.
#[must_use]
pub fn id_of_several(first: &str, count: usize) -> String {
    let more = format!("+{}", count.saturating_sub(1));
    let room = MESSAGE_ID_CHARS.saturating_sub(more.len());
    match first.get(..room) {
        Some(_) if first.len() > room => message_id(&format!("{first}{more}")),
        _ => format!("{first}{more}"),
    }
}

/// An event's id as IoT Hub takes it: at most 128 characters of letters, digits and `- : . + % _ # * ? ! ( ) , = @ ; $ '` (device guide,
/// message format), with `/` as `:`. Where more had to change, a hash of the id keeps it unique.
fn message_id(id: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(c);
    let mut changed = false;
    let mut text: String = id
        .chars()
        .map(|c| match c {
            '/' => ':',
            c if allowed(c) => c,
            _ => {
                changed = true;
                '_'
            }
        })
        .collect();
    if changed || text.len() > MESSAGE_ID_CHARS {
        text.truncate(MESSAGE_ID_CHARS - 17);
        // Writing into a String cannot fail.
        let _ = write!(text, "-{:016x}", fnv1a(id.as_bytes()));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use store_forward::Sequence;

    use super::*;

    fn event(id: &str, padding: usize) -> Bytes {
        let text = serde_json::json!({
            "specversion": "1.0", "id": id, "source": "/fieldgate/gate 7/modbus-reader", "type": "com.example.x",
            "subject": "press+1/fast", "partitionkey": "press-1", "data": "x".repeat(padding)
        });
        Bytes::from(text.to_string())
    }

    fn encode_it(body: &Bytes) -> Result<NewItem, MessageError> {
        let of_route = vec![("line", "4 ä&=".to_owned())];
        encode(
            "telemetry",
            &Envelope::parse(body).unwrap(),
            body.clone(),
            of_route,
        )
    }

    #[test]
    fn a_message_carries_the_event_unchanged_and_its_attributes_as_properties() {
        let body = event("modbus-reader/press-1/fast/e1/17", 10);
        let item = encode_it(&body).unwrap();
        assert_eq!(
            (item.key.as_str(), item.id.as_str()),
            ("press-1", "modbus-reader/press-1/fast/e1/17")
        );
        let stored = StoredItem {
            sequence: Sequence(1),
            enqueued: SystemTime::UNIX_EPOCH,
            key: item.key,
            id: item.id,
            properties: item.properties,
            payload: item.payload,
            priority: item.priority,
            route: item.route,
            lifetime: item.lifetime,
        };
        let message = decode(&stored);
        assert_eq!(
            message.id.as_deref(),
            Some("modbus-reader:press-1:fast:e1:17")
        );
        assert_eq!(message.content_type.as_deref(), Some("application/json"));
        assert_eq!(message.content_encoding.as_deref(), Some("utf-8"));
        let expected = [
            ("type", "com.example.x"),
            ("source", "/fieldgate/gate 7/modbus-reader"),
            ("subject", "press+1/fast"),
            ("topic", "telemetry"),
            ("line", "4 ä&="),
        ];
        assert_eq!(
            message.properties,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!(message.body, body);
    }

    #[test]
    fn what_iot_hub_does_not_take_is_refused() {
        assert!(matches!(
            encode_it(&event("a", 256 * 1024)),
            Err(MessageError::TooLarge { .. })
        ));
        assert!(encode_it(&event("a", 255 * 1024)).is_ok());
        let body = Bytes::from(
            serde_json::json!({"specversion": "1.0", "id": "a", "source": "/x", "type": "t", "subject": "ä".repeat(12_000)}).to_string(),
        );
        assert!(matches!(encode_it(&body), Err(MessageError::Topic(_))));
    }

    #[test]
    fn message_ids_fit_and_stay_unique() {
        assert_eq!(message_id("a/b/c"), "a:b:c");
        for (one, other) in [
            ("ä", "ö"),
            ("a b", "a_b"),
            (&"x".repeat(200), &"x".repeat(201)),
        ] {
            let (one, other) = (message_id(one), message_id(other));
            assert_ne!(one, other);
            assert!(one.len() <= MESSAGE_ID_CHARS && one.is_ascii(), "{one}");
        }
        assert_eq!(message_id("a b"), message_id("a b"));
    }
}
