//! Collects events as columns, in blocks.
//!
//! A block is open until its cells, counted with the most they can take, fill the room that is left. Then it is written, which makes it a
//! good deal smaller, and compressed if the message is; what is left of the room is for the next block.

use std::collections::HashMap;

use super::column::{Column, Kind, Token, Tokens};
use super::{DATA_CONTENT_TYPE, DERIVED, NAME, VERSION};
use crate::TEXT_BYTES;
use crate::bounded::Bounded;
use crate::event::{Measurement, module_of};
use crate::json::{push_integer, push_string, string_bound};

/// `null` and a comma.
const EMPTY_CELL: usize = 5;
/// Brackets, a comma and the name of a column's form.
const COLUMN_FRAME: usize = 8;
/// The names of everything that a stream may have in a block, and the number of the stream.
const STREAM_FRAME: usize = 320;
/// The names of what a block has.
const BLOCK_FRAME: usize = 48;
/// Sequence number (with its sign and comma) and place of an event.
const EVENT_FRAME: usize = 32;
const END: &[u8] = b"]}";

/// The events of a message.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    streams: Vec<Stream>,
    /// Numbers of streams by what tells them apart.
    numbers: HashMap<Vec<u8>, usize>,
    /// The stream of the last event: the next one is often of the same.
    last: usize,
    tokens: Tokens,
    /// The events of the open block: their streams, or none for those that are no measurements.
    order: Vec<Option<usize>>,
    /// The streams of the open block, in the order of their first events.
    open: Vec<usize>,
    /// Events that are no measurements, with a comma behind each.
    other: Vec<u8>,
    /// The most that the open block can take.
    bound: usize,
    blocks: usize,
    key: Vec<u8>,
    places: Vec<u32>,
}

/// The events of one device and group in one epoch that have the same attributes.
#[derive(Debug)]
struct Stream {
    source: String,
    device: String,
    group: String,
    epoch: String,
    absent: u8,
    has_bad: bool,
    has_timestamps: bool,
    defined: bool,
    tags: Vec<String>,
    places: HashMap<String, u32>,
    /// Tags that a block has named already.
    named: usize,
    // Of the open block:
    place: usize,
    sequences: Vec<u64>,
    time: Column,
    timestamp: Column,
    values: Vec<Column>,
    bad: Named,
    timestamps: Named,
    attributes: Named,
}

/// Columns by name, of those that only some of the events have.
#[derive(Debug, Default)]
struct Named(Vec<(String, Column)>);

impl Named {
    /// The place of a column. Names mostly come in the order in which they are known.
    fn find(&self, name: &str, expected: usize) -> Option<usize> {
        if self.0.get(expected).is_some_and(|(known, _)| known == name) {
            return Some(expected);
        }
        self.0.iter().position(|(known, _)| known == name)
    }

    /// The most that setting this cell adds.
    fn growth(&self, name: &str, expected: usize, token: usize, rows: usize) -> usize {
        match self.find(name, expected) {
            Some(_) => token + 1,
            None => token + 1 + string_bound(name) + COLUMN_FRAME + EMPTY_CELL * rows,
        }
    }

    fn set(&mut self, name: &str, expected: usize, row: usize, token: Token) {
        let place = self.find(name, expected).unwrap_or(self.0.len());
        if place == self.0.len() {
            self.0.push((name.to_owned(), Column::default()));
        }
        self.0[place].1.set(row, token);
    }

    fn used(&self) -> usize {
        self.0.len()
    }

    fn write(&mut self, out: &mut Vec<u8>, tokens: &Tokens, rows: usize, kind: Kind) {
        out.push(b'{');
        for (index, (name, column)) in self.0.iter_mut().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_string(out, name);
            out.push(b':');
            column.write(out, tokens, rows, kind);
        }
        out.push(b'}');
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

impl Columns {
    /// Takes an event, as columns if it is a measurement, if it fits into what is left of `bounded` for certain.
    pub(crate) fn add(
        &mut self,
        measurement: Option<&Measurement<'_>>,
        event: &[u8],
        bounded: &mut Bounded,
    ) -> bool {
        let stream = measurement.map(|measurement| self.stream(measurement));
        // Once more after the open block was written.
        for attempt in 0..2 {
            let growth = self.growth(measurement, stream, event) + self.head();
            let text = self.bound + growth + END.len();
            if bounded.text() + text > TEXT_BYTES {
                break;
            }
            if bounded.fits(text) {
                self.bound += growth;
                self.set(measurement, stream, event);
                return true;
            }
            if attempt > 0 || self.order.is_empty() {
                break;
            }
            self.forget_unused_tags(stream);
            let block = self.block();
            bounded.push(&block);
            if bounded.nearly_full() {
                break;
            }
        }
        self.forget_unused_tags(stream);
        false
    }

    /// Takes an event whatever it makes.
    pub(crate) fn add_unbounded(&mut self, measurement: Option<&Measurement<'_>>, event: &[u8]) {
        let stream = measurement.map(|measurement| self.stream(measurement));
        self.bound += self.growth(measurement, stream, event) + self.head();
        self.set(measurement, stream, event);
    }

    /// An event that was not taken leaves no tags behind: nobody has counted their names.
    fn forget_unused_tags(&mut self, stream: Option<usize>) {
        if let Some(stream) = stream.and_then(|stream| self.streams.get_mut(stream)) {
            stream.forget_unused_tags();
        }
    }

    /// The payload with everything that was added.
    pub(crate) fn finish(mut self, bounded: Bounded) -> Vec<u8> {
        let mut last = if self.order.is_empty() {
            Vec::new()
        } else {
            self.block()
        };
        last.extend_from_slice(END);
        bounded.finish(&last)
    }

    /// The stream of an event, new if need be.
    fn stream(&mut self, measurement: &Measurement<'_>) -> usize {
        let absent = absent(measurement);
        let (has_bad, has_timestamps) =
            (measurement.bad.is_some(), measurement.timestamps.is_some());
        if let Some(stream) = self.streams.get(self.last)
            && stream.group == measurement.group
            && stream.device == measurement.device
            && stream.epoch == measurement.epoch
            && stream.source == measurement.source
            && (stream.absent, stream.has_bad, stream.has_timestamps)
                == (absent, has_bad, has_timestamps)
        {
            return self.last;
        }
        self.key.clear();
        self.key
            .extend_from_slice(&[absent, u8::from(has_bad), u8::from(has_timestamps)]);
        for part in [
            &measurement.source,
            &measurement.device,
            &measurement.group,
            &measurement.epoch,
        ] {
            self.key
                .extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.key.extend_from_slice(part.as_bytes());
        }
        self.last = match self.numbers.get(&self.key) {
            Some(number) => *number,
            None => {
                let number = self.streams.len();
                self.streams.push(Stream::new(measurement, absent));
                self.numbers.insert(self.key.clone(), number);
                number
            }
        };
        self.last
    }

    /// What a block takes beside its events.
    fn head(&self) -> usize {
        if self.order.is_empty() {
            BLOCK_FRAME + NAME.len() + 40
        } else {
            0
        }
    }

    /// The most that an event adds to the open block. Looks its tags up on the way.
    fn growth(
        &mut self,
        measurement: Option<&Measurement<'_>>,
        number: Option<usize>,
        event: &[u8],
    ) -> usize {
        let stream = number.and_then(|number| self.streams.get_mut(number));
        let (Some(measurement), Some(stream)) = (measurement, stream) else {
            return event.len() + 1 + EVENT_FRAME;
        };
        let rows = stream.sequences.len();
        let mut growth = EVENT_FRAME;
        let known = stream.tags.len();
        self.places.clear();
        for (index, (name, _)) in measurement.values.iter().enumerate() {
            let place = stream.place_of(name, index);
            self.places.push(place);
        }
        for name in &stream.tags[known..] {
            growth += string_bound(name) + 1 + COLUMN_FRAME;
        }
        if rows == 0 {
            growth += STREAM_FRAME + (COLUMN_FRAME + EMPTY_CELL) * known;
            if !stream.defined {
                growth += [&stream.source, &stream.device, &stream.group, &stream.epoch]
                    .into_iter()
                    .map(|text| string_bound(text))
                    .sum::<usize>();
            }
        } else {
            // A new tag's column gets empty cells for the events before this one.
            growth += EMPTY_CELL * rows * (stream.tags.len() - known);
        }
        let values: usize = measurement
            .values
            .iter()
            .map(|(_, token)| token.len() + 1)
            .sum();
        growth += values + EMPTY_CELL * (stream.tags.len() - measurement.values.len());
        growth += measurement.time.len() + 1;
        growth += if measurement.timestamp == measurement.time {
            EMPTY_CELL
        } else {
            measurement.timestamp.len() + 1
        };
        if rows > 0 && measurement.timestamp != measurement.time && stream.timestamp.is_empty() {
            growth += EMPTY_CELL * rows;
        }
        growth +=
            EMPTY_CELL * (stream.bad.used() + stream.timestamps.used() + stream.attributes.used());
        for (index, (name, token)) in measurement.bad.iter().flatten().enumerate() {
            growth += stream.bad.growth(name, index, token.len(), rows);
        }
        for (index, (name, token)) in measurement.timestamps.iter().flatten().enumerate() {
            growth += stream.timestamps.growth(name, index, token.len(), rows);
        }
        for (name, token) in &measurement.extensions {
            growth += stream.attributes.growth(name, 0, token.len(), rows);
        }
        for (name, text) in overrides(measurement) {
            growth += stream.attributes.growth(name, 0, string_bound(text), rows);
        }
        growth
    }

    fn set(&mut self, measurement: Option<&Measurement<'_>>, number: Option<usize>, event: &[u8]) {
        let (Some(measurement), Some(number)) = (measurement, number) else {
            self.other.extend_from_slice(event);
            self.other.push(b',');
            self.order.push(None);
            return;
        };
        let Some(stream) = self.streams.get_mut(number) else {
            return;
        };
        let row = stream.sequences.len();
        if row == 0 {
            stream.place = self.open.len();
            self.open.push(number);
        }
        self.order.push(Some(number));
        let tokens = &mut self.tokens;
        for ((_, text), place) in measurement.values.iter().zip(&self.places) {
            stream.values[*place as usize].set(row, tokens.add(text));
        }
        for (index, (name, text)) in measurement.bad.iter().flatten().enumerate() {
            stream.bad.set(name, index, row, tokens.add(text));
        }
        for (index, (name, text)) in measurement.timestamps.iter().flatten().enumerate() {
            stream.timestamps.set(name, index, row, tokens.add(text));
        }
        for (name, text) in &measurement.extensions {
            stream.attributes.set(name, 0, row, tokens.add(text));
        }
        let mut string = Vec::new();
        for (name, text) in overrides(measurement) {
            string.clear();
            push_string(&mut string, text);
            let token = tokens.add(std::str::from_utf8(&string).unwrap_or_default());
            stream.attributes.set(name, 0, row, token);
        }
        stream.time.set(row, tokens.add(measurement.time));
        if measurement.timestamp != measurement.time {
            stream.timestamp.set(row, tokens.add(measurement.timestamp));
        }
        stream.sequences.push(measurement.sequence);
    }

    /// Writes the open block and begins another one.
    fn block(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bound / 2);
        if self.blocks == 0 {
            out.extend_from_slice(br#"{"encoding":""#);
            out.extend_from_slice(NAME.as_bytes());
            out.extend_from_slice(br#"","version":"#);
            push_integer(&mut out, VERSION);
            out.extend_from_slice(br#","blocks":["#);
        } else {
            out.push(b',');
        }
        out.push(b'{');
        if self.interleaved() {
            out.extend_from_slice(br#""order":["#);
            for (index, stream) in self.order.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                match stream.and_then(|stream| self.streams.get(stream)) {
                    Some(stream) => push_integer(&mut out, stream.place),
                    None => out.extend_from_slice(b"-1"),
                }
            }
            out.extend_from_slice(b"],");
        }
        out.extend_from_slice(br#""streams":["#);
        for (index, number) in self.open.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if let Some(stream) = self.streams.get_mut(*number) {
                stream.write(&mut out, *number, &self.tokens);
            }
        }
        out.push(b']');
        if !self.other.is_empty() {
            self.other.pop();
            out.extend_from_slice(br#","other":["#);
            out.extend_from_slice(&self.other);
            out.push(b']');
            self.other.clear();
        }
        out.push(b'}');
        debug_assert!(
            out.len() <= self.bound,
            "{} above {}",
            out.len(),
            self.bound
        );
        self.open.clear();
        self.order.clear();
        self.tokens.clear();
        self.bound = 0;
        self.blocks += 1;
        out
    }

    /// Whether the events are in another order than stream by stream, the others last.
    fn interleaved(&self) -> bool {
        let place = |stream: &Option<usize>| {
            stream
                .and_then(|stream| self.streams.get(stream))
                .map_or(usize::MAX, |stream| stream.place)
        };
        !self.order.is_sorted_by_key(place)
    }
}

impl Stream {
    fn new(measurement: &Measurement<'_>, absent: u8) -> Self {
        Self {
            source: measurement.source.clone().into_owned(),
            device: measurement.device.clone().into_owned(),
            group: measurement.group.clone().into_owned(),
            epoch: measurement.epoch.clone().into_owned(),
            absent,
            has_bad: measurement.bad.is_some(),
            has_timestamps: measurement.timestamps.is_some(),
            defined: false,
            tags: Vec::new(),
            places: HashMap::new(),
            named: 0,
            place: 0,
            sequences: Vec::new(),
            time: Column::default(),
            timestamp: Column::default(),
            values: Vec::new(),
            bad: Named::default(),
            timestamps: Named::default(),
            attributes: Named::default(),
        }
    }

    /// The column of a tag, a new one if need be. Tags mostly come in the order in which they are known.
    fn place_of(&mut self, name: &str, expected: usize) -> u32 {
        if self.tags.get(expected).is_some_and(|tag| tag == name) {
            return expected as u32;
        }
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.tags.len() as u32;
        self.tags.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        self.values.push(Column::default());
        place
    }

    /// Takes back the tags that no event of this message has used.
    fn forget_unused_tags(&mut self) {
        while self.tags.len() > self.named && self.values.last().is_some_and(Column::is_empty) {
            self.values.pop();
            if let Some(tag) = self.tags.pop() {
                self.places.remove(&tag);
            }
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, number: usize, tokens: &Tokens) {
        let rows = self.sequences.len();
        out.extend_from_slice(br#"{"stream":"#);
        push_integer(out, number);
        if !std::mem::replace(&mut self.defined, true) {
            let parts = [
                ("source", &self.source),
                ("device", &self.device),
                ("group", &self.group),
                ("epoch", &self.epoch),
            ];
            for (name, text) in parts {
                out.extend_from_slice(format!(",\"{name}\":").as_bytes());
                push_string(out, text);
            }
            if self.absent != 0 {
                let names = DERIVED
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| self.absent & (1 << bit) != 0);
                let names: Vec<&str> = names.map(|(_, name)| *name).collect();
                out.extend_from_slice(
                    format!(",\"absent\":[\"{}\"]", names.join("\",\"")).as_bytes(),
                );
            }
        }
        if self.named < self.tags.len() {
            out.extend_from_slice(br#","tags":["#);
            for (index, tag) in self.tags[self.named..].iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push_string(out, tag);
            }
            out.push(b']');
            self.named = self.tags.len();
        }
        out.extend_from_slice(br#","sequence":["#);
        let mut last = 0i128;
        for (index, sequence) in self.sequences.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_integer(out, i128::from(*sequence) - last);
            last = i128::from(*sequence);
        }
        out.extend_from_slice(br#"],"time":"#);
        self.time.write(out, tokens, rows, Kind::Time);
        if !self.timestamp.is_empty() {
            out.extend_from_slice(br#","timestamp":"#);
            self.timestamp.write(out, tokens, rows, Kind::Time);
        }
        if self.attributes.used() > 0 {
            out.extend_from_slice(br#","attributes":"#);
            self.attributes.write(out, tokens, rows, Kind::Value);
        }
        out.extend_from_slice(br#","values":["#);
        for (index, column) in self.values.iter_mut().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if column.is_empty() {
                out.extend_from_slice(b"null");
            } else {
                column.write(out, tokens, rows, Kind::Value);
            }
            column.clear();
        }
        out.push(b']');
        if self.has_bad {
            out.extend_from_slice(br#","bad":"#);
            self.bad.write(out, tokens, rows, Kind::Value);
        }
        if self.has_timestamps {
            out.extend_from_slice(br#","timestamps":"#);
            self.timestamps.write(out, tokens, rows, Kind::Time);
        }
        out.push(b'}');
        self.sequences.clear();
        self.time.clear();
        self.timestamp.clear();
        self.attributes.clear();
        self.bad.clear();
        self.timestamps.clear();
    }
}

/// A bit for each of [`DERIVED`] that the event does not have.
fn absent(measurement: &Measurement<'_>) -> u8 {
    [
        &measurement.subject,
        &measurement.partition_key,
        &measurement.sequence_text,
        &measurement.content_type,
    ]
    .into_iter()
    .enumerate()
    .map(|(bit, attribute)| u8::from(attribute.is_none()) << bit)
    .sum()
}

/// The attributes that are not what follows from the others.
fn overrides<'m>(
    measurement: &'m Measurement<'_>,
) -> impl Iterator<Item = (&'static str, &'m str)> {
    let id = (!is_own_id(measurement)).then_some(("id", measurement.id.as_ref()));
    let subject = measurement.subject.as_deref().filter(|subject| {
        let rest = subject.strip_prefix(measurement.device.as_ref());
        rest.and_then(|rest| rest.strip_prefix('/')) != Some(measurement.group.as_ref())
    });
    let partition_key = measurement
        .partition_key
        .as_deref()
        .filter(|key| *key != measurement.device);
    let sequence = measurement
        .sequence_text
        .as_deref()
        .filter(|text| !is_padded(text, measurement.sequence));
    let content_type = measurement
        .content_type
        .as_deref()
        .filter(|text| *text != DATA_CONTENT_TYPE);
    let derived = DERIVED
        .into_iter()
        .zip([subject, partition_key, sequence, content_type]);
    id.into_iter()
        .chain(derived.filter_map(|(name, text)| text.map(|text| (name, text))))
}

/// Whether the id is `{module}/{device}/{group}/{epoch}/{sequence}`.
fn is_own_id(measurement: &Measurement<'_>) -> bool {
    let mut rest = measurement.id.as_ref();
    for part in [
        module_of(&measurement.source),
        &measurement.device,
        &measurement.group,
        &measurement.epoch,
    ] {
        match rest
            .strip_prefix(part)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest == itoa::Buffer::new().format(measurement.sequence)
}

/// Whether a text is the sequence number with zeros in front, 20 characters in all.
fn is_padded(text: &str, sequence: u64) -> bool {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(sequence);
    text.len() == 20
        && text.ends_with(digits)
        && text[..20 - digits.len()].bytes().all(|byte| byte == b'0')
}
