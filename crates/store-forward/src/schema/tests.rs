//! Where the tables are in the file.

use super::*;
use crate::options::{QueueOptions, WhenFull};
use crate::store::Store;

fn fresh(path: &std::path::Path) -> Store {
    let options = QueueOptions::new(path, 8 << 20, WhenFull::Reject);
    let store = Store::connect(path, &options).unwrap();
    THIS.migrate(&store.connection, 0).unwrap();
    store
}

/// Else the first page of one file would not fit another.
#[test]
fn a_fresh_file_and_one_written_anew_have_the_same_places() {
    let folder = tempfile::tempdir().unwrap();
    let store = fresh(&folder.path().join("q.db"));
    THIS.check(&store.connection).unwrap();
    assert!(is_in_place(&store.connection).unwrap());
    store.connection.execute_batch("VACUUM").unwrap();
    THIS.check(&store.connection).unwrap();
    assert!(is_in_place(&store.connection).unwrap());
}
