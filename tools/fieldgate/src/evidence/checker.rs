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
                self.streams.entry(stream).or_default().accepted.insert(sequence);
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
        let (stream, sequence) =
            event_id::parse(&envelope.id).ok_or_else(|| format!("unexpected id {}", envelope.id))?;
        let data = envelope.data.ok_or("no data")?;
        let event: Measurements =
            serde_json::from_str(data.get()).map_err(|error| format!("data of {}: {error}", envelope.id))?;
        let consistent = event.device == stream.device
            && event.group == stream.group
            && event.epoch == stream.epoch
            && event.sequence == sequence
            && envelope.sequence == Some(sequence)
            && envelope.subject.as_deref() == Some(&format!("{}/{}", stream.device, stream.group))
            && envelope.source.rsplit('/').next() == Some(&stream.module);
        if !consistent {
            return Err(format!("{}: id, attributes and data contradict each other", envelope.id));
        }
        let at = OffsetDateTime::parse(&event.timestamp, &Rfc3339)
            .map(SystemTime::from)
            .map_err(|error| format!("{}: timestamp: {error}", envelope.id))?;

        let content = self.hasher.hash_one(body);
        if !self.streams.entry(stream.clone()).or_default().delivered.insert(sequence) {
            self.counts.duplicates += 1;
            let known = self.contents.get(&(stream, sequence));
            return match known {
                Some(first) if *first != content => {
                    Err(format!("{} arrived twice with different content", envelope.id))
                }
                _ => Ok(()),
            };
        }
        self.remember((stream, sequence), content);
        self.counts.events_delivered += 1;
        let received = UNIX_EPOCH + Duration::from_micros(received_us.max(0).unsigned_abs());
        let latency = received.duration_since(at).unwrap_or_default();
        self.latencies.add(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.first_arrival = Some(self.first_arrival.map_or(received, |first| first.min(received)));
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
        let view = self.devices.entry(event.device).or_insert_with(|| DeviceView {
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

    /// Events that arrived, each counted once.
    pub(crate) fn delivered(&self) -> u64 {
        self.counts.events_delivered
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
                    if accepted { "the broker had accepted it" } else { "the broker never had it" }
                )
            })
        });
        self.examples.iter().cloned().chain(missing.take(EXAMPLES)).collect()
    }

    /// Events that the broker accepted, each counted once.
    pub(crate) fn accepted_count(&self) -> u64 {
        self.streams.values().map(|sequences| sequences.accepted.len()).sum()
    }
}
