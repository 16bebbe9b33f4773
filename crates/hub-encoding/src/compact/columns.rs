//! Collects events as columns, in blocks.
//!
//! A block is open until its cells, counted with the most they can take, fill the room that is left. Then it is written, which makes it a
//! good deal smaller, and compressed if the message is; what is left of the room is for the next block.

use std::collections::HashMap;

use super::column::Tokens;
use super::stream::{COLUMN_FRAME, EMPTY_CELL, Stream, absent, overrides};
use super::{NAME, VERSION};
use crate::TEXT_BYTES;
use crate::bounded::Bounded;
use crate::event::Measurement;
use crate::json::{push_integer, push_string, string_bound};

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
