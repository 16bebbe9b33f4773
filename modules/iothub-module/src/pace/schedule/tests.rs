use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const OPTIONS: ScheduleOptions = ScheduleOptions {
    backlog_share: 20,
    backlog_rate: None,
    live_wait: Duration::from_millis(500),
    lower_share: 10,
};

fn of(numbers: &[u8]) -> Priorities {
    numbers
        .iter()
        .filter_map(|number| Priority::new(*number))
        .collect()
}

fn waiting(live: &[u8], backlog: &[u8]) -> Waiting {
    Waiting {
        live: of(live),
        backlog: of(backlog),
        live_since: None,
    }
}

/// How often each line goes while all of them wait on.
fn shares(
    options: ScheduleOptions,
    waiting: Waiting,
    rounds: usize,
) -> BTreeMap<(&'static str, u8), usize> {
    let mut schedule = Schedule::new(options);
    let now = Instant::now();
    let mut counts = BTreeMap::new();
    for _ in 0..rounds {
        let Next::Send(class) = schedule.next(waiting, now) else {
            panic!("something waits")
        };
        *counts
            .entry((class.lane.word(), class.priority.get()))
            .or_default() += 1;
    }
    counts
}

#[test]
fn live_goes_first_and_the_backlog_has_its_share() {
    let mut schedule = Schedule::new(OPTIONS);
    let first = schedule.next(waiting(&[5], &[9]), Instant::now());
    let live = Class {
        lane: Lane::Live,
        priority: Priority::DEFAULT,
    };
    assert_eq!(
        first,
        Next::Send(live),
        "whatever the priority of the backlog"
    );
    let counts = shares(OPTIONS, waiting(&[5], &[5]), 1000);
    assert_eq!(
        counts,
        BTreeMap::from([(("backlog", 5), 200), (("live", 5), 800)])
    );
}

#[test]
fn what_waits_alone_has_everything() {
    assert_eq!(
        shares(OPTIONS, waiting(&[], &[3]), 100),
        BTreeMap::from([(("backlog", 3), 100)])
    );
    assert_eq!(
        shares(OPTIONS, waiting(&[3], &[]), 100),
        BTreeMap::from([(("live", 3), 100)])
    );
    let nothing = Schedule::new(OPTIONS).next(Waiting::default(), Instant::now());
    assert_eq!(nothing, Next::Nothing);
}

#[test]
fn live_data_that_waits_too_long_cuts_the_share_to_a_tenth() {
    let start = Instant::now();
    let mut schedule = Schedule::new(OPTIONS);
    let late = Waiting {
        live_since: Some(start),
        ..waiting(&[5], &[5])
    };
    let now = start + Duration::from_millis(501);
    let backlog = (0..1000).filter(
        |_| matches!(schedule.next(late, now), Next::Send(class) if class.lane == Lane::Backlog),
    );
    assert_eq!(backlog.count(), 20);
}

#[test]
fn lower_priorities_share_their_part_in_turn() {
    let counts = shares(OPTIONS, waiting(&[9, 5, 1], &[]), 1000);
    assert_eq!(
        counts,
        BTreeMap::from([(("live", 1), 50), (("live", 5), 50), (("live", 9), 900)])
    );
    let strict = ScheduleOptions {
        lower_share: 0,
        ..OPTIONS
    };
    assert_eq!(
        shares(strict, waiting(&[9, 5, 1], &[]), 1000),
        BTreeMap::from([(("live", 9), 1000)])
    );
}

/// The highest whenever a lower one has its turn, a lower one whenever the highest has.
#[test]
fn one_that_neither_rule_reaches_goes_after_a_while() {
    let options = ScheduleOptions {
        lower_share: 50,
        ..OPTIONS
    };
    let mut schedule = Schedule::new(options);
    let now = Instant::now();
    let lines = [waiting(&[9, 4], &[]), waiting(&[4, 3], &[])];
    let first = lines.iter().cycle().position(|lines| {
        matches!(schedule.next(*lines, now), Next::Send(class) if class.priority.get() == 4)
    });
    assert_eq!(first, Some(20), "ten times what 50 percent explain");
}

#[test]
fn the_backlog_keeps_to_its_rate() {
    let options = ScheduleOptions {
        backlog_rate: Some(50),
        ..OPTIONS
    };
    let mut schedule = Schedule::new(options);
    let start = Instant::now();
    let (mut now, mut sent) = (start, 0);
    while now < start + Duration::from_secs(10) {
        match schedule.next(waiting(&[], &[5]), now) {
            Next::Send(_) => sent += 1,
            Next::WaitUntil(at) => {
                assert!(at > now);
                now = at;
            }
            Next::Nothing => panic!("the backlog waits"),
        }
    }
    assert!((500..=506).contains(&sent), "{sent}");
    // Live data is not held back by it.
    assert!(matches!(
        schedule.next(waiting(&[5], &[5]), now - Duration::from_millis(1)),
        Next::Send(_)
    ));
}

/// A line of 2,100 messages per second, 2,000 live ones per second, and a backlog: how long live ones wait.
#[test]
fn live_data_stays_quick_during_backfill_on_a_line_that_is_nearly_full() {
    let mut schedule = Schedule::new(OPTIONS);
    let start = Instant::now();
    let mut live = std::collections::VecDeque::new();
    let (mut arrived, mut backlog, mut waits) = (0_u32, 0, Vec::new());
    for sent in 0..(2_100 * 60) {
        let now = start + Duration::from_secs(1) * sent / 2_100;
        while Duration::from_secs(1) * arrived / 2_000 <= now.duration_since(start) {
            live.push_back(start + Duration::from_secs(1) * arrived / 2_000);
            arrived += 1;
        }
        let live_since = live.front().copied();
        let lines = Waiting {
            live: if live.is_empty() {
                Priorities::NONE
            } else {
                of(&[5])
            },
            backlog: of(&[5]),
            live_since,
        };
        match schedule.next(lines, now) {
            Next::Send(Class {
                lane: Lane::Live, ..
            }) => {
                waits.extend(live.pop_front().map(|since| now.duration_since(since)));
            }
            Next::Send(_) => backlog += 1,
            other => panic!("{other:?}"),
        }
    }
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    assert!(p99 <= Duration::from_millis(600), "{p99:?}");
    assert!(
        backlog >= 2_100 * 60 / 50,
        "and the backlog is not stuck: {backlog}"
    );
}

fn any_waiting() -> impl Strategy<Value = Waiting> {
    (0_u16..1024, 0_u16..1024).prop_map(|(live, backlog)| {
        let set = |bits: u16| -> Priorities {
            (0..10)
                .filter(|bit| bits & 1 << bit != 0)
                .filter_map(Priority::new)
                .collect()
        };
        Waiting {
            live: set(live),
            backlog: set(backlog),
            live_since: None,
        }
    })
}

proptest! {
    /// Work conserving, and only what waits is named.
    #[test]
    fn whenever_something_may_go_something_goes(
        backlog_share in 0_u8..=100, lower_share in 0_u8..=100, lines in prop::collection::vec(any_waiting(), 1..200),
    ) {
        let mut schedule = Schedule::new(ScheduleOptions { backlog_share, lower_share, ..OPTIONS });
        let now = Instant::now();
        for waiting in lines {
            match schedule.next(waiting, now) {
                Next::Send(Class { lane: Lane::Live, priority }) => prop_assert!(waiting.live.has(priority)),
                Next::Send(Class { lane: Lane::Backlog, priority }) => {
                    prop_assert!(waiting.backlog.has(priority));
                    prop_assert!(waiting.live.is_empty() || backlog_share > 0);
                }
                Next::Nothing => prop_assert!(waiting.live.is_empty() && waiting.backlog.is_empty()),
                Next::WaitUntil(_) => prop_assert!(false, "no rate is set"),
            }
        }
    }

    /// A line that waits all the time is served within a bound, whatever comes and goes in the others.
    #[test]
    fn no_line_starves(
        backlog_share in 1_u8..=50, lower_share in 1_u8..=50, live in any::<bool>(), number in 0_u8..10,
        others in prop::collection::vec(any_waiting(), 20..40),
    ) {
        let mut schedule = Schedule::new(ScheduleOptions { backlog_share, lower_share, ..OPTIONS });
        let (now, mine) = (Instant::now(), Priority::new(number).unwrap());
        let lane = if live { Lane::Live } else { Lane::Backlog };
        let share = |percent: u8| 100_usize.div_ceil(usize::from(percent)) + 1;
        let lanes = if live { 2 } else { share(backlog_share) };
        let bound = 10 * share(lower_share) * lanes;
        let mut waited = 0;
        for waiting in others.iter().cycle().take(4 * bound) {
            let mut waiting = *waiting;
            match lane {
                Lane::Live => waiting.live = waiting.live.with(mine),
                Lane::Backlog => waiting.backlog = waiting.backlog.with(mine),
            }
            waited += 1;
            if schedule.next(waiting, now) == Next::Send(Class { lane, priority: mine }) {
                waited = 0;
            }
            prop_assert!(waited <= bound, "{waited} turns");
        }
    }

    /// In any stretch in which both wait, the backlog has its share to within one message.
    #[test]
    fn the_share_is_exact(backlog_share in 0_u8..=100, rounds in 1_usize..1000) {
        let mut schedule = Schedule::new(ScheduleOptions { backlog_share, ..OPTIONS });
        let now = Instant::now();
        let both = waiting(&[1, 2], &[3, 4]);
        let backlog = (0..rounds).filter(|_| matches!(schedule.next(both, now), Next::Send(class) if class.lane == Lane::Backlog)).count();
        prop_assert_eq!(backlog, rounds * usize::from(backlog_share) / 100);
    }
}
