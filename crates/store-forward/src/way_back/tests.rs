//! Up to releases that do not exist yet, and back.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::lock::beside;
use crate::row::{MARK, Parts};
use crate::schema::{THIS, Version};
use crate::space::{PAGE, Space};
use crate::store::Store;
use crate::{NewItem, OpenError, Queue, QueueOptions, QueueStats, Sequence, StoredItem, WhenFull};

/// As SQLite writes it after a column was added to version 1.
macro_rules! item_2 {
    () => {
        "CREATE TABLE item (
  sequence INTEGER PRIMARY KEY,
  enqueued INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  key TEXT NOT NULL,
  id TEXT NOT NULL,
  properties BLOB NOT NULL,
  payload BLOB NOT NULL
, kind INTEGER NOT NULL DEFAULT 0) STRICT"
    };
}
macro_rules! item_3 {
    () => {
        "CREATE TABLE item (
  sequence INTEGER PRIMARY KEY,
  enqueued INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  kind INTEGER NOT NULL
) STRICT"
    };
}
macro_rules! content_3 {
    () => {
        "CREATE TABLE content (
  sequence INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  id TEXT NOT NULL,
  properties BLOB NOT NULL,
  payload BLOB NOT NULL
) STRICT"
    };
}

/// An added column. Version 1 has no place for what is in it.
const ADDED: Step = Step {
    forward: "ALTER TABLE item ADD COLUMN kind INTEGER NOT NULL DEFAULT 0",
    back: WayBack {
        undo: "DELETE FROM item WHERE kind > 0; ALTER TABLE item DROP COLUMN kind",
        lost: Some(Lost {
            count: "SELECT count(*) FROM item WHERE kind > 0",
            reason: "version 1 has no kinds",
        }),
    },
};

/// A table that became two.
const SPLIT: Step = Step {
    forward: concat!(
        "ALTER TABLE item RENAME TO whole;",
        item_3!(),
        ";",
        content_3!(),
        ";
        INSERT INTO item SELECT sequence, enqueued, checksum, kind FROM whole;
        INSERT INTO content SELECT sequence, key, id, properties, payload FROM whole;
        DROP TABLE whole;"
    ),
    back: WayBack {
        undo: concat!(
            "ALTER TABLE item RENAME TO head;",
            item_2!(),
            ";
            INSERT INTO item SELECT sequence, enqueued, checksum, key, id, properties, payload, kind FROM head JOIN content USING (sequence);
            DROP TABLE head;
            DROP TABLE content;"
        ),
        lost: None,
    },
};

const SECOND: Release = Release {
    steps: &[ADDED],
    tables: &[item_2!()],
};
const THIRD: Release = Release {
    steps: &[ADDED, SPLIT],
    tables: &[item_3!(), content_3!()],
};

fn release(version: u32) -> &'static Release {
    match version {
        1 => &THIS,
        2 => &SECOND,
        _ => &THIRD,
    }
}

const BOUND: u64 = 8 << 20;

fn options(path: &Path, max_bytes: u64, when_full: WhenFull) -> QueueOptions {
    QueueOptions {
        commit_delay: Duration::ZERO,
        ..QueueOptions::new(path, max_bytes, when_full)
    }
}

fn connect(path: &Path, max_bytes: u64) -> Store {
    Store::connect(path, Space::new(max_bytes), WhenFull::Reject).unwrap()
}

/// Starts a release on the file, as far as its schema goes.
fn start(path: &Path, version: u32, max_bytes: u64) -> (Store, Left) {
    let release = release(version);
    let mut store = connect(path, max_bytes);
    let left = store
        .beyond_bound(|connection| match release.version_of(connection)? {
            Version::Newer(found) => take(connection, release, found, 1 << 40),
            Version::Known(from) => release.migrate(connection, from).map(|()| Left::default()),
            Version::Empty => panic!("an empty file"),
        })
        .unwrap();
    release.check(&store.connection).unwrap();
    renew(&store.connection, release.steps).unwrap();
    (store, left)
}

fn item(id: u64, size: u16) -> NewItem {
    NewItem {
        key: format!("key of {id}"),
        id: id.to_string(),
        properties: format!("p={id}").into(),
        payload: id
            .to_string()
            .bytes()
            .cycle()
            .take(usize::from(size))
            .collect::<Vec<_>>()
            .into(),
    }
}

fn plain(stored: StoredItem) -> NewItem {
    NewItem {
        key: stored.key,
        id: stored.id,
        properties: stored.properties,
        payload: stored.payload,
    }
}

/// Sequence number to item and kind.
type Rows = BTreeMap<u64, (NewItem, u32)>;

/// Every item of a file of version 2 or 3.
fn rows(connection: &Connection, version: u32) -> Rows {
    let from = match version {
        2 => "item",
        _ => "item JOIN content USING (sequence)",
    };
    let sql = format!(
        "SELECT sequence, key, id, properties, payload, kind, enqueued, checksum FROM {from} WHERE enqueued >= 0"
    );
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        let sequence = row.get(0)?;
        let bytes = |index| row.get::<_, Vec<u8>>(index).map(bytes::Bytes::from);
        let item = NewItem {
            key: row.get(1)?,
            id: row.get(2)?,
            properties: bytes(3)?,
            payload: bytes(4)?,
        };
        assert_eq!(
            Parts::from(&item).checksum(sequence, row.get(6)?),
            row.get::<_, u32>(7)?
        );
        Ok((sequence, (item, row.get(5)?)))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Adds a row to a file of version 2 or 3.
fn insert(
    connection: &Connection,
    version: u32,
    sequence: u64,
    enqueued: i64,
    parts: Parts<'_>,
    kind: u32,
) {
    let checksum = parts.checksum(sequence, enqueued);
    let Parts {
        key,
        id,
        properties,
        payload,
    } = parts;
    if version == 2 {
        connection
            .execute(
                "INSERT INTO item VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                (
                    sequence, enqueued, checksum, key, id, properties, payload, kind,
                ),
            )
            .unwrap();
        return;
    }
    connection
        .execute(
            "INSERT INTO item VALUES (?1, ?2, ?3, ?4)",
            (sequence, enqueued, checksum, kind),
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO content VALUES (?1, ?2, ?3, ?4, ?5)",
            (sequence, key, id, properties, payload),
        )
        .unwrap();
}

/// Deletes a row of a file of version 2 or 3.
fn delete(connection: &Connection, version: u32, which: &str) {
    if version > 2 {
        let sql = format!(
            "DELETE FROM content WHERE sequence IN (SELECT sequence FROM item WHERE {which})"
        );
        connection.execute_batch(&sql).unwrap();
    }
    connection
        .execute_batch(&format!("DELETE FROM item WHERE {which}"))
        .unwrap();
}

#[derive(Clone, Debug)]
enum Action {
    /// Size and kind.
    Append(Vec<(u16, u32)>),
    Remove {
        skip: usize,
        step: usize,
    },
    RemoveAll,
    /// Another release is started.
    Start(u32),
    /// The power goes in the middle of the way down.
    Cut,
}

fn action() -> impl Strategy<Value = Action> {
    let size = prop_oneof![3 => 0_u16..600, 1 => 1500_u16..9000];
    let kind = prop_oneof![6 => Just(0), 1 => 1_u32..4];
    prop_oneof![
        6 => prop::collection::vec((size, kind), 1..20).prop_map(Action::Append),
        2 => (0_usize..40, 1_usize..4).prop_map(|(skip, step)| Action::Remove { skip, step }),
        1 => Just(Action::RemoveAll),
        6 => (1_u32..4).prop_map(Action::Start),
        2 => Just(Action::Cut),
    ]
}

struct Run {
    folder: tempfile::TempDir,
    files: u32,
    path: PathBuf,
    version: u32,
    model: Rows,
    last: u64,
    /// The next number is known: no way back has lost anything since the last one.
    exact: bool,
    made: u64,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.db");
        Self {
            folder,
            files: 0,
            path,
            version: 1,
            model: Rows::new(),
            last: 0,
            exact: true,
            made: 0,
        }
    }

    fn queue(&self) -> Queue {
        Queue::open(options(&self.path, BOUND, WhenFull::Reject)).unwrap()
    }

    async fn act(&mut self, action: &Action) {
        match action {
            Action::Append(new) => self.append(new).await,
            Action::Remove { skip, step } => {
                let chosen: Vec<_> = self
                    .model
                    .keys()
                    .copied()
                    .skip(*skip)
                    .step_by(*step)
                    .collect();
                self.remove(chosen).await;
            }
            Action::RemoveAll => self.remove(self.model.keys().copied().collect()).await,
            Action::Start(version) => self.start(*version).await,
            Action::Cut => self.cut(),
        }
        self.check().await;
    }

    async fn append(&mut self, new: &[(u16, u32)]) {
        let items: Vec<_> = new
            .iter()
            .map(|(size, _)| {
                self.made += 1;
                item(self.made, *size)
            })
            .collect();
        if self.version == 1 {
            let queue = self.queue();
            for (Sequence(sequence), item) in queue
                .append(items.clone())
                .await
                .unwrap()
                .into_iter()
                .zip(items)
            {
                assert!(sequence > self.last);
                assert!(!self.exact || sequence == self.last + 1);
                (self.last, self.exact) = (sequence, true);
                self.model.insert(sequence, (item, 0));
            }
            return queue.close().await.unwrap();
        }
        let store = connect(&self.path, BOUND);
        store.connection.execute_batch("BEGIN").unwrap();
        if !self.exact {
            // As a release does: on from the highest row.
            let last = store
                .connection
                .query_row("SELECT max(sequence) FROM item", [], |row| row.get(0));
            (self.last, self.exact) = (last.unwrap(), true);
        }
        for (item, (_, kind)) in items.into_iter().zip(new) {
            self.last += 1;
            insert(
                &store.connection,
                self.version,
                self.last,
                7,
                Parts::from(&item),
                *kind,
            );
            self.model.insert(self.last, (item, *kind));
        }
        delete(&store.connection, self.version, "enqueued < 0");
        store.connection.execute_batch("COMMIT").unwrap();
    }

    async fn remove(&mut self, chosen: Vec<u64>) {
        for sequence in &chosen {
            self.model.remove(sequence);
        }
        if self.version == 1 {
            let queue = self.queue();
            queue
                .remove(chosen.into_iter().map(Sequence).collect())
                .await
                .unwrap();
            return queue.close().await.unwrap();
        }
        let store = connect(&self.path, BOUND);
        let connection = &store.connection;
        connection.execute_batch("BEGIN").unwrap();
        let last: u64 = connection
            .query_row("SELECT max(sequence) FROM item", [], |row| row.get(0))
            .unwrap();
        for sequence in chosen {
            delete(connection, self.version, &format!("sequence = {sequence}"));
        }
        let kept: Option<u64> = connection
            .query_row("SELECT max(sequence) FROM item", [], |row| row.get(0))
            .unwrap();
        if kept != Some(last) {
            insert(connection, self.version, last, MARK, Parts::NONE, 0);
        }
        connection.execute_batch("COMMIT").unwrap();
    }

    async fn start(&mut self, version: u32) {
        let unknown = self.model.values().filter(|(_, kind)| *kind > 0).count() as u64;
        let lost = if version == 1 { unknown } else { 0 };
        if version == 1 {
            let queue = self.queue();
            let stats = queue.stats();
            assert_eq!(stats.dropped_downgrade, lost);
            assert_eq!(stats.last_error.is_some(), lost > 0);
            assert_sound(&stats);
            queue.close().await.unwrap();
            self.model.retain(|_, (_, kind)| *kind == 0);
        } else {
            let (store, left) = start(&self.path, version, BOUND);
            assert_eq!(left.items, 0);
            store.close().unwrap();
        }
        self.exact &= lost == 0;
        self.version = version;
    }

    /// What is on the disk when the steps are undone and the transaction is not committed.
    fn cut(&mut self) {
        if self.version == 1 {
            return;
        }
        let mut store = connect(&self.path, BOUND);
        store
            .connection
            .execute_batch("PRAGMA cache_size = 3; BEGIN IMMEDIATE")
            .unwrap();
        let steps = read(&store.connection, 1, self.version).unwrap();
        undo(&mut store.connection, &steps).unwrap();
        self.files += 1;
        let copy = self.folder.path().join(format!("{}.db", self.files));
        copy_files(&self.path, &copy);
        self.path = copy;
    }

    async fn check(&self) {
        if self.version > 1 {
            let store = connect(&self.path, BOUND);
            assert_eq!(rows(&store.connection, self.version), self.model);
            return;
        }
        let queue = self.queue();
        let stats = queue.stats();
        assert_sound(&stats);
        assert_eq!(stats.dropped_downgrade, 0, "counted once");
        assert_eq!(read_all(&queue).await, self.model);
        queue.close().await.unwrap();
        let store = connect(&self.path, BOUND);
        assert!(schema::is_in_place(&store.connection).unwrap());
    }
}

fn assert_sound(stats: &QueueStats) {
    let damage = (
        stats.corrupt_rows,
        stats.corrupt_files,
        stats.storage_errors,
    );
    assert_eq!((damage, stats.dropped_oldest), ((0, 0, 0), 0), "{stats:?}");
}

async fn read_all(queue: &Queue) -> Rows {
    let mut all = Rows::new();
    let mut after = Sequence::START;
    loop {
        let items = queue.read(after, 100, usize::MAX).await.unwrap();
        let Some(last) = items.last() else {
            return all;
        };
        after = last.sequence;
        all.extend(
            items
                .into_iter()
                .map(|item| (item.sequence.0, (plain(item), 0))),
        );
    }
}

/// Copies database and log, as a power cut would leave them.
fn copy_files(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    let (from, to) = (beside(from, "-wal"), beside(to, "-wal"));
    let _ = std::fs::remove_file(&to);
    if from.exists() {
        std::fs::copy(from, to).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { 16 },
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rows_and_numbers_survive_every_way_up_and_down(actions in prop::collection::vec(action(), 4..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new();
            run.check().await;
            for action in &actions {
                run.act(action).await;
            }
        });
    }
}

/// A file of version 3 with items of all sizes.
async fn sample(folder: &Path) -> (PathBuf, Rows) {
    let path = folder.join("sample.db");
    let queue = Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
    let items: Vec<_> = (1..=60).map(|id| item(id, (id % 7 * 900) as u16)).collect();
    queue.append(items).await.unwrap();
    queue.remove(vec![Sequence(3), Sequence(60)]).await.unwrap();
    let rows = read_all(&queue).await;
    queue.close().await.unwrap();
    start(&path, 3, BOUND).0.close().unwrap();
    (path, rows)
}

/// The newer release finds everything as it was, whatever the older one made of its visit.
fn assert_untouched(path: &Path, expected: &Rows) {
    let (store, _) = start(path, 3, BOUND);
    assert_eq!(&rows(&store.connection, 3), expected);
    assert_eq!(read(&store.connection, 1, 3).unwrap().len(), 2);
}

fn refused(path: &Path) -> String {
    let error = Queue::open(options(path, BOUND, WhenFull::Reject)).unwrap_err();
    let OpenError::NewerSchema {
        found: 3,
        known: 1,
        ref reason,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert!(
        error
            .to_string()
            .contains("install the newer release again, or move the file away")
    );
    reason.clone()
}

#[tokio::test]
async fn a_way_back_that_leads_elsewhere_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, expected) = sample(folder.path()).await;
    let elsewhere = folder.path().join("elsewhere.db");
    let attach = format!(
        "ATTACH '{}' AS other; CREATE TABLE other.item (a)",
        elsewhere.display()
    );
    let remark = format!("{}; CREATE TABLE more (a)", ADDED.back.undo);
    let commit = format!("DELETE FROM item; COMMIT; BEGIN; {}", ADDED.back.undo);
    let trigger = format!(
        "CREATE TRIGGER t AFTER INSERT ON item BEGIN DELETE FROM item; END; {}",
        ADDED.back.undo
    );
    for (undo, count, said) in [
        (
            "DELETE FROM item",
            "",
            "does not lead to the tables of version 1",
        ),
        (&remark, "", "does not lead to the tables of version 1"),
        (
            "DROP TABLE item",
            "",
            "does not lead to the tables of version 1",
        ),
        ("no SQL", "", "from version 2 that it carries failed: near"),
        (&attach, "", "not authorized"),
        (&commit, "", "not authorized"),
        (&trigger, "", "not authorized"),
        ("PRAGMA writable_schema = ON", "", "not authorized"),
        (
            ADDED.back.undo,
            "DELETE FROM item RETURNING 1",
            "its count of losses writes",
        ),
        (
            ADDED.back.undo,
            "SELECT 'many'",
            "from version 2 that it carries failed",
        ),
        (
            ADDED.back.undo,
            "SELECT -1",
            "from version 2 that it carries failed",
        ),
        (
            ADDED.back.undo,
            "SELECT 1 WHERE 0",
            "from version 2 that it carries failed",
        ),
    ] {
        let path = folder.path().join("q.db");
        copy_files(&sample, &path);
        let mut row = Row {
            version: 2,
            checksum: 0,
            undo: undo.to_owned(),
            lost: count.to_owned(),
            reason: "r".to_owned(),
        };
        row.checksum = row.sum();
        let store = connect(&path, BOUND);
        store
            .connection
            .execute("DELETE FROM way_back WHERE version = 2", [])
            .unwrap();
        row.insert(&store.connection).unwrap();
        store.close().unwrap();
        let reason = refused(&path);
        assert!(reason.contains(said), "{undo}, {count}: {reason}");
        assert_untouched(&path, &expected);
    }
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn a_way_back_that_is_not_whole_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, expected) = sample(folder.path()).await;
    for (sql, said) in [
        (
            "DELETE FROM way_back WHERE version = 2",
            "from version 2 that it carries is missing",
        ),
        (
            "DELETE FROM way_back WHERE version = 3",
            "from version 3 that it carries is missing",
        ),
        (
            "UPDATE way_back SET version = 4 WHERE version = 3",
            "from version 3 that it carries is missing",
        ),
        (
            "UPDATE way_back SET undo = undo || ' ' WHERE version = 2",
            "from version 2 that it carries is missing or damaged",
        ),
        (
            "UPDATE way_back SET checksum = 1 WHERE version = 2",
            "from version 2 that it carries is missing or damaged",
        ),
        (
            "UPDATE way_back SET reason = printf('%2000000s', 'x')",
            "bytes, more than",
        ),
    ] {
        let path = folder.path().join("q.db");
        copy_files(&sample, &path);
        let store = connect(&path, BOUND);
        store.connection.execute_batch(sql).unwrap();
        store.close().unwrap();
        let reason = refused(&path);
        assert!(reason.contains(said), "{sql}: {reason}");
        assert_untouched(&path, &expected);
    }
    let path = folder.path().join("q.db");
    copy_files(&sample, &path);
    let store = connect(&path, BOUND);
    store
        .connection
        .execute_batch("DROP TABLE way_back")
        .unwrap();
    store.close().unwrap();
    assert_eq!(refused(&path), "it carries no way back");
}

/// Any byte of the table's page may be another one: either the way is taken and leads to everything, or the file is left
/// to the newer release.
#[tokio::test]
async fn a_flipped_byte_in_the_way_back_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, expected) = sample(folder.path()).await;
    let store = connect(&sample, BOUND);
    let page: u64 = store
        .connection
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'way_back'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    store.close().unwrap();
    let path = folder.path().join("q.db");
    let (mut taken, mut left) = (0, 0);
    // The rows lie at the end of the page; the middle is empty.
    for at in (0..24).chain((PAGE - 1300..PAGE).step_by(19)) {
        copy_files(&sample, &path);
        let mut file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start((page - 1) * PAGE + at)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Current(-1)).unwrap();
        file.write_all(&[byte[0] ^ 0x41]).unwrap();
        drop(file);
        match Queue::open(options(&path, BOUND, WhenFull::Reject)) {
            Ok(queue) => {
                assert_eq!(read_all(&queue).await, expected, "byte {at}");
                taken += 1;
            }
            Err(OpenError::NewerSchema { .. }) => {
                let store = connect(&path, BOUND);
                assert_eq!(
                    THIRD.version_of(&store.connection).unwrap(),
                    Version::Known(3)
                );
                assert_eq!(rows(&store.connection, 3), expected, "byte {at}");
                left += 1;
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert!(left > 30, "{taken} taken, {left} left");
}

#[tokio::test]
async fn a_release_puts_its_own_ways_back_right() {
    let folder = tempfile::tempdir().unwrap();
    let (path, expected) = sample(folder.path()).await;
    let store = connect(&path, BOUND);
    store
        .connection
        .execute_batch("UPDATE way_back SET undo = 'DROP TABLE item' WHERE version = 3; DELETE FROM way_back WHERE version = 2")
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
    for version in [2, 3, 2, 3] {
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

const CHILD: &str = "STORE_FORWARD_TEST_WAY_BACK";

/// The process that is killed: goes up and down, and says how often.
#[test]
#[ignore = "started by killed_on_the_way_nothing_is_lost"]
fn child() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let path = Path::new(&path);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!();
    loop {
        start(path, 3, BOUND).0.close().unwrap();
        println!("up");
        let queue = Queue::open(options(path, BOUND, WhenFull::Reject)).unwrap();
        println!("down");
        runtime.block_on(queue.close()).unwrap();
    }
}

#[tokio::test]
async fn killed_on_the_way_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (path, expected) = sample(folder.path()).await;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "way_back::tests::child",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // One line more each time: killed on the way up, and on the way down.
        let said = lines
            .by_ref()
            .map_while(Result::ok)
            .filter(|line| line == "up" || line == "down")
            .take(round + 1)
            .count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(said, round + 1);
        let queue = Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
        assert_eq!(read_all(&queue).await, expected, "round {round}");
        assert_sound(&queue.stats());
        queue.close().await.unwrap();
    }
}
