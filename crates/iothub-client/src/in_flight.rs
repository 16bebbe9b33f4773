//! Messages between the window and their PUBACK.
//!
//! The MQTT library takes messages in order and reports each packet id as it writes the packet, in the same order. So the ids are paired with
//! the head of a queue, and PUBACKs are looked up by id.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::session::Ticket;

#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// Handed to the library, not written yet.
    accepted: VecDeque<(Ticket, Instant)>,
    /// Written, by packet id.
    written: Vec<Option<Written>>,
    /// Packet ids in the order of writing; acknowledged ones are taken off when they come to the head.
    order: VecDeque<(u64, u16)>,
    next_turn: u64,
    last_acknowledged: Option<(u64, Instant)>,
    count: usize,
}

#[derive(Debug)]
struct Written {
    ticket: Ticket,
    turn: u64,
    since: Instant,
}

impl InFlight {
    pub(crate) fn accept(&mut self, ticket: Ticket, now: Instant) {
        self.accepted.push_back((ticket, now));
        self.count += 1;
    }

    /// The next accepted message went out as `id`.
    pub(crate) fn write(&mut self, id: u16, now: Instant) {
        let Some((ticket, _)) = self.accepted.pop_front() else {
            return;
        };
        let slot = usize::from(id);
        if self.written.len() <= slot {
            self.written.resize_with(slot + 1, || None);
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        self.written[slot] = Some(Written {
            ticket,
            turn,
            since: now,
        });
        self.order.push_back((turn, id));
    }

    /// A PUBACK for `id` arrived. Whether a message waited for it.
    pub(crate) fn acknowledge(&mut self, id: u16, now: Instant) -> bool {
        let Some(written) = self.written.get_mut(usize::from(id)).and_then(Option::take) else {
            return false;
        };
        let newest = self
            .last_acknowledged
            .map_or(written.turn, |(turn, _)| turn.max(written.turn));
        self.last_acknowledged = Some((newest, now));
        self.count -= 1;
        written.ticket.acknowledge();
        while let Some(&(turn, id)) = self.order.front() {
            if self.is_waiting(turn, id) {
                break;
            }
            self.order.pop_front();
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the oldest message must have its PUBACK.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        Some(self.oldest()?.1 + timeout)
    }

    /// Whether a PUBACK is missing: the oldest message is over time, and either nothing at all was acknowledged for as long or a later one was
    /// acknowledged before it. A slow line with steady progress in order is not a missing PUBACK.
    pub(crate) fn is_overdue(&self, timeout: Duration, now: Instant) -> bool {
        let Some((turn, since)) = self.oldest() else {
            return false;
        };
        if now < since + timeout {
            return false;
        }
        match self.last_acknowledged {
            None => true,
            Some((newest, at)) => now >= at + timeout || turn.is_some_and(|turn| newest > turn),
        }
    }

    fn oldest(&self) -> Option<(Option<u64>, Instant)> {
        match self
            .order
            .front()
            .and_then(|&(_, id)| self.written.get(usize::from(id))?.as_ref())
        {
            Some(written) => Some((Some(written.turn), written.since)),
            None => self.accepted.front().map(|(_, since)| (None, *since)),
        }
    }

    fn is_waiting(&self, turn: u64, id: u16) -> bool {
        self.written
            .get(usize::from(id))
            .and_then(Option::as_ref)
            .is_some_and(|written| written.turn == turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use iothub_protocol::{HubIdentity, Message};

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// Messages `1..=count`, written with these numbers as packet ids at `start`.
    async fn written(count: u16, start: Instant) -> InFlight {
        let identity = HubIdentity::device_only("dev1").unwrap();
        let (session, mut end) = Session::new(1, &identity, count);
        let mut in_flight = InFlight::default();
        for id in 1..=count {
            drop(session.publish(Message::default()).await.unwrap());
            in_flight.accept(end.publishes.recv().await.unwrap().ticket, start);
            in_flight.write(id, start);
        }
        in_flight
    }

    #[tokio::test]
    async fn silence_is_overdue() {
        let start = Instant::now();
        let mut in_flight = written(2, start).await;
        assert_eq!(in_flight.deadline(TIMEOUT), Some(after(start, 30)));
        assert!(!in_flight.is_overdue(TIMEOUT, after(start, 29)));
        assert!(in_flight.is_overdue(TIMEOUT, after(start, 30)));
        assert!(
            in_flight.acknowledge(1, after(start, 31))
                && in_flight.acknowledge(2, after(start, 31))
        );
        assert!(in_flight.is_empty() && in_flight.deadline(TIMEOUT).is_none());
        assert!(!in_flight.is_overdue(TIMEOUT, after(start, 300)));
    }

    #[tokio::test]
    async fn slow_progress_in_order_is_not_overdue() {
        let start = Instant::now();
        let mut in_flight = written(5, start).await;
        for id in 1..=4 {
            let now = after(start, 25 * u64::from(id));
            assert!(
                !in_flight.is_overdue(TIMEOUT, now),
                "message {id} at {} s",
                25 * id
            );
            in_flight.acknowledge(id, now);
        }
        assert!(
            in_flight.is_overdue(TIMEOUT, after(start, 130)),
            "then nothing came for 30 s"
        );
    }

    #[tokio::test]
    async fn a_skipped_message_is_overdue_whatever_else_is_acknowledged() {
        let start = Instant::now();
        let mut in_flight = written(3, start).await;
        in_flight.acknowledge(1, after(start, 1));
        in_flight.acknowledge(3, after(start, 29));
        assert!(
            !in_flight.is_overdue(TIMEOUT, after(start, 29)),
            "acknowledged late is not too late"
        );
        assert!(in_flight.is_overdue(TIMEOUT, after(start, 31)));
    }

    #[tokio::test]
    async fn odd_packet_ids_are_ignored() {
        let start = Instant::now();
        let mut in_flight = written(1, start).await;
        assert!(!in_flight.acknowledge(0, start) && !in_flight.acknowledge(9, start));
        assert!(in_flight.acknowledge(1, start) && !in_flight.acknowledge(1, start));
        in_flight.write(5, start);
        assert!(in_flight.is_empty());
    }

    #[tokio::test]
    async fn a_packet_id_may_be_used_again() {
        let start = Instant::now();
        let mut in_flight = written(2, start).await;
        in_flight.acknowledge(2, start);
        let identity = HubIdentity::device_only("dev1").unwrap();
        let (session, mut end) = Session::new(1, &identity, 1);
        let delivery = session.publish(Message::default()).await.unwrap();
        in_flight.accept(end.publishes.recv().await.unwrap().ticket, start);
        in_flight.write(2, after(start, 5));
        in_flight.acknowledge(1, after(start, 6));
        assert_eq!(
            in_flight.deadline(TIMEOUT),
            Some(after(start, 35)),
            "the new use of id 2 counts, not the old one"
        );
        in_flight.acknowledge(2, after(start, 7));
        assert_eq!(delivery.await, Ok(()));
        assert!(in_flight.is_empty());
    }
}
