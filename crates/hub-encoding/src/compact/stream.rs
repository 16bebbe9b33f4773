//! The events of one device and group in the open block, and what is known of them from earlier ones.

use std::collections::HashMap;

use super::column::{Column, Kind, Token, Tokens};
use super::{DATA_CONTENT_TYPE, DERIVED};
use crate::event::{Measurement, module_of};
use crate::json::{push_integer, push_string, string_bound};

/// `null` and a comma.
pub(super) const EMPTY_CELL: usize = 5;
/// Brackets, a comma and the name of a column's form.
pub(super) const COLUMN_FRAME: usize = 8;
/// The events of one device and group in one epoch that have the same attributes.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) source: String,
    pub(super) device: String,
    pub(super) group: String,
    pub(super) epoch: String,
    pub(super) absent: u8,
    pub(super) has_bad: bool,
    pub(super) has_timestamps: bool,
    pub(super) defined: bool,
    pub(super) tags: Vec<String>,
    pub(super) places: HashMap<String, u32>,
    /// Tags that a block has named already.
    pub(super) named: usize,
    // Of the open block:
    pub(super) place: usize,
    pub(super) sequences: Vec<u64>,
    pub(super) time: Column,
    pub(super) timestamp: Column,
    pub(super) values: Vec<Column>,
    pub(super) bad: Named,
    pub(super) timestamps: Named,
    pub(super) attributes: Named,
}

/// Columns by name, of those that only some of the events have.
#[derive(Debug, Default)]
pub(super) struct Named(Vec<(String, Column)>);

impl Named {
    /// The place of a column. Names mostly come in the order in which they are known.
    fn find(&self, name: &str, expected: usize) -> Option<usize> {
        if self.0.get(expected).is_some_and(|(known, _)| known == name) {
            return Some(expected);
        }
        self.0.iter().position(|(known, _)| known == name)
    }

    /// The most that setting this cell adds.
    pub(super) fn growth(&self, name: &str, expected: usize, token: usize, rows: usize) -> usize {
        match self.find(name, expected) {
            Some(_) => token + 1,
            None => token + 1 + string_bound(name) + COLUMN_FRAME + EMPTY_CELL * rows,
        }
    }

    pub(super) fn set(&mut self, name: &str, expected: usize, row: usize, token: Token) {
        let place = self.find(name, expected).unwrap_or(self.0.len());
        if place == self.0.len() {
            self.0.push((name.to_owned(), Column::default()));
        }
        self.0[place].1.set(row, token);
    }

    pub(super) fn used(&self) -> usize {
        self.0.len()
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>, tokens: &Tokens, rows: usize, kind: Kind) {
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

impl Stream {
    pub(super) fn new(measurement: &Measurement<'_>, absent: u8) -> Self {
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
    pub(super) fn place_of(&mut self, name: &str, expected: usize) -> u32 {
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
    pub(super) fn forget_unused_tags(&mut self) {
        while self.tags.len() > self.named && self.values.last().is_some_and(Column::is_empty) {
            self.values.pop();
            if let Some(tag) = self.tags.pop() {
                self.places.remove(&tag);
            }
        }
    }

    pub(super) fn write(&mut self, out: &mut Vec<u8>, number: usize, tokens: &Tokens) {
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
pub(super) fn absent(measurement: &Measurement<'_>) -> u8 {
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
pub(super) fn overrides<'m>(
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
