//! Ways up and down in any order, against a model of what the file holds.

use std::path::PathBuf;

use proptest::prelude::*;

use super::releases::{delete, insert, rows};
use super::*;
use crate::row::{MARK, Parts};

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
        6 => (2_u32..5).prop_map(Action::Start),
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
            version: 2,
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
        if self.version == 2 {
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
        if self.version == 2 {
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
        let lost = if version == 2 { unknown } else { 0 };
        if version == 2 {
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
        if self.version == 2 {
            return;
        }
        let mut store = connect(&self.path, BOUND);
        store
            .connection
            .execute_batch("PRAGMA cache_size = 3; BEGIN IMMEDIATE")
            .unwrap();
        let steps = read(&store.connection, 2, self.version).unwrap();
        undo(&mut store.connection, &steps).unwrap();
        self.files += 1;
        let copy = self.folder.path().join(format!("{}.db", self.files));
        copy_files(&self.path, &copy);
        self.path = copy;
    }

    async fn check(&self) {
        if self.version > 2 {
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
