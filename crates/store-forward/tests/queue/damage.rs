//! Bytes on disk that are not what was written.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use store_forward::{
    NewItem, OpenError, Queue, QueueOptions, QueueStats, Sequence, StoredItem, WhenFull,
};

use crate::{MIB, copy_files, item, options, read_all, same};

/// A queue's files and what is in them.
struct Sample {
    folder: tempfile::TempDir,
    path: PathBuf,
    items: BTreeMap<u64, NewItem>,
    last: u64,
    copies: u32,
}

impl Sample {
    /// Items of all sizes, with gaps, left by a power cut (database and log) or closed (database alone).
    async fn new(closed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live.db");
        // So large that the log is not copied into the database on the way: all commits are in the log.
        let options = QueueOptions {
            max_bytes: 16 * MIB,
            ..options(&live, WhenFull::Reject)
        };
        let queue = Queue::open(options).unwrap();
        let mut items = BTreeMap::new();
        let mut last = 0;
        for round in 0..30 {
            let batch: Vec<_> = (0..10)
                .map(|id| {
                    item(
                        format!("{round}-{id}"),
                        [20, 300, 900, 300, 6000][(round + id) % 5],
                    )
                })
                .collect();
            for (sequence, item) in queue
                .append(batch.clone())
                .await
                .unwrap()
                .into_iter()
                .zip(batch)
            {
                items.insert(sequence.0, item);
                last = sequence.0;
            }
            if round % 4 == 3 {
                let removed: Vec<_> = items
                    .keys()
                    .copied()
                    .filter(|sequence| sequence % 5 == 1 || *sequence < round as u64)
                    .map(Sequence)
                    .collect();
                removed.iter().for_each(|sequence| {
                    items.remove(&sequence.0);
                });
                queue.remove(removed).await.unwrap();
            }
        }
        let path = folder.path().join("sample.db");
        if closed {
            queue.close().await.unwrap();
        }
        copy_files(&live, &path);
        Self {
            folder,
            path,
            items,
            last,
            copies: 0,
        }
    }

    /// A copy of the files to damage, in a folder of its own.
    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let folder = self.folder.path().join(self.copies.to_string());
        std::fs::create_dir(&folder).unwrap();
        let copy = folder.join("q.db");
        copy_files(&self.path, &copy);
        copy
    }

    /// Opens a damaged copy and checks what must hold whatever was damaged.
    async fn survey(&self, path: &Path) -> Survey {
        let open = || {
            Queue::open(QueueOptions {
                max_bytes: 4 * MIB,
                ..options(path, WhenFull::Reject)
            })
            .unwrap()
        };
        let queue = open();
        let stored = read_all(&queue).await;
        assert!(stored.is_sorted_by(|a, b| a.sequence < b.sequence));
        // Payloads are derived from ids, so this also holds for removed items that came back.
        for stored in &stored {
            assert!(
                same(stored, &item(&stored.id, stored.payload.len())),
                "a wrong item was delivered at {}",
                stored.sequence
            );
            assert!(
                self.items
                    .get(&stored.sequence.0)
                    .is_none_or(|item| same(stored, item))
            );
        }
        let stats = queue.stats();
        assert_eq!(stats.depth, stored.len() as u64);
        // It is a working queue, and no number is used again.
        let next = queue.append(vec![item("after", 100)]).await.unwrap();
        assert!(next[0].0 > stored.last().map_or(0, |last| last.sequence.0));
        queue.close().await.unwrap();
        let queue = open();
        let again = read_all(&queue).await;
        assert_eq!(again[..again.len() - 1], stored);
        assert!(
            again
                .last()
                .is_some_and(|last| last.sequence == next[0] && same(last, &item("after", 100)))
        );
        let after = queue.stats();
        assert_eq!(
            (after.corrupt_rows, after.corrupt_files),
            (0, 0),
            "damage is met only once: {after:?}"
        );
        queue.close().await.unwrap();
        let found = |sequence| {
            stored
                .binary_search_by_key(&Sequence(sequence), |item| item.sequence)
                .is_ok()
        };
        Survey {
            missing: self
                .items
                .keys()
                .copied()
                .filter(|sequence| !found(*sequence))
                .collect(),
            stats,
            next: next[0].0,
            stored,
        }
    }
}

struct Survey {
    missing: Vec<u64>,
    stored: Vec<StoredItem>,
    stats: QueueStats,
    next: u64,
}

impl Survey {
    fn counted(&self) -> bool {
        self.stats.corrupt_rows + self.stats.corrupt_files > 0
    }
}

fn log_of(path: &Path) -> PathBuf {
    format!("{}-wal", path.display()).into()
}

fn flip(path: &Path, at: u64, mask: u8) {
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ mask]).unwrap();
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn config(cases: u32) -> ProptestConfig {
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 20,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config
    } else {
        ProptestConfig { cases, ..config }
    }
}

/// Makes one sample for all cases of a property.
fn sample(closed: bool) -> &'static tokio::sync::Mutex<Sample> {
    static SAMPLES: [std::sync::OnceLock<tokio::sync::Mutex<Sample>>; 2] =
        [const { std::sync::OnceLock::new() }; 2];
    SAMPLES[usize::from(closed)].get_or_init(|| {
        // On a thread of its own: this one may be in a runtime.
        std::thread::spawn(move || tokio::sync::Mutex::new(runtime().block_on(Sample::new(closed))))
            .join()
            .unwrap()
    })
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn flipped_bytes_in_the_database(flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4)) {
        runtime().block_on(async {
            let mut sample = sample(true).lock().await;
            let path = sample.copy();
            for (at, mask) in &flips {
                flip(&path, at.index(length(&path) as usize) as u64, *mask);
            }
            let survey = sample.survey(&path).await;
            assert!(survey.missing.is_empty() || survey.counted(), "lost without a word: {:?}", survey.missing);
            assert!(survey.next > sample.last);
            // Three flips damage three pages at most, or one of the few inner pages.
            assert!(survey.stored.len() > 20 || survey.stats.corrupt_files > 0);
        });
    }

    #[test]
    fn flipped_bytes_in_the_log(flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4)) {
        runtime().block_on(async {
            let mut sample = sample(false).lock().await;
            let path = sample.copy();
            let log = log_of(&path);
            for (at, mask) in &flips {
                flip(&log, at.index(length(&log) as usize) as u64, *mask);
            }
            let survey = sample.survey(&path).await;
            assert!(survey.next > sample.last);
            // The last commit, damaged, looks like one that was not finished.
            let before_last = survey.missing.iter().any(|sequence| *sequence <= sample.last - 10);
            assert!(!before_last || survey.counted(), "lost without a word: {:?}", survey.missing);
        });
    }
}

#[tokio::test]
async fn every_byte_of_the_header() {
    let mut sample = sample(true).lock().await;
    for at in 0..100 {
        let path = sample.copy();
        flip(&path, at, 0x41);
        let survey = sample.survey(&path).await;
        // Nothing in the header is needed: all items are still there.
        assert_eq!(survey.missing, [0; 0], "byte {at}");
        assert_eq!(survey.stats.corrupt_rows, 0, "byte {at}");
        assert!(survey.next > sample.last);
    }
}

#[tokio::test]
async fn a_first_page_of_zeros() {
    let mut sample = sample(true).lock().await;
    let path = sample.copy();
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all(&[0; 4096])
        .unwrap();
    let survey = sample.survey(&path).await;
    assert_eq!(survey.missing, [0; 0]);
    assert_eq!(
        (survey.stats.corrupt_files, survey.stats.corrupt_rows),
        (1, 0)
    );
    assert!(survey.stats.last_error.is_some());
}

#[tokio::test]
async fn a_damaged_page_costs_only_what_was_on_it() {
    let mut sample = sample(true).lock().await;
    let pages = length(&sample.path) / 4096;
    for page in [4, pages / 2, pages - 2] {
        let path = sample.copy();
        let mut file = std::fs::File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xa5; 4096]).unwrap();
        let survey = sample.survey(&path).await;
        assert!(
            survey.missing.len() <= 40,
            "page {page}: {} missing",
            survey.missing.len()
        );
        assert!(survey.missing.is_empty() || survey.counted());
        assert!(
            survey.stats.corrupt_rows >= survey.missing.len() as u64,
            "{:?} {:?}",
            survey.stats,
            survey.missing
        );
    }
}

#[tokio::test]
async fn a_truncated_file() {
    let mut sample = sample(true).lock().await;
    let whole = length(&sample.path);
    for length in [
        0,
        1,
        99,
        100,
        4095,
        4096,
        5000,
        8192,
        whole / 2,
        whole - 4096,
        whole - 1,
    ] {
        let path = sample.copy();
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(length)
            .unwrap();
        let survey = sample.survey(&path).await;
        assert!(survey.missing.is_empty() || survey.counted(), "{length}");
        assert!(survey.next > sample.last, "{length}");
    }
}

#[tokio::test]
async fn a_file_of_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let garbage: Vec<u8> = (0..100_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(&path, &garbage).unwrap();
    std::fs::write(log_of(&path), &garbage[..50_000]).unwrap();
    let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
    assert!(read_all(&queue).await.is_empty());
    let stats = queue.stats();
    assert!(stats.corrupt_files > 0 && stats.last_error.is_some());
    queue.append(vec![item("first", 10)]).await.unwrap();
    drop(queue);
    // Damage that repeats keeps one damaged file, not one for each time.
    for _ in 0..3 {
        std::fs::write(&path, &garbage).unwrap();
        let queue = Queue::open(options(&path, WhenFull::Reject)).unwrap();
        assert!(queue.stats().corrupt_files > 0);
        queue.close().await.unwrap();
    }
    let aside = std::fs::read_dir(folder.path()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
        name.starts_with("q.db.damaged-") && !name.ends_with("-wal")
    });
    assert_eq!(aside.count(), 1);
}

#[tokio::test]
async fn an_interrupted_replacement_goes_on() {
    let mut sample = sample(true).lock().await;
    // Renamed, and not yet or only in part copied.
    for part in [0, 10_000] {
        let path = sample.copy();
        let aside = path.with_file_name("q.db.damaged-1700000000");
        std::fs::rename(&path, &aside).unwrap();
        flip(&aside, 3, 0xff);
        std::fs::write(path.with_file_name("q.db.new"), vec![7; part]).unwrap();
        let survey = sample.survey(&path).await;
        assert_eq!(survey.missing, [0; 0]);
        assert!(survey.counted());
        assert!(!path.with_file_name("q.db.new").exists());
    }
    // Left over from one that was interrupted before it began.
    let path = sample.copy();
    std::fs::write(path.with_file_name("q.db.new"), "").unwrap();
    let survey = sample.survey(&path).await;
    assert!(survey.missing.is_empty() && !survey.counted());
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let mut sample = sample(true).lock().await;
    let path = sample.copy();
    let database = rusqlite::Connection::open(&path).unwrap();
    let application: i32 = database
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .unwrap();
    database.pragma_update(None, "user_version", 3).unwrap();
    database
        .pragma_update(None, "application_id", application + 1)
        .unwrap();
    database.close().unwrap();
    let error = Queue::open(options(&path, WhenFull::Reject)).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::NewerSchema {
                found: 3,
                known: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("install the newer release"));
}
