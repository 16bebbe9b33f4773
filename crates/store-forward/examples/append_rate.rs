//! Measures how fast the queue takes items in and gives them back. Prints one JSON object per line.
//!
//! `append_rate [FOLDER]`: FOLDER is where the queue's file is made (default: the folder for temporary files); the disk
//! under it decides the result.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use store_forward::{NewItem, Queue, QueueOptions, Sequence, WhenFull};

const PAYLOAD: usize = 300;
const TIME: Duration = Duration::from_secs(3);
/// Items appended before reading is measured.
const BACKLOG: usize = 100_000;
const READ: usize = 64;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let parent = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = parent.join(format!("append-rate-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn measure(folder: &Path) -> Result<(), Failure> {
    // One caller after the other first: what a single subscription sees.
    for (batch, callers) in [(1, 1), (1, 256), (32, 1), (32, 8), (256, 1), (256, 4)] {
        appends(folder, batch, callers).await?;
    }
    read_and_remove(folder, false).await?;
    read_and_remove(folder, true).await
}

fn open(folder: &Path, name: &str) -> Result<Queue, Failure> {
    Ok(Queue::open(QueueOptions::new(
        folder.join(name),
        1 << 30,
        WhenFull::Reject,
    ))?)
}

fn batch_of(size: usize, payload: &Bytes) -> Vec<NewItem> {
    let item = |number| NewItem {
        key: "press-1".to_owned(),
        id: format!("modbus-reader/press-1/fast/01hxz7/{number:08}"),
        properties: Bytes::from_static(b"type=com.fieldgate.measurements.v1"),
        payload: payload.clone(),
    };
    (0..size).map(item).collect()
}

async fn appends(folder: &Path, batch: usize, callers: usize) -> Result<(), Failure> {
    let queue = open(folder, &format!("append-{batch}-{callers}.db"))?;
    let payload = Bytes::from(vec![b'x'; PAYLOAD]);
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (queue, payload) = (queue.clone(), payload.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while start.elapsed() < TIME {
                    count += queue.append(batch_of(batch, &payload)).await?.len();
                }
                Ok::<_, store_forward::AppendError>(count)
            })
        })
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        r#"{{"measurement":"append","payload_bytes":{PAYLOAD},"batch":{batch},"callers":{callers},"items":{count},"seconds":{seconds:.3},"items_per_second":{:.0}}}"#,
        count as f64 / seconds
    );
    Ok(queue.close().await?)
}

/// Reads the backlog in small batches and removes each; with or without appends going on.
async fn read_and_remove(folder: &Path, with_appends: bool) -> Result<(), Failure> {
    let queue = open(folder, &format!("read-{with_appends}.db"))?;
    let payload = Bytes::from(vec![b'x'; PAYLOAD]);
    for _ in 0..BACKLOG / 1000 {
        queue.append(batch_of(1000, &payload)).await?;
    }
    let appender = with_appends.then(|| {
        let (queue, payload) = (queue.clone(), payload.clone());
        tokio::spawn(async move { while queue.append(batch_of(32, &payload)).await.is_ok() {} })
    });
    let start = Instant::now();
    let mut after = Sequence::START;
    let mut count = 0;
    let mut removals = tokio::task::JoinSet::new();
    while count < BACKLOG {
        let items = queue.read(after, READ, 1 << 20).await?;
        let Some(last) = items.last() else { break };
        after = last.sequence;
        count += items.len();
        let queue = queue.clone();
        removals.spawn(async move {
            queue
                .remove(items.iter().map(|item| item.sequence).collect())
                .await
        });
        // As many as a send window would leave open.
        if removals.len() > 4
            && let Some(removed) = removals.join_next().await
        {
            removed??;
        }
    }
    while let Some(removed) = removals.join_next().await {
        removed??;
    }
    let seconds = start.elapsed().as_secs_f64();
    if let Some(appender) = appender {
        appender.abort();
    }
    println!(
        r#"{{"measurement":"read_remove","payload_bytes":{PAYLOAD},"batch":{READ},"with_appends":{with_appends},"items":{count},"seconds":{seconds:.3},"items_per_second":{:.0}}}"#,
        count as f64 / seconds
    );
    Ok(queue.close().await?)
}
