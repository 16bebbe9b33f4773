//! One file: what programs see, what is safe, and every state in between that a power cut may leave.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;

/// Bytes of a page of the system's cache: what is written to a disk as one piece, unless the power fails.
pub const PAGE: usize = 4096;
/// Bytes of a sector: what is written wholly or not at all.
pub const SECTOR: usize = 512;
/// States of a page between two syncs that are remembered; of more, the oldest but one are forgotten.
const VERSIONS: usize = 8;

/// A file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// What programs read.
    seen: Vec<u8>,
    /// What is on the disk for sure.
    safe: Vec<u8>,
    /// Pages written since the last sync: their states, oldest first.
    dirty: BTreeMap<usize, Vec<Version>>,
    /// Lengths that the file had since the last sync, oldest first.
    lengths: Vec<Length>,
    /// Counts up with each change.
    clock: u64,
}

#[derive(Clone, Debug)]
struct Version {
    at: u64,
    bytes: Box<[u8; PAGE]>,
}

#[derive(Clone, Copy, Debug)]
struct Length {
    at: u64,
    bytes: usize,
}

/// How much of what was not synced survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Odds {
    /// That a page was written to the disk at all.
    pub(crate) page: f64,
    /// That a page which was written was cut off in the middle.
    pub(crate) torn: f64,
}

impl Odds {
    /// Everything survives.
    pub(crate) const ALL: Self = Self {
        page: 1.0,
        torn: 0.0,
    };
}

impl Content {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            seen: bytes.clone(),
            safe: bytes,
            ..Self::default()
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.seen
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(crate) fn read(&self, from: usize, count: usize) -> &[u8] {
        let from = from.min(self.seen.len());
        &self.seen[from..from.saturating_add(count).min(self.seen.len())]
    }

    pub(crate) fn write(&mut self, from: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = from + bytes.len();
        self.clock += 1;
        if end > self.seen.len() {
            self.seen.resize(end, 0);
            self.remember_length();
        }
        self.seen[from..end].copy_from_slice(bytes);
        for page in from / PAGE..=(end - 1) / PAGE {
            self.remember_page(page);
        }
    }

    pub(crate) fn set_len(&mut self, length: usize) {
        if length == self.seen.len() {
            return;
        }
        self.clock += 1;
        let shorter = length < self.seen.len();
        self.seen.resize(length, 0);
        self.remember_length();
        // The rest of the page at the end was made zero.
        if shorter && !length.is_multiple_of(PAGE) {
            self.remember_page(length / PAGE);
        }
    }

    /// Changes a bit where it lies, for the programs and for the disk.
    pub(crate) fn flip(&mut self, at: usize, bit: u8) {
        for bytes in [&mut self.seen, &mut self.safe] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Everything is on the disk.
    pub(crate) fn sync(&mut self) {
        for length in std::mem::take(&mut self.lengths) {
            self.safe.resize(length.bytes, 0);
        }
        for page in std::mem::take(&mut self.dirty).into_keys() {
            let from = page * PAGE;
            let end = (from + PAGE).min(self.seen.len());
            if from < end {
                self.safe[from..end].copy_from_slice(&self.seen[from..end]);
            }
        }
    }

    /// A sync that failed. As on Linux, the system takes the pages for clean and will not write them again by itself: unless
    /// they are changed once more, no later sync brings them to the disk, and programs see them until the power fails.
    pub(crate) fn fail_sync(&mut self) {
        self.dirty.clear();
    }

    /// Whether a power cut would change what programs see.
    pub(crate) fn is_synced(&self) -> bool {
        self.dirty.is_empty() && self.lengths.is_empty()
    }

    /// What was not synced is lost, all of it or, with odds, some.
    pub(crate) fn cut(&mut self, odds: Option<Odds>, chance: &mut StdRng) {
        match odds {
            None => {}
            Some(Odds::ALL) => self.sync(),
            Some(odds) => self.settle(odds, chance),
        }
        self.dirty.clear();
        self.lengths.clear();
        self.seen.clone_from(&self.safe);
    }

    fn settle(&mut self, odds: Odds, chance: &mut StdRng) {
        // Lengths are metadata, which file systems write in order.
        let kept = chance.random_range(0..=self.lengths.len());
        let (kept, lost) = self.lengths.split_at(kept);
        for length in kept {
            self.safe.resize(length.bytes, 0);
        }
        let shortest = |lengths: &[Length], from: u64| {
            let mut bytes = lengths.iter().filter(|length| length.at > from);
            bytes.by_ref().map(|length| length.bytes).min()
        };
        for (page, versions) in &self.dirty {
            let start = page * PAGE;
            // What was cut off together with its page is gone; what was written into a part that had been cut off has no
            // place on the disk as long as the cut is not there.
            let possible: Vec<_> = versions
                .iter()
                .filter(|version| shortest(kept, version.at).is_none_or(|bytes| bytes > start))
                .filter(|version| {
                    lost.iter()
                        .all(|length| length.at > version.at || length.bytes > start)
                })
                .collect();
            if possible.is_empty() || !chance.random_bool(odds.page) {
                continue;
            }
            let torn = chance.random_bool(odds.torn);
            // Mostly the newest state; the disk may have got one before it.
            let newest = possible.len();
            let pick = |chance: &mut StdRng| {
                if chance.random_bool(0.5) {
                    newest
                } else {
                    chance.random_range(1..=newest)
                }
            };
            let whole = pick(chance);
            for (number, sector) in (start..start + PAGE).step_by(SECTOR).enumerate() {
                let state = if torn {
                    // 0: as it was.
                    chance.random_range(0..=newest)
                } else {
                    whole
                };
                let end = (sector + SECTOR).min(self.safe.len());
                let Some(version) = state.checked_sub(1).and_then(|state| possible.get(state))
                else {
                    continue;
                };
                if sector < end {
                    let from = number * SECTOR;
                    self.safe[sector..end]
                        .copy_from_slice(&version.bytes[from..from + (end - sector)]);
                }
            }
        }
    }

    fn remember_length(&mut self) {
        self.lengths.push(Length {
            at: self.clock,
            bytes: self.seen.len(),
        });
    }

    fn remember_page(&mut self, page: usize) {
        let mut bytes = Box::new([0; PAGE]);
        let from = page * PAGE;
        let end = (from + PAGE).min(self.seen.len());
        if from < end {
            bytes[..end - from].copy_from_slice(&self.seen[from..end]);
        }
        let versions = self.dirty.entry(page).or_default();
        versions.push(Version {
            at: self.clock,
            bytes,
        });
        if versions.len() > VERSIONS {
            versions.remove(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const WHOLE_PAGES: Option<Odds> = Some(Odds {
        page: 1.0,
        torn: f64::MIN_POSITIVE,
    });

    fn chance(seed: u64) -> StdRng {
        StdRng::seed_from_u64(seed)
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_does_not() {
        let mut file = Content::default();
        file.write(0, &[1; 5000]);
        file.sync();
        file.write(100, &[2; 10]);
        file.write(5000, &[3; 3000]);
        assert!(!file.is_synced());
        assert_eq!(file.len(), 8000);
        file.cut(None, &mut chance(1));
        assert_eq!(file.bytes(), [1; 5000]);
        assert!(file.is_synced());
    }

    #[test]
    fn a_shortened_file_comes_back_whole_or_stays_short() {
        let mut file = Content::new(vec![7; 3 * PAGE]);
        file.set_len(10);
        file.write(PAGE, &[8; PAGE]);
        file.clone().cut(None, &mut chance(1));
        for seed in 0..200 {
            let mut cut = file.clone();
            cut.cut(WHOLE_PAGES, &mut chance(seed));
            let bytes = cut.bytes();
            match bytes.len() {
                // Without the first cut its pages are in their old places.
                12288 => assert_eq!(bytes[PAGE..], [7; 2 * PAGE]),
                10 => assert_eq!(bytes, [7; 10]),
                8192 => {
                    assert_eq!((bytes[9], bytes[10]), (7, 0));
                    assert!(bytes[PAGE..] == [8; PAGE]);
                }
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn pages_survive_in_any_order_and_tear_at_sectors() {
        let mut file = Content::new(vec![0; 4 * PAGE]);
        for page in 0..4 {
            file.write(page * PAGE, &[1; PAGE]);
            file.write(page * PAGE, &[2; PAGE]);
        }
        let (mut later_only, mut torn) = (0, 0);
        for seed in 0..300 {
            let mut cut = file.clone();
            let odds = Odds {
                page: 0.5,
                torn: 0.5,
            };
            cut.cut(Some(odds), &mut chance(seed));
            for sector in cut.bytes().chunks(SECTOR) {
                assert!(sector.iter().all(|byte| *byte == sector[0] && *byte <= 2));
            }
            let pages: Vec<_> = cut.bytes().chunks(PAGE).collect();
            later_only += usize::from(pages[0] == [0; PAGE] && pages[3] != [0; PAGE]);
            torn += usize::from(pages[0].iter().any(|byte| *byte != pages[0][0]));
        }
        assert!(later_only > 10 && torn > 10, "{later_only} {torn}");
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_the_next() {
        let mut file = Content::new(vec![0; 2 * PAGE]);
        file.write(0, &[1; 2 * PAGE]);
        file.fail_sync();
        file.write(PAGE, &[2]);
        file.sync();
        assert_eq!((file.bytes()[0], file.bytes()[PAGE]), (1, 2));
        file.cut(None, &mut chance(1));
        // The page that was changed again went out as a whole.
        assert_eq!(
            [file.bytes()[0], file.bytes()[PAGE], file.bytes()[PAGE + 1]],
            [0, 2, 1]
        );
    }
}
