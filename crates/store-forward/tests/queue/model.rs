//! The queue against a model: random appends, reads, removals, restarts and crashes, with bounds so small that items are
//! dropped. Nothing is lost, reordered or comes back, and drops are counted exactly.

use std::collections::VecDeque;
use std::path::PathBuf;

use proptest::prelude::*;
use store_forward::{AppendError, NewItem, Queue, Sequence, WhenFull};

use crate::{MIB, copy_files, disk_bytes, item, options, read_all, same};

#[derive(Clone, Debug)]
enum Action {
    Append(Vec<u16>),
    Read {
        skip: usize,
        max_items: usize,
        max_bytes: usize,
    },
    Remove {
        skip: usize,
        step: usize,
        count: usize,
    },
    RemoveAll,
    /// Closed, and opened again.
    Restart,
    /// The handle is dropped without closing.
    Abandon,
    /// What is on disk at this moment is opened elsewhere.
    PowerCut,
}

fn action() -> impl Strategy<Value = Action> {
    let sizes = prop_oneof![4 => 0_u16..600, 4 => 1500_u16..6000, 1 => 20_000_u16..40_000];
    prop_oneof![
        12 => prop::collection::vec(sizes, 1..24).prop_map(Action::Append),
        3 => (0_usize..200, 0_usize..80, 0_usize..100_000).prop_map(|(skip, max_items, max_bytes)| Action::Read { skip, max_items, max_bytes }),
        4 => (0_usize..60, 1_usize..4, 0_usize..60).prop_map(|(skip, step, count)| Action::Remove { skip, step, count }),
        1 => Just(Action::RemoveAll),
        1 => Just(Action::Restart),
        1 => Just(Action::Abandon),
        2 => Just(Action::PowerCut),
    ]
}

fn policy() -> impl Strategy<Value = WhenFull> {
    prop_oneof![
        Just(WhenFull::DropOldest),
        Just(WhenFull::DropNewest),
        Just(WhenFull::Reject)
    ]
}

struct Run {
    folder: tempfile::TempDir,
    files: u32,
    path: PathBuf,
    when_full: WhenFull,
    queue: Queue,
    model: VecDeque<(Sequence, NewItem)>,
    last: u64,
    appended: usize,
}

impl Run {
    fn new(when_full: WhenFull) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.db");
        let queue = Queue::open(options(&path, when_full)).unwrap();
        Self {
            folder,
            files: 0,
            path,
            when_full,
            queue,
            model: VecDeque::new(),
            last: 0,
            appended: 0,
        }
    }

    async fn act(&mut self, action: &Action) {
        match action {
            Action::Append(sizes) => self.append(sizes).await,
            Action::Read {
                skip,
                max_items,
                max_bytes,
            } => self.read(*skip, *max_items, *max_bytes).await,
            Action::Remove { skip, step, count } => {
                let chosen = self
                    .model
                    .iter()
                    .skip(*skip)
                    .step_by(*step)
                    .take(*count)
                    .map(|(sequence, _)| *sequence);
                // Removed before, or never there: no matter.
                let chosen: Vec<_> = chosen
                    .chain([Sequence(self.last + 7), Sequence(0)])
                    .collect();
                self.remove(chosen).await;
            }
            Action::RemoveAll => {
                self.remove(self.model.iter().map(|(sequence, _)| *sequence).collect())
                    .await
            }
            Action::Restart => {
                self.queue.clone().close().await.unwrap();
                self.reopen().await;
            }
            Action::Abandon => self.reopen().await,
            Action::PowerCut => {
                self.files += 1;
                let copy = self.folder.path().join(format!("{}.db", self.files));
                copy_files(&self.path, &copy);
                self.path = copy;
                self.reopen().await;
            }
        }
        let stats = self.queue.stats();
        assert_eq!(stats.depth, self.model.len() as u64);
        assert_eq!(
            stats.payload_bytes,
            self.model
                .iter()
                .map(|(_, item)| item.size() as u64)
                .sum::<u64>()
        );
        assert_eq!(stats.oldest_age.is_some(), !self.model.is_empty());
        assert_eq!(
            (
                stats.corrupt_rows,
                stats.corrupt_files,
                stats.storage_errors
            ),
            (0, 0, 0),
            "{stats:?}"
        );
        assert!(stats.file_bytes <= MIB, "{stats:?}");
        assert!(disk_bytes(&self.path) <= MIB);
    }

    async fn append(&mut self, sizes: &[u16]) {
        let items: Vec<_> = sizes
            .iter()
            .map(|size| {
                self.appended += 1;
                item(self.appended, usize::from(*size))
            })
            .collect();
        let before = self.queue.stats();
        let result = self.queue.append(items.clone()).await;
        let after = self.queue.stats();
        let dropped = (after.dropped_oldest - before.dropped_oldest) as usize;
        let dropped_newest = (after.dropped_newest - before.dropped_newest) as usize;
        let rejected = (after.rejected - before.rejected) as usize;
        if result == Err(AppendError::Full) {
            assert_eq!(self.when_full, WhenFull::Reject);
            assert!(rejected > 0);
            // A batch larger than a transaction may be in by part.
            let stored = (after.appended - before.appended) as usize;
            assert!(stored < items.len());
            for item in items.into_iter().take(stored) {
                self.last += 1;
                self.model.push_back((Sequence(self.last), item));
            }
            return;
        }
        let sequences = result.unwrap();
        assert_eq!(rejected, 0);
        assert_eq!(
            sequences,
            (self.last + 1..=self.last + items.len() as u64)
                .map(Sequence)
                .collect::<Vec<_>>()
        );
        let new_from = Sequence(self.last);
        self.last += items.len() as u64;
        self.model.extend(sequences.into_iter().zip(items));
        match self.when_full {
            WhenFull::DropOldest => {
                assert_eq!(dropped_newest, 0);
                self.model.drain(..dropped);
            }
            WhenFull::DropNewest if dropped_newest > 0 => {
                assert_eq!(dropped, 0);
                let kept = self
                    .queue
                    .read(new_from, usize::MAX, usize::MAX)
                    .await
                    .unwrap();
                let before = self.model.len();
                self.model.retain(|(sequence, _)| {
                    *sequence <= new_from || kept.iter().any(|kept| kept.sequence == *sequence)
                });
                assert_eq!(before - self.model.len(), dropped_newest);
            }
            _ => assert_eq!((dropped, dropped_newest), (0, 0)),
        }
        assert_eq!(
            *self.queue.changed().borrow() > new_from,
            after.appended > before.appended
        );
    }

    async fn read(&self, skip: usize, max_items: usize, max_bytes: usize) {
        let after = match skip {
            0 => Sequence::START,
            _ => self
                .model
                .get(skip - 1)
                .map_or(Sequence(self.last), |(sequence, _)| *sequence),
        };
        let items = self.queue.read(after, max_items, max_bytes).await.unwrap();
        let mut bytes = 0;
        let expected: Vec<_> = self
            .model
            .iter()
            .filter(|(sequence, _)| *sequence > after)
            .take(max_items)
            .enumerate()
            .take_while(|(index, (_, item))| {
                bytes += item.size();
                *index == 0 || bytes <= max_bytes
            })
            .map(|(_, expected)| expected)
            .collect();
        assert_eq!(items.len(), expected.len());
        assert!(
            items
                .iter()
                .zip(expected)
                .all(
                    |(stored, (sequence, item))| stored.sequence == *sequence && same(stored, item)
                )
        );
    }

    async fn remove(&mut self, sequences: Vec<Sequence>) {
        let before = self.queue.stats().removed;
        self.queue.remove(sequences.clone()).await.unwrap();
        let depth = self.model.len();
        self.model
            .retain(|(sequence, _)| !sequences.contains(sequence));
        assert_eq!(
            self.queue.stats().removed - before,
            (depth - self.model.len()) as u64
        );
    }

    /// Drops the handle and opens the path, which may be another one.
    async fn reopen(&mut self) {
        let elsewhere = self.folder.path().join("unused.db");
        let spare = Queue::open(options(&elsewhere, self.when_full)).unwrap();
        drop(std::mem::replace(&mut self.queue, spare));
        self.queue = Queue::open(options(&self.path, self.when_full)).unwrap();
        self.check_all().await;
    }

    async fn check_all(&self) {
        let stored = read_all(&self.queue).await;
        assert_eq!(stored.len(), self.model.len());
        assert!(
            stored
                .iter()
                .zip(&self.model)
                .all(
                    |(stored, (sequence, item))| stored.sequence == *sequence && same(stored, item)
                )
        );
    }
}

fn cases() -> ProptestConfig {
    let config = ProptestConfig {
        failure_persistence: None,
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

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_queue_is_as_the_model(when_full in policy(), actions in prop::collection::vec(action(), 10..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(when_full);
            for action in &actions {
                run.act(action).await;
            }
            run.check_all().await;
        });
    }
}
