//! Writes NetworkMessages.

use super::status::{BAD, SUB_NORMAL, of_reason};
use super::writers::{Writers, hash};
use super::{MESSAGE_TYPE, ua_type};
use crate::event::{Measurement, module_of};
use crate::json::{parse_time, push_integer, push_string, string_bound};

/// A NetworkMessage that is being written. `MessageId` comes last, since it depends on what is in the message; the members of a JSON object
/// have no order (Part 6, 5.4.2.1).
#[derive(Debug)]
pub(crate) struct NetworkMessage {
    publisher: String,
    first_id: String,
    events: usize,
    ids: u64,
}

/// The `source` without its last part: one publisher is one appliance.
fn publisher_of(source: &str) -> &str {
    source
        .strip_suffix(module_of(source))
        .and_then(|rest| rest.strip_suffix('/'))
        .unwrap_or_default()
}

impl NetworkMessage {
    pub(crate) fn new(first: &Measurement<'_>) -> Self {
        Self {
            publisher: publisher_of(&first.source).to_owned(),
            first_id: first.id.clone().into_owned(),
            events: 0,
            ids: 0,
        }
    }

    /// The event as a DataSetMessage, with what comes before it. None if it is of another publisher: a NetworkMessage has but one.
    pub(crate) fn data_set(
        &self,
        event: &Measurement<'_>,
        writers: &Writers,
        first: bool,
    ) -> Option<Vec<u8>> {
        if publisher_of(&event.source) != self.publisher {
            return None;
        }
        let tags = event.values.len() + event.bad.as_ref().map_or(0, Vec::len);
        let mut out = Vec::with_capacity(512 + 64 * tags);
        if first {
            out.extend_from_slice(br#"{"MessageType":""#);
            out.extend_from_slice(MESSAGE_TYPE.as_bytes());
            out.extend_from_slice(br#"","PublisherId":"#);
            push_string(&mut out, &self.publisher);
            out.extend_from_slice(br#","Messages":["#);
        } else {
            out.push(b',');
        }
        let name = format!("{}/{}", event.device, event.group);
        let time = event
            .time
            .strip_prefix('"')
            .and_then(|time| time.strip_suffix('"'))
            .and_then(parse_time);
        let seconds = time.map(|time| time.integer / 10i64.pow(time.decimals));
        let bad = || event.bad.iter().flatten();
        let fields = event
            .values
            .iter()
            .chain(bad())
            .map(|(name, _)| name.as_ref());
        let (id, version) = writers.get(&format!("{}\n{name}", event.source), fields, seconds);

        out.extend_from_slice(br#"{"DataSetWriterId":"#);
        push_integer(&mut out, id);
        out.extend_from_slice(br#","DataSetWriterName":"#);
        push_string(&mut out, &name);
        out.extend_from_slice(br#","WriterGroupName":"#);
        push_string(&mut out, event.module());
        out.extend_from_slice(br#","SequenceNumber":"#);
        // 32 bits that roll over (7.2.3).
        push_integer(&mut out, event.sequence as u32);
        out.extend_from_slice(br#","MetaDataVersion":{"MajorVersion":"#);
        push_integer(&mut out, version);
        out.extend_from_slice(br#","MinorVersion":"#);
        push_integer(&mut out, version);
        out.extend_from_slice(br#"},"Timestamp":"#);
        out.extend_from_slice(event.time.as_bytes());
        if bad().next().is_some() {
            out.push(b',');
            push_status(
                &mut out,
                if event.values.is_empty() {
                    BAD
                } else {
                    SUB_NORMAL
                },
            );
        }
        // Every event has all tags of its group.
        out.extend_from_slice(br#","MessageType":"ua-keyframe","Payload":{"#);
        let mut comma = false;
        let source_time = |out: &mut Vec<u8>, index: usize, name: &str| {
            let Some(times) = &event.timestamps else {
                return;
            };
            let expected = times.get(index).filter(|(known, _)| known == name);
            if let Some((_, time)) =
                expected.or_else(|| times.iter().find(|(known, _)| known == name))
            {
                out.extend_from_slice(br#","SourceTimestamp":"#);
                out.extend_from_slice(time.as_bytes());
            }
        };
        for (index, (name, token)) in event.values.iter().enumerate() {
            if std::mem::replace(&mut comma, true) {
                out.push(b',');
            }
            push_string(&mut out, name);
            push_value(&mut out, token);
            source_time(&mut out, index, name);
            out.push(b'}');
        }
        for (index, (name, token)) in bad().enumerate() {
            if std::mem::replace(&mut comma, true) {
                out.push(b',');
            }
            push_string(&mut out, name);
            out.extend_from_slice(b":{");
            push_status(&mut out, of_reason(token.trim_matches('"')));
            source_time(&mut out, event.values.len() + index, name);
            out.push(b'}');
        }
        out.extend_from_slice(b"}}");
        Some(out)
    }

    /// Notes an event whose DataSetMessage was taken.
    pub(crate) fn added(&mut self, event: &Measurement<'_>) {
        self.events += 1;
        self.ids = self.ids.rotate_left(5) ^ hash(&event.id);
    }

    /// What closes the message.
    pub(crate) fn end(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.end_bound());
        out.extend_from_slice(br#"],"MessageId":"#);
        // Events are unique for ever, so a message of these events is, too.
        push_string(
            &mut out,
            &format!("{}+{}-{:016x}", self.first_id, self.events - 1, self.ids),
        );
        out.push(b'}');
        out
    }

    /// The most that [`NetworkMessage::end`] takes.
    pub(crate) fn end_bound(&self) -> usize {
        string_bound(&self.first_id) + 64
    }
}

fn push_status(out: &mut Vec<u8>, (code, symbol): (u32, &str)) {
    out.extend_from_slice(br#""Status":{"Code":"#);
    push_integer(out, code);
    out.extend_from_slice(br#","Symbol":""#);
    out.extend_from_slice(symbol.as_bytes());
    out.extend_from_slice(br#""}"#);
}

/// A Variant's members: integers of 64 bits are strings (Part 6, 5.4.2.3).
fn push_value(out: &mut Vec<u8>, token: &str) {
    let integer = !token.contains(['.', 'e', 'E']);
    let kind = match token.as_bytes().first() {
        Some(b'"') => ua_type::STRING,
        Some(b't' | b'f') => ua_type::BOOLEAN,
        _ if integer && token.parse::<i64>().is_ok() => ua_type::INT64,
        _ if integer && token.parse::<u64>().is_ok() => ua_type::UINT64,
        _ => ua_type::DOUBLE,
    };
    out.extend_from_slice(br#":{"UaType":"#);
    push_integer(out, kind);
    out.extend_from_slice(br#","Value":"#);
    let quoted = matches!(kind, ua_type::INT64 | ua_type::UINT64);
    if quoted {
        out.push(b'"');
    }
    out.extend_from_slice(token.as_bytes());
    if quoted {
        out.push(b'"');
    }
}
