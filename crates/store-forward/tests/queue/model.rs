//! The queue against a model of docs/reference/queue.md: random appends, reads, removals, restarts, crashes, damage and clocks
//! that jump, with bounds so small that items are dropped. Nothing is lost, reordered or comes back, nothing expires early or
//! is read late, and everything that goes is counted exactly.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use store_forward::{
    AppendError, DropReason, NewItem, Priority, Queue, QueueStats, Route, Sequence, StoredItem,
    WhenFull,
};

use crate::clock::{DAY, TestClock};
use crate::{MIB, copy_files, disk_bytes, item, options, read_all, same};

/// The queue's time is written down so often at least.
const ANCHORED: u64 = 60_000;

#[derive(Clone, Debug)]
struct New {
    size: u16,
    priority: u8,
    route: u8,
    lifetime: Option<u32>,
}

#[derive(Clone, Debug)]
enum Action {
    Append(Vec<New>),
    Read {
        priority: Option<u8>,
        skip: usize,
        span: usize,
        max_items: usize,
        max_bytes: usize,
    },
    Remove {
        skip: usize,
        step: usize,
        count: usize,
    },
    RemoveAll,
    Trial,
    /// Closed, and opened again.
    Restart,
    /// The handle is dropped without closing.
    Abandon,
    /// What is on disk at this moment is opened elsewhere; the machine was off for so many milliseconds, or never.
    PowerCut(Option<u32>),
    /// A row is not what was written.
    Damage(prop::sample::Index),
    /// Milliseconds go by.
    Advance(u32),
    /// The wall clock is set wrong by so many seconds, or right.
    SetWall(i64),
    /// Somebody says that it is right.
    Confirm,
}

fn new() -> impl Strategy<Value = New> {
    let size = prop_oneof![4 => 0_u16..600, 4 => 1500_u16..6000, 1 => 20_000_u16..40_000];
    let priority = prop_oneof![3 => Just(5_u8), 3 => 0_u8..10];
    let lifetime = prop_oneof![3 => Just(None), 2 => (1_u32..200_000).prop_map(Some)];
    (size, priority, 0_u8..3, lifetime).prop_map(|(size, priority, route, lifetime)| New {
        size,
        priority,
        route,
        lifetime,
    })
}

fn action() -> impl Strategy<Value = Action> {
    let read = (
        prop::option::of(0_u8..10),
        0_usize..200,
        0_usize..200,
        0_usize..80,
        0_usize..100_000,
    );
    prop_oneof![
        24 => prop::collection::vec(new(), 1..24).prop_map(Action::Append),
        6 => read.prop_map(|(priority, skip, span, max_items, max_bytes)| Action::Read { priority, skip, span, max_items, max_bytes }),
        8 => (0_usize..60, 1_usize..4, 0_usize..60).prop_map(|(skip, step, count)| Action::Remove { skip, step, count }),
        2 => Just(Action::RemoveAll),
        1 => Just(Action::Trial),
        2 => Just(Action::Restart),
        2 => Just(Action::Abandon),
        4 => prop::option::of(0_u32..300_000).prop_map(Action::PowerCut),
        2 => any::<prop::sample::Index>().prop_map(Action::Damage),
        4 => (0_u32..100_000).prop_map(Action::Advance),
        2 => prop_oneof![Just(0_i64), -1_700_000_000_i64..1_700_000_000].prop_map(Action::SetWall),
        2 => Just(Action::Confirm),
    ]
}

fn policy() -> impl Strategy<Value = WhenFull> {
    prop_oneof![
        Just(WhenFull::DropOldest),
        Just(WhenFull::DropNewest),
        Just(WhenFull::Reject)
    ]
}

#[derive(Clone, Debug)]
struct Held {
    item: NewItem,
    /// True milliseconds when it came.
    since: u64,
    /// Of these, how many may not have counted.
    uncounted: u64,
}

impl Held {
    /// Whether it must not, may, or must have expired.
    fn expired(&self, now: u64) -> Option<bool> {
        let Some(lifetime) = self.item.lifetime else {
            return Some(false);
        };
        let (age, lifetime) = (now - self.since, lifetime.as_millis() as u64);
        if age < lifetime {
            Some(false)
        } else if age - self.uncounted.min(age) >= lifetime {
            Some(true)
        } else {
            None
        }
    }
}

struct Run {
    folder: tempfile::TempDir,
    files: u32,
    path: PathBuf,
    when_full: WhenFull,
    clock: Arc<TestClock>,
    queue: Queue,
    model: BTreeMap<u64, Held>,
    last: u64,
    /// The next number is known: there was no damage since the last one.
    exact: bool,
    appended: usize,
    /// True milliseconds.
    now: u64,
    /// How wrong the wall clock is.
    wrong: i64,
}

impl Run {
    fn new(when_full: WhenFull) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.db");
        let clock = TestClock::new();
        let queue = Queue::open(clock.in_options(options(&path, when_full))).unwrap();
        Self {
            folder,
            files: 0,
            path,
            when_full,
            clock,
            queue,
            model: BTreeMap::new(),
            last: 0,
            exact: true,
            appended: 0,
            now: 0,
            wrong: 0,
        }
    }

    async fn act(&mut self, action: &Action) {
        match action {
            Action::Append(new) => self.append(new).await,
            Action::Read {
                priority,
                skip,
                span,
                max_items,
                max_bytes,
            } => {
                let priority = priority.and_then(Priority::new);
                self.read(priority, *skip, *span, *max_items, *max_bytes)
                    .await
            }
            Action::Remove { skip, step, count } => {
                let chosen = self.model.keys().skip(*skip).step_by(*step).take(*count);
                // Removed before, or never there: no matter.
                let chosen = chosen.copied().chain([self.last + 7, 0]).collect();
                self.remove(chosen).await;
            }
            Action::RemoveAll => self.remove(self.model.keys().copied().collect()).await,
            Action::Trial => self.queue.trial_write().await.unwrap(),
            Action::Restart => {
                self.queue.clone().close().await.unwrap();
                self.reopen();
            }
            Action::Abandon => self.reopen(),
            Action::PowerCut(off) => {
                self.files += 1;
                let copy = self.folder.path().join(format!("{}.db", self.files));
                copy_files(&self.path, &copy);
                self.path = copy;
                if let Some(off) = off {
                    self.now += u64::from(*off);
                    self.clock.reboot(self.wall());
                    for held in self.model.values_mut() {
                        held.uncounted += ANCHORED + u64::from(*off);
                    }
                }
                self.reopen();
            }
            Action::Damage(index) => self.damage(*index).await,
            Action::Advance(millis) => {
                self.now += u64::from(*millis);
                self.clock
                    .advance(Duration::from_millis(u64::from(*millis)));
            }
            Action::SetWall(wrong) => {
                self.wrong = *wrong;
                self.clock.set(self.wall());
            }
            Action::Confirm => {
                if self.wrong == 0 {
                    self.queue.wall_clock_is_right().await.unwrap();
                }
            }
        }
        self.settle().await;
        self.check();
    }

    fn wall(&self) -> std::time::SystemTime {
        let seconds = (DAY as i64 + self.wrong).unsigned_abs();
        UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(self.now)
    }

    /// Reads everything: what has expired is gone after that, and the rest is what the model has.
    async fn settle(&mut self) {
        let stored = read_all(&self.queue).await;
        let mut found = stored.iter().peekable();
        let now = self.now;
        self.model.retain(|sequence, held| {
            let there = found.next_if(|stored| stored.sequence.0 == *sequence);
            match (there, held.expired(now)) {
                (Some(stored), Some(false) | None) => {
                    assert!(same(stored, &held.item));
                    true
                }
                (None, Some(true) | None) => false,
                (Some(_), Some(true)) => panic!("{sequence} was read after its time"),
                (None, Some(false)) => panic!("{sequence} is missing"),
            }
        });
        assert!(found.next().is_none(), "an item came back");
    }

    fn check(&self) {
        let stats = self.queue.stats();
        let size = |held: &Held| held.item.size() as u64;
        assert_eq!(stats.depth, self.model.len() as u64);
        assert_eq!(
            stats.payload_bytes,
            self.model.values().map(size).sum::<u64>()
        );
        assert_eq!(stats.oldest_age.is_some(), !self.model.is_empty());
        assert_eq!(stats.storage_errors, 0, "{stats:?}");
        assert!(stats.file_bytes <= MIB, "{stats:?}");
        assert!(disk_bytes(&self.path) <= MIB);
        for priority in Priority::descending() {
            let shown = self.queue.priority(priority);
            let of_it = || {
                self.model
                    .iter()
                    .filter(|(_, held)| held.item.priority == priority)
            };
            assert_eq!(shown.flow.depth, of_it().count() as u64);
            assert_eq!(
                shown.flow.payload_bytes,
                of_it().map(|(_, held)| size(held)).sum::<u64>()
            );
            let number =
                |found: Option<(&u64, &Held)>| found.map(|(sequence, _)| Sequence(*sequence));
            assert_eq!(shown.first, number(of_it().next()));
            assert_eq!(shown.last, number(of_it().next_back()));
        }
        for (route, flow) in &stats.routes {
            let of_it = || self.model.values().filter(|held| held.item.route == *route);
            assert_eq!(flow.depth, of_it().count() as u64, "{route}");
            assert_eq!(
                flow.payload_bytes,
                of_it().map(size).sum::<u64>(),
                "{route}"
            );
        }
    }

    async fn append(&mut self, new: &[New]) {
        let items: Vec<_> = new
            .iter()
            .map(|new| {
                self.appended += 1;
                NewItem {
                    priority: Priority::new(new.priority).unwrap(),
                    route: Route::new(["default", "alarms", "slow"][usize::from(new.route)])
                        .unwrap(),
                    lifetime: new
                        .lifetime
                        .map(|millis| Duration::from_millis(u64::from(millis))),
                    ..item(self.appended, usize::from(new.size))
                }
            })
            .collect();
        let before = self.queue.stats();
        let result = self.queue.append(items.clone()).await;
        let after = self.queue.stats();
        let rejected = (after.rejected - before.rejected) as usize;
        if let Err(error) = result {
            assert_eq!(
                (error, self.when_full),
                (AppendError::Full, WhenFull::Reject)
            );
            assert_eq!(drops(&after), drops(&before));
            // Of a batch that takes several transactions the first ones may be in.
            let stored = self
                .queue
                .read(Sequence(self.last), usize::MAX, usize::MAX)
                .await
                .unwrap();
            assert!(stored.len() < items.len() && rejected > 0);
            for (stored, item) in stored.iter().zip(items) {
                self.hold(stored.sequence.0, item);
            }
            return;
        }
        let sequences = result.unwrap();
        assert_eq!(rejected, 0);
        assert_eq!(sequences.len(), items.len());
        let pre = self.last;
        for (sequence, item) in sequences.into_iter().zip(items) {
            self.hold(sequence.0, item);
        }
        let stored = self
            .queue
            .read(Sequence::START, usize::MAX, usize::MAX)
            .await
            .unwrap();
        let mut dropped = BTreeMap::new();
        let mut found = stored.iter().peekable();
        self.model.retain(|sequence, held| {
            let there = found
                .next_if(|stored| stored.sequence.0 == *sequence)
                .is_some();
            if !there {
                dropped.insert(*sequence, held.clone());
            }
            there
        });
        self.check_drops(pre, &dropped, &before, &after);
    }

    /// What an append cost is what the policy says, and is counted.
    fn check_drops(
        &self,
        pre: u64,
        dropped: &BTreeMap<u64, Held>,
        before: &QueueStats,
        after: &QueueStats,
    ) {
        let mut counted = BTreeMap::new();
        for ((reason, priority, route), items) in drops(after) {
            let items = items
                - drops(before)
                    .get(&(reason, priority, route.clone()))
                    .unwrap_or(&0);
            if items > 0 {
                assert_ne!(reason, DropReason::Expired);
                assert!(reason == DropReason::Newest || self.when_full == WhenFull::DropOldest);
                *counted.entry((priority, route)).or_insert(0) += items;
            }
        }
        let mut gone = BTreeMap::new();
        for held in dropped.values() {
            *gone
                .entry((held.item.priority, held.item.route.clone()))
                .or_insert(0) += 1;
        }
        assert_eq!(gone, counted);
        match self.when_full {
            WhenFull::Reject => assert!(dropped.is_empty()),
            WhenFull::DropNewest => assert!(dropped.keys().all(|sequence| *sequence > pre)),
            WhenFull::DropOldest => {
                for (sequence, held) in dropped {
                    let priority = held.item.priority;
                    for (kept, other) in &self.model {
                        // Within a priority the oldest goes.
                        assert!(other.item.priority != priority || kept > sequence);
                        // What was there and matters less would have gone before.
                        assert!(*kept > pre || other.item.priority >= priority);
                    }
                }
            }
        }
    }

    fn hold(&mut self, sequence: u64, item: NewItem) {
        assert!(sequence > self.last);
        assert!(!self.exact || sequence == self.last + 1);
        (self.last, self.exact) = (sequence, true);
        let held = Held {
            item,
            since: self.now,
            uncounted: 0,
        };
        self.model.insert(sequence, held);
    }

    async fn read(
        &self,
        priority: Option<Priority>,
        skip: usize,
        span: usize,
        max_items: usize,
        max_bytes: usize,
    ) {
        let number = |place: usize| match place {
            0 => Sequence::START,
            place => Sequence(*self.model.keys().nth(place - 1).unwrap_or(&self.last)),
        };
        let (after, mut until) = (number(skip), number(skip + span));
        let items = match priority {
            Some(priority) => {
                let read = self
                    .queue
                    .read_priority(priority, after, until, max_items, max_bytes);
                read.await.unwrap()
            }
            None => {
                until = Sequence::END;
                self.queue.read(after, max_items, max_bytes).await.unwrap()
            }
        };
        let mut bytes = 0;
        let expected: Vec<_> = self
            .model
            .iter()
            .filter(|(sequence, held)| {
                **sequence > after.0
                    && **sequence <= until.0
                    && priority.is_none_or(|priority| held.item.priority == priority)
            })
            .take(max_items)
            .enumerate()
            .take_while(|(index, (_, held))| {
                bytes += held.item.size();
                *index == 0 || bytes <= max_bytes
            })
            .map(|(_, expected)| expected)
            .collect();
        assert_eq!(items.len(), expected.len());
        let as_expected = |(stored, (sequence, held)): (&StoredItem, (&u64, &Held))| {
            stored.sequence.0 == *sequence && same(stored, &held.item)
        };
        assert!(items.iter().zip(expected).all(as_expected));
    }

    async fn remove(&mut self, chosen: Vec<u64>) {
        let before = self.queue.stats().removed;
        self.queue
            .remove(chosen.iter().copied().map(Sequence).collect())
            .await
            .unwrap();
        let depth = self.model.len();
        self.model.retain(|sequence, _| !chosen.contains(sequence));
        assert_eq!(
            self.queue.stats().removed - before,
            (depth - self.model.len()) as u64
        );
    }

    /// Drops the handle and opens the path, which may be another one.
    fn reopen(&mut self) {
        let elsewhere = self.folder.path().join("unused.db");
        let spare =
            Queue::open(self.clock.in_options(options(&elsewhere, self.when_full))).unwrap();
        drop(std::mem::replace(&mut self.queue, spare));
        let options = self.clock.in_options(options(&self.path, self.when_full));
        self.queue = Queue::open(options).unwrap();
    }

    /// A bit in a row is another one, while nobody has the file open.
    async fn damage(&mut self, index: prop::sample::Index) {
        if self.model.is_empty() {
            return;
        }
        let sequence = *self
            .model
            .keys()
            .nth(index.index(self.model.len()))
            .unwrap();
        let held = self.model.remove(&sequence).unwrap();
        self.queue.clone().close().await.unwrap();
        let table = match held.item.priority.get() {
            5 => "item".to_owned(),
            other => format!("item_{other}"),
        };
        let sql = match (sequence % 3, held.item.lifetime) {
            (0, _) => "key = key || 'x'",
            (1, Some(_)) => "expires = expires + 1",
            _ => "route = 'another'",
        };
        let database = rusqlite::Connection::open(&self.path).unwrap();
        let sql = format!("UPDATE {table} SET {sql} WHERE sequence = {sequence}");
        assert_eq!(database.execute(&sql, []).unwrap(), 1);
        database.close().unwrap();
        self.reopen();
        self.exact = false;
        let stats = self.queue.stats();
        assert_eq!(
            (stats.corrupt_rows, stats.corrupt_files),
            (1, 0),
            "{stats:?}"
        );
    }
}

type Drops = BTreeMap<(DropReason, Priority, Route), u64>;

fn drops(stats: &QueueStats) -> Drops {
    let drops = stats.drops.iter().map(|dropped| {
        let key = (dropped.reason, dropped.priority, dropped.route.clone());
        (key, dropped.items)
    });
    let drops: Drops = drops.collect();
    let total = stats.dropped_oldest + stats.dropped_newest + stats.dropped_expired;
    assert_eq!(drops.values().sum::<u64>(), total);
    drops
}

fn cases() -> ProptestConfig {
    let config = ProptestConfig {
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config
    } else {
        ProptestConfig {
            cases: 16,
            ..config
        }
    }
}

fn run(when_full: WhenFull, actions: &[Action]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut run = Run::new(when_full);
        for action in actions {
            run.act(action).await;
        }
    });
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_queue_is_as_the_model(when_full in policy(), actions in prop::collection::vec(action(), 10..60)) {
        run(when_full, &actions);
    }
}
