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

/// The queue's row for an event. Its properties are what the message has beyond the event: the topic it came from and what its route adds; its
/// payload is the event as it came, and [`decode`] takes the rest from there. Every byte that is not in the row is one less on the flash.
///
/// With `shrinks` the event is written in fewer bytes when it is sent, and whether they are few enough is seen then.
///
/// # Errors
/// When IoT Hub would not take the message; that never changes.
pub fn encode(
    topic: &str,
    envelope: &Envelope<'_>,
    body: Bytes,
    of_route: Vec<(&str, String)>,
    shrinks: bool,
) -> Result<NewItem, MessageError> {
    let mut properties = attributes(envelope);
    let in_payload = properties.len();
    properties.push(("topic".to_owned(), topic.to_owned()));
    let of_route = of_route.into_iter();
    properties.extend(of_route.map(|(name, value)| (name.to_owned(), value)));
    let mut message = Message {
        id: Some(message_id(&envelope.id)),
        properties,
        ..Message::json(body)
    };
    if shrinks {
        let body = std::mem::take(&mut message.body);
        message.check()?;
        message.body = body;
    } else {
        message.check()?;
    }
    let bytes = message.bag().len() + TOPIC_PREFIX;
    if bytes > TOPIC_BYTES {
        return Err(MessageError::Topic(bytes));
    }
    message.id = None;
    message.properties.drain(..in_payload);
    let key = envelope
        .partition_key
        .as_ref()
        .or(envelope.subject.as_ref())
        .unwrap_or(&envelope.source);
    Ok(NewItem {
        key: key.as_ref().to_owned(),
        id: envelope.id.as_ref().to_owned(),
        properties: Bytes::from(message.bag()),
        payload: message.body,
        ..NewItem::default()
    })
}

/// The message of a row. Never fails: what is damaged in the properties is left out, the payload arrives.
#[must_use]
pub fn decode(item: &StoredItem) -> Message {
    let mut message = Message::from_bag(
        &String::from_utf8_lossy(&item.properties),
        item.payload.clone(),
    );
    // A row with an id is an older release's, and says everything itself.
    if message.id.is_none() {
        message.id = Some(message_id(&item.id));
        if let Ok(envelope) = Envelope::parse(&item.payload) {
            message.properties.splice(..0, attributes(&envelope));
        }
    }
    message
}

/// The properties that every event has from its attributes. Routes cannot set them.
fn attributes(envelope: &Envelope<'_>) -> Vec<(String, String)> {
    let required = [("type", &envelope.kind), ("source", &envelope.source)];
    let optional = envelope.subject.iter().map(|subject| ("subject", subject));
    required
        .into_iter()
        .chain(optional)
        .map(|(name, value)| (name.to_owned(), value.as_ref().to_owned()))
        .collect()
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
/// message format), with `/` as `:`. Where more had to change, a hash of the id keeps it unique. It stays as it is: what waits in the queue gets
/// its id anew each time it is sent, and must have the same one after an update.
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
            false,
        )
    }

    fn stored(item: NewItem) -> StoredItem {
        StoredItem {
            sequence: Sequence(1),
            enqueued: SystemTime::UNIX_EPOCH,
            key: item.key,
            id: item.id,
            properties: item.properties,
            payload: item.payload,
            priority: item.priority,
            route: item.route,
            lifetime: item.lifetime,
        }
    }

    /// What IoT Hub gets in the topic for [`event`].
    const BAG: &str = "%24.mid=modbus-reader%3Apress-1%3Afast%3Ae1%3A17&%24.ct=application%2Fjson&%24.ce=utf-8&type=com.example.x\
        &source=%2Ffieldgate%2Fgate%207%2Fmodbus-reader&subject=press%2B1%2Ffast&topic=telemetry&line=4%20%C3%A4%26%3D";

    #[test]
    fn a_message_carries_the_event_unchanged_and_its_attributes_as_properties() {
        let body = event("modbus-reader/press-1/fast/e1/17", 10);
        let item = encode_it(&body).unwrap();
        assert_eq!(
            (item.key.as_str(), item.id.as_str()),
            ("press-1", "modbus-reader/press-1/fast/e1/17")
        );
        let message = decode(&stored(item));
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
        assert_eq!(message.bag(), BAG);
    }

    #[test]
    fn a_row_holds_nothing_that_its_payload_has() {
        let item = encode_it(&event("modbus-reader/press-1/fast/e1/17", 10)).unwrap();
        assert_eq!(
            item.properties,
            "%24.ct=application%2Fjson&%24.ce=utf-8&topic=telemetry&line=4%20%C3%A4%26%3D"
        );
    }

    #[test]
    fn a_row_of_an_older_release_makes_the_same_message() {
        let body = event("modbus-reader/press-1/fast/e1/17", 10);
        let mut item = stored(encode_it(&body).unwrap());
        let today = decode(&item);
        item.properties = Bytes::from_static(BAG.as_bytes());
        assert_eq!(decode(&item), today);
    }

    #[test]
    fn a_row_whose_payload_is_no_event_arrives_all_the_same() {
        let body = event("a/b", 10);
        let mut item = stored(encode_it(&body).unwrap());
        item.payload = Bytes::from_static(b"{");
        let message = decode(&item);
        assert_eq!(message.id.as_deref(), Some("a:b"));
        assert_eq!(message.body, "{");
        let names: Vec<&str> = message.properties.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["topic", "line"]);
    }

    #[test]
    fn what_iot_hub_does_not_take_is_refused() {
        assert!(matches!(
            encode_it(&event("a", 256 * 1024)),
            Err(MessageError::TooLarge { .. })
        ));
        assert!(encode_it(&event("a", 255 * 1024)).is_ok());
        let large = event("a", 300 * 1024);
        let envelope = Envelope::parse(&large).unwrap();
        assert!(encode("telemetry", &envelope, large.clone(), Vec::new(), true).is_ok());
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
