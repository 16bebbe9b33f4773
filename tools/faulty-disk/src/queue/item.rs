//! Items whose every byte follows from their number.

use bytes::Bytes;
use store_forward::{NewItem, StoredItem};

/// Sizes of payloads: of everyday events mostly, of tiny ones, and of ones that take pages of their own.
const SIZES: [usize; 16] = [
    300, 20, 300, 900, 300, 300, 6000, 300, 300, 0, 300, 2000, 300, 300, 4100, 20_000,
];

/// The item with a number. The one place where this tool makes one.
pub fn item(id: u64) -> NewItem {
    // Neighbours differ in every byte.
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let size = SIZES[(state >> 60) as usize];
    let payload: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(size.div_ceil(8))
    .flatten()
    .take(size)
    .collect();
    NewItem {
        key: format!("press-{}", id % 16),
        id: id.to_string(),
        properties: Bytes::from(format!("number={id}")),
        payload: payload.into(),
        ..NewItem::default()
    }
}

/// The number of an item that came out of a queue.
pub fn id_of(stored: &StoredItem) -> Option<u64> {
    stored.id.parse().ok()
}

/// Whether an item came out of a queue as it went in.
pub fn is_whole(stored: &StoredItem) -> bool {
    let Some(new) = id_of(stored).map(item) else {
        return false;
    };
    (&stored.key, &stored.id, &stored.properties, &stored.payload)
        == (&new.key, &new.id, &new.properties, &new.payload)
}
