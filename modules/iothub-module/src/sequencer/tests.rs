use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SOURCE: &str = "/fieldgate/a/modbus-reader";
/// The default.
const WAIT: Duration = Duration::from_secs(10);
const INSTANT: Duration = Duration::from_millis(1);

fn at(epoch: &str, sequence: u64) -> Position<'_> {
    Position {
        source: SOURCE,
        subject: "press-1/fast",
        epoch,
        sequence,
    }
}

/// A sequencer with a clock, that stores at once what it admits.
struct Bench {
    sequencer: Sequencer<u64>,
    now: Instant,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self {
            sequencer: Sequencer::new(limits),
            now: Instant::now(),
        }
    }

    fn raw(&mut self, sequence: u64) -> Vec<Outcome<u64>> {
        let mut out = Vec::new();
        self.sequencer
            .arrive(at("e1", sequence), 100, sequence, self.now, &mut out);
        out
    }

    fn arrive(&mut self, sequence: u64) -> Vec<(u64, &'static str)> {
        let out = self.raw(sequence);
        self.store(out)
    }

    fn wait(&mut self, time: Duration) -> Vec<(u64, &'static str)> {
        self.now += time;
        let mut out = Vec::new();
        self.sequencer.expire(self.now, &mut out);
        self.store(out)
    }

    fn store(&mut self, out: Vec<Outcome<u64>>) -> Vec<(u64, &'static str)> {
        out.into_iter()
            .map(|outcome| match outcome {
                Outcome::Admit { item, how, ticket } => {
                    self.sequencer.stored(ticket);
                    let how = match how {
                        Admission::InOrder => "in order",
                        Admission::Reordered => "reordered",
                        Admission::AfterGap => "after gap",
                        Admission::Late => "late",
                    };
                    (item, how)
                }
                Outcome::Duplicate(item) => (item, "duplicate"),
                Outcome::Copy(item) => (item, "copy"),
                Outcome::NoRoom(item) => (item, "no room"),
            })
            .collect()
    }
}

#[test]
fn early_events_wait_for_those_before_them() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(bench.arrive(1), [(1, "in order")]);
    assert_eq!(bench.arrive(3), []);
    assert_eq!(bench.arrive(4), []);
    assert_eq!(
        bench.arrive(2),
        [(2, "in order"), (3, "reordered"), (4, "reordered")]
    );
    assert_eq!(bench.sequencer.deadline(), None);
    assert_eq!(bench.sequencer.held(), 0);
}

#[test]
fn after_the_wait_they_pass_and_the_missing_one_is_late_once() {
    let mut bench = Bench::new(Limits::default());
    bench.arrive(1);
    bench.arrive(4);
    assert_eq!(bench.wait(WAIT - INSTANT), []);
    assert_eq!(bench.wait(INSTANT), [(4, "after gap")]);
    assert_eq!(bench.arrive(3), [(3, "late")]);
    assert_eq!(bench.arrive(3), [(3, "duplicate")]);
    assert_eq!(bench.arrive(2), [(2, "late")]);
    assert_eq!(bench.arrive(4), [(4, "duplicate")]);
    assert_eq!(bench.arrive(5), [(5, "in order")]);
}

#[test]
fn first_contact_in_the_middle_settles_and_lower_ones_pass_as_late() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(bench.arrive(52), []);
    assert_eq!(bench.arrive(51), []);
    assert_eq!(bench.wait(WAIT), [(51, "after gap"), (52, "reordered")]);
    // In doubt, twice: they may have been stored before this start, and may not.
    assert_eq!(bench.arrive(40), [(40, "late")]);
    assert_eq!(bench.arrive(40), [(40, "late")]);
    assert_eq!(bench.arrive(51), [(51, "duplicate")]);
}

#[test]
fn a_copy_of_what_is_not_yet_stored_is_not_acknowledged() {
    let mut bench = Bench::new(Limits::default());
    let out = bench.raw(1);
    let [Outcome::Admit { ticket, .. }] = out[..] else {
        panic!("{out:?}")
    };
    assert_eq!(bench.raw(1), [Outcome::Copy(1)]);
    bench.sequencer.stored(ticket);
    assert_eq!(bench.raw(1), [Outcome::Duplicate(1)]);
    // One that waits: the newer copy takes its place.
    assert_eq!(bench.raw(3), []);
    assert_eq!(bench.raw(3), [Outcome::Copy(3)]);
    assert_eq!(bench.sequencer.held(), 1);
}

#[test]
fn what_went_back_to_the_broker_is_awaited_and_order_is_kept() {
    let mut bench = Bench::new(Limits {
        reorder_wait: Duration::from_secs(1),
        ..Limits::default()
    });
    bench.arrive(1);
    let out: Vec<_> = [2, 3]
        .into_iter()
        .flat_map(|sequence| bench.raw(sequence))
        .collect();
    for outcome in out {
        let Outcome::Admit { ticket, .. } = outcome else {
            panic!("{outcome:?}")
        };
        bench.sequencer.returned(ticket, bench.now);
    }
    assert_eq!(bench.arrive(4), []);
    // Longer than the reorder wait, because a redelivery takes the broker's time.
    assert_eq!(bench.wait(Duration::from_secs(5)), []);
    assert_eq!(bench.arrive(3), []);
    assert_eq!(
        bench.arrive(2),
        [(2, "in order"), (3, "reordered"), (4, "reordered")]
    );
    // The long wait ends with its cause.
    assert_eq!(bench.arrive(6), []);
    assert_eq!(bench.wait(Duration::from_secs(1)), [(6, "after gap")]);
}

#[test]
fn what_never_comes_back_is_not_awaited_for_ever() {
    let mut bench = Bench::new(Limits::default());
    for outcome in bench.raw(1) {
        let Outcome::Admit { ticket, .. } = outcome else {
            panic!("{outcome:?}")
        };
        bench.sequencer.returned(ticket, bench.now);
    }
    assert_eq!(bench.arrive(2), []);
    assert_eq!(bench.wait(Duration::from_secs(9)), []);
    assert_eq!(bench.wait(Duration::from_secs(1)), [(2, "after gap")]);
    assert_eq!(bench.arrive(1), [(1, "late")]);
}

#[test]
fn a_new_epoch_is_a_new_stream_and_the_oldest_is_forgotten() {
    let mut sequencer = Sequencer::new(Limits {
        streams: 2,
        ..Limits::default()
    });
    let now = Instant::now();
    for epoch in ["a", "b", "c"] {
        let mut out = Vec::new();
        sequencer.arrive(at(epoch, 1), 1, (), now, &mut out);
        let [Outcome::Admit { ticket, .. }] = out[..] else {
            panic!("{out:?}")
        };
        sequencer.stored(ticket);
    }
    assert_eq!(sequencer.streams(), 2);
    let mut out = Vec::new();
    sequencer.arrive(at("c", 1), 1, (), now, &mut out);
    assert_eq!(out, [Outcome::Duplicate(())]);
    out.clear();
    // Forgotten, so in doubt, so it passes.
    sequencer.arrive(at("a", 1), 1, (), now, &mut out);
    assert!(matches!(out[..], [Outcome::Admit { .. }]));
}

#[test]
fn what_finds_no_room_to_wait_goes_back_and_its_stream_stays_in_order() {
    let mut bench = Bench::new(Limits {
        held_events: 2,
        ..Limits::default()
    });
    bench.arrive(1);
    assert_eq!(bench.arrive(3), []);
    assert_eq!(bench.arrive(5), []);
    assert_eq!(bench.arrive(6), [(6, "no room")]);
    // A lower one takes the place of the highest, which would wait for it anyway.
    assert_eq!(bench.arrive(4), [(5, "no room")]);
    assert_eq!(
        bench.arrive(2),
        [(2, "in order"), (3, "reordered"), (4, "reordered")]
    );
    assert_eq!(bench.arrive(6), []);
    assert_eq!(bench.arrive(5), [(5, "in order"), (6, "reordered")]);
    assert_eq!(bench.sequencer.held(), 0);
    assert_eq!(bench.sequencer.deadline(), None);
}

#[test]
fn bytes_are_bounded_as_well_and_what_would_never_have_room_passes() {
    let mut bench = Bench::new(Limits {
        held_bytes: 299,
        ..Limits::default()
    });
    bench.arrive(1);
    assert_eq!(bench.arrive(5), []);
    assert_eq!(bench.arrive(6), []);
    assert_eq!(bench.arrive(7), [(7, "no room")]);
    let mut bench = Bench::new(Limits {
        held_bytes: 99,
        ..Limits::default()
    });
    bench.arrive(1);
    assert_eq!(bench.arrive(5), [(5, "after gap")]);
}

#[test]
fn a_stream_does_not_push_out_another_one() {
    let mut sequencer = Sequencer::new(Limits {
        held_events: 1,
        ..Limits::default()
    });
    let now = Instant::now();
    let mut out = Vec::new();
    sequencer.arrive(at("a", 5), 1, "a5", now, &mut out);
    assert_eq!(out, []);
    sequencer.arrive(at("b", 3), 1, "b3", now, &mut out);
    assert_eq!(out, [Outcome::NoRoom("b3")]);
}

#[test]
fn forgotten_ranges_pass_instead_of_being_called_duplicates() {
    let mut bench = Bench::new(Limits {
        gaps_per_stream: 1,
        ..Limits::default()
    });
    bench.arrive(1);
    for sequence in [3, 5] {
        bench.arrive(sequence);
        bench.wait(WAIT);
    }
    assert_eq!(bench.arrive(2), [(2, "late")]);
    assert_eq!(bench.arrive(4), [(4, "late")]);
    assert_eq!(bench.arrive(4), [(4, "duplicate")]);
}

#[test]
fn extreme_sequences_are_handled() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(bench.arrive(0), [(0, "late")]);
    assert_eq!(bench.arrive(0), [(0, "late")]);
    bench.arrive(1);
    bench.arrive(u64::MAX);
    assert_eq!(bench.wait(WAIT), [(u64::MAX, "after gap")]);
    assert_eq!(bench.arrive(u64::MAX), [(u64::MAX, "duplicate")]);
    assert_eq!(bench.arrive(7), [(7, "late")]);
}

// ---- over a restart

/// What a process knows that read the note of one before it.
fn restarted(bench: &Bench) -> Bench {
    let mut next = Bench::new(bench.sequencer.limits);
    next.sequencer.recall(&bench.sequencer.note()).unwrap();
    next.now = bench.now;
    next
}

#[test]
fn after_a_restart_with_a_note_nothing_waits_that_is_next_and_copies_are_known() {
    let mut bench = Bench::new(Limits::default());
    for sequence in [1, 2, 4] {
        bench.arrive(sequence);
    }
    bench.wait(WAIT);
    let mut next = restarted(&bench);
    assert_eq!(next.sequencer.streams(), 1);
    assert_eq!(next.arrive(5), [(5, "in order")]);
    assert_eq!(next.arrive(4), [(4, "duplicate")]);
    assert_eq!(next.arrive(3), [(3, "late")]);
    assert_eq!(next.arrive(7), []);
    assert_eq!(next.arrive(6), [(6, "in order"), (7, "reordered")]);
}

#[test]
fn what_waited_or_was_not_yet_stored_is_awaited_after_the_restart() {
    let mut bench = Bench::new(Limits::default());
    bench.arrive(1);
    let out: Vec<_> = [2, 3, 4]
        .into_iter()
        .flat_map(|sequence| bench.raw(sequence))
        .collect();
    // 3 was stored, 2 and 4 are with the queue, 6 waits.
    let Outcome::Admit { ticket, .. } = out[1] else {
        panic!("{out:?}")
    };
    bench.sequencer.stored(ticket);
    bench.raw(6);
    let mut next = restarted(&bench);
    assert_eq!(next.arrive(6), []);
    assert_eq!(next.arrive(3), [(3, "duplicate")]);
    assert_eq!(next.arrive(4), [(4, "in order")]);
    assert_eq!(next.arrive(2), [(2, "late")]);
    assert_eq!(next.arrive(5), [(5, "in order"), (6, "reordered")]);
}

#[test]
fn a_note_is_bounded_and_keeps_the_streams_that_are_in_use() {
    let mut sequencer = Sequencer::new(Limits::default());
    let now = Instant::now();
    let mut out = Vec::new();
    let long = "x".repeat(300);
    for number in 0..4096 {
        sequencer.arrive(at(&format!("{long}{number}"), 1), 1, (), now, &mut out);
    }
    let note = sequencer.note();
    assert!(note.len() <= 224 << 10, "{}", note.len());
    let mut next: Sequencer<()> = Sequencer::new(Limits::default());
    let count = next.recall(&note).unwrap();
    assert!((550..4096).contains(&count), "{count}");
    // Admitted, and never said to be stored: it is to come again. The last stream is known, the first is not.
    out.clear();
    next.arrive(at(&format!("{long}4095"), 1), 1, (), now, &mut out);
    next.arrive(at(&format!("{long}0"), 2), 1, (), now, &mut out);
    assert!(
        matches!(
            out[..],
            [Outcome::Admit {
                how: Admission::InOrder,
                ..
            }]
        ),
        "{out:?}"
    );
    // Fewer streams than the note has: the last ones again.
    let mut small: Sequencer<()> = Sequencer::new(Limits {
        streams: 3,
        ..Limits::default()
    });
    assert_eq!(small.recall(&note).unwrap(), 3);
}

#[test]
fn a_note_that_is_damaged_or_newer_says_so_and_changes_nothing() {
    let mut bench = Bench::new(Limits::default());
    bench.arrive(1);
    let note = bench.sequencer.note();
    assert_eq!(
        String::from_utf8_lossy(&note),
        r#"{"version":1,"streams":[["26:12:/fieldgate/a/modbus-readerpress-1/faste1",1,1,[]]]}"#
    );
    for (note, words) in [
        (r#"{"version":2,"streams":{}}"#, "version 2"),
        ("", "damaged"),
        (r#"{"version":1,"streams":[["a",1,1]]}"#, "damaged"),
        (
            r#"{"version":1,"streams":[["a",5,1,[[3,2]]]]}"#,
            "gaps of stream a",
        ),
        (
            r#"{"version":1,"streams":[["a",5,1,[[1,2],[3,3]]]]}"#,
            "gaps of stream a",
        ),
        (
            r#"{"version":1,"streams":[["b",9,1,[]],["a",5,1,[[3,6]]]]}"#,
            "gaps of stream a",
        ),
    ] {
        let error = bench
            .sequencer
            .recall(note.as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{note}: {error}");
        assert_eq!(bench.sequencer.streams(), 1);
    }
    // What it knows itself, it knows better.
    bench.arrive(2);
    assert_eq!(bench.sequencer.recall(&note).unwrap(), 0);
    assert_eq!(bench.arrive(2), [(2, "duplicate")]);
}

// ---- against a model of a broker

/// What the broker and the queue do with the next delivery.
#[derive(Debug, Clone)]
struct Move {
    pick: usize,
    wait_ms: u64,
    duplicate: bool,
    store_fails: bool,
}

fn moves(failures: bool) -> impl Strategy<Value = Vec<Move>> {
    let one = (
        any::<usize>(),
        0u64..400,
        prop::bool::weighted(0.2),
        prop::bool::weighted(if failures { 0.2 } else { 0.0 }),
    )
        .prop_map(|(pick, wait_ms, duplicate, store_fails)| Move {
            pick,
            wait_ms,
            duplicate,
            store_fails,
        });
    prop::collection::vec(one, 1..300)
}

fn small_limits() -> impl Strategy<Value = Limits> {
    (1usize..12, 1usize..4, 1usize..4).prop_map(|(held_events, streams, gaps_per_stream)| Limits {
        held_events,
        held_bytes: 1000,
        streams,
        gaps_per_stream,
        ..Limits::default()
    })
}

type Id = (u8, u64);

/// The broker keeps what is not acknowledged and brings it again in any order; an acknowledgement of one copy is one for all.
struct Broker {
    unacknowledged: BTreeSet<Id>,
    stored: BTreeMap<Id, usize>,
    order: Vec<Id>,
}

impl Broker {
    fn settle(
        &mut self,
        sequencer: &mut Sequencer<Id>,
        out: Vec<Outcome<Id>>,
        now: Instant,
        fails: bool,
    ) -> Result<(), TestCaseError> {
        for outcome in out {
            match outcome {
                Outcome::Admit { ticket, .. } if fails => sequencer.returned(ticket, now),
                Outcome::Admit { item, ticket, .. } => {
                    sequencer.stored(ticket);
                    self.unacknowledged.remove(&item);
                    *self.stored.entry(item).or_default() += 1;
                    self.order.push(item);
                }
                Outcome::Duplicate(item) => {
                    prop_assert!(
                        self.stored.contains_key(&item),
                        "{item:?} acknowledged but never stored"
                    );
                    self.unacknowledged.remove(&item);
                }
                Outcome::Copy(_) | Outcome::NoRoom(_) => {}
            }
        }
        Ok(())
    }
}

fn deliver(sequencer: &mut Sequencer<Id>, id: Id, now: Instant, out: &mut Vec<Outcome<Id>>) {
    let epoch = ["a", "b", "c"][usize::from(id.0) % 3];
    sequencer.arrive(at(epoch, id.1), 50, id, now, out);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_whatever_the_broker_and_the_queue_do(moves in moves(true), limits in small_limits()) {
        let mut sequencer = Sequencer::new(limits);
        let mut now = Instant::now();
        let all: BTreeSet<Id> = (0..3).flat_map(|stream| (1..=25).map(move |sequence| (stream, sequence))).collect();
        let mut broker = Broker { unacknowledged: all.clone(), stored: BTreeMap::new(), order: Vec::new() };
        for step in moves {
            now += Duration::from_millis(step.wait_ms);
            let mut out = Vec::new();
            sequencer.expire(now, &mut out);
            // Any of the lowest 40 unacknowledged; with `duplicate`, also one that is acknowledged (an acknowledgement got lost).
            let pool: Vec<Id> = if step.duplicate { all.iter().copied().collect() } else { broker.unacknowledged.iter().copied().take(40).collect() };
            if !pool.is_empty() {
                deliver(&mut sequencer, pool[step.pick % pool.len()], now, &mut out);
            }
            broker.settle(&mut sequencer, out, now, step.store_fails)?;
            prop_assert!(sequencer.held() <= limits.held_events);
            prop_assert!(sequencer.streams() <= limits.streams.max(3));
        }
        // From here the broker redelivers everything every 5 s until it is acknowledged.
        for _ in 0..40 {
            let mut out = Vec::new();
            for id in broker.unacknowledged.clone() {
                deliver(&mut sequencer, id, now, &mut out);
            }
            now += Duration::from_secs(5);
            sequencer.expire(now, &mut out);
            broker.settle(&mut sequencer, out, now, false)?;
        }
        prop_assert_eq!(&broker.unacknowledged, &BTreeSet::new());
        prop_assert_eq!(broker.stored.len(), all.len());
        prop_assert_eq!(sequencer.held(), 0);
        prop_assert_eq!(sequencer.deadline(), None);
    }

    #[test]
    fn order_is_restored_when_all_arrive_within_the_wait(
        first in 1u64..100,
        order in Just((0u64..40).collect::<Vec<_>>()).prop_shuffle(),
        copies in prop::collection::vec(0u64..40, 0..20),
    ) {
        let mut sequencer = Sequencer::new(Limits::default());
        let mut now = Instant::now();
        let mut admitted = Vec::new();
        let mut take = |sequencer: &mut Sequencer<Id>, out: Vec<Outcome<Id>>| {
            for outcome in out {
                if let Outcome::Admit { item, ticket, .. } = outcome {
                    sequencer.stored(ticket);
                    admitted.push(item.1);
                }
            }
        };
        for offset in order.iter().chain(&copies) {
            now += Duration::from_millis(10);
            let mut out = Vec::new();
            sequencer.expire(now, &mut out);
            deliver(&mut sequencer, (0, first + offset), now, &mut out);
            take(&mut sequencer, out);
        }
        let mut out = Vec::new();
        sequencer.expire(now + WAIT, &mut out);
        take(&mut sequencer, out);
        prop_assert_eq!(admitted, (first..first + 40).collect::<Vec<_>>());
    }

    #[test]
    fn a_delayed_event_holds_its_stream_for_the_wait_and_no_longer(delay_ms in 0u64..3000, missing in 2u64..20) {
        let mut bench = Bench::new(Limits { reorder_wait: Duration::from_secs(1), ..Limits::default() });
        let start = bench.now;
        let mut admitted = Vec::new();
        let mut late = false;
        for sequence in 1..=40u64 {
            bench.now = start + Duration::from_millis(sequence * 100);
            admitted.extend(bench.wait(Duration::ZERO));
            if sequence != missing {
                admitted.extend(bench.arrive(sequence));
            }
            let due = missing * 100 + delay_ms;
            if !late && sequence * 100 >= due {
                late = true;
                admitted.extend(bench.arrive(missing));
            }
        }
        if !late {
            admitted.extend(bench.arrive(missing));
        }
        admitted.extend(bench.wait(Duration::from_secs(1)));
        let mut numbers: Vec<u64> = admitted.iter().map(|(sequence, _)| *sequence).collect();
        // It must come within 1 s of the first event that waits for it, which came 100 ms after it was due.
        if delay_ms <= 1000 {
            prop_assert!(numbers.is_sorted(), "{admitted:?}");
        }
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    }
}
