//! Ten queues in one: reading, room and figures by priority.

use store_forward::{
    DropReason, Dropped, NewItem, Priority, Queue, QueueStats, Route, Sequence, WhenFull,
};

use crate::{MIB, disk_bytes, item, options, read_all, same};

fn priority(number: u8) -> Priority {
    Priority::new(number).unwrap()
}

fn with(number: u8, id: impl ToString, size: usize) -> NewItem {
    NewItem {
        priority: priority(number),
        route: Route::new(if number > 6 { "alarms" } else { "default" }).unwrap(),
        ..item(id, size)
    }
}

#[tokio::test]
async fn each_priority_is_read_by_itself_and_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    let items: Vec<_> = (0..60).map(|id| with(id % 3 * 4, id, 30)).collect();
    queue.append(items.clone()).await.unwrap();
    let backlog = *queue.changed().borrow();
    queue.append(items.clone()).await.unwrap();
    let read = async |number, after, until, most| {
        queue
            .read_priority(priority(number), Sequence(after), until, most, usize::MAX)
            .await
            .unwrap()
    };
    let numbers = |items: &[store_forward::StoredItem]| -> Vec<u64> {
        items.iter().map(|item| item.sequence.0).collect()
    };
    let old = read(8, 0, backlog, 100).await;
    assert_eq!(numbers(&old), (1..=20).map(|at| at * 3).collect::<Vec<_>>());
    assert!(
        old.iter()
            .all(|stored| same(stored, &items[stored.sequence.0 as usize - 1]))
    );
    assert_eq!(numbers(&read(8, 30, backlog, 2).await), [33, 36]);
    assert_eq!(
        numbers(&read(8, backlog.0, Sequence::END, 2).await),
        [63, 66]
    );
    assert_eq!(numbers(&read(0, 55, Sequence(58), 9).await), [58]);
    assert!(read(5, 0, Sequence::END, 9).await.is_empty());
    assert!(read(8, 60, Sequence(30), 9).await.is_empty());
    // All of them, in order, for who has one priority.
    assert!(
        read_all(&queue)
            .await
            .is_sorted_by_key(|item| item.sequence)
    );

    let eight = queue.priority(priority(8));
    assert_eq!(
        (eight.first, eight.last),
        (Some(Sequence(3)), Some(Sequence(120)))
    );
    assert_eq!((eight.flow.depth, eight.flow.appended), (40, 40));
    assert!(eight.oldest_age.is_some());
    queue
        .remove(old.iter().map(|item| item.sequence).collect())
        .await
        .unwrap();
    let eight = queue.priority(priority(8));
    assert_eq!(
        (eight.first, eight.last),
        (Some(Sequence(63)), Some(Sequence(120)))
    );
    assert_eq!((eight.flow.depth, eight.flow.removed), (20, 20));
    assert_eq!(queue.priority(priority(5)), Default::default());

    let check = |stats: QueueStats| {
        let alarms = &stats.routes[&Route::new("alarms").unwrap()];
        let other = &stats.routes[&Route::default()];
        assert_eq!((alarms.depth, other.depth, stats.depth), (20, 80, 100));
        assert_eq!(
            alarms.payload_bytes + other.payload_bytes,
            stats.payload_bytes
        );
        let sum: u64 = stats
            .priorities
            .iter()
            .map(|one| one.flow.payload_bytes)
            .sum();
        assert_eq!(sum, stats.payload_bytes);
    };
    check(queue.stats());
    drop(queue);
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    check(queue.stats());
    assert_eq!(queue.priority(priority(8)).first, Some(Sequence(63)));
}

fn dropped(stats: &QueueStats, reason: DropReason) -> Vec<(u8, u64)> {
    let of_reason = |dropped: &&Dropped| dropped.reason == reason;
    let counts = stats.drops.iter().filter(of_reason);
    counts
        .map(|dropped| (dropped.priority.get(), dropped.items))
        .collect()
}

#[tokio::test]
async fn the_lowest_priority_makes_room_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::DropOldest)).unwrap();
    // Mixed, so that each page would hold all three if they were in one table.
    for round in 0..60_u64 {
        let items = [2, 5, 9].map(|number| with(number, format!("{round}/{number}"), 900));
        queue.append(items.to_vec()).await.unwrap();
    }
    assert!(queue.stats().drops.is_empty());
    let mut round = 60_u64;
    let mut last = 180;
    // As long as there is any of the lowest, nothing else goes.
    while queue.priority(priority(2)).flow.depth > 0 {
        last = queue.append(vec![with(9, round, 900)]).await.unwrap()[0].0;
        assert!(disk_bytes(&path) <= MIB);
        round += 1;
    }
    let stats = queue.stats();
    assert_eq!(dropped(&stats, DropReason::Oldest), [(2, 60)]);
    assert_eq!(stats.priorities[5].flow.depth, 60);
    // No room is wasted meanwhile.
    assert!(stats.payload_bytes > MIB / 2, "{stats:?}");
    while queue.priority(priority(5)).flow.depth > 0 {
        last = queue.append(vec![with(9, round, 900)]).await.unwrap()[0].0;
        round += 1;
    }
    // Only higher ones are left: one that matters less is dropped itself.
    let before = queue.stats();
    for number in [8, 0, 5] {
        for _ in 0..4 {
            last = queue.append(vec![with(number, "low", 3000)]).await.unwrap()[0].0;
        }
    }
    let stats = queue.stats();
    assert!(
        dropped(&stats, DropReason::Oldest)
            .iter()
            .all(|(number, _)| *number < 9)
    );
    assert_eq!(
        stats.priorities[9].flow.depth,
        before.priorities[9].flow.depth
    );
    assert!(stats.dropped_newest > 6, "{stats:?}");
    // Within its own priority a new one takes the place of the oldest.
    last = queue.append(vec![with(9, "new", 3000)]).await.unwrap()[0]
        .0
        .max(last);
    let found = read_all(&queue).await;
    assert!(found.iter().any(|item| item.id == "new"));
    let stats = queue.stats();
    let lost = stats.dropped_oldest + stats.dropped_newest;
    assert_eq!(
        found.len() as u64 + lost,
        last,
        "the count of drops is the gaps"
    );
}

#[tokio::test]
async fn a_group_of_all_priorities_loses_the_least() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::DropOldest)).unwrap();
    while queue.stats().dropped_oldest == 0 {
        let items = (0..10).map(|id| with(6, id, 1000)).collect();
        queue.append(items).await.unwrap();
    }
    let before = queue.stats();
    let items = (0..10).map(|number| with(number, number, 1000)).collect();
    let sequences = queue.append(items).await.unwrap();
    assert_eq!(sequences.len(), 10);
    let found = read_all(&queue).await;
    let new: Vec<_> = found
        .iter()
        .filter(|item| item.sequence >= sequences[0])
        .map(|item| item.priority.get())
        .collect();
    // Those above 6 are in, and of those below the highest, as far as there was room.
    assert!(new.ends_with(&[6, 7, 8, 9]), "{new:?}");
    assert!(
        new.is_sorted() && new.windows(2).all(|two| two[0] + 1 == two[1]),
        "{new:?}"
    );
    let stats = queue.stats();
    assert_eq!(stats.dropped_newest, 10 - new.len() as u64);
    assert_eq!(
        stats.depth + stats.dropped_oldest + stats.dropped_newest,
        sequences[9].0
    );
    assert!(stats.dropped_oldest >= before.dropped_oldest);
}

#[tokio::test]
async fn a_trial_leaves_no_gap() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(options(&folder.path().join("q.db"), WhenFull::Reject)).unwrap();
    queue.trial_write().await.unwrap();
    assert_eq!(queue.append(vec![item(1, 1)]).await.unwrap(), [Sequence(1)]);
    queue.trial_write().await.unwrap();
    assert_eq!(queue.append(vec![item(1, 1)]).await.unwrap(), [Sequence(2)]);
}

/// A removal of what was sent from many tables at once, in the smallest queue.
#[tokio::test]
async fn wide_removals_stay_within_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    let items: Vec<_> = (0..300).map(|id| with(id as u8 % 10, id, 500)).collect();
    queue.append(items).await.unwrap();
    let gone: Vec<_> = (1..=200).map(Sequence).collect();
    queue.remove(gone).await.unwrap();
    assert!(disk_bytes(&path) <= MIB, "{}", disk_bytes(&path));
    let stats = queue.stats();
    assert_eq!((stats.depth, stats.removed), (100, 200));
    queue
        .remove((1..=300).step_by(7).map(Sequence).collect())
        .await
        .unwrap();
    assert!(disk_bytes(&path) <= MIB);
    let left: Vec<_> = read_all(&queue)
        .await
        .iter()
        .map(|item| item.sequence.0)
        .collect();
    assert_eq!(
        left,
        (201..=300)
            .filter(|number| number % 7 != 1)
            .collect::<Vec<_>>()
    );
}

/// What a sender of its own for some of the keys needs.
#[tokio::test]
async fn each_reader_gets_the_keys_that_it_wants_and_knows_how_far_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let big = store_forward::QueueOptions {
        max_bytes: 16 * MIB,
        ..options(&path, WhenFull::Reject)
    };
    let queue = Queue::open(big).unwrap();
    let keyed = |id: u64, key: &str, number| NewItem {
        key: key.to_owned(),
        ..with(number, id, if id.is_multiple_of(7) { 5000 } else { 20 })
    };
    // 5,000 of another key come between, and of another priority.
    let common = (0..5000).map(|id| keyed(id * 7 + 1, "common", 8));
    let items: Vec<_> = (0..20)
        .map(|id| keyed(id, "rare", 8))
        .chain(common)
        .chain([keyed(1, "rare", 2), keyed(2, "rare", 8)])
        .collect();
    queue.append(items.clone()).await.unwrap();
    let read = async |key: &'static str, after, until, items, bytes| {
        let wanted = move |found: &str| found == key;
        queue
            .read_priority_of(priority(8), Sequence(after), until, items, bytes, wanted)
            .await
            .unwrap()
    };
    // By number of items, by bytes, by the bound.
    let found = read("rare", 0, Sequence::END, 5, usize::MAX).await;
    assert_eq!((found.items.len(), found.looked_to), (5, Sequence(5)));
    assert!(
        found
            .items
            .iter()
            .zip(&items)
            .all(|(stored, new)| same(stored, new))
    );
    let found = read("rare", 5, Sequence::END, 99, 200).await;
    assert_eq!((found.items.len(), found.looked_to), (2, Sequence(7)));
    let found = read("rare", 7, Sequence(12), 99, usize::MAX).await;
    assert_eq!((found.items.len(), found.looked_to), (5, Sequence(12)));
    let found = read("rare", 12, Sequence(12), 99, usize::MAX).await;
    assert_eq!((found.items.len(), found.looked_to), (0, Sequence(12)));
    // So many are looked at, and no more.
    let found = read("rare", 12, Sequence::END, 99, usize::MAX).await;
    assert_eq!(found.items.len(), 8);
    assert_eq!(found.looked_to, Sequence(12 + 4096));
    let found = read("rare", 4108, Sequence::END, 99, usize::MAX).await;
    assert_eq!((found.items.len(), found.looked_to), (1, Sequence(5022)));
    assert_eq!(found.items[0].id, "2");
    // What comes later lies after it.
    let found = read("rare", 5022, Sequence::END, 99, usize::MAX).await;
    assert_eq!((found.items.len(), found.looked_to), (0, Sequence(5022)));
    queue.append(vec![keyed(3, "rare", 8)]).await.unwrap();
    let found = read("rare", 5022, Sequence::END, 99, usize::MAX).await;
    assert_eq!((found.items.len(), found.looked_to), (1, Sequence(5023)));
    // Bytes end a read in front of an item; what was looked at before it is done.
    let found = read("common", 0, Sequence(40), 99, 50).await;
    assert_eq!((found.items.len(), found.looked_to), (1, Sequence(21)));
    let none = queue
        .read_priority_of(priority(8), Sequence::START, Sequence::END, 0, 0, |_| true)
        .await
        .unwrap();
    assert_eq!((none.items.len(), none.looked_to), (0, Sequence::START));
    let other = queue
        .read_priority_of(priority(9), Sequence(5), Sequence::END, 9, 99, |_| true)
        .await
        .unwrap();
    assert_eq!((other.items.len(), other.looked_to), (0, Sequence(5023)));
}
