use std::time::{SystemTime, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

const NORMAL: Priority = Priority::DEFAULT;
const ALARM: Priority = Priority::HIGHEST;
/// 2026-11-28, 12:00.
const TODAY: u64 = 1_795_867_200;
const DAY: u64 = 86_400;

fn utc(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    now: Now,
}

impl Clock {
    fn at(seconds: u64) -> Self {
        let now = Now {
            at: Instant::now(),
            utc: utc(seconds),
        };
        Self { now }
    }

    fn advance(&mut self, step: Duration) -> Now {
        self.now.at += step;
        self.now.utc += step;
        self.now
    }

    /// Somebody sets the wall clock.
    fn set(&mut self, seconds: u64) -> Now {
        self.now.utc = utc(seconds);
        self.now
    }
}

fn budget(per_minute: Option<u64>, per_month: Option<u64>, clock: &Clock) -> Budget {
    let options = BudgetOptions {
        per_minute,
        per_month,
        ..BudgetOptions::default()
    };
    Budget::new(options, Saved::default(), clock.now)
}

fn goes(budget: &mut Budget, priority: Priority, bytes: u64, now: Now) -> bool {
    let goes = budget.admit(priority, bytes, now) == Admission::Go;
    if goes {
        budget.spend(bytes, now);
    }
    goes
}

fn month_of(budget: &mut Budget, now: Now) -> (Option<String>, u64) {
    let state = budget.state(now);
    (state.counted.map(|month| month.to_string()), state.month.0)
}

fn november(bytes: u64) -> (Option<String>, u64) {
    (Some("2026-11".to_owned()), bytes)
}

#[test]
fn what_a_message_costs() {
    // Topic and payload, MQTT and TLS, one segment, PUBACK.
    assert_eq!(message_bytes(100, 300), 400 + 38 + 40 + 66);
    assert_eq!(message_bytes(0, 14_000), 14_038 + 11 * 40 + 66);
    assert_eq!(message_bytes(usize::MAX, usize::MAX), u64::MAX);
}

#[test]
fn the_largest_message_of_a_minute_just_fits() {
    for (bound, reserve) in [(4096, 0), (200 * 1024, 10), (1 << 30, 50)] {
        let options = BudgetOptions {
            per_minute: Some(bound),
            urgent_from: Some(ALARM),
            urgent_reserve: reserve,
            ..BudgetOptions::default()
        };
        let share = bound - bound * u64::from(reserve) / 100;
        let largest = options.largest_message().unwrap();
        assert!(message_bytes(0, largest) <= share);
        assert!(message_bytes(0, largest + 80) > share, "{bound}: {largest}");
    }
    assert_eq!(BudgetOptions::default().largest_message(), None);
}

#[test]
fn without_bounds_everything_goes_and_nothing_is_stored() {
    let clock = Clock::at(TODAY);
    let mut budget = budget(None, None, &clock);
    assert!(goes(&mut budget, NORMAL, 1 << 40, clock.now));
    assert_eq!(budget.to_save(0), None);
    assert_eq!(budget.tick(clock.now), None);
}

#[test]
fn the_minute_says_how_long_to_wait() {
    let mut clock = Clock::at(TODAY);
    let mut budget = budget(Some(1000), None, &clock);
    assert!(goes(&mut budget, NORMAL, 600, clock.now));
    let now = clock.advance(Duration::from_secs(10));
    assert!(goes(&mut budget, NORMAL, 400, now));
    let Admission::Wait { until, bound } = budget.admit(NORMAL, 500, now) else {
        panic!("the minute is used up")
    };
    assert_eq!(bound, Bound::Minute);
    let wait = until - now.at;
    assert!(
        wait > Duration::from_secs(50) && wait <= Duration::from_secs(52),
        "{wait:?}"
    );
    assert!(goes(&mut budget, NORMAL, 500, clock.advance(wait)));
}

#[test]
fn a_message_larger_than_the_minute_goes_and_is_paid_off() {
    let mut clock = Clock::at(TODAY);
    let mut budget = budget(Some(1000), None, &clock);
    assert!(goes(&mut budget, NORMAL, 3000, clock.now));
    assert!(!goes(
        &mut budget,
        NORMAL,
        1,
        clock.advance(Duration::from_secs(179))
    ));
    assert!(goes(
        &mut budget,
        NORMAL,
        1,
        clock.advance(Duration::from_secs(2))
    ));
    assert!(
        !goes(
            &mut budget,
            NORMAL,
            3000,
            clock.advance(Duration::from_secs(10))
        ),
        "not beside others"
    );
}

#[test]
fn a_message_larger_than_its_share_does_not_wait_for_ever_beside_smaller_ones() {
    let mut clock = Clock::at(TODAY);
    let options = BudgetOptions {
        per_minute: Some(1000),
        urgent_from: Some(ALARM),
        urgent_reserve: 10,
        ..BudgetOptions::default()
    };
    let mut budget = Budget::new(options, Saved::default(), clock.now);
    let (mut went, mut alarms) = (Vec::new(), 0);
    for second in 0..600 {
        if second % 20 == 0 {
            alarms += u64::from(goes(&mut budget, ALARM, 30, clock.now));
        }
        if goes(&mut budget, NORMAL, 950, clock.now) {
            went.push(second);
        }
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(went[0], 60);
    assert!(
        went.windows(2)
            .all(|pair| (60..70).contains(&(pair[1] - pair[0]))),
        "{went:?}"
    );
    assert!(alarms >= 10, "{alarms}");
    // What the large ones took beyond the bound of their minute was paid off.
    assert!(went.len() as u64 * 950 + alarms * 30 <= 10 * 1000);
}

#[test]
fn the_month_is_used_up_and_free_again_in_the_next_one() {
    let mut clock = Clock::at(TODAY);
    let mut budget = budget(None, Some(1000), &clock);
    assert!(goes(&mut budget, NORMAL, 1000, clock.now));
    assert!(
        !goes(&mut budget, ALARM, 1, clock.now),
        "nothing is urgent unless configured"
    );
    assert_eq!(
        budget.tick(clock.now),
        Some(BudgetEvent::UsedUp(Bound::Month))
    );
    assert_eq!(budget.tick(clock.now), None);
    let last = clock.advance(Duration::from_secs(5 * DAY / 2 - 1));
    assert!(!goes(&mut budget, NORMAL, 1, last), "2026-11-30, 23:59:59");
    let first = clock.advance(Duration::from_secs(1));
    assert_eq!(
        budget.tick(first),
        Some(BudgetEvent::FreeAgain(Bound::Month))
    );
    assert!(goes(&mut budget, NORMAL, 1000, first));
    assert_eq!(month_of(&mut budget, first).0.unwrap(), "2026-12");
}

#[test]
fn urgent_events_have_their_reserve_and_may_go_beyond() {
    let clock = Clock::at(TODAY);
    let options = BudgetOptions {
        per_month: Some(1000),
        urgent_from: Priority::new(8),
        urgent_reserve: 10,
        ..BudgetOptions::default()
    };
    let mut budget = Budget::new(options, Saved::default(), clock.now);
    assert!(
        !goes(&mut budget, NORMAL, 901, clock.now) && goes(&mut budget, NORMAL, 900, clock.now)
    );
    assert!(!goes(&mut budget, NORMAL, 1, clock.now) && goes(&mut budget, ALARM, 100, clock.now));
    assert!(!goes(&mut budget, ALARM, 1, clock.now));
    budget.set(BudgetOptions {
        urgent_beyond: true,
        ..options
    });
    assert!(goes(&mut budget, ALARM, 500, clock.now) && !goes(&mut budget, NORMAL, 1, clock.now));
    assert_eq!(month_of(&mut budget, clock.now), november(1500));
}

#[test]
fn a_crash_never_makes_the_month_smaller() {
    let mut clock = Clock::at(TODAY);
    let mut first = budget(None, Some(1 << 30), &clock);
    let mut stored = Saved::default();
    let mut writes = 0;
    for _ in 0..10_000 {
        clock.advance(Duration::from_millis(10));
        if let Some(saved) = first.to_save(0) {
            first.saved(&saved);
            stored = saved;
            writes += 1;
        }
        first.spend(1000, clock.now);
    }
    let mut second = Budget::new(first.options, stored, clock.now);
    let (_, bytes) = month_of(&mut second, clock.now);
    assert!((10_000_000..12_200_000).contains(&bytes), "{bytes}");
    assert!(writes < 25, "flash wears out: {writes}");
    assert_eq!(first.exact().bytes, 10_000_000);
}

#[test]
fn a_clock_that_is_not_set_yet_gives_no_new_budget() {
    let mut clock = Clock::at(TODAY);
    let mut before = budget(None, Some(1000), &clock);
    before.spend(800, clock.now);
    // Power on: 1970.
    let mut after = Budget::new(before.options, before.exact(), clock.set(7));
    assert!(!goes(&mut after, NORMAL, 300, clock.now));
    assert!(goes(&mut after, NORMAL, 100, clock.now));
    // The clock is set within the same month: all counts.
    assert_eq!(month_of(&mut after, clock.set(TODAY + 60)), november(900));
    // And had it been set in the next one, what was spent before the clock was set counts there.
    let mut next = Budget::new(before.options, before.exact(), clock.set(7));
    next.spend(100, clock.now);
    let (month, bytes) = month_of(&mut next, clock.set(TODAY + 5 * DAY));
    assert_eq!((month.unwrap().as_str(), bytes), ("2026-12", 100));
}

#[test]
fn a_device_whose_clock_was_never_set_counts_all_the_same() {
    let mut clock = Clock::at(0);
    let mut first = budget(None, Some(1000), &clock);
    first.spend(1000, clock.now);
    let mut second = Budget::new(first.options, first.exact(), clock.set(5));
    assert!(!goes(&mut second, NORMAL, 1, clock.now));
    assert_eq!(month_of(&mut second, clock.set(TODAY)), november(1000));
}

#[test]
fn a_clock_that_goes_back_and_forth_gives_no_new_budget() {
    let mut clock = Clock::at(TODAY);
    let mut budget = budget(None, Some(1000), &clock);
    budget.spend(900, clock.now);
    for seconds in [TODAY - 40 * DAY, TODAY, TODAY - 400 * DAY, TODAY] {
        let now = clock.set(seconds);
        assert!(!goes(&mut budget, NORMAL, 200, now));
        clock.advance(Duration::from_secs(3600));
    }
    assert_eq!(month_of(&mut budget, clock.now), november(900));
}

#[test]
fn a_clock_that_was_years_ahead_does_not_stop_the_counter_for_ever() {
    let mut clock = Clock::at(TODAY);
    let mut budget = budget(None, Some(1000), &clock);
    budget.spend(300, clock.now);
    budget.spend(500, clock.set(TODAY + 4000 * DAY));
    clock.set(TODAY);
    assert_eq!(budget.state(clock.now).month.0, 500, "not believed at once");
    let now = clock.advance(Duration::from_secs(DAY));
    assert_eq!(
        month_of(&mut budget, now),
        november(800),
        "and then all of it counts"
    );
    let now = clock.advance(Duration::from_secs(3 * DAY));
    assert_eq!(month_of(&mut budget, now).1, 0);
}

#[test]
fn months_are_written_and_read() {
    let month: Month = "2026-11".parse().unwrap();
    assert_eq!(Month::of(utc(TODAY)), Some(month));
    assert_eq!(month.end(), Some(utc(TODAY + 5 * DAY / 2)));
    assert_eq!(
        "2026-12".parse::<Month>().unwrap().end(),
        Some(utc(1_798_761_600))
    );
    let saved = Saved {
        month: Some(month),
        bytes: 7,
        before: None,
    };
    let text = serde_json::to_string(&saved).unwrap();
    assert_eq!(text, r#"{"month":"2026-11","bytes":7,"before":null}"#);
    assert_eq!(serde_json::from_str::<Saved>(&text).unwrap(), saved);
    for bad in [
        "",
        "2026",
        "2026-13",
        "2026-00",
        "2026-1",
        "+026-01",
        "20261-1",
        "2026-11-01",
    ] {
        assert!(bad.parse::<Month>().is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Wherever 60 seconds begin, no more than the bound is spent in them, and nobody waits for ever.
    #[test]
    fn no_sixty_seconds_hold_more_than_the_bound(
        bound in 100_u64..5000, steps in prop::collection::vec((1_u64..100, 0_u64..20_000), 1..300),
    ) {
        let mut clock = Clock::at(TODAY);
        let mut budget = budget(Some(bound), None, &clock);
        let mut sent: Vec<(Instant, u64)> = Vec::new();
        for (bytes, pause) in steps {
            let mut now = clock.advance(Duration::from_millis(pause));
            for _ in 0..100 {
                match budget.admit(NORMAL, bytes, now) {
                    Admission::Go => break,
                    Admission::Wait { until, .. } => {
                        prop_assert!(until > now.at && until - now.at <= Duration::from_secs(61));
                        now = clock.advance(until - now.at);
                    }
                }
            }
            prop_assert!(goes(&mut budget, NORMAL, bytes, now), "stuck");
            sent.push((now.at, bytes));
            let minute: u64 = sent.iter().filter(|(at, _)| now.at - *at < Duration::from_secs(60)).map(|(_, bytes)| bytes).sum();
            prop_assert!(minute <= bound, "{minute}");
        }
    }

    /// The month is never exceeded by what is not urgent, across restarts at any moment and a clock that is unset or goes back for a while.
    #[test]
    fn no_month_holds_more_than_its_bound(
        bound in 1000_u64..200_000, steps in prop::collection::vec((0_u8..10, 1_u64..3000), 1..200),
    ) {
        let mut clock = Clock::at(TODAY);
        let options = BudgetOptions { per_month: Some(bound), ..BudgetOptions::default() };
        let mut budget = Budget::new(options, Saved::default(), clock.now);
        // Where no month was ever stored, an earlier one is believed: there is nothing it could contradict.
        let (mut stored, mut total) = (budget.exact(), 0);
        for (step, bytes) in steps {
            match step {
                0 => budget = Budget::new(options, stored, clock.now),
                1 => { clock.set(1000 + bytes); }
                2 => { clock.set(TODAY - bytes * 3600); }
                3 => { clock.set(TODAY); }
                _ => {
                    if let Some(saved) = budget.to_save(0) {
                        budget.saved(&saved);
                        stored = saved;
                    }
                    if goes(&mut budget, NORMAL, bytes, clock.now) {
                        total += bytes;
                    }
                }
            }
            prop_assert!(total <= bound, "{total}");
        }
    }
}
