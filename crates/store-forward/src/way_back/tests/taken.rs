//! Ways back that are taken: over a wrong table, at the bound, and with damage afterwards.

use std::io::Write;

use super::*;

#[tokio::test]
async fn a_release_puts_its_own_ways_back_right() {
    let folder = tempfile::tempdir().unwrap();
    let (path, expected) = sample(folder.path()).await;
    let store = connect(&path, BOUND);
    store
        .connection
        .execute_batch("UPDATE way_back SET undo = 'DROP TABLE item' WHERE version = 4; DELETE FROM way_back WHERE version = 3")
        .unwrap();
    store.close().unwrap();
    assert_untouched(&path, &expected);
    let queue = Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
    assert_eq!(read_all(&queue).await, expected);
}

/// A queue at its bound needs room for both of its layouts for a while, and is within the bound afterwards.
#[tokio::test]
async fn a_full_queue_comes_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let bound = 2 << 20;
    let options = || options(&path, bound, WhenFull::Reject);
    let queue = Queue::open(options()).unwrap();
    let mut id = 0;
    while queue
        .append((id..id + 20).map(|id| item(id, 700)).collect())
        .await
        .is_ok()
    {
        id += 20;
    }
    let expected = read_all(&queue).await;
    assert!(expected.len() > 1500, "{}", expected.len());
    queue.close().await.unwrap();
    for version in [3, 4, 3, 4] {
        start(&path, version, bound).0.close().unwrap();
        let queue = Queue::open(options()).unwrap();
        let stats = queue.stats();
        assert!(stats.file_bytes <= bound, "{stats:?}");
        assert_sound(&stats);
        assert_eq!(read_all(&queue).await, expected);
        queue.close().await.unwrap();
    }
    let queue = Queue::open(options()).unwrap();
    let first: Vec<_> = expected.keys().copied().take(100).map(Sequence).collect();
    queue.remove(first).await.unwrap();
    queue.append(vec![item(0, 700)]).await.unwrap();
}

/// What the older release repairs after its way back is laid out as its own files are.
#[tokio::test]
async fn damage_after_the_way_back_is_mended_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    let (path, expected) = sample(folder.path()).await;
    let open = || Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
    open().close().await.unwrap();
    let mut file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all(&[0x55; 200]).unwrap();
    drop(file);
    let queue = open();
    assert_eq!(read_all(&queue).await, expected);
    assert_eq!(queue.stats().corrupt_files, 1);
}
