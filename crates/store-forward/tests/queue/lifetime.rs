//! Items whose lifetime ends, and clocks that jump.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use store_forward::{DropReason, NewItem, Priority, Queue, Route, Sequence, WhenFull};

use crate::clock::TestClock;
use crate::{item, options, read_all};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn open(path: &Path, clock: &Arc<TestClock>) -> Queue {
    Queue::open(clock.in_options(options(path, WhenFull::Reject))).unwrap()
}

fn living(id: u32, lifetime: Duration) -> NewItem {
    NewItem {
        lifetime: Some(lifetime),
        priority: Priority::new((id % 10) as u8).unwrap(),
        route: Route::new("short-lived").unwrap(),
        ..item(id, 100)
    }
}

async fn ids(queue: &Queue) -> Vec<String> {
    read_all(queue)
        .await
        .into_iter()
        .map(|item| item.id)
        .collect()
}

#[tokio::test]
async fn what_has_expired_is_not_read_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let queue = open(&folder.path().join("q.db"), &clock);
    queue
        .append(vec![living(1, HOUR), item(2, 100), living(3, 2 * HOUR)])
        .await
        .unwrap();
    clock.advance(HOUR - Duration::from_millis(1));
    assert_eq!(ids(&queue).await, ["1", "2", "3"]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(ids(&queue).await, ["2", "3"]);
    let stats = queue.stats();
    assert_eq!((stats.depth, stats.dropped_expired), (2, 1));
    let [dropped] = &stats.drops[..] else {
        panic!("{:?}", stats.drops)
    };
    assert_eq!(
        (
            dropped.reason,
            dropped.priority.get(),
            dropped.route.as_str(),
            dropped.items
        ),
        (DropReason::Expired, 1, "short-lived", 1)
    );
    // Rounded up: nothing is dropped before its time.
    let short = living(4, Duration::from_nanos(1));
    queue.append(vec![short]).await.unwrap();
    assert_eq!(ids(&queue).await, ["2", "3", "4"]);
}

/// Nobody reads, and in the end nobody writes either.
#[tokio::test]
async fn what_has_expired_leaves_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let queue = open(&folder.path().join("q.db"), &clock);
    for _ in 0..5 {
        queue
            .append((0..100).map(|id| living(id, HOUR)).collect())
            .await
            .unwrap();
    }
    queue.append(vec![item("stays", 10)]).await.unwrap();
    clock.advance(HOUR);
    let gone = async {
        while queue.stats().depth > 1 {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .unwrap();
    let stats = queue.stats();
    assert_eq!((stats.dropped_expired, stats.depth), (500, 1));
    assert_eq!(
        stats.drops.iter().map(|dropped| dropped.items).sum::<u64>(),
        500
    );
    assert_eq!(stats.priorities[3].first, None);
}

#[tokio::test]
async fn a_clock_that_jumps_expires_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let path = folder.path().join("q.db");
    let mut queue = open(&path, &clock);
    // As on a device without a clock of its own: from 1970 to today and back.
    clock.set(UNIX_EPOCH);
    queue.append(vec![living(1, HOUR)]).await.unwrap();
    for wall in [UNIX_EPOCH + 56 * YEAR, UNIX_EPOCH, UNIX_EPOCH + 100 * YEAR] {
        clock.set(wall);
        queue.append(vec![item("any", 1)]).await.unwrap();
        assert!(ids(&queue).await.contains(&"1".to_owned()));
        queue.close().await.unwrap();
        queue = open(&path, &clock);
        assert!(ids(&queue).await.contains(&"1".to_owned()));
    }
    // The time that the queue was closed for counts, without the wall clock.
    queue.close().await.unwrap();
    clock.set(UNIX_EPOCH);
    clock.advance(HOUR);
    let queue = open(&path, &clock);
    assert!(!ids(&queue).await.contains(&"1".to_owned()));
}

#[tokio::test]
async fn the_time_that_the_machine_was_off_counts_only_if_it_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let path = folder.path().join("q.db");
    let queue = open(&path, &clock);
    let right = clock.wall();
    clock.set(UNIX_EPOCH + YEAR);
    queue
        .append(vec![living(1, 10 * HOUR), living(2, 20 * HOUR)])
        .await
        .unwrap();
    queue.close().await.unwrap();
    // It was never known to be right before, so the difference means nothing.
    clock.reboot(right);
    let queue = open(&path, &clock);
    queue.wall_clock_is_right().await.unwrap();
    queue.append(vec![item("a", 1)]).await.unwrap();
    assert_eq!(ids(&queue).await, ["1", "2", "a"]);
    queue.close().await.unwrap();
    // Off for eleven hours. At first the clock says something else, then somebody knows.
    clock.reboot(UNIX_EPOCH + 90 * YEAR);
    let queue = open(&path, &clock);
    queue.append(vec![item("b", 1)]).await.unwrap();
    assert_eq!(ids(&queue).await, ["1", "2", "a", "b"]);
    clock.set(right + 11 * HOUR);
    assert_eq!(ids(&queue).await, ["1", "2", "a", "b"]);
    queue.wall_clock_is_right().await.unwrap();
    assert_eq!(ids(&queue).await, ["2", "a", "b"]);
    queue.close().await.unwrap();
    // Two starts in a row: the time before the first counts when it is known at the second.
    clock.reboot(UNIX_EPOCH);
    let queue = open(&path, &clock);
    queue.append(vec![item("c", 1)]).await.unwrap();
    assert_eq!(ids(&queue).await, ["2", "a", "b", "c"]);
    queue.close().await.unwrap();
    clock.reboot(right + 20 * HOUR);
    let queue = open(&path, &clock);
    queue.wall_clock_is_right().await.unwrap();
    assert_eq!(ids(&queue).await, ["a", "b", "c"]);
    assert_eq!(queue.stats().dropped_expired, 1);
    assert_eq!(
        queue.append(vec![item("d", 1)]).await.unwrap(),
        [Sequence(6)]
    );
}

/// Found by the model: the time before an item came made it older when that time became known.
#[tokio::test]
async fn the_time_that_the_machine_was_off_does_not_age_what_came_after() {
    let folder = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let path = folder.path().join("q.db");
    let queue = open(&path, &clock);
    queue.wall_clock_is_right().await.unwrap();
    queue.append(vec![living(1, 9 * HOUR)]).await.unwrap();
    queue.close().await.unwrap();
    clock.reboot(clock.wall() + 8 * HOUR);
    let queue = open(&path, &clock);
    queue.append(vec![living(2, HOUR)]).await.unwrap();
    queue.wall_clock_is_right().await.unwrap();
    assert_eq!(ids(&queue).await, ["1", "2"]);
    clock.advance(HOUR);
    assert_eq!(ids(&queue).await, ["1"]);
}
