//! A flipped bit in each kind of page of the database and in each part of its log: what is lost is counted to the item, and
//! the queue goes on.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use faulty_disk::queue::{id_of, is_whole, item, read_all};
use faulty_disk::{Disk, Image};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use store_forward::Sequence;

use crate::pages::{Kind, PAGE, kinds};
use crate::{FILE, LOG, Machine, append};

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The files of a queue and what is in it.
struct Sample {
    image: Image,
    /// Sequence to number.
    items: BTreeMap<u64, u64>,
}

impl Sample {
    /// With `closed` all is in the database; otherwise the last commits are in its log, as a power cut left them.
    async fn new(closed: bool) -> Self {
        let machine = Machine::new();
        let queue = machine.open().unwrap();
        let mut items = BTreeMap::new();
        // So many that the table has inner pages below its root; small ones mostly, so that the file is quick to check.
        let mut ids = (0..).filter(|id| id % 32 == 0 || item(*id).payload.len() <= 900);
        for _ in 0..55 {
            let ids: Vec<u64> = ids.by_ref().take(100).collect();
            let batch = ids.iter().copied().map(item).collect();
            let stored = queue.append(batch).await.unwrap();
            items.extend(stored.iter().map(|sequence| sequence.0).zip(ids));
        }
        // Items left from the front, and some from the middle.
        let gone: Vec<_> = items
            .keys()
            .copied()
            .filter(|sequence| *sequence < 700 || (sequence % 50 < 3))
            .collect();
        items.retain(|sequence, _| !gone.contains(sequence));
        for gone in gone.chunks(200) {
            queue
                .remove(gone.iter().copied().map(Sequence).collect())
                .await
                .unwrap();
        }
        if closed {
            queue.close().await.unwrap();
            return Self {
                image: machine.disk.image(),
                items,
            };
        }
        // From here on a log of its own, too short to be copied into the database.
        queue.close().await.unwrap();
        let queue = machine.open().unwrap();
        for round in 1000..1012 {
            let stored = append(&queue, round * 100..round * 100 + 10).await;
            items.extend(stored.iter().map(|sequence| sequence.0).zip(round * 100..));
            let gone: Vec<_> = items.keys().copied().take(3).collect();
            items.retain(|sequence, _| !gone.contains(sequence));
            queue
                .remove(gone.into_iter().map(Sequence).collect())
                .await
                .unwrap();
        }
        drop(queue);
        let machine = machine.power_cut();
        Self {
            image: machine.disk.image(),
            items,
        }
    }

    fn file(&self, name: &str) -> &[u8] {
        &self.image[OsStr::new(name)]
    }

    /// Flips one bit and opens the queue. Returns how many items are lost, and what the queue counted.
    async fn flip(&self, file: &str, at: usize, bit: u8) -> Outcome {
        let disk = Disk::new();
        disk.put(self.image.clone());
        disk.flip(file, at as u64, bit).unwrap();
        let machine = Machine::with(disk);
        let queue = machine.open().unwrap();
        let found = read_all(&queue).await.unwrap();
        let stats = queue.stats();
        let place = format!("{file} byte {at} bit {bit}");
        assert!(
            found.is_sorted_by(|one, next| one.sequence < next.sequence),
            "{place}"
        );
        let mut returned = 0;
        for stored in &found {
            assert!(is_whole(stored), "{place}: a wrong item is delivered");
            match self.items.get(&stored.sequence.0) {
                None => returned += 1,
                id => assert_eq!(id.copied(), id_of(stored), "{place}"),
            }
        }
        assert_eq!(stats.depth, found.len() as u64, "{place}");
        // The queue goes on, and damage is met only once.
        let next = append(&queue, 900_000..900_003).await;
        assert!(
            next[0].0 > self.items.keys().next_back().copied().unwrap(),
            "{place}"
        );
        queue.close().await.unwrap();
        let queue = machine.open().unwrap();
        let again = read_all(&queue).await.unwrap();
        assert_eq!(again.len(), found.len() + 3, "{place}");
        let after = queue.stats();
        assert_eq!((after.corrupt_rows, after.corrupt_files), (0, 0), "{place}");
        queue.close().await.unwrap();
        Outcome {
            place,
            lost: self.items.len() as u64 + returned - found.len() as u64,
            returned,
            counted: stats.corrupt_rows,
            files: stats.corrupt_files,
            reason: stats.last_error,
        }
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "shown where a flip was not counted exactly")]
struct Outcome {
    place: String,
    lost: u64,
    returned: u64,
    counted: u64,
    files: u64,
    reason: Option<String>,
}

/// Flips bits at these places and says which were not counted exactly.
async fn survey(sample: &Sample, file: &str, places: impl Iterator<Item = usize>) {
    let mut chance = StdRng::seed_from_u64(6);
    let mut inexact = Vec::new();
    let (mut flips, mut lost) = (0, 0);
    for at in places {
        let outcome = sample.flip(file, at, chance.random_range(0..8)).await;
        flips += 1;
        lost += outcome.lost;
        let said = outcome.lost == 0 || outcome.reason.is_some() && outcome.counted > 0;
        if outcome.lost != outcome.counted || outcome.returned > 0 || !said {
            inexact.push(outcome);
        }
    }
    eprintln!("{flips} flips, {lost} items lost");
    assert!(flips > 0);
    assert!(
        inexact.is_empty(),
        "{} of {flips} flips: {inexact:#?}",
        inexact.len()
    );
}

/// Places on pages of a kind: the first bytes of some, and others at random.
fn places(sample: &Sample, kind: Kind, count: usize) -> Vec<usize> {
    let mut chance = StdRng::seed_from_u64(kind as u64);
    let kinds = kinds(sample.file(FILE));
    assert!(
        kinds.contains_key(&kind),
        "the sample has no page of the kind {kind:?}"
    );
    let pages = &kinds[&kind];
    (0..count)
        .map(|number| {
            let page = pages[chance.random_range(0..pages.len())];
            let at = if number < count / 2 {
                number % 12
            } else {
                chance.random_range(0..PAGE)
            };
            page * PAGE + at
        })
        .collect()
}

#[tokio::test]
async fn in_the_first_page() {
    let sample = Sample::new(true).await;
    let header = (0..100).step_by(7);
    survey(
        &sample,
        FILE,
        header.chain(places(&sample, Kind::Header, 8)),
    )
    .await;
}

/// The way to the rows is lost, not the rows.
#[tokio::test]
async fn in_an_inner_page_of_the_table() {
    let sample = Sample::new(true).await;
    survey(
        &sample,
        FILE,
        places(&sample, Kind::TableInterior, 24).into_iter(),
    )
    .await;
}

#[tokio::test]
async fn in_a_leaf_page_of_the_table() {
    let sample = Sample::new(true).await;
    survey(
        &sample,
        FILE,
        places(&sample, Kind::TableLeaf, 32).into_iter(),
    )
    .await;
}

#[tokio::test]
async fn in_an_overflow_page() {
    let sample = Sample::new(true).await;
    survey(
        &sample,
        FILE,
        places(&sample, Kind::Overflow, 16).into_iter(),
    )
    .await;
}

#[tokio::test]
async fn in_the_list_of_free_pages() {
    let sample = Sample::new(true).await;
    survey(
        &sample,
        FILE,
        places(&sample, Kind::FreeTrunk, 16).into_iter(),
    )
    .await;
    survey(
        &sample,
        FILE,
        places(&sample, Kind::FreeLeaf, 4).into_iter(),
    )
    .await;
}

/// Frames of the log, as places of their first byte.
fn frames(sample: &Sample) -> Vec<usize> {
    let length = sample.file(LOG).len();
    (LOG_HEADER..length - FRAME_HEADER)
        .step_by(FRAME_HEADER + PAGE)
        .collect()
}

#[tokio::test]
async fn in_the_header_of_the_log() {
    let sample = Sample::new(false).await;
    survey(&sample, LOG, (0..LOG_HEADER).step_by(2)).await;
}

#[tokio::test]
async fn in_the_header_of_a_frame() {
    let sample = Sample::new(false).await;
    let frames = frames(&sample);
    // Not in the last commits: damage to the very last one cannot be told from a cut.
    let frames = frames[..frames.len() / 2].iter().step_by(4);
    survey(
        &sample,
        LOG,
        frames
            .enumerate()
            .map(|(number, frame)| frame + number * 5 % FRAME_HEADER),
    )
    .await;
}

#[tokio::test]
async fn in_the_content_of_a_frame() {
    let sample = Sample::new(false).await;
    let mut chance = StdRng::seed_from_u64(1);
    let frames = frames(&sample);
    let frames = &frames[..frames.len() / 2];
    let places: Vec<_> = (0..16)
        .map(|_| {
            frames[chance.random_range(0..frames.len())]
                + FRAME_HEADER
                + chance.random_range(0..PAGE)
        })
        .collect();
    survey(&sample, LOG, places.into_iter()).await;
}
