//! Measures how fast the queue takes items in and gives them back. Prints one JSON object per line.
//!
//! `append_rate [FOLDER [wear [SLOWER]]]`: `wear` measures only what the everyday rate writes to the disk. On a machine that is
//! too slow for it, all times can be SLOWER times as long, which writes the same.
//!
//! FOLDER is where the queue's file is made (default: the folder for temporary files); the disk
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
    let arguments: Vec<_> = std::env::args().skip(2).collect();
    let slower = arguments.get(1).map_or(Ok(1), |slower| slower.parse())?;
    for round_trip in [Some(1), Some(100), None] {
        wear(folder, slower, round_trip).await?;
    }
    if arguments.first().is_some_and(|only| only == "wear") {
        return Ok(());
    }
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
        ..NewItem::default()
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

/// The everyday rate: one caller that takes in what has come while its last append was stored, and a sender whose
/// confirmations take a round trip. None: the hub is not there.
async fn wear(folder: &Path, slower: u32, round_trip_ms: Option<u64>) -> Result<(), Failure> {
    const RATE: f64 = 2000.0;
    let millis = |millis| slower * Duration::from_millis(millis);
    let options = QueueOptions::new(
        folder.join(format!("wear-{round_trip_ms:?}.db")),
        256 << 20,
        WhenFull::Reject,
    );
    let queue = Queue::open(QueueOptions {
        commit_delay: slower * options.commit_delay,
        ..options
    })?;
    let payload = Bytes::from(vec![b'x'; PAYLOAD]);
    let sender = round_trip_ms.map(|time| tokio::spawn(send(queue.clone(), millis(time))));
    let before = written()?;
    let start = Instant::now();
    let mut count = 0;
    // So long that the log is copied several times.
    while start.elapsed() < millis(12_000) {
        let due = (start.elapsed().as_secs_f64() * RATE / f64::from(slower)) as usize;
        if due > count {
            let items = batch_of((due - count).min(256), &payload);
            count += queue.append(items).await?.len();
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let stats = queue.stats();
    let bytes = (count * PAYLOAD) as f64;
    println!(
        r#"{{"measurement":"wear","payload_bytes":{PAYLOAD},"round_trip_ms":{},"items":{count},"depth":{},"file_bytes":{},"counted_per_payload_byte":{:.2},"written_per_payload_byte":{:.2}}}"#,
        round_trip_ms.map_or("null".to_owned(), |millis| millis.to_string()),
        stats.depth,
        stats.file_bytes,
        stats.written_bytes as f64 / bytes,
        (written()? - before) as f64 / bytes,
    );
    if let Some(sender) = sender {
        sender.abort();
    }
    Ok(queue.close().await?)
}

/// Sends everything at once and removes it a round trip later.
async fn send(queue: Queue, round_trip: Duration) -> Result<(), Failure> {
    let mut changed = queue.changed();
    let mut after = Sequence::START;
    let (confirmed, mut confirmations) = tokio::sync::mpsc::channel::<Vec<Sequence>>(1000);
    let remover = queue.clone();
    let removing = tokio::spawn(async move {
        while let Some(mut sequences) = confirmations.recv().await {
            while let Ok(more) = confirmations.try_recv() {
                sequences.extend(more);
            }
            if remover.remove(sequences).await.is_err() {
                return;
            }
        }
    });
    loop {
        let items = queue.read(after, READ, 1 << 20).await?;
        let Some(last) = items.last() else {
            changed.wait_for(|last| *last > after).await?;
            continue;
        };
        after = last.sequence;
        let (sequences, confirmed) = (
            items.iter().map(|item| item.sequence).collect(),
            confirmed.clone(),
        );
        if removing.is_finished() {
            return Ok(());
        }
        tokio::spawn(async move {
            tokio::time::sleep(round_trip).await;
            let _ = confirmed.send(sequences).await;
        });
    }
}

/// Bytes that this process has given to the disk, as the kernel counts them.
fn written() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("/proc/self/io has no write_bytes")?.parse()?)
}
