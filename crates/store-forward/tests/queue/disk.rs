//! A disk that is full, for real: a child process whose files must not grow beyond a limit (setrlimit), which needs no
//! root. The unit tests do the same with SQLite's own error for a full disk.

use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use store_forward::{AppendError, Queue, QueueOptions, Sequence, WhenFull};

use crate::{MIB, item, read_all};

const CHILD: &str = "STORE_FORWARD_TEST_DISK";

#[test]
fn a_full_disk_fails_appends_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    // The signal must be ignored before the process starts: only then does a write fail instead of the process.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "disk::child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, folder.path().join("q.db"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("healed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "started by a_full_disk_fails_appends_and_heals"]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let limit = |bytes| setrlimit(Resource::RLIMIT_FSIZE, bytes, hard).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = QueueOptions {
            commit_delay: std::time::Duration::ZERO,
            ..QueueOptions::new(path, 64 * MIB, WhenFull::DropOldest)
        };
        let queue = Queue::open(options.clone()).unwrap();
        let mut stored = Vec::new();
        for id in 0..50 {
            stored.extend(queue.append(vec![item(id, 2000)]).await.unwrap());
        }
        limit(800 * 1024);
        let error = loop {
            match queue.append(vec![item("more", 3000)]).await {
                Ok(sequences) => stored.extend(sequences),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(
                error,
                AppendError::Storage {
                    retryable: true,
                    ..
                }
            ),
            "{error}"
        );
        let stats = queue.stats();
        assert!(stats.storage_errors > 0 && stats.last_error.is_some());
        assert_eq!(
            (
                stats.corrupt_files,
                stats.corrupt_rows,
                stats.dropped_oldest
            ),
            (0, 0, 0),
            "{stats:?}"
        );
        // What is stored can be read, and leaves when it was sent: a full disk does not stop the way out.
        let items = read_all(&queue).await;
        assert_eq!(
            items.iter().map(|item| item.sequence).collect::<Vec<_>>(),
            stored
        );
        queue.remove(stored.drain(..20).collect()).await.unwrap();
        // Which makes room for as much.
        stored.extend(
            queue
                .append((0..10).map(|id| item(id, 1000)).collect())
                .await
                .unwrap(),
        );

        // A crash on the full disk: nothing that was acknowledged is missing.
        drop(queue);
        let queue = Queue::open(options).unwrap();
        assert_eq!(
            read_all(&queue)
                .await
                .iter()
                .map(|item| item.sequence)
                .collect::<Vec<_>>(),
            stored
        );

        limit(hard);
        for id in 0..300 {
            stored.extend(queue.append(vec![item(id, 3000)]).await.unwrap());
        }
        assert_eq!(
            read_all(&queue)
                .await
                .iter()
                .map(|item| item.sequence)
                .collect::<Vec<_>>(),
            stored
        );
        assert!(stored.is_sorted() && stored.last() == Some(&Sequence(stored.last().unwrap().0)));
        queue.close().await.unwrap();
        println!("healed");
    });
}
