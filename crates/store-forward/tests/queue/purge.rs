//! What somebody takes out is counted as what it is.

use store_forward::{DropReason, Priority, Queue, Route, Sequence, WhenFull};

use crate::{item, options, read_all};

#[tokio::test]
async fn purged_items_are_gone_for_good_and_counted_by_priority_and_route() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    let items = (1..=100).map(|id| {
        let mut item = item(id, 50);
        if id % 4 == 0 {
            item.priority = Priority::new(9).unwrap();
            item.route = Route::new("alarms").unwrap();
        }
        item
    });
    queue.append(items.collect()).await.unwrap();
    queue.remove(vec![Sequence(1)]).await.unwrap();
    let wanted: Vec<_> = [1, 4, 8, 9, 100, 200].map(Sequence).to_vec();
    assert_eq!(queue.purge(wanted.clone()).await, Ok(4));
    assert_eq!(queue.purge(wanted).await, Ok(0), "they are gone");
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.removed, stats.dropped_purged),
        (95, 1, 4)
    );
    let dropped: Vec<_> = stats
        .drops
        .iter()
        .map(|drop| {
            (
                drop.reason,
                drop.priority.get(),
                drop.route.as_str(),
                drop.items,
            )
        })
        .collect();
    assert_eq!(
        dropped,
        [
            (DropReason::Purged, 5, "default", 1),
            (DropReason::Purged, 9, "alarms", 3)
        ]
    );
    queue.close().await.unwrap();
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    assert_eq!(read_all(&queue).await.len(), 95);
    let number = queue.append(vec![item(101, 1)]).await.unwrap();
    assert_eq!(number, [Sequence(101)], "no number is used twice");
    let all = (1..=200).map(Sequence).collect();
    assert_eq!(queue.purge(all).await, Ok(96));
    assert_eq!(queue.stats().depth, 0);
    queue.close().await.unwrap();
}
