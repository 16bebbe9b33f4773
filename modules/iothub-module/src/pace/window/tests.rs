//! The window on simulated lines. All times are simulated.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// A line that keeps the order, as TCP does.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Seconds there and back.
    rtt: f64,
    /// Messages per second through its slowest place.
    rate: f64,
    /// Each PUBACK may come up to so many seconds later.
    jitter: f64,
    /// Share of the messages that are lost once: they, and what follows them, come a round trip later.
    loss: f64,
}

impl Line {
    const fn new(rtt: f64, rate: f64) -> Self {
        Self {
            rtt,
            rate,
            jitter: 0.0,
            loss: 0.0,
        }
    }
}

/// Repeatable random numbers from [0, 1).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[derive(Debug)]
struct Simulation {
    window: Window,
    start: Instant,
    now: f64,
    /// When the slowest place is free again.
    free: f64,
    /// No PUBACK comes before the one ahead of it.
    last: f64,
    wire: VecDeque<(f64, Sent)>,
    dice: Dice,
    round_trips: Vec<f64>,
    windows: Vec<usize>,
}

/// Figures of a stretch of time.
#[derive(Debug)]
struct Outcome {
    per_second: f64,
    median: f64,
    p95: f64,
    least_window: usize,
    mean_window: f64,
}

impl Simulation {
    fn new(least: u16, most: u16) -> Self {
        Self {
            window: Window::new(WindowBounds { least, most }),
            start: Instant::now(),
            now: 0.0,
            free: 0.0,
            last: 0.0,
            wire: VecDeque::new(),
            dice: Dice(0x9e37_79b9_7f4a_7c15),
            round_trips: Vec::new(),
            windows: Vec::new(),
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn send(&mut self, line: &Line) {
        let sent = self.window.sent(self.at(self.now));
        self.free = (self.now + line.rtt / 2.0).max(self.free) + 1.0 / line.rate;
        let late = line.jitter * self.dice.roll();
        let again = if self.dice.roll() < line.loss {
            line.rtt
        } else {
            0.0
        };
        self.last = self.last.max(self.free + line.rtt / 2.0 + late + again);
        self.wire.push_back((self.last, sent));
    }

    /// There is always something to send.
    fn run(&mut self, line: &Line, seconds: f64) -> Outcome {
        self.run_at(line, seconds, f64::INFINITY)
    }

    /// There are `offered` messages per second to send.
    fn run_at(&mut self, line: &Line, seconds: f64, offered: f64) -> Outcome {
        self.round_trips.clear();
        self.windows.clear();
        let (from, until) = (self.now, self.now + seconds);
        let mut next = self.now;
        while self.now < until {
            while self.window.has_room() && next <= self.now {
                self.send(line);
                next = if offered.is_finite() {
                    next + 1.0 / offered
                } else {
                    self.now
                };
            }
            let puback = self.wire.front().map_or(f64::INFINITY, |(at, _)| *at);
            if self.window.has_room() && next < puback {
                self.now = next;
                continue;
            }
            let Some((at, sent)) = self.wire.pop_front() else {
                break;
            };
            self.now = at;
            self.round_trips
                .push(at - sent.at().duration_since(self.start).as_secs_f64());
            let now = self.at(at);
            self.window.acknowledged(&sent, now);
            self.windows.push(self.window.size());
        }
        let count = self.round_trips.len();
        let mut sorted = self.round_trips.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        Outcome {
            per_second: count as f64 / (self.now - from),
            median: sorted[count / 2],
            p95: sorted[count * 95 / 100],
            least_window: self.windows.iter().copied().min().unwrap(),
            mean_window: self.windows.iter().sum::<usize>() as f64 / count as f64,
        }
    }

    fn lose_connection(&mut self) {
        self.wire.clear();
        self.window.ended(false);
        self.free = self.now;
        self.last = self.now;
    }
}

const ROUND_TRIPS: [f64; 3] = [0.001, 0.020, 0.100];

#[test]
fn it_starts_at_16_within_its_bounds() {
    for (least, most, start) in [(1, 64, 16), (1, 8, 8), (32, 64, 32), (0, 0, 1), (9, 4, 4)] {
        assert_eq!(Window::new(WindowBounds { least, most }).size(), start);
    }
}

#[test]
fn a_wide_line_gets_the_whole_window() {
    for rtt in ROUND_TRIPS {
        for most in [64_u16, 256, 1000] {
            let line = Line::new(rtt, 1e6);
            let mut simulation = Simulation::new(1, most);
            simulation.run(&line, 40.0 * rtt);
            let possible = f64::from(most) / rtt.max(f64::from(most) / line.rate);
            let outcome = simulation.run(&line, (50_000.0 / possible).min(60.0));
            assert!(
                outcome.per_second >= 0.95 * possible,
                "rtt {rtt}, window {most}: {outcome:?} of {possible}"
            );
        }
    }
}

#[test]
fn a_narrow_line_is_full_without_a_standing_queue() {
    for rtt in ROUND_TRIPS {
        for rate in [50.0, 200.0, 1_000.0] {
            let line = Line::new(rtt, rate);
            let mut simulation = Simulation::new(1, 1000);
            simulation.run(&line, 5.0);
            // Long enough for the base to be forgotten several times over.
            let outcome = simulation.run(&line, 150.0);
            let alone = rtt + 1.0 / rate;
            assert!(
                outcome.per_second >= 0.95 * rate.min(1000.0 / rtt),
                "rtt {rtt}, rate {rate}: {outcome:?}"
            );
            // Of a message or two per round trip one more is a lot.
            let bound = (1.3 * alone).max(alone + 0.006) + 4.0 / rate;
            assert!(
                outcome.p95 <= bound,
                "rtt {rtt}, rate {rate}: {outcome:?}, bound {bound}"
            );
        }
    }
}

#[test]
fn jitter_is_not_taken_for_a_queue() {
    for rtt in [0.020, 0.100] {
        let line = Line {
            jitter: rtt,
            ..Line::new(rtt, 1e5)
        };
        let mut simulation = Simulation::new(1, 64);
        simulation.run(&line, 5.0);
        let outcome = simulation.run(&line, 60.0);
        assert!(outcome.mean_window >= 0.9 * 64.0, "rtt {rtt}: {outcome:?}");
    }
}

#[test]
fn a_lossy_line_is_not_given_up() {
    for (loss, share) in [(0.001, 0.9), (0.01, 0.7)] {
        let line = Line {
            loss,
            jitter: 0.002,
            ..Line::new(0.020, 1e5)
        };
        let mut simulation = Simulation::new(1, 64);
        simulation.run(&line, 5.0);
        let outcome = simulation.run(&line, 60.0);
        assert!(
            outcome.mean_window >= share * 64.0,
            "loss {loss}: {outcome:?}"
        );
    }
}

#[test]
fn it_follows_a_line_that_becomes_narrow_and_wide_again() {
    let (wide, narrow) = (Line::new(0.050, 10_000.0), Line::new(0.050, 400.0));
    let mut simulation = Simulation::new(1, 250);
    let before = simulation.run(&wide, 10.0);
    assert!(before.mean_window > 230.0, "{before:?}");
    simulation.run(&narrow, 3.0);
    let throttled = simulation.run(&narrow, 60.0);
    assert!(
        throttled.median < 0.080 && throttled.per_second > 380.0,
        "{throttled:?}"
    );
    simulation.run(&wide, 3.0);
    let after = simulation.run(&wide, 10.0);
    assert!(
        after.per_second > 0.9 * before.per_second,
        "{after:?} after {before:?}"
    );
}

#[test]
fn doubled_pubacks_halve_it() {
    let mut simulation = Simulation::new(1, 64);
    let line = Line::new(0.020, 1e5);
    simulation.run(&line, 5.0);
    assert_eq!(simulation.window.size(), 64);
    simulation.run(&Line::new(0.050, 1e5), 0.16);
    assert_eq!(simulation.window.size(), 32);
}

#[test]
fn a_longer_way_is_the_new_base_and_not_a_queue_for_ever() {
    let mut simulation = Simulation::new(1, 64);
    simulation.run(&Line::new(0.020, 1e5), 5.0);
    let longer = Line::new(0.120, 1e5);
    simulation.run(&longer, 4.0);
    let outcome = simulation.run(&longer, 20.0);
    assert!(outcome.least_window >= 60, "{outcome:?}");
}

#[test]
fn without_much_to_send_it_does_not_grow() {
    let mut simulation = Simulation::new(1, 1000);
    let line = Line::new(0.020, 1e5);
    simulation.run_at(&line, 60.0, 100.0);
    assert_eq!(simulation.window.size(), 16);
    simulation.run(&line, 2.0);
    assert!(
        simulation.window.size() > 500,
        "{}",
        simulation.window.size()
    );
}

#[test]
fn a_lost_connection_halves_it_once_and_a_planned_one_does_not() {
    let mut simulation = Simulation::new(1, 64);
    let line = Line::new(0.020, 1e5);
    simulation.run(&line, 5.0);
    simulation.lose_connection();
    assert_eq!(
        (simulation.window.size(), simulation.window.in_flight()),
        (32, 0)
    );
    simulation.lose_connection();
    assert_eq!(simulation.window.size(), 32, "nothing was sent on this one");
    simulation.run(&line, 1.0);
    assert_eq!(simulation.window.size(), 64);
    simulation.window.ended(true);
    assert_eq!(simulation.window.size(), 64);
}

#[test]
fn what_belongs_to_an_earlier_connection_changes_nothing() {
    let now = Instant::now();
    let mut window = Window::new(WindowBounds { least: 1, most: 64 });
    let old = window.sent(now);
    window.ended(true);
    let new = window.sent(now);
    assert_eq!(window.acknowledged(&old, now), None);
    assert_eq!(window.in_flight(), 1);
    window.acknowledged(&new, now);
    assert_eq!(window.in_flight(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the line is and does: within bounds, never stuck, and the line in use.
    #[test]
    fn any_line_is_used(
        rtt in 0.0005_f64..0.3, rate in 20.0_f64..5_000.0, jitter in 0.0_f64..0.5, drops in 0_usize..4, most in 2_u16..1000,
    ) {
        let line = Line { jitter: jitter * rtt, ..Line::new(rtt, rate) };
        let mut simulation = Simulation::new(1, most);
        for _ in 0..drops {
            simulation.run(&line, 3.0);
            simulation.lose_connection();
        }
        simulation.run(&line, 15.0);
        let outcome = simulation.run(&line, 10.0);
        prop_assert!(outcome.least_window >= 1 && outcome.mean_window <= f64::from(most));
        // In order behind late ones, jitter makes every message wait.
        let possible = rate.min(f64::from(most) / (rtt * (1.0 + jitter) + 1.0 / rate));
        prop_assert!(outcome.per_second >= 0.75 * possible, "{outcome:?} of {possible}");
    }

    /// Any order of calls keeps the count and the bounds.
    #[test]
    fn any_order_of_calls_keeps_count(
        least in 0_u16..50, most in 0_u16..50, steps in prop::collection::vec((0_u8..8, 0_u64..500), 0..400),
    ) {
        let mut now = Instant::now();
        let mut window = Window::new(WindowBounds { least, most });
        let mut wire = VecDeque::new();
        for (step, milliseconds) in steps {
            now += Duration::from_millis(milliseconds);
            match step {
                0..=3 => wire.push_back(window.sent(now)),
                4..=5 => if let Some(sent) = wire.pop_front() { window.acknowledged(&sent, now); },
                6 => if let Some(sent) = wire.pop_back() { window.acknowledged(&sent, now); },
                _ => { wire.clear(); window.ended(milliseconds % 2 == 0); }
            }
            prop_assert_eq!(window.in_flight(), wire.len());
            let (low, high) = (usize::from(least.max(1).min(most.max(1))), usize::from(most.max(1)));
            prop_assert!((low..=high).contains(&window.size()));
        }
    }
}
