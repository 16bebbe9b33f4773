//! Between version 2 and the real version 1.

use super::*;
use crate::row::{MARK, Parts};
use crate::schema::ITEM;
use crate::{Priority, Route};

const FIRST: Release = Release {
    steps: &[],
    tables: &[ITEM],
};

/// What version 1 does with the file, as far as its schema goes.
fn down(path: &Path, max_bytes: u64) -> (Store, Left) {
    let mut store = connect(path, max_bytes);
    let left = store
        .beyond_bound(|connection| take(connection, &FIRST, 2, 1 << 40))
        .unwrap();
    FIRST.check(&store.connection).unwrap();
    (store, left)
}

/// Every row as version 1 reads it: sequence number to item, and the mark's number.
fn first_rows(connection: &Connection) -> (BTreeMap<u64, NewItem>, Option<u64>) {
    let mut statement = connection
        .prepare("SELECT sequence, key, id, properties, payload, enqueued, checksum FROM item ORDER BY sequence")
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let (mut items, mut mark) = (BTreeMap::new(), None);
    while let Some(row) = rows.next().unwrap() {
        let sequence = row.get(0).unwrap();
        let bytes = |index| bytes::Bytes::from(row.get::<_, Vec<u8>>(index).unwrap());
        let item = NewItem {
            key: row.get(1).unwrap(),
            id: row.get(2).unwrap(),
            properties: bytes(3),
            payload: bytes(4),
            ..NewItem::default()
        };
        let enqueued = row.get(5).unwrap();
        assert_eq!(
            Parts::from(&item).checksum(sequence, enqueued),
            row.get::<_, u32>(6).unwrap()
        );
        if enqueued == MARK {
            mark = Some(sequence);
        } else {
            items.insert(sequence, item);
        }
    }
    (items, mark)
}

fn mixed(id: u64, size: u16) -> NewItem {
    NewItem {
        priority: Priority::new((id * 7 % 10) as u8).unwrap(),
        route: Route::new(["default", "alarms", "a rule of the plant"][id as usize % 3]).unwrap(),
        lifetime: id.is_multiple_of(2).then(|| Duration::from_secs(3600 + id)),
        ..item(id, size)
    }
}

fn without_terms(item: NewItem) -> NewItem {
    NewItem {
        priority: Priority::DEFAULT,
        route: Route::default(),
        lifetime: None,
        ..item
    }
}

#[tokio::test]
async fn version_1_gets_every_item_in_the_order_of_the_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let open = || Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
    let queue = open();
    let items: Vec<_> = (1..=200)
        .map(|id| mixed(id, (id % 7 * 900) as u16))
        .collect();
    queue.append(items).await.unwrap();
    let removed = [3, 14, 15, 92, 199, 200].map(Sequence).to_vec();
    queue.remove(removed).await.unwrap();
    let before = read_all(&queue).await;
    assert_eq!(before.len(), 194);
    // The older release has no place for it.
    queue.close_with_note("a note".into()).await.unwrap();

    let (store, left) = down(&path, BOUND);
    assert_eq!(left.items, 0, "{left:?}");
    let plain: BTreeMap<_, _> = before
        .iter()
        .map(|(sequence, (item, _))| (*sequence, without_terms(item.clone())))
        .collect();
    assert_eq!(first_rows(&store.connection), (plain.clone(), Some(200)));
    // What version 1 adds comes along with the rest.
    let more = item(201, 500);
    let parts = Parts::from(&more);
    store
        .connection
        .execute(
            "INSERT INTO item (sequence, enqueued, checksum, key, id, properties, payload) VALUES (201, 7, ?1, ?2, ?3, ?4, ?5)",
            (parts.checksum(201, 7), parts.key, parts.id, parts.properties, parts.payload),
        )
        .unwrap();
    store
        .connection
        .execute_batch("DELETE FROM item WHERE enqueued = -1")
        .unwrap();
    store.close().unwrap();

    let queue = open();
    let mut expected = plain;
    expected.insert(201, more);
    assert_eq!(queue.take_note(), None);
    let found = read_all(&queue).await;
    assert!(
        found
            .iter()
            .map(|(sequence, (item, _))| (sequence, item))
            .eq(&expected)
    );
    assert_sound(&queue.stats());
    assert_eq!(
        queue.append(vec![mixed(9, 10)]).await.unwrap(),
        [Sequence(202)]
    );
    queue.close().await.unwrap();
    let store = connect(&path, BOUND);
    assert!(schema::is_in_place(&store.connection).unwrap());
}

#[tokio::test]
async fn a_full_queue_goes_to_version_1_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let bound = 2 << 20;
    let open = || Queue::open(options(&path, bound, WhenFull::Reject)).unwrap();
    let queue = open();
    let mut id = 0;
    while queue
        .append((id..id + 20).map(|id| mixed(id, 700)).collect())
        .await
        .is_ok()
    {
        id += 20;
    }
    let expected: Vec<_> = read_all(&queue).await.into_keys().collect();
    assert!(expected.len() > 1200, "{}", expected.len());
    queue.close().await.unwrap();
    for _ in 0..2 {
        let (store, left) = down(&path, bound);
        assert_eq!(left.items, 0);
        store.close().unwrap();
        let queue = open();
        let stats = queue.stats();
        assert!(stats.file_bytes <= bound, "{stats:?}");
        assert_sound(&stats);
        assert!(
            read_all(&queue)
                .await
                .into_keys()
                .eq(expected.iter().copied())
        );
        queue.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_number_that_two_rows_have_is_counted_and_does_not_stop_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
    let priorities = [5, 9].map(|priority| Priority::new(priority).unwrap());
    let items = (0..10).map(|id| NewItem {
        priority: priorities[id as usize % 2],
        ..item(id, 100)
    });
    queue.append(items.collect()).await.unwrap();
    queue.close().await.unwrap();
    let store = connect(&path, BOUND);
    store
        .connection
        .execute_batch("UPDATE item_9 SET sequence = 3 WHERE sequence = 4")
        .unwrap();
    store.close().unwrap();
    let (store, left) = down(&path, BOUND);
    assert_eq!(left.items, 1);
    assert!(left.reason.is_some_and(|reason| reason.contains("damaged")));
    let (items, mark) = first_rows(&store.connection);
    assert!(items.into_keys().eq([1, 2, 3, 5, 6, 7, 8, 9, 10]));
    assert!(mark.is_some_and(|mark| mark > 10));
}

/// Sorting a backlog would take as much memory as the backlog has bytes.
#[tokio::test]
async fn the_way_to_version_1_sorts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let queue = Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
    queue.close().await.unwrap();
    let store = connect(&path, BOUND);
    let undo = schema::THIS.steps[0].back.undo;
    let (before, rest) = undo.split_at(undo.find("INSERT OR IGNORE").unwrap());
    let insert = rest.split(';').next().unwrap();
    store.connection.execute_batch("BEGIN").unwrap();
    store.connection.execute_batch(before).unwrap();
    let mut statement = store
        .connection
        .prepare(&format!("EXPLAIN {insert}"))
        .unwrap();
    let steps = statement
        .query_map([], |row| row.get::<_, String>(1))
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    assert!(steps.iter().any(|step| step == "Yield"));
    assert!(
        !steps
            .iter()
            .any(|step| step.starts_with("Sorter") || step == "OpenEphemeral"),
        "{steps:?}"
    );
}
