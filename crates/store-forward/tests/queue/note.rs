//! What a closing leaves for the next opening.

use bytes::Bytes;
use store_forward::{Queue, QueueError, QueueOptions, Sequence, WhenFull};

use crate::{MIB, copy_files, item, options, read_all};

#[tokio::test]
async fn a_note_is_there_until_the_first_append_is_durable_and_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let open = |path| {
        let options = QueueOptions {
            max_bytes: 32 * MIB,
            ..options(path, WhenFull::Reject)
        };
        Queue::open(options).unwrap()
    };
    // As a crash at this moment leaves it.
    let crashed = folder.path().join("crashed.db");
    let after_a_crash = || {
        copy_files(&path, &crashed);
        open(&crashed)
    };
    for length in [0, 5, 1 << 20] {
        let note = Bytes::from(vec![length as u8; length]);
        let queue = open(&path);
        assert_eq!(queue.take_note(), None);
        queue.append(vec![item(1, 10), item(2, 10)]).await.unwrap();
        queue.close_with_note(note.clone()).await.unwrap();

        let queue = open(&path);
        let other = queue.clone();
        assert_eq!(queue.take_note(), Some(note.clone()));
        assert_eq!((queue.take_note(), other.take_note()), (None, None));
        // Nothing of this is an append.
        let items = read_all(&queue).await;
        queue.remove(vec![items[0].sequence]).await.unwrap();
        queue.trial_write().await.unwrap();
        assert_eq!(after_a_crash().take_note(), Some(note.clone()));
        queue.close().await.unwrap();
        let queue = open(&path);
        assert_eq!(queue.take_note(), Some(note));

        queue.append(vec![item(3, 10)]).await.unwrap();
        assert_eq!(after_a_crash().take_note(), None);
        drop((queue, other));
        let queue = open(&path);
        assert_eq!(queue.take_note(), None);
        // Its room is free again.
        queue
            .remove((1..100).map(Sequence).collect())
            .await
            .unwrap();
        queue.append(vec![item(4, 10)]).await.unwrap();
        queue.close().await.unwrap();
    }
    // The one that is left last counts.
    for note in ["first", "second"] {
        open(&path).close_with_note(note.into()).await.unwrap();
    }
    assert_eq!(open(&path).take_note(), Some("second".into()));
}

#[tokio::test]
async fn a_note_costs_no_item_and_the_queue_closes_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let open = || Queue::open(options(&path, WhenFull::DropOldest)).unwrap();
    let queue = open();
    let mut id = 0;
    while queue.stats().dropped_oldest == 0 {
        queue.append(vec![item(id, 900)]).await.unwrap();
        id += 1;
    }
    let stored: Vec<_> = read_all(&queue).await;
    let other = queue.clone();
    let error = queue
        .close_with_note(vec![7; 1 << 20].into())
        .await
        .unwrap_err();
    assert!(matches!(error, QueueError::NoteTooLong { bytes, limit } if bytes > limit));
    assert!(!error.is_retryable());
    assert_eq!(other.trial_write().await, Err(QueueError::Closed));
    let queue = open();
    assert_eq!(
        (queue.take_note(), read_all(&queue).await),
        (None, stored.clone())
    );
    // Rows of items that are gone may give it room; items do not.
    let note = bytes::Bytes::from(vec![7; 49_000]);
    let closed = queue.close_with_note(note.clone()).await;
    let queue = open();
    assert_eq!(
        queue.take_note(),
        closed.is_ok().then_some(note),
        "{closed:?}"
    );
    assert_eq!(read_all(&queue).await, stored);
    let stats = queue.stats();
    assert_eq!((stats.corrupt_files, stats.corrupt_rows), (0, 0));
    queue.append(vec![item(id, 900)]).await.unwrap();
}

/// A bound that is lowered has the file written anew.
#[tokio::test]
async fn a_note_outlives_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let large = QueueOptions {
        max_bytes: 16 * MIB,
        ..options(&path, WhenFull::Reject)
    };
    let queue = Queue::open(large).unwrap();
    let items = (0..2000).map(|id| item(id, 900)).collect();
    queue.append(items).await.unwrap();
    let gone = (1..1990).step_by(2).chain((2..1990).step_by(2));
    queue.append(vec![item(1, 1)]).await.unwrap();
    queue.remove(gone.map(Sequence).collect()).await.unwrap();
    queue.close_with_note("kept".into()).await.unwrap();
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    assert_eq!(queue.take_note(), Some("kept".into()));
    assert!(queue.stats().file_bytes <= MIB);
    drop(queue);
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    assert_eq!(queue.take_note(), Some("kept".into()));
}
