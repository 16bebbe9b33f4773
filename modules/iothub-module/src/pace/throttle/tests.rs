use proptest::prelude::*;

use super::*;

/// A time of day that leaves 10 hours of it.
const TODAY: u64 = 20_000 * DAY + 14 * 3600;

#[derive(Debug)]
struct Clock(Now);

impl Clock {
    fn new() -> Self {
        Self(Now {
            at: Instant::now(),
            utc: UNIX_EPOCH + Duration::from_secs(TODAY),
        })
    }

    fn advance(&mut self, seconds: f64) -> Now {
        let step = Duration::from_secs_f64(seconds);
        self.0 = Now {
            at: self.0.at + step,
            utc: self.0.utc + step,
        };
        self.0
    }
}

/// PUBACKs every `every` seconds that took `took`, for `length` seconds. The events.
fn pubacks(
    throttle: &mut Throttle,
    clock: &mut Clock,
    took: f64,
    every: f64,
    length: f64,
) -> Vec<ThrottleEvent> {
    let mut events = Vec::new();
    let mut gone = 0.0;
    while gone < length {
        gone += every;
        let now = clock.advance(every);
        events.extend(throttle.acknowledged(Duration::from_secs_f64(took), now));
        events.extend(throttle.tick(now));
    }
    events
}

/// The hub takes a connection, and ends it `seconds` later with a message on it.
fn fruitless(throttle: &mut Throttle, clock: &mut Clock, seconds: f64) -> Option<ThrottleEvent> {
    throttle.connected();
    let waited = Duration::from_secs_f64(seconds);
    let now = clock.advance(seconds);
    throttle.lost(Loss::ByHub, Some(waited), now)
}

#[test]
fn late_pubacks_are_throttling_from_begin_to_end() {
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    assert_eq!(pubacks(&mut throttle, &mut clock, 0.05, 0.01, 60.0), []);
    let began = pubacks(&mut throttle, &mut clock, 3.0, 0.1, 30.0);
    assert!(
        matches!(
            began[..],
            [ThrottleEvent::Throttled(Sign::LatePubacks { .. })]
        ),
        "{began:?}"
    );
    assert!(matches!(throttle.state(), ThrottleState::Throttled { .. }));
    let Pace::PerSecond(rate) = throttle.pace(clock.0.at) else {
        panic!("{:?}", throttle.pace(clock.0.at))
    };
    assert!(
        (10.0..12.0).contains(&rate),
        "ten are confirmed per second, not {rate}"
    );
    let ended = pubacks(&mut throttle, &mut clock, 0.05, 0.01, 60.0);
    assert!(
        matches!(ended[..], [ThrottleEvent::NoLongerThrottled { .. }]),
        "{ended:?}"
    );
    assert_eq!(throttle.pace(clock.0.at), Pace::Free);
}

#[test]
fn a_line_that_was_always_slow_is_not_throttling() {
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    assert_eq!(pubacks(&mut throttle, &mut clock, 2.0, 0.5, 120.0), []);
    assert_eq!(throttle.late(), Duration::from_secs(10));
}

#[test]
fn a_pause_of_two_seconds_is_not_throttling() {
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    pubacks(&mut throttle, &mut clock, 0.05, 0.01, 60.0);
    clock.advance(2.0);
    assert_eq!(pubacks(&mut throttle, &mut clock, 2.0, 0.001, 0.06), []);
    assert_eq!(pubacks(&mut throttle, &mut clock, 0.05, 0.01, 60.0), []);
}

#[test]
fn throttling_is_over_when_nothing_speaks_for_it_any_more() {
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    let began = throttle.answered_429(clock.0);
    assert_eq!(began, Some(ThrottleEvent::Throttled(Sign::Answered429)));
    assert_eq!(
        throttle.answered_429(clock.advance(30.0)),
        None,
        "one line, not one each time"
    );
    assert_eq!(throttle.tick(clock.advance(59.0)), None);
    let ended = throttle.tick(clock.advance(1.0));
    assert_eq!(
        ended,
        Some(ThrottleEvent::NoLongerThrottled {
            after: Duration::from_secs(90)
        })
    );
}

#[test]
fn connections_that_the_hub_ends_are_throttling_and_others_are_not() {
    for (loss, throttled) in [
        (Loss::ByHub, true),
        (Loss::Network, false),
        (Loss::Planned, false),
        (Loss::Refused, false),
    ] {
        let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
        let mut events = Vec::new();
        for _ in 0..3 {
            throttle.connected();
            events.extend(throttle.lost(loss, None, clock.advance(5.0)));
        }
        assert_eq!(!events.is_empty(), throttled, "{loss:?}: {events:?}");
    }
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    pubacks(&mut throttle, &mut clock, 0.05, 0.01, 10.0);
    let waited = Some(Duration::from_secs(2));
    let event = throttle.lost(Loss::ByHub, waited, clock.advance(2.0));
    assert_eq!(
        event,
        Some(ThrottleEvent::Throttled(Sign::EndedConnections)),
        "the message had waited too long"
    );
}

#[test]
fn a_quota_that_is_used_up_shows_and_is_tried_again_until_the_next_day() {
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    pubacks(&mut throttle, &mut clock, 0.05, 0.1, 30.0);
    let mut events = Vec::new();
    for _ in 0..6 {
        events.extend(fruitless(&mut throttle, &mut clock, 20.0));
    }
    let until = UNIX_EPOCH + Duration::from_secs(20_001 * DAY);
    assert_eq!(
        events,
        [
            ThrottleEvent::Throttled(Sign::EndedConnections),
            ThrottleEvent::QuotaExhausted { until }
        ]
    );
    // Trials become rarer.
    let mut trials = 0;
    let begun = clock.0.at;
    while clock.0.at.duration_since(begun) < Duration::from_secs(4 * 3600) {
        match throttle.pace(clock.0.at) {
            Pace::NothingUntil(at) => {
                clock.advance(at.duration_since(clock.0.at).as_secs_f64());
            }
            Pace::OneForTrial => {
                trials += 1;
                assert_eq!(fruitless(&mut throttle, &mut clock, 1.0), None);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((16..24).contains(&trials), "{trials}");
    let mut ended = None;
    while ended.is_none() {
        ended = throttle.tick(clock.advance(1.0));
    }
    assert!(matches!(ended, Some(ThrottleEvent::QuotaAgain { .. })));
    assert!(clock.0.utc >= until && clock.0.utc < until + Duration::from_secs(2));
    assert_eq!(throttle.state(), ThrottleState::Free);
}

#[test]
fn a_trial_that_the_network_swallows_was_one() {
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    pubacks(&mut throttle, &mut clock, 0.05, 0.1, 30.0);
    for _ in 0..6 {
        fruitless(&mut throttle, &mut clock, 20.0);
    }
    let Pace::NothingUntil(trial) = throttle.pace(clock.0.at) else {
        panic!("no wait before the first trial")
    };
    clock.advance(trial.duration_since(clock.0.at).as_secs_f64());
    assert_eq!(throttle.pace(clock.0.at), Pace::OneForTrial);
    let waited = Some(Duration::from_secs(30));
    // Without a message on it nothing was tried.
    throttle.lost(Loss::Network, None, clock.0);
    throttle.lost(Loss::Planned, waited, clock.0);
    assert_eq!(throttle.pace(clock.0.at), Pace::OneForTrial);
    throttle.lost(Loss::Network, waited, clock.0);
    assert!(matches!(throttle.pace(clock.0.at), Pace::NothingUntil(_)));
}

#[test]
fn one_puback_ends_an_exhausted_quota() {
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    pubacks(&mut throttle, &mut clock, 0.05, 0.1, 30.0);
    for _ in 0..6 {
        fruitless(&mut throttle, &mut clock, 20.0);
    }
    assert_eq!(throttle.state().word(), "quota-exhausted");
    let now = clock.advance(300.0);
    let event = throttle.acknowledged(Duration::from_millis(50), now);
    assert!(matches!(event, Some(ThrottleEvent::QuotaAgain { .. })));
    assert_eq!(throttle.pace(now.at), Pace::Free);
}

#[test]
fn an_identity_that_never_worked_has_no_quota_to_use_up() {
    let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
    for _ in 0..50 {
        fruitless(&mut throttle, &mut clock, 20.0);
    }
    assert_eq!(throttle.state().word(), "throttled");
}

proptest! {
    /// Begin and end alternate, whatever is seen, and a wall clock that jumps changes nothing about when a state ends.
    #[test]
    fn events_alternate_and_no_state_outlives_a_day(
        steps in prop::collection::vec((0_u8..8, 0.0_f64..40.0, -1e6_f64..1e6), 0..300),
    ) {
        let (mut throttle, mut clock) = (Throttle::new(), Clock::new());
        let mut number = 0;
        for (step, seconds, jump) in steps {
            let mut now = clock.advance(seconds);
            if let Ok(by) = Duration::try_from_secs_f64(jump) {
                now.utc += by;
            } else {
                now.utc -= Duration::from_secs_f64(-jump);
            }
            let event = match step {
                0 | 1 => throttle.acknowledged(Duration::from_secs_f64(seconds / 4.0), now),
                2 => throttle.acknowledged(Duration::from_millis(20), now),
                3 => throttle.lost(Loss::ByHub, Some(Duration::from_secs_f64(seconds)), now),
                4 => throttle.lost(Loss::Refused, None, now),
                5 => throttle.answered_429(now),
                6 => { throttle.connected(); None }
                _ => throttle.tick(now),
            };
            let after = throttle.state().number();
            match event {
                None => prop_assert_eq!(number, after),
                Some(ThrottleEvent::Throttled(_)) => prop_assert_eq!((number, after), (0, 1)),
                Some(ThrottleEvent::QuotaExhausted { .. }) => prop_assert!(number < 2 && after == 2),
                Some(ThrottleEvent::NoLongerThrottled { .. }) => prop_assert_eq!((number, after), (1, 0)),
                Some(ThrottleEvent::QuotaAgain { .. }) => prop_assert_eq!((number, after), (2, 0)),
            }
            number = after;
        }
        for _ in 0..25 {
            throttle.tick(clock.advance(3600.0));
        }
        prop_assert_eq!(throttle.state(), ThrottleState::Free);
    }
}
