//! Events for tests: those of our own modules, and odd ones of somebody else's.

use hub_encoding::{Batch, Encoding, Finished, Format, Message, decode};
use measurement::{BadReason, Epoch, EventTemplate, Reading, StreamIdentity, Value};
use time::OffsetDateTime;

pub(crate) const ENCODINGS: [Encoding; 6] = [
    encoding(Format::Plain, false),
    encoding(Format::Plain, true),
    encoding(Format::Compact, false),
    encoding(Format::Compact, true),
    encoding(Format::OpcuaPubsub, false),
    encoding(Format::OpcuaPubsub, true),
];

pub(crate) const fn encoding(format: Format, gzip: bool) -> Encoding {
    Encoding { format, gzip }
}

/// Small numbers that look random and are the same in every run.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

/// Events of a press with `tags` tags, a quarter of them counters, states and texts, one of them bad now and then.
pub(crate) fn press(device: &str, tags: usize, events: usize) -> Vec<Vec<u8>> {
    let identity = StreamIdentity {
        appliance: "gate-7".into(),
        module: "modbus-reader".into(),
        device: device.into(),
        group: "fast".into(),
    };
    let names: Vec<String> = (0..tags).map(|tag| format!("tag-{tag:03}")).collect();
    let template = EventTemplate::new(&identity, &Epoch::new(), &names);
    let mut noise = Noise(7);
    let mut levels = vec![2000i64; tags];
    (0..events)
        .map(|event| {
            let readings: Vec<Reading> = (0..tags)
                .map(|tag| {
                    levels[tag] += (noise.next() % 7) as i64 - 3;
                    match tag % 8 {
                        _ if noise.next().is_multiple_of(500) => Reading::Bad(BadReason::Timeout),
                        0 => Reading::Good(Value::UInt(u64::MAX - 5000 + event as u64)),
                        1 => Reading::Good(Value::Bool(levels[tag] > 2000)),
                        2 if tag == 2 => {
                            Reading::Good(Value::Text(format!("order \"{}\"", event / 10).into()))
                        }
                        _ => Reading::float(levels[tag] as f64 / 100.0),
                    }
                })
                .collect();
            let at = OffsetDateTime::from_unix_timestamp(1_790_000_000 + event as i64).unwrap();
            template
                .render(event as u64 + 1, at, readings.iter())
                .body
                .to_vec()
        })
        .collect()
}

/// Puts all events into messages, and checks what every caller relies on.
pub(crate) fn messages(
    encoding: Encoding,
    limit: usize,
    events: &[Vec<u8>],
) -> Vec<Finished<usize>> {
    let mut batch = Batch::new(encoding, limit);
    let mut messages = Vec::new();
    for (number, event) in events.iter().enumerate() {
        if let Err(refused) = batch.add(event, number) {
            assert_eq!(refused.why, hub_encoding::Refusal::Full);
            messages.extend(batch.finish());
            assert!(batch.is_empty());
            batch
                .add(event, refused.item)
                .expect("an empty batch takes every event that can be sent");
        }
    }
    messages.extend(batch.finish());
    for message in &messages {
        assert!(
            message.payload.len() <= limit,
            "{} bytes, {encoding:?}",
            message.payload.len()
        );
    }
    let items: Vec<usize> = messages
        .iter()
        .flat_map(|message| message.items.clone())
        .collect();
    assert_eq!(items, (0..events.len()).collect::<Vec<_>>());
    messages
}

/// The events of messages as JSON values.
pub(crate) fn events_of(messages: &[Finished<usize>]) -> Vec<serde_json::Value> {
    messages
        .iter()
        .flat_map(|message| match decode(&message.payload).unwrap() {
            Message::Events(events) => {
                assert_eq!(events.len(), message.items.len());
                events
            }
            Message::DataSets(_) => panic!("not events"),
        })
        .map(|event| serde_json::from_str(&event).unwrap())
        .collect()
}

pub(crate) fn values(events: &[Vec<u8>]) -> Vec<serde_json::Value> {
    events
        .iter()
        .map(|event| serde_json::from_slice(event).unwrap())
        .collect()
}
