//! Renders the measurement events of one stream; everything constant is rendered once.

use std::cell::RefCell;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::json::{format_micros, format_sequence, push_string};
use crate::{
    BadReason, Epoch, Event, MEASUREMENTS_TYPE, Reading, StreamIdentity, Value, event_source,
};

/// Renders the events of one stream (device and group) in one epoch. Built once, used for every cycle.
#[derive(Debug)]
pub struct EventTemplate {
    /// `{module}/{device}/{group}/{epoch}/`
    id_prefix: String,
    /// From the opening brace to the id's sequence.
    head: Box<[u8]>,
    /// From the id's closing quote to the time.
    after_id: Box<[u8]>,
    /// From the time's closing quote to the sequence attribute.
    after_time: Box<[u8]>,
    /// From the sequence attribute's closing quote to the sequence in `data`.
    after_sequence: Box<[u8]>,
    /// `"tag":` of every tag, one after the other.
    keys: Box<[u8]>,
    /// Where each key ends in `keys`.
    key_ends: Box<[u32]>,
}

/// How much scratch a thread keeps between events; a larger event gives its memory back.
const SCRATCH_KEPT: usize = 256 * 1024;

thread_local! {
    // The body is put together here and copied once into memory of exactly its size: buffers that wait for the
    // broker then hold no unused capacity.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl EventTemplate {
    /// `tags` in the order in which readings will be given to [`EventTemplate::render`].
    pub fn new(identity: &StreamIdentity, epoch: &Epoch, tags: &[impl AsRef<str>]) -> Self {
        let StreamIdentity {
            appliance,
            module,
            device,
            group,
        } = identity;
        let epoch = epoch.as_str();
        let id_prefix = format!("{module}/{device}/{group}/{epoch}/");

        let mut head = Vec::new();
        head.extend_from_slice(br#"{"specversion":"1.0","id":"#);
        push_string(&mut head, &id_prefix);
        head.pop();

        let mut after_id = Vec::new();
        after_id.extend_from_slice(br#"","source":"#);
        push_string(&mut after_id, &event_source(appliance, module));
        after_id.extend_from_slice(br#","type":"#);
        push_string(&mut after_id, MEASUREMENTS_TYPE);
        after_id.extend_from_slice(br#","subject":"#);
        push_string(&mut after_id, &format!("{device}/{group}"));
        after_id.extend_from_slice(br#","time":""#);

        let mut after_time = Vec::new();
        after_time.extend_from_slice(br#"","partitionkey":"#);
        push_string(&mut after_time, device);
        after_time.extend_from_slice(br#","sequence":""#);

        let mut after_sequence = Vec::new();
        after_sequence.extend_from_slice(br#"","datacontenttype":"application/json","data":{"#);
        after_sequence.extend_from_slice(br#""device":"#);
        push_string(&mut after_sequence, device);
        after_sequence.extend_from_slice(br#","group":"#);
        push_string(&mut after_sequence, group);
        after_sequence.extend_from_slice(br#","epoch":"#);
        push_string(&mut after_sequence, epoch);
        after_sequence.extend_from_slice(br#","sequence":"#);

        let mut keys = Vec::new();
        let mut key_ends = Vec::with_capacity(tags.len());
        for tag in tags {
            push_string(&mut keys, tag.as_ref());
            keys.push(b':');
            key_ends.push(u32::try_from(keys.len()).unwrap_or(u32::MAX));
        }

        Self {
            id_prefix,
            head: head.into(),
            after_id: after_id.into(),
            after_time: after_time.into(),
            after_sequence: after_sequence.into(),
            keys: keys.into(),
            key_ends: key_ends.into(),
        }
    }

    /// How many tags an event of this stream has.
    pub fn tags(&self) -> usize {
        self.key_ends.len()
    }

    /// Renders one event. `readings` in the order of the tags; a tag for which there is none is
    /// [`BadReason::NotRead`], what there is beyond the tags is ignored.
    pub fn render<'a>(
        &self,
        sequence: u64,
        at: OffsetDateTime,
        readings: impl Iterator<Item = &'a Reading>,
    ) -> Event {
        SCRATCH.with_borrow_mut(|out| {
            out.clear();
            self.render_into(out, sequence, at, readings);
            let body = Bytes::copy_from_slice(out);
            if out.capacity() > SCRATCH_KEPT {
                *out = Vec::new();
            }
            let mut number = itoa::Buffer::new();
            let number = number.format(sequence);
            let mut id = String::with_capacity(self.id_prefix.len() + number.len());
            id.push_str(&self.id_prefix);
            id.push_str(number);
            Event { id, body }
        })
    }

    fn render_into<'a>(
        &self,
        out: &mut Vec<u8>,
        sequence: u64,
        at: OffsetDateTime,
        mut readings: impl Iterator<Item = &'a Reading>,
    ) {
        let time = format_micros(at);
        let mut number = itoa::Buffer::new();
        let number = number.format(sequence).as_bytes();
        out.extend_from_slice(&self.head);
        out.extend_from_slice(number);
        out.extend_from_slice(&self.after_id);
        out.extend_from_slice(&time);
        out.extend_from_slice(&self.after_time);
        out.extend_from_slice(&format_sequence(sequence));
        out.extend_from_slice(&self.after_sequence);
        out.extend_from_slice(number);
        out.extend_from_slice(br#","timestamp":""#);
        out.extend_from_slice(&time);
        out.extend_from_slice(br#"","values":{"#);

        let mut bad: Vec<(usize, BadReason)> = Vec::new();
        let mut comma = false;
        for index in 0..self.key_ends.len() {
            let reason = match readings.next() {
                Some(Reading::Good(Value::Float(value))) if !value.is_finite() => {
                    BadReason::NotANumber
                }
                Some(Reading::Good(value)) => {
                    if comma {
                        out.push(b',');
                    }
                    comma = true;
                    out.extend_from_slice(self.key(index));
                    push_value(out, value);
                    continue;
                }
                Some(Reading::Bad(reason)) => *reason,
                None => BadReason::NotRead,
            };
            bad.push((index, reason));
        }
        out.extend_from_slice(br#"},"bad":{"#);
        for (position, (index, reason)) in bad.into_iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.key(index));
            out.push(b'"');
            out.extend_from_slice(reason.as_str().as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b"}}}");
    }

    fn key(&self, index: usize) -> &[u8] {
        let start = match index {
            0 => 0,
            _ => self.key_ends[index - 1] as usize,
        };
        &self.keys[start..self.key_ends[index] as usize]
    }
}

fn push_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        Value::UInt(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
        // The caller has sorted out what is not finite.
        Value::Float(value) => {
            out.extend_from_slice(zmij::Buffer::new().format_finite(*value).as_bytes());
        }
        Value::Text(text) => push_string(out, text),
    }
}
