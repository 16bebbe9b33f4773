//! A model of the broker and the sidecar in front of the sequencer, in which sidecar and module are killed: what they held comes again seconds
//! later, what is new goes on at once, and the order holds all the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const TICK: u64 = 10;
/// `ackWait` and `redeliverDelay` of the pub/sub component.
const ACK_WAIT: u64 = 5_000;
const REDELIVER_DELAY: u64 = 1_000;
/// From the broker to the sequencer, at most.
const WAY: u64 = 80;

/// Stream and sequence.
type Id = (u8, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    Sidecar,
    Module,
}

#[derive(Debug, Clone)]
struct Plan {
    streams: u8,
    /// Milliseconds between two events of all streams together.
    every: u64,
    max_ack_pending: usize,
    /// How long after the one before it (or the start) each comes.
    kills: Vec<(u64, Killed)>,
    seed: u64,
}

fn plans() -> impl Strategy<Value = Plan> {
    let killed = prop_oneof![Just(Killed::Sidecar), Just(Killed::Module)];
    // What one kill held is back before the next one.
    let kills = prop::collection::vec((8_000u64..16_000, killed), 1..4);
    (1u8..7, 1u64..6, 2usize..120, kills, any::<u64>()).prop_map(
        |(streams, every, max_ack_pending, kills, seed)| Plan {
            streams,
            every: every * TICK,
            max_ack_pending,
            kills,
            seed,
        },
    )
}

/// Small numbers by chance, the same for the same seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Model {
    limits: Limits,
    sequencer: Sequencer<(Id, u32)>,
    start: Instant,
    chance: Chance,
    /// Published and never delivered.
    fresh: VecDeque<Id>,
    /// Delivered and not acknowledged; with the time at which it comes again, unless a sidecar has it.
    pending: BTreeMap<Id, Option<u64>>,
    /// On the way: time of arrival, event, connection.
    flying: BTreeSet<(u64, Id, u32)>,
    /// What is answered on an earlier one does not reach the broker.
    connection: u32,
    stored: BTreeSet<Id>,
    last: BTreeMap<u8, u64>,
    behind: Vec<Id>,
}

impl Model {
    fn run(plan: &Plan, limits: Limits) -> Self {
        let mut model = Self {
            limits,
            sequencer: Sequencer::new(limits),
            start: Instant::now(),
            chance: Chance(plan.seed | 1),
            fresh: VecDeque::new(),
            pending: BTreeMap::new(),
            flying: BTreeSet::new(),
            connection: 0,
            stored: BTreeSet::new(),
            last: BTreeMap::new(),
            behind: Vec::new(),
        };
        let mut kills = plan.kills.iter();
        let mut kill = kills.next().copied();
        let mut published = 0;
        let mut now = 0;
        let mut last_kill = 0;
        // Events are made until some time after the last kill; then everything that is left is to arrive.
        while kill.is_some() || now < last_kill + 3_000 || !model.is_done() {
            now += TICK;
            // Where next to nothing may wait, what goes back comes again at one or two a second.
            assert!(now < 10_000_000, "no end: {:?} wait", model.pending);
            if let Some((after, killed)) = kill
                && now >= last_kill + after
            {
                model.kill(killed, now);
                last_kill = now;
                kill = kills.next().copied();
            }
            if (kill.is_some() || now < last_kill + 3_000) && now.is_multiple_of(plan.every) {
                let streams = u64::from(plan.streams);
                let stream = u8::try_from(published % streams).unwrap();
                model.fresh.push_back((stream, published / streams + 1));
                published += 1;
            }
            model.deliver(now, plan.max_ack_pending);
            model.arrive(now);
        }
        assert_eq!(model.stored.len() as u64, published);
        model
    }

    fn is_done(&self) -> bool {
        self.fresh.is_empty() && self.pending.is_empty()
    }

    fn kill(&mut self, killed: Killed, now: u64) {
        self.connection += 1;
        self.flying.clear();
        for again in self.pending.values_mut() {
            let wait = match killed {
                // What nobody keeps alive any more, since its last sign of life.
                Killed::Sidecar => ACK_WAIT - self.chance.below(ACK_WAIT / 3),
                // The sidecar gives back what it had handed over, and forgets what it had fetched.
                Killed::Module if self.chance.below(2) == 0 => REDELIVER_DELAY,
                Killed::Module => ACK_WAIT,
            };
            *again = Some(again.unwrap_or_default().max(now + wait));
        }
        if killed == Killed::Module {
            self.sequencer = Sequencer::new(self.limits);
        }
    }

    fn deliver(&mut self, now: u64, max_ack_pending: usize) {
        let again = self.pending.iter_mut();
        for (&id, due) in again.filter(|(_, due)| due.is_some_and(|due| due <= now)) {
            *due = None;
            let arrives = now + self.chance.below(WAY);
            self.flying.insert((arrives, id, self.connection));
        }
        while self.pending.len() < max_ack_pending
            && let Some(id) = self.fresh.pop_front()
        {
            self.pending.insert(id, None);
            let arrives = now + self.chance.below(WAY);
            self.flying.insert((arrives, id, self.connection));
        }
    }

    fn arrive(&mut self, now: u64) {
        let at = self.start + Duration::from_millis(now);
        let mut out = Vec::new();
        self.sequencer.expire(at, &mut out);
        while let Some(&(arrives, id, connection)) = self.flying.first()
            && arrives <= now
        {
            self.flying.pop_first();
            let subject = id.0.to_string();
            let position = Position {
                source: "/fieldgate/a/modbus-reader",
                subject: &subject,
                epoch: "e",
                sequence: id.1,
            };
            self.sequencer
                .arrive(position, 500, (id, connection), at, &mut out);
            assert!(self.sequencer.held() <= self.limits.held_events);
        }
        for outcome in out {
            match outcome {
                Outcome::Admit { item, ticket, .. } => {
                    self.sequencer.stored(ticket);
                    self.store(item.0);
                    self.answer(item, None);
                }
                Outcome::Duplicate(item) => {
                    assert!(self.stored.contains(&item.0), "{item:?} was never stored");
                    self.answer(item, None);
                }
                Outcome::Copy(item) | Outcome::NoRoom(item) => {
                    self.answer(item, Some(now + REDELIVER_DELAY));
                }
            }
        }
    }

    fn store(&mut self, id: Id) {
        if !self.stored.insert(id) {
            return;
        }
        let last = self.last.entry(id.0).or_default();
        if *last > id.1 {
            self.behind.push(id);
        }
        *last = id.1.max(*last);
    }

    /// Acknowledged, or to be delivered again at a time.
    fn answer(&mut self, (id, connection): (Id, u32), again: Option<u64>) {
        if connection != self.connection {
            return;
        }
        match again {
            None => {
                self.pending.remove(&id);
            }
            Some(time) => {
                self.pending.insert(id, Some(time));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// However little may wait at a time.
    #[test]
    fn order_holds_when_sidecar_and_module_are_killed(plan in plans(), held_events in 1usize..150) {
        let model = Model::run(&plan, Limits { held_events, ..Limits::default() });
        prop_assert_eq!(model.behind, vec![]);
    }
}

#[test]
fn a_wait_shorter_than_the_redelivery_is_what_breaks_the_order() {
    let plan = Plan {
        streams: 4,
        every: 20,
        max_ack_pending: 100,
        kills: vec![(8_000, Killed::Sidecar), (12_000, Killed::Module)],
        seed: 7,
    };
    let limits = Limits {
        reorder_wait: Duration::from_secs(1),
        ..Limits::default()
    };
    assert!(!Model::run(&plan, limits).behind.is_empty());
    assert!(Model::run(&plan, Limits::default()).behind.is_empty());
}
