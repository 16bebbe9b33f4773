//! Which identity an event goes by, where several share the work.
//!
//! All messages of one identity go through one connection and into one partition of the hub, so one identity is not the hub's full rate. The
//! partition key decides: events with one key go by one identity, in order. The choice is rendezvous hashing (each identity and key give a
//! number, the greatest wins), so it needs no memory, is the same after a restart and in whatever order the identities are listed, and when one
//! is added or taken away only the keys move that must.
//!
//! The set of identities is that of the module's start. A changed one needs a restart, before which what is in flight is waited for: so no
//! message that one identity sent can arrive behind its successors that another one sent.

use crate::hash::fnv1a;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Shards {
    identities: Vec<Identity>,
}

#[derive(Debug, Clone)]
struct Identity {
    name: String,
    hash: u64,
}

impl Shards {
    /// Shards over these identities, by their names as the hub knows them (`device` or `device/module`).
    #[must_use]
    pub fn new<S: AsRef<str>>(names: &[S]) -> Self {
        let identity = |name: &S| Identity {
            name: name.as_ref().to_owned(),
            hash: fnv1a(name.as_ref().as_bytes()),
        };
        Self {
            identities: names.iter().map(identity).collect(),
        }
    }

    /// The index of the identity by which events with this key go; 0 where there is none.
    #[must_use]
    pub fn owner(&self, key: &str) -> usize {
        let key = fnv1a(key.as_bytes());
        let weighed = self.identities.iter().enumerate();
        // The name decides between equals, so that the order of the list never does.
        let weighed = weighed.map(|(index, identity)| {
            let weight = mix(key ^ mix(identity.hash));
            (weight, identity.name.as_str(), index)
        });
        let heaviest = weighed.max().map(|(_, _, index)| index);
        heaviest.unwrap_or_default()
    }
}

/// Spreads every bit over all (the last step of `SplitMix64`): FNV alone leaves the first bits of similar names alike.
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests;
