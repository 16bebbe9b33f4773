//! What OPC UA wants to know of the sender of a stream, and events do not say: its number and the version of its fields.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Numbers for internal assignment (Part 14, 6.2.4.1).
const FIRST: u16 = 0x8000;
const COUNT: usize = 0x8000;
/// 2000-01-01, where VersionTime begins (Part 4, 7.43).
const YEAR_2000: i64 = 946_684_800;

/// DataSetWriterIds and versions, shared by all batches that have a clone of it.
///
/// A number comes from the writer's name, so it is the same after a restart, unless two names want the same one. The version is the time
/// of the first event with this set of fields, or one more than the one before; it is not kept across restarts.
#[derive(Debug, Clone, Default)]
pub struct Writers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    writers: HashMap<String, Writer>,
    taken: HashSet<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Writer {
    id: u16,
    fields: u64,
    version: u32,
}

impl Writers {
    /// The number and version of a writer whose fields are `fields`, in whatever order, at `time` (seconds since 1970).
    pub(super) fn get<'f>(
        &self,
        writer: &str,
        fields: impl Iterator<Item = &'f str>,
        time: Option<i64>,
    ) -> (u16, u32) {
        // A sum, because a tag that turns bad changes its place.
        let fields = fields.fold(0u64, |sum, field| sum.wrapping_add(hash(field)));
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        if !table.writers.contains_key(writer) {
            if table.writers.len() >= COUNT {
                table.writers.clear();
                table.taken.clear();
            }
            let mut place = (hash(writer) >> 16) as usize % COUNT;
            while !table.taken.insert(FIRST + place as u16) {
                place = (place + 1) % COUNT;
            }
            let new = Writer {
                id: FIRST + place as u16,
                fields,
                version: version(time),
            };
            table.writers.insert(writer.to_owned(), new);
            return (new.id, new.version);
        }
        let Some(known) = table.writers.get_mut(writer) else {
            return (0, 0);
        };
        if known.fields != fields {
            known.fields = fields;
            known.version = version(time).max(known.version.saturating_add(1));
        }
        (known.id, known.version)
    }
}

fn version(time: Option<i64>) -> u32 {
    time.and_then(|time| u32::try_from(time - YEAR_2000).ok())
        .unwrap_or(1)
}

/// FNV-1a.
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_keeps_its_number_and_its_version_follows_its_fields() {
        let writers = Writers::default();
        let at = Some(YEAR_2000 + 100);
        let (id, one) = writers.get("press-1/fast", ["a", "b"].into_iter(), at);
        assert!(id >= FIRST);
        assert_eq!(one, 100);
        assert_eq!(
            writers.get("press-1/fast", ["b", "a"].into_iter(), at),
            (id, 100)
        );
        assert_eq!(
            writers.get("press-1/fast", ["a"].into_iter(), at),
            (id, 101)
        );
        assert_eq!(
            writers.clone().get("press-1/fast", ["a"].into_iter(), None),
            (id, 101)
        );
        assert_eq!(
            Writers::default()
                .get("press-1/fast", ["a"].into_iter(), at)
                .0,
            id
        );
    }

    #[test]
    fn no_two_writers_have_one_number() {
        let writers = Writers::default();
        let ids: HashSet<u16> = (0..5000)
            .map(|n| writers.get(&n.to_string(), [].into_iter(), None).0)
            .collect();
        assert_eq!(ids.len(), 5000);
    }
}
