//! Events that wait to be published: bounded in bytes, the oldest dropped first and counted.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use measurement::Event;
use module_runtime::OutgoingEvent;
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// Clones share one buffer. Pushing never waits.
#[derive(Debug, Clone)]
pub struct EventBuffer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the publisher: something is there, or a batch is full.
    wake: Notify,
    metrics: Metrics,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Entry>,
    /// Of the queue and of what is being published.
    bytes: usize,
    in_flight: usize,
    limit: usize,
    batch: usize,
    next_order: u64,
}

#[derive(Debug)]
struct Entry {
    /// Counts up with every event: where it goes back to after a failure.
    order: u64,
    stream: u32,
    event: OutgoingEvent,
}

/// What a waiting event costs besides its text.
const OVERHEAD: usize = size_of::<Entry>() + 64;

impl Entry {
    fn size(&self) -> usize {
        size_of_event(&self.event)
    }
}

fn size_of_event(event: &OutgoingEvent) -> usize {
    event.id.len() + event.body.len() + OVERHEAD
}

/// Events taken out to be published; they count as buffered until they are confirmed or dropped.
#[derive(Debug)]
pub struct Batch {
    /// In the order in which they were made.
    pub events: Vec<OutgoingEvent>,
    places: Vec<(u64, u32)>,
}

impl EventBuffer {
    /// Holds up to `limit` bytes.
    pub fn new(limit: usize, batch: usize, metrics: Metrics) -> Self {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            limit,
            batch,
            next_order: 0,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                wake: Notify::new(),
                metrics,
            }),
        }
    }

    /// Changes the bounds. What is too much then is dropped with the next event.
    pub fn set_limits(&self, limit: usize, batch: usize) {
        let mut state = self.state();
        state.limit = limit;
        state.batch = batch;
    }

    /// Appends an event of a stream; drops the oldest ones if it does not fit.
    pub fn push(&self, stream: u32, event: Event) {
        let event = OutgoingEvent {
            id: event.id,
            body: event.body,
        };
        let mut state = self.state();
        if size_of_event(&event) > state.limit {
            // It fits nowhere, and must not take the others with it.
            drop(state);
            self.shared.metrics.dropped_full.increment(1);
            return;
        }
        let order = state.next_order;
        state.next_order += 1;
        state.bytes += size_of_event(&event);
        state.queue.push_back(Entry {
            order,
            stream,
            event,
        });
        let mut dropped = 0;
        while state.bytes > state.limit {
            // What is being published cannot be taken back: then the new event itself is the oldest that waits.
            let Some(oldest) = state.queue.pop_front() else {
                break;
            };
            state.bytes -= oldest.size();
            dropped += 1;
        }
        let waiting = state.queue.len();
        let wake = waiting == 1 || waiting == state.batch || waiting == state.batch + 1;
        self.report(&state);
        drop(state);
        if dropped > 0 {
            self.shared.metrics.dropped_full.increment(dropped);
        }
        if wake {
            self.shared.wake.notify_one();
        }
    }

    /// Takes up to a batch out. Events of one stream share a batch only while there is more than a batch to catch up
    /// with: the broker may take in what comes together in any order.
    pub fn take(&self) -> Option<Batch> {
        let mut state = self.state();
        let most = state.batch.max(1);
        let mut batch = Batch {
            events: Vec::new(),
            places: Vec::new(),
        };
        if state.queue.len() > most {
            for entry in state.queue.drain(..most) {
                batch.places.push((entry.order, entry.stream));
                batch.events.push(entry.event);
            }
        } else {
            let mut streams = HashSet::new();
            let mut later = VecDeque::new();
            for entry in state.queue.drain(..) {
                if streams.insert(entry.stream) {
                    batch.places.push((entry.order, entry.stream));
                    batch.events.push(entry.event);
                } else {
                    later.push_back(entry);
                }
            }
            state.queue = later;
        }
        state.in_flight += batch.events.len();
        (!batch.events.is_empty()).then_some(batch)
    }

    /// Gives a batch back: what is in `failed` (ascending positions) waits again in its old place, the rest is done.
    /// Returns how many are done.
    pub fn settle(&self, batch: Batch, failed: &[usize]) -> usize {
        let mut state = self.state();
        let count = batch.events.len();
        state.in_flight -= count;
        let mut failed = failed.iter().copied().peekable();
        let mut done = 0;
        for (position, (event, (order, stream))) in
            batch.events.into_iter().zip(batch.places).enumerate()
        {
            if failed.next_if_eq(&position).is_some() {
                let place = state.queue.partition_point(|entry| entry.order < order);
                let entry = Entry {
                    order,
                    stream,
                    event,
                };
                state.queue.insert(place, entry);
            } else {
                state.bytes -= size_of_event(&event);
                done += 1;
            }
        }
        self.report(&state);
        done
    }

    /// Events that wait and events that are being published.
    pub fn len(&self) -> usize {
        let state = self.state();
        state.queue.len() + state.in_flight
    }

    /// Nothing waits and nothing is being published.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Events that wait.
    pub fn waiting(&self) -> usize {
        self.state().queue.len()
    }

    /// Returns after an event came in while none waited, and when a batch is full.
    pub async fn woken(&self) {
        self.shared.wake.notified().await;
    }

    fn report(&self, state: &State) {
        let metrics = &self.shared.metrics;
        metrics.buffer_bytes.set(state.bytes as f64);
        metrics
            .buffer_events
            .set((state.queue.len() + state.in_flight) as f64);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(number: u64) -> Event {
        Event {
            id: format!("m/d/g/e/{number}"),
            body: vec![b'x'; 100].into(),
        }
    }

    fn size() -> usize {
        OVERHEAD + 100 + "m/d/g/e/0".len()
    }

    fn buffer(events: usize, batch: usize) -> EventBuffer {
        EventBuffer::new(events * size(), batch, Metrics::register())
    }

    fn ids(batch: &Batch) -> Vec<&str> {
        batch
            .events
            .iter()
            .map(|event| event.id.rsplit('/').next().unwrap())
            .collect()
    }

    #[test]
    fn the_oldest_are_dropped_when_it_is_full() {
        let buffer = buffer(3, 10);
        for number in 0..5 {
            buffer.push(number as u32, event(number));
        }
        let batch = buffer.take().unwrap();
        assert_eq!(ids(&batch), ["2", "3", "4"]);
        // What is being published still counts: there is no room, so the new one goes.
        buffer.push(9, event(9));
        assert_eq!(buffer.waiting(), 0);
        assert_eq!(buffer.settle(batch, &[]), 3);
        assert!(buffer.is_empty());
        buffer.push(9, event(9));
        assert_eq!(buffer.waiting(), 1);
    }

    #[test]
    fn an_event_larger_than_the_buffer_takes_no_other_with_it() {
        let buffer = buffer(3, 10);
        buffer.push(1, event(1));
        let large = Event {
            id: "m/d/g/e/2".to_owned(),
            body: vec![b'x'; 10 * size()].into(),
        };
        buffer.push(2, large);
        assert_eq!(ids(&buffer.take().unwrap()), ["1"]);
    }

    #[test]
    fn one_stream_has_one_event_in_a_call_unless_there_is_a_backlog() {
        let buffer = buffer(100, 3);
        for number in 0..3 {
            buffer.push(if number == 2 { 0 } else { number as u32 }, event(number));
        }
        let batch = buffer.take().unwrap();
        assert_eq!(ids(&batch), ["0", "1"]);
        for number in 3..7 {
            buffer.push(0, event(number));
        }
        let backlog = buffer.take().unwrap();
        assert_eq!(ids(&backlog), ["2", "3", "4"]);
    }

    #[test]
    fn what_failed_comes_again_in_its_place() {
        let buffer = buffer(100, 3);
        for number in 0..5 {
            buffer.push(number as u32, event(number));
        }
        let first = buffer.take().unwrap();
        let second = buffer.take().unwrap();
        assert_eq!(buffer.settle(second, &[0, 1]), 0);
        assert_eq!(buffer.settle(first, &[1]), 2);
        buffer.set_limits(100 * size(), 10);
        assert_eq!(ids(&buffer.take().unwrap()), ["1", "3", "4"]);
    }

    proptest! {
        /// Against a plain list: nothing is lost, doubled or out of order, and the bytes are right at the end.
        #[test]
        fn nothing_is_lost_that_fits(actions in proptest::collection::vec((0u8..4, any::<u64>()), 1..200)) {
            let buffer = buffer(10_000, 4);
            let (mut made, mut confirmed, mut flying) = (0u64, Vec::new(), Vec::new());
            for (action, seed) in actions {
                match action {
                    0 | 1 => {
                        buffer.push((seed % 3) as u32, event(made));
                        made += 1;
                    }
                    2 => flying.extend(buffer.take()),
                    _ => {
                        let Some(batch) = flying.pop() else { continue };
                        let failed: Vec<usize> = (0..batch.events.len()).filter(|bit| seed >> bit & 1 == 1).collect();
                        let done = ids(&batch).iter().enumerate().filter(|(position, _)| !failed.contains(position))
                            .map(|(_, id)| id.parse::<u64>().unwrap()).collect::<Vec<_>>();
                        prop_assert_eq!(buffer.settle(batch, &failed), done.len());
                        confirmed.extend(done);
                    }
                }
            }
            for batch in flying {
                confirmed.extend(ids(&batch).iter().map(|id| id.parse::<u64>().unwrap()));
                buffer.settle(batch, &[]);
            }
            buffer.set_limits(10_000 * size(), 100_000);
            while let Some(batch) = buffer.take() {
                let ids: Vec<u64> = ids(&batch).iter().map(|id| id.parse().unwrap()).collect();
                prop_assert!(ids.is_sorted());
                confirmed.extend(ids);
                buffer.settle(batch, &[]);
            }
            confirmed.sort_unstable();
            prop_assert_eq!(confirmed, (0..made).collect::<Vec<_>>());
            prop_assert_eq!(buffer.state().bytes, 0);
        }
    }
}
