//! What a sequencer knows for certain, written down at the end of a process and read at the beginning of the next, so that after an orderly
//! restart no stream has to be met anew.
//!
//! JSON: `{"version":1,"streams":[[key, last, certain_from, [[first, last], …]], …]}`, the stream that was used last at the end. What it says
//! of an event stays true for ever: an event that is stored does not cease to have been. An old note costs waiting, never an event.

use serde::Deserialize;

use super::gaps::Gaps;
use super::stream::{Certainty, Stream};
use super::{Limits, Sequencer};

const VERSION: u32 = 1;
/// A note is not longer, whatever the streams: those unused for longest are left out. The smallest queue takes
/// 239 KiB.
const NOTE_BYTES: usize = 224 << 10;

/// Why a note says nothing.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// It is of another release.
    #[error("it is of version {0}, this release reads version {VERSION}")]
    Version(u32),
    /// It is not what [`Sequencer::note`] wrote.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Deserialize)]
struct Read {
    streams: Vec<ReadStream>,
}

/// Key, last, certain from, gaps.
#[derive(Deserialize)]
struct ReadStream(Box<str>, u64, u64, Vec<(u64, u64)>);

impl<T> Sequencer<T> {
    /// What is certain, for [`Self::recall`] of the next process. Events that wait or whose fate is not known count as not stored. At most
    /// 224 KiB, which is more than 2,000 streams with names of ordinary length.
    #[must_use]
    pub fn note(&self) -> Vec<u8> {
        let mut known: Vec<(u64, &str, Certainty)> = self
            .streams
            .values()
            .filter_map(|stream| Some((stream.used, &*stream.key, stream.certainty()?)))
            .collect();
        known.sort_unstable_by_key(|&(used, ..)| std::cmp::Reverse(used));
        let (head, tail) = (format!(r#"{{"version":{VERSION},"streams":["#), "]}");
        let mut room = NOTE_BYTES - head.len() - tail.len();
        let mut streams = Vec::with_capacity(known.len());
        for (_, key, certainty) in &known {
            let Certainty {
                last,
                certain_from,
                gaps,
            } = certainty;
            // Text and numbers into memory: nothing of it can fail.
            let stream = serde_json::to_string(&(key, last, certain_from, gaps.ranges()));
            let stream = stream.unwrap_or_default();
            if stream.len() >= room {
                break;
            }
            room -= stream.len() + 1;
            streams.push(stream);
        }
        streams.reverse();
        format!("{head}{}{tail}", streams.join(",")).into_bytes()
    }

    /// Takes over what the process before knew; gives the number of streams. For a sequencer that has met no event yet: streams that it knows
    /// already stay as they are.
    ///
    /// # Errors
    /// See [`NoteError`]; then nothing is taken over.
    pub fn recall(&mut self, note: &[u8]) -> Result<usize, NoteError> {
        let damaged = |error: serde_json::Error| NoteError::Damaged(error.to_string());
        let Version { version } = serde_json::from_slice(note).map_err(damaged)?;
        if version != VERSION {
            return Err(NoteError::Version(version));
        }
        let Read { streams } = serde_json::from_slice(note).map_err(damaged)?;
        let mut recalled = Vec::with_capacity(streams.len());
        for ReadStream(key, last, certain_from, gaps) in streams {
            let Some(gaps) = Gaps::from_ranges(gaps, last) else {
                return Err(NoteError::Damaged(format!(
                    "the gaps of stream {key} are no ascending ranges up to {last}"
                )));
            };
            let certainty = Certainty {
                last,
                certain_from,
                gaps,
            };
            recalled.push((key, certainty));
        }
        let Limits { streams, .. } = self.limits;
        let room = streams.saturating_sub(self.streams.len());
        let surplus = recalled.len().saturating_sub(room);
        let mut count = 0;
        for (key, certainty) in recalled.into_iter().skip(surplus) {
            if self.index.contains_key(&key) {
                continue;
            }
            self.next_stream += 1;
            self.uses += 1;
            self.index.insert(key.clone(), self.next_stream);
            let mut stream = Stream::from_certainty(key, certainty, self.uses);
            stream.bound_gaps(self.limits);
            self.streams.insert(self.next_stream, stream);
            count += 1;
        }
        Ok(count)
    }
}
