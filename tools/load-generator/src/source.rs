//! The events by their numbers.

use std::time::Duration;

use measurement::{Epoch, EventTemplate, Reading, StreamIdentity, Value};
use module_runtime::OutgoingEvent;
use time::OffsetDateTime;

/// The poll group of every device.
const GROUP: &str = "load";

/// All streams, in one epoch.
#[derive(Debug)]
pub(crate) struct Source {
    templates: Vec<EventTemplate>,
    tags: u32,
    started: OffsetDateTime,
}

impl Source {
    /// `started` is what the times of events count from.
    pub(crate) fn new(
        appliance: &str,
        module: &str,
        streams: u32,
        tags: u32,
        started: OffsetDateTime,
    ) -> Self {
        let epoch = Epoch::new();
        let names: Vec<String> = (0..tags).map(|tag| format!("r{tag}")).collect();
        let templates = (0..streams)
            .map(|stream| {
                let identity = StreamIdentity {
                    appliance: appliance.to_owned(),
                    module: module.to_owned(),
                    device: format!("device-{stream}"),
                    group: GROUP.to_owned(),
                };
                EventTemplate::new(&identity, &epoch, &names)
            })
            .collect();
        Self {
            templates,
            tags,
            started,
        }
    }

    /// How many events a call may hold: one of each stream, because the broker may take in what comes together in any order.
    pub(crate) fn most_at_once(&self) -> u64 {
        self.templates.len() as u64
    }

    /// Event `number`, which was due so long after the start. The tag `r0` is its sequence.
    pub(crate) fn event(&self, number: u64, due: Duration) -> Option<OutgoingEvent> {
        let streams = self.templates.len() as u64;
        let stream = usize::try_from(number.checked_rem(streams)?).ok()?;
        let sequence = number / streams + 1;
        let readings: Vec<Reading> = (0..self.tags).map(|tag| reading(sequence, tag)).collect();
        let template = self.templates.get(stream)?;
        let event = template.render(sequence, self.started + due, readings.iter());
        Some(OutgoingEvent {
            id: event.id,
            body: event.body,
        })
    }
}

/// Numbers that change from event to event, whole and broken.
fn reading(sequence: u64, tag: u32) -> Reading {
    match tag {
        0 => Reading::Good(Value::UInt(sequence)),
        tag if tag % 2 == 1 => {
            // Tenths, as temperatures and pressures have.
            let tenths = (sequence * 7 + u64::from(tag) * 13) % 10_000;
            Reading::Good(Value::Float(tenths as f64 / 10.0))
        }
        tag => Reading::Good(Value::UInt((sequence * 31 + u64::from(tag)) % 65_536)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_stream_and_a_sequence() {
        let source = Source::new("gate", "load", 3, 4, OffsetDateTime::UNIX_EPOCH);
        let event = source.event(7, Duration::from_millis(1500)).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
        assert_eq!(body["id"], event.id);
        assert!(event.id.starts_with("load/device-1/load/") && event.id.ends_with("/3"));
        assert_eq!(body["sequence"], "00000000000000000003");
        assert_eq!(body["partitionkey"], "device-1");
        assert_eq!(body["data"]["values"]["r0"], 3);
        assert_eq!(body["time"], "1970-01-01T00:00:01.500000Z");
        // The same again: a repetition must not differ.
        assert_eq!(
            source
                .event(7, Duration::from_millis(1500))
                .unwrap()
                .body
                .len(),
            event.body.len()
        );
    }
}
