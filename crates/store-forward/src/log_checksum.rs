//! The checksum of the write-ahead log, and the one bit that is wrong where it does not hold.
//!
//! Source: SQLite, "Database file format", 4.2.

/// The running checksum of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    big_endian: bool,
    first: u32,
    second: u32,
}

/// A bit that may be the wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flip {
    /// Which byte: of what is covered or, counted on from its end, of the checksum.
    pub(crate) at: usize,
    pub(crate) bit: u8,
}

impl Checksum {
    pub(crate) fn new(big_endian: bool) -> Self {
        Self {
            big_endian,
            first: 0,
            second: 0,
        }
    }

    /// Takes in bytes, a multiple of eight.
    pub(crate) fn after(mut self, bytes: &[u8]) -> Self {
        for pair in bytes.chunks_exact(8) {
            self.first = self
                .first
                .wrapping_add(self.word(pair, 0))
                .wrapping_add(self.second);
            self.second = self
                .second
                .wrapping_add(self.word(pair, 4))
                .wrapping_add(self.first);
        }
        self
    }

    pub(crate) fn holds(self, stored: &[u8]) -> bool {
        self.first == word(stored, 0) && self.second == word(stored, 4)
    }

    /// Each bit of `covered` or of `stored` that, turned round, makes the checksum of `covered` after this one hold. Bits
    /// of `stored` come last.
    ///
    /// For the lower 23 bits of a word of a page there is one place. The sums overflow, so the higher ones look alike at
    /// more places the higher they are: the highest at every third word.
    pub(crate) fn flips(self, covered: &[u8], stored: &[u8]) -> Vec<Flip> {
        let sum = self.after(covered);
        let missing = (
            word(stored, 0).wrapping_sub(sum.first),
            word(stored, 4).wrapping_sub(sum.second),
        );
        let mut found = Vec::new();
        // What one more in the left or the right word of a pair adds to the two sums at the end.
        let (mut left, mut right) = ((1_u32, 1_u32), (0_u32, 1_u32));
        for (number, pair) in covered.chunks_exact(8).enumerate().rev() {
            for (offset, weight) in [(0, left), (4, right)] {
                let value = self.word(pair, offset);
                for bit in 0..32 {
                    // Turned round, it adds its worth or takes it away.
                    let worth = (1_u32 << bit).wrapping_mul(if value >> bit & 1 == 1 {
                        u32::MAX
                    } else {
                        1
                    });
                    if (weight.0.wrapping_mul(worth), weight.1.wrapping_mul(worth)) == missing {
                        let byte = bit / 8;
                        let byte = if self.big_endian { 3 - byte } else { byte };
                        found.push(Flip {
                            at: number * 8 + offset + byte,
                            bit: 1 << (bit % 8),
                        });
                    }
                }
            }
            // One pair more comes after those before.
            let step = |(first, second): (u32, u32)| {
                let first = first.wrapping_add(second);
                (first, first.wrapping_add(second))
            };
            (left, right) = (step(left), step(right));
        }
        let mut is = [0; 8];
        is[..4].copy_from_slice(&sum.first.to_be_bytes());
        is[4..].copy_from_slice(&sum.second.to_be_bytes());
        let apart = u64::from_be_bytes(is)
            ^ (u64::from(word(stored, 0)) << 32 | u64::from(word(stored, 4)));
        if apart.count_ones() == 1 {
            let bit = 63 - apart.leading_zeros() as usize;
            found.push(Flip {
                at: covered.len() + 7 - bit / 8,
                bit: 1 << (bit % 8),
            });
        }
        found
    }

    fn word(self, bytes: &[u8], at: usize) -> u32 {
        let word = word(bytes, at);
        if self.big_endian {
            word
        } else {
            word.swap_bytes()
        }
    }
}

/// Four bytes as a number, the highest first.
pub(crate) fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let covered: Vec<u8> = (0..104_u32)
            .map(|number| (number.wrapping_mul(2_654_435_761) >> 23) as u8)
            .collect();
        for big_endian in [false, true] {
            let before = Checksum::new(big_endian).after(b"whatever");
            let sum = before.after(&covered);
            let mut stored = sum.first.to_be_bytes().to_vec();
            stored.extend(sum.second.to_be_bytes());
            assert_eq!(before.flips(&covered, &stored), []);
            let all = [covered.as_slice(), &stored].concat();
            for at in 0..all.len() {
                for bit in 0..8 {
                    let mut damaged = all.clone();
                    damaged[at] ^= 1 << bit;
                    let (covered, stored) = damaged.split_at(covered.len());
                    let flips = before.flips(covered, stored);
                    assert!(flips.contains(&Flip { at, bit: 1 << bit }), "{at} {bit}");
                    let highest = if big_endian { at % 4 == 0 } else { at % 4 == 3 };
                    assert!(
                        at >= covered.len() || highest || flips.len() <= 2,
                        "{flips:?}"
                    );
                }
            }
            // Two flips are not one.
            let mut damaged = covered.clone();
            damaged[3] ^= 1;
            damaged[50] ^= 4;
            assert_eq!(before.flips(&damaged, &stored), []);
        }
    }
}
