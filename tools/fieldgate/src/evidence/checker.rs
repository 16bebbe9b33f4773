//! Compares what arrived at the hub with what the broker accepted and with what the devices held.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use measurement::{Envelope, MEASUREMENTS_TYPE, Measurements};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::event_id::{self, StreamKey};
use super::latency::Latencies;
use super::ranges::Ranges;
use super::values::ValueCheck;
use crate::system::HubMessage;

/// Events whose content is remembered, to compare a duplicate with.
const REMEMBERED: usize = 100_000;
/// Descriptions of faults that are kept.
const EXAMPLES: usize = 10;

/// What one event stream is known to contain.
#[derive(Debug, Default)]
struct Sequences {
    accepted: Ranges,
    delivered: Ranges,
}

/// The newest that arrived from a device, for the view.
#[derive(Debug, Clone)]
pub(crate) struct DeviceView {
    pub(crate) at: SystemTime,
    pub(crate) good: usize,
    /// The first reason, if any tag is bad.
    pub(crate) bad: Option<String>,
    pub(crate) values: BTreeMap<String, Value>,
}

/// The outcome of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Up to the highest sequence known of every stream.
    pub(crate) events_read: u64,
    pub(crate) events_delivered: u64,
    pub(crate) missing: u64,
    pub(crate) duplicates: u64,
    pub(crate) values_checked: u64,
    pub(crate) values_wrong: u64,
    pub(crate) values_bad_quality: u64,
    /// Lost with a reader that was killed, before its sidecar accepted them: no promise covers these.
    pub(crate) never_accepted: u64,
    /// Telemetry or dead letters that are no measurement events at all.
    pub(crate) malformed: u64,
    pub(crate) dead_letters: u64,
    pub(crate) latency_ms_p50: Option<f64>,
    pub(crate) latency_ms_p99: Option<f64>,
}

#[derive(Debug)]
pub(crate) struct Checker {
    values: ValueCheck,
    streams: BTreeMap<StreamKey, Sequences>,
    /// Hash of each remembered event's body.
    contents: HashMap<(StreamKey, u64), u64>,
    order: VecDeque<(StreamKey, u64)>,
    hasher: RandomState,
    counts: Verdict,
    latencies: Latencies,
    reader_killed: bool,
    examples: Vec<String>,
    newest_event: Option<SystemTime>,
    first_arrival: Option<SystemTime>,
    devices: BTreeMap<String, DeviceView>,
}

impl Checker {
    pub(crate) fn new(values: ValueCheck) -> Self {
        Self {
            values,
            streams: BTreeMap::new(),
            contents: HashMap::new(),
            order: VecDeque::new(),
            hasher: RandomState::new(),
            counts: Verdict::default(),
            latencies: Latencies::default(),
            reader_killed: false,
            examples: Vec::new(),
            newest_event: None,
            first_arrival: None,
            devices: BTreeMap::new(),
        }
    }

    /// The broker accepted the event `id`.
    pub(crate) fn accepted(&mut self, id: &str) {
        match event_id::parse(id) {
            Some((stream, sequence)) => {
                self.streams
                    .entry(stream)
                    .or_default()
                    .accepted
                    .insert(sequence);
            }
            None => self.malformed(format!("the broker accepted an event with the id {id:?}")),
        }
    }

    /// An event ended in the dead-letter topic.
    pub(crate) fn dead_letter(&mut self, id: &str) {
        self.counts.dead_letters += 1;
        self.example(format!("dead letter {id}"));
    }

    /// From now on the end of an epoch may be cut off.
    pub(crate) fn reader_was_killed(&mut self) {
        self.reader_killed = true;
    }

    /// A message arrived at the hub.
    pub(crate) fn arrived(&mut self, message: &HubMessage<'_>) {
        let Some(body) = message.body else {
            return self.malformed(format!("message {} is not JSON", message.index));
        };
        if let Err(problem) = self.arrived_event(message.received_us, body.get()) {
            self.malformed(format!("message {}: {problem}", message.index));
        }
    }

    fn arrived_event(&mut self, received_us: i64, body: &str) -> Result<(), String> {
        let envelope = Envelope::parse(body.as_bytes()).map_err(|error| error.to_string())?;
        if envelope.kind != MEASUREMENTS_TYPE {
            return Err(format!("unexpected type {}", envelope.kind));
        }
        let (stream, sequence) = event_id::parse(&envelope.id)
            .ok_or_else(|| format!("unexpected id {}", envelope.id))?;
        let data = envelope.data.ok_or("no data")?;
        let event: Measurements = serde_json::from_str(data.get())
            .map_err(|error| format!("data of {}: {error}", envelope.id))?;
        let consistent = event.device == stream.device
            && event.group == stream.group
            && event.epoch == stream.epoch
            && event.sequence == sequence
            && envelope.sequence == Some(sequence)
            && envelope.subject.as_deref() == Some(&format!("{}/{}", stream.device, stream.group))
            && envelope.source.rsplit('/').next() == Some(&stream.module);
        if !consistent {
            return Err(format!(
                "{}: id, attributes and data contradict each other",
                envelope.id
            ));
        }
        let at = OffsetDateTime::parse(&event.timestamp, &Rfc3339)
            .map(SystemTime::from)
            .map_err(|error| format!("{}: timestamp: {error}", envelope.id))?;

        let content = self.hasher.hash_one(body);
        if !self
            .streams
            .entry(stream.clone())
            .or_default()
            .delivered
            .insert(sequence)
        {
            self.counts.duplicates += 1;
            let known = self.contents.get(&(stream, sequence));
            return match known {
                Some(first) if *first != content => Err(format!(
                    "{} arrived twice with different content",
                    envelope.id
                )),
                _ => Ok(()),
            };
        }
        self.remember((stream, sequence), content);
        self.counts.events_delivered += 1;
        let received = UNIX_EPOCH + Duration::from_micros(received_us.max(0).unsigned_abs());
        let latency = received.duration_since(at).unwrap_or_default();
        self.latencies
            .add(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.first_arrival = Some(
            self.first_arrival
                .map_or(received, |first| first.min(received)),
        );
        self.newest_event = Some(self.newest_event.map_or(at, |newest| newest.max(at)));

        let count = self.values.check(&event, at);
        self.counts.values_checked += count.checked;
        self.counts.values_bad_quality += count.bad_quality;
        self.counts.values_wrong += count.wrong.len() as u64;
        for wrong in count.wrong {
            self.example(wrong);
        }
        self.show(event, at);
        Ok(())
    }

    fn remember(&mut self, key: (StreamKey, u64), content: u64) {
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.contents.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.contents.insert(key, content);
    }

    fn show(&mut self, event: Measurements, at: SystemTime) {
        let view = self
            .devices
            .entry(event.device)
            .or_insert_with(|| DeviceView {
                at,
                good: 0,
                bad: None,
                values: BTreeMap::new(),
            });
        if at < view.at {
            return;
        }
        view.at = at;
        view.good = event.values.len();
        view.bad = event.bad.into_values().next();
        view.values.extend(event.values);
    }

    fn malformed(&mut self, words: String) {
        self.counts.malformed += 1;
        self.example(words);
    }

    fn example(&mut self, words: String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(words);
        }
    }

    /// Everything counted so far, and the gaps as they are now.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut verdict = self.counts.clone();
        for (key, sequences) in &self.streams {
            let last = sequences.accepted.last().max(sequences.delivered.last());
            verdict.events_read += last;
            let cut = self.reader_killed && !self.is_newest_epoch(key);
            for sequence in sequences.delivered.gaps(last) {
                if cut && !sequences.accepted.contains(sequence) {
                    verdict.never_accepted += 1;
                } else {
                    verdict.missing += 1;
                }
            }
        }
        verdict.latency_ms_p50 = self.latencies.quantile_ms(0.50);
        verdict.latency_ms_p99 = self.latencies.quantile_ms(0.99);
        verdict
    }

    /// Streams sort by module and then by epoch, and epochs sort by their start.
    fn is_newest_epoch(&self, key: &StreamKey) -> bool {
        self.streams
            .keys()
            .rev()
            .find(|other| other.module == key.module)
            .is_some_and(|newest| newest.epoch == key.epoch)
    }

    /// Events that the broker accepted and that have not arrived.
    pub(crate) fn outstanding(&self) -> u64 {
        self.streams
            .values()
            .map(|sequences| {
                sequences
                    .delivered
                    .gaps(sequences.accepted.last())
                    .filter(|sequence| sequences.accepted.contains(*sequence))
                    .count() as u64
            })
            .sum()
    }

    /// Forgets the latencies so far.
    pub(crate) fn measure_latencies_from_now(&mut self) {
        self.latencies = Latencies::default();
    }

    pub(crate) fn values_checked(&self) -> u64 {
        self.counts.values_checked
    }

    /// The latest time of any event that arrived.
    pub(crate) fn newest_event(&self) -> Option<SystemTime> {
        self.newest_event
    }

    /// When the first event arrived at the hub.
    pub(crate) fn first_arrival(&self) -> Option<SystemTime> {
        self.first_arrival
    }

    pub(crate) fn devices(&self) -> BTreeMap<String, DeviceView> {
        self.devices.clone()
    }

    /// Faults in words, the first few, and the first few events that are missing.
    pub(crate) fn examples(&self) -> Vec<String> {
        let missing = self.streams.iter().flat_map(|(key, sequences)| {
            let last = sequences.accepted.last().max(sequences.delivered.last());
            sequences.delivered.gaps(last).map(move |sequence| {
                let accepted = sequences.accepted.contains(sequence);
                format!(
                    "not delivered: {}/{}/{}/{}/{sequence} ({})",
                    key.module,
                    key.device,
                    key.group,
                    key.epoch,
                    if accepted {
                        "the broker had accepted it"
                    } else {
                        "the broker never had it"
                    }
                )
            })
        });
        self.examples
            .iter()
            .cloned()
            .chain(missing.take(EXAMPLES))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use field_simulator::{Plan, expected};
    use measurement::{Epoch, Event, EventTemplate, Reading, StreamIdentity, Value as TagValue};
    use serde_json::value::RawValue;

    use super::*;
    use crate::system::Plant;

    const PLAN: &str = "
step: 200ms
devices:
  - name: device-1
    tcp: {listen: \"127.0.0.1:0\"}
    unit: 1
    points: [{name: r0, table: holding-register, address: 0, type: u16}]
";

    fn checker() -> Checker {
        let plan: Plan = serde_yaml_ng::from_str(PLAN).unwrap();
        let plant = Plant::load(1, 1, Duration::from_millis(100));
        Checker::new(ValueCheck::new(plan, &plant, Duration::from_secs(1)))
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap()
    }

    fn right_value(at: OffsetDateTime) -> Reading {
        let plan: Plan = serde_yaml_ng::from_str(PLAN).unwrap();
        let device = &plan.devices[0];
        let step = plan.step_at(SystemTime::from(at));
        let value = expected(device, &device.points[0], step)
            .to_json()
            .as_u64()
            .unwrap();
        Reading::Good(TagValue::UInt(value))
    }

    fn event(epoch: &Epoch, sequence: u64, reading: &Reading) -> Event {
        let identity = StreamIdentity {
            appliance: "demo".to_owned(),
            module: "modbus-reader".to_owned(),
            device: "device-1".to_owned(),
            group: "load".to_owned(),
        };
        EventTemplate::new(&identity, epoch, &["r0"]).render(sequence, now(), iter::once(reading))
    }

    fn arrive(checker: &mut Checker, event: &Event, latency: Duration) {
        let body: Box<RawValue> = serde_json::from_slice(&event.body).unwrap();
        let received = SystemTime::from(now()) + latency;
        let received_us = received.duration_since(UNIX_EPOCH).unwrap().as_micros();
        checker.arrived(&HubMessage {
            index: 1,
            received_us: i64::try_from(received_us).unwrap(),
            body: Some(&body),
        });
    }

    fn deliver(checker: &mut Checker, epoch: &Epoch, sequences: &[u64]) {
        for sequence in sequences {
            arrive(
                checker,
                &event(epoch, *sequence, &right_value(now())),
                Duration::from_millis(20),
            );
        }
    }

    fn accept(checker: &mut Checker, epoch: &Epoch, sequences: &[u64]) {
        for sequence in sequences {
            checker.accepted(&format!(
                "modbus-reader/device-1/load/{}/{sequence}",
                epoch.as_str()
            ));
        }
    }

    #[test]
    fn a_complete_stream_is_good() {
        let mut checker = checker();
        let epoch = Epoch::new();
        accept(&mut checker, &epoch, &[1, 2, 3]);
        assert_eq!(checker.outstanding(), 3);
        deliver(&mut checker, &epoch, &[2, 1, 3]);
        let verdict = checker.verdict();
        assert_eq!(verdict.events_read, 3);
        assert_eq!(verdict.events_delivered, 3);
        assert_eq!(
            (verdict.missing, verdict.duplicates, verdict.malformed),
            (0, 0, 0)
        );
        assert_eq!((verdict.values_checked, verdict.values_wrong), (3, 0));
        assert!((20.0..21.0).contains(&verdict.latency_ms_p50.unwrap()));
        assert_eq!(checker.outstanding(), 0);
        assert!(checker.newest_event().is_some() && checker.first_arrival().is_some());
    }

    #[test]
    fn gaps_are_missing_at_the_start_in_the_middle_and_at_the_end() {
        let mut checker = checker();
        let epoch = Epoch::new();
        deliver(&mut checker, &epoch, &[2, 4]);
        accept(&mut checker, &epoch, &[5]);
        // 1 and 3 by their number, 5 by the ledger.
        assert_eq!(checker.verdict().missing, 3);
        assert_eq!(checker.outstanding(), 1);
        assert_eq!(checker.examples().len(), 3);
    }

    #[test]
    fn a_killed_reader_excuses_only_what_was_not_accepted_in_its_last_epoch() {
        let mut checker = checker();
        let first = Epoch::new();
        accept(&mut checker, &first, &[1, 2, 4]);
        deliver(&mut checker, &first, &[1, 2, 6]);
        assert_eq!(checker.verdict().missing, 3, "3, 4 and 5");
        checker.reader_was_killed();
        assert_eq!(checker.verdict().missing, 3, "the epoch has not ended yet");
        let second = iter::repeat_with(Epoch::new)
            .find(|epoch| epoch.as_str() > first.as_str())
            .unwrap();
        deliver(&mut checker, &second, &[1, 3]);
        let verdict = checker.verdict();
        assert_eq!(verdict.never_accepted, 2, "3 and 5");
        assert_eq!(verdict.missing, 2, "4 of the first epoch, 2 of the second");
    }

    #[test]
    fn duplicates_count_once_and_must_be_equal() {
        let mut checker = checker();
        let epoch = Epoch::new();
        deliver(&mut checker, &epoch, &[1, 1]);
        let verdict = checker.verdict();
        assert_eq!(
            (
                verdict.events_delivered,
                verdict.duplicates,
                verdict.malformed
            ),
            (1, 1, 0)
        );
        let other = event(&epoch, 1, &Reading::Bad(measurement::BadReason::Timeout));
        arrive(&mut checker, &other, Duration::ZERO);
        let verdict = checker.verdict();
        assert_eq!((verdict.duplicates, verdict.malformed), (2, 1));
    }

    #[test]
    fn wrong_old_and_bad_values_are_told_apart() {
        let mut checker = checker();
        let epoch = Epoch::new();
        let step = Duration::from_millis(200);
        // Read up to time-out plus one step before the event: right.
        for (sequence, age) in [(1, 0), (2, 3), (3, 6)] {
            let old = right_value(now() - step * age);
            arrive(&mut checker, &event(&epoch, sequence, &old), Duration::ZERO);
        }
        assert_eq!(checker.verdict().values_wrong, 0);
        arrive(
            &mut checker,
            &event(&epoch, 4, &right_value(now() - step * 20)),
            Duration::ZERO,
        );
        assert_eq!(checker.verdict().values_wrong, 1);
        let bad = Reading::Bad(measurement::BadReason::Timeout);
        arrive(&mut checker, &event(&epoch, 5, &bad), Duration::ZERO);
        let verdict = checker.verdict();
        assert_eq!(
            (
                verdict.values_checked,
                verdict.values_wrong,
                verdict.values_bad_quality
            ),
            (4, 1, 1)
        );
    }

    #[test]
    fn an_absent_tag_is_wrong() {
        let mut checker = checker();
        let epoch = Epoch::new();
        let complete = event(&epoch, 1, &right_value(now()));
        let mut document: Value = serde_json::from_slice(&complete.body).unwrap();
        document["data"]["values"] = serde_json::json!({});
        let body = bytes::Bytes::from(document.to_string());
        arrive(
            &mut checker,
            &Event {
                id: complete.id,
                body,
            },
            Duration::ZERO,
        );
        assert_eq!(checker.verdict().values_wrong, 1);
    }

    #[test]
    fn what_is_no_measurement_is_malformed() {
        let mut checker = checker();
        checker.arrived(&HubMessage {
            index: 1,
            received_us: 0,
            body: None,
        });
        checker.accepted("nonsense");
        let complete = event(&Epoch::new(), 1, &right_value(now()));
        let text = String::from_utf8(complete.body.to_vec()).unwrap();
        for (from, to) in [
            ("device-1/load\"", "device-2/load\""),
            ("\"sequence\":1", "\"sequence\":2"),
            (".v1", ".v9"),
        ] {
            let body: Box<RawValue> = serde_json::from_str(&text.replace(from, to)).unwrap();
            checker.arrived(&HubMessage {
                index: 2,
                received_us: 0,
                body: Some(&body),
            });
        }
        checker.dead_letter("x");
        let verdict = checker.verdict();
        assert_eq!(
            (
                verdict.malformed,
                verdict.dead_letters,
                verdict.events_delivered
            ),
            (5, 1, 0)
        );
    }
}
