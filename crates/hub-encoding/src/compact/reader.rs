//! Reads compact messages, from anybody: every count is checked before it is believed.

use std::collections::HashMap;

use serde::Deserialize;

use super::column::Kind;
use super::cursor::Cursor;
use super::form::{Block, Document, Named, Part};
use super::{DATA_CONTENT_TYPE, DERIVED, VERSION};
use crate::decode::DecodeError;
use crate::event::module_of;
use crate::json::{Text, push_integer, push_string};
use crate::{EVENT_BYTES, EVENT_COST};

/// Most cells of one message: a message of a batch has fewer, because an empty one counts five bytes of an open block there.
const CELLS: u64 = 256 << 20;

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What is known of a stream after its first block.
struct Stream {
    source: String,
    device: String,
    group: String,
    epoch: String,
    absent: [bool; DERIVED.len()],
    /// `"name":` of each tag.
    tags: Vec<Box<[u8]>>,
}

/// The events of a message that says it is compact.
pub(crate) fn read(text: &[u8]) -> Result<Vec<String>, DecodeError> {
    let Version { version } = serde_json::from_slice(text)?;
    if version > VERSION {
        return Err(DecodeError::Version(version));
    }
    let Document { blocks } = serde_json::from_slice(text)?;
    let mut streams = HashMap::new();
    let mut events = Events::default();
    for block in &blocks {
        read_block(block, &mut streams, &mut events)?;
    }
    Ok(events.done)
}

/// The events so far, and what may still come.
#[derive(Default)]
struct Events {
    done: Vec<String>,
    bytes: usize,
    cells: u64,
}

impl Events {
    fn add(&mut self, event: String) -> Result<(), DecodeError> {
        self.bytes += event.len() + EVENT_COST;
        if self.bytes > EVENT_BYTES {
            return Err(DecodeError::TooManyEvents);
        }
        self.done.push(event);
        Ok(())
    }
}

pub(super) fn invalid(what: impl Into<String>) -> DecodeError {
    DecodeError::Compact(what.into())
}

fn read_block(
    block: &Block<'_>,
    streams: &mut HashMap<u64, Stream>,
    events: &mut Events,
) -> Result<(), DecodeError> {
    let mut rows = Vec::with_capacity(block.streams.len());
    for part in &block.streams {
        let stream = streams.entry(part.stream);
        match stream {
            std::collections::hash_map::Entry::Occupied(mut known) => {
                known.get_mut().name_tags(part)
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                let mut stream = Stream::new(part)?;
                stream.name_tags(part);
                place.insert(stream);
            }
        }
        let columns = 2 + part.values.len() + part.attributes.0.len();
        let columns = columns + part.bad.as_ref().map_or(0, |bad| bad.0.len());
        let columns = columns + part.timestamps.as_ref().map_or(0, |times| times.0.len());
        events.cells = events
            .cells
            .saturating_add((columns as u64).saturating_mul(part.sequence.len() as u64));
        if events.cells > CELLS {
            return Err(DecodeError::TooManyEvents);
        }
        rows.push(Rows::new(part)?);
    }
    let mut others = block.other.iter();
    let mut next = |place: Option<usize>, events: &mut Events| -> Result<(), DecodeError> {
        let event = match place {
            Some(place) => {
                let rows = rows
                    .get_mut(place)
                    .ok_or_else(|| invalid("`order` names a stream that is not in the block"))?;
                let stream = streams
                    .get(&rows.part.stream)
                    .ok_or_else(|| invalid("a stream is not defined"))?;
                rows.next(stream)?
            }
            None => {
                let other = others
                    .next()
                    .ok_or_else(|| invalid("`order` has more events than `other`"))?;
                other.get().to_owned()
            }
        };
        events.add(event)
    };
    if let Some(order) = &block.order {
        for place in order {
            next(usize::try_from(*place).ok(), events)?;
        }
    } else {
        for (place, part) in block.streams.iter().enumerate() {
            for _ in 0..part.sequence.len() {
                next(Some(place), events)?;
            }
        }
        for _ in &block.other {
            next(None, events)?;
        }
    }
    if others.next().is_some() || rows.iter().any(|rows| rows.row < rows.part.sequence.len()) {
        return Err(invalid("`order` has fewer events than the block"));
    }
    Ok(())
}

impl Stream {
    fn new<'a>(part: &Part<'a>) -> Result<Self, DecodeError> {
        let text = |text: &Option<Text<'a>>, name: &str| {
            let number = part.stream;
            text.as_ref()
                .map(|text| text.0.clone().into_owned())
                .ok_or_else(|| {
                    invalid(format!(
                        "stream {number} has no `{name}` where it comes first"
                    ))
                })
        };
        Ok(Self {
            source: text(&part.source, "source")?,
            device: text(&part.device, "device")?,
            group: text(&part.group, "group")?,
            epoch: text(&part.epoch, "epoch")?,
            absent: DERIVED.map(|name| part.absent.iter().any(|absent| absent.0 == name)),
            tags: Vec::new(),
        })
    }

    fn name_tags(&mut self, part: &Part<'_>) {
        for Text(tag) in &part.tags {
            let mut key = Vec::with_capacity(tag.len() + 3);
            push_string(&mut key, tag);
            key.push(b':');
            self.tags.push(key.into());
        }
    }
}

/// The events of a stream in a block, one after the other.
struct Rows<'p, 'a> {
    part: &'p Part<'a>,
    row: usize,
    sequence: i128,
    time: Cursor<'p, 'a>,
    timestamp: Option<Cursor<'p, 'a>>,
    attributes: Vec<(&'p str, Cursor<'p, 'a>)>,
    values: Vec<Option<Cursor<'p, 'a>>>,
    bad: Vec<(&'p str, Cursor<'p, 'a>)>,
    timestamps: Vec<(&'p str, Cursor<'p, 'a>)>,
    cell: Vec<u8>,
}

impl<'p, 'a> Rows<'p, 'a> {
    fn new(part: &'p Part<'a>) -> Result<Self, DecodeError> {
        let rows = part.sequence.len();
        let named = |columns: Option<&'p Named<'a>>, kind| {
            let columns = columns.map_or(&[][..], |columns| &columns.0);
            columns
                .iter()
                .map(|(name, column)| Ok((name.0.as_ref(), Cursor::new(column, rows, kind)?)))
                .collect::<Result<Vec<_>, DecodeError>>()
        };
        Ok(Self {
            part,
            row: 0,
            sequence: 0,
            time: Cursor::new(&part.time, rows, Kind::Time)?,
            timestamp: part
                .timestamp
                .as_ref()
                .map(|column| Cursor::new(column, rows, Kind::Time))
                .transpose()?,
            attributes: named(Some(&part.attributes), Kind::Value)?,
            values: part
                .values
                .iter()
                .map(|column| {
                    column
                        .as_ref()
                        .map(|column| Cursor::new(column, rows, Kind::Value))
                        .transpose()
                })
                .collect::<Result<_, _>>()?,
            bad: named(part.bad.as_ref(), Kind::Value)?,
            timestamps: named(part.timestamps.as_ref(), Kind::Time)?,
            cell: Vec::new(),
        })
    }

    /// The next event, with its members in the order in which [`measurement::EventTemplate`] has them.
    fn next(&mut self, stream: &Stream) -> Result<String, DecodeError> {
        let step = self
            .part
            .sequence
            .get(self.row)
            .ok_or_else(|| invalid("`order` has more events than a stream"))?;
        self.row += 1;
        self.sequence = self
            .sequence
            .checked_add(*step)
            .filter(|sequence| u64::try_from(*sequence).is_ok())
            .ok_or_else(|| invalid("a sequence number is not one of 0 to 2^64-1"))?;
        let sequence = self.sequence;

        let mut own: [Option<Vec<u8>>; 1 + DERIVED.len()] = [const { None }; 1 + DERIVED.len()];
        let mut extensions = Vec::new();
        for (name, column) in &mut self.attributes {
            self.cell.clear();
            if !column.next(&mut self.cell)? {
                continue;
            }
            match std::iter::once("id")
                .chain(DERIVED)
                .position(|known| known == *name)
            {
                Some(place) => own[place] = Some(self.cell.clone()),
                None => {
                    extensions.push(b',');
                    push_string(&mut extensions, name);
                    extensions.push(b':');
                    extensions.extend_from_slice(&self.cell);
                }
            }
        }
        let [id, subject, partition_key, sequence_text, content_type] = own;

        let Stream {
            source,
            device,
            group,
            epoch,
            absent,
            ..
        } = stream;
        let mut out = Vec::with_capacity(512 + 24 * self.values.len());
        out.extend_from_slice(br#"{"specversion":"1.0","id":"#);
        match id {
            Some(id) => out.extend_from_slice(&id),
            None => push_string(
                &mut out,
                &format!("{}/{device}/{group}/{epoch}/{sequence}", module_of(source)),
            ),
        }
        out.extend_from_slice(br#","source":"#);
        push_string(&mut out, source);
        out.extend_from_slice(br#","type":"#);
        push_string(&mut out, measurement::MEASUREMENTS_TYPE);
        let attribute = |out: &mut Vec<u8>,
                         place: usize,
                         own: Option<Vec<u8>>,
                         derived: &dyn Fn() -> String| {
            if absent[place] {
                return;
            }
            out.extend_from_slice(b",\"");
            out.extend_from_slice(DERIVED[place].as_bytes());
            out.extend_from_slice(b"\":");
            match own {
                Some(own) => out.extend_from_slice(&own),
                None => push_string(out, &derived()),
            }
        };
        attribute(&mut out, 0, subject, &|| format!("{device}/{group}"));
        out.extend_from_slice(br#","time":"#);
        self.cell.clear();
        if !self.time.next(&mut self.cell)? {
            return Err(invalid("`time` is empty for an event"));
        }
        out.extend_from_slice(&self.cell);
        let time = std::mem::take(&mut self.cell);
        attribute(&mut out, 1, partition_key, &|| device.clone());
        attribute(&mut out, 2, sequence_text, &|| format!("{sequence:020}"));
        attribute(&mut out, 3, content_type, &|| DATA_CONTENT_TYPE.to_owned());
        out.extend_from_slice(&extensions);

        out.extend_from_slice(br#","data":{"device":"#);
        push_string(&mut out, device);
        out.extend_from_slice(br#","group":"#);
        push_string(&mut out, group);
        out.extend_from_slice(br#","epoch":"#);
        push_string(&mut out, epoch);
        out.extend_from_slice(br#","sequence":"#);
        push_integer(&mut out, sequence);
        out.extend_from_slice(br#","timestamp":"#);
        let other_time = match &mut self.timestamp {
            Some(timestamp) => timestamp.next(&mut out)?,
            None => false,
        };
        if !other_time {
            out.extend_from_slice(&time);
        }
        self.cell = time;

        out.extend_from_slice(br#","values":{"#);
        let mut comma = false;
        for (place, column) in self.values.iter_mut().enumerate() {
            let Some(column) = column else { continue };
            let start = out.len();
            if comma {
                out.push(b',');
            }
            let key = stream
                .tags
                .get(place)
                .ok_or_else(|| invalid("more columns in `values` than tags"))?;
            out.extend_from_slice(key);
            if column.next(&mut out)? {
                comma = true;
            } else {
                out.truncate(start);
            }
        }
        out.push(b'}');
        if self.part.bad.is_some() {
            out.extend_from_slice(br#","bad":"#);
            object(&mut out, &mut self.bad)?;
        }
        if self.part.timestamps.is_some() {
            out.extend_from_slice(br#","timestamps":"#);
            object(&mut out, &mut self.timestamps)?;
        }
        out.extend_from_slice(b"}}");
        // Every part of it came out of a text or was made of ASCII.
        String::from_utf8(out).map_err(|_| invalid("an event is not UTF-8"))
    }
}

fn object(out: &mut Vec<u8>, columns: &mut [(&str, Cursor<'_, '_>)]) -> Result<(), DecodeError> {
    out.push(b'{');
    let mut comma = false;
    for (name, column) in columns {
        let start = out.len();
        if comma {
            out.push(b',');
        }
        push_string(out, name);
        out.push(b':');
        if column.next(out)? {
            comma = true;
        } else {
            out.truncate(start);
        }
    }
    out.push(b'}');
    Ok(())
}
