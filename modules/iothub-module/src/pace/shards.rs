//! Which identity an event goes by, where several share the work.
//!
//! All messages of one identity go through one connection and into one partition of the hub, so one identity is not the hub's full rate. The
//! partition key decides: events with one key go by one identity, in order. The choice is rendezvous hashing (each identity and key give a
//! number, the greatest wins), so it needs no memory, is the same after a restart and in whatever order the identities are listed, and when one
//! is added or taken away only the keys move that must.
//!
//! # An identity that is down
//! Its keys wait, the others go on. Nobody takes its keys over: an unconfirmed message may still arrive, and would then come behind its
//! successors. Whoever reads the queue passes over what waits and notes the first event that it passed over for each identity; when the identity is
//! back, it reads again from there before it sends anything newer of these keys.
//!
//! # Another set of identities: the drain rule
//! A key that moves to another identity is sent by the new one only when nothing is in flight any more that was sent by the old one before the
//! change. Keys that stay do not wait. What was in flight on a connection that ended counts as drained, as it is sent again by the queue's order,
//! now by the new identity. A further change waits until the one before is through.

use std::collections::VecDeque;

use crate::hash::fnv1a;

/// An identity, for as long as the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(usize);

impl Identity {
    /// For a table of what there is per identity; identities that are gone keep their number.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// By this identity.
    By(Identity),
    /// It waits, and all events with its key: this identity is down.
    Down(Identity),
    /// It waits, and all events with its key: this identity, which had the key before, has messages in flight.
    Draining(Identity),
}

/// A message on its way. Given back when it was confirmed, has failed, or its connection has ended.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a message that is not given back keeps a change of the identities from coming to its end"]
pub struct Shipped {
    identity: Identity,
    change: u64,
}

/// There must be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("without an identity nothing can be sent; name at least one")]
pub struct NoIdentity;

/// See the module's documentation.
#[derive(Debug)]
pub struct Shards {
    known: Vec<Known>,
    current: Vec<Identity>,
    /// The set before, while what it sent is in flight.
    before: Option<Vec<Identity>>,
    /// Sets that wait for their turn.
    later: VecDeque<Vec<Identity>>,
    changes: u64,
}

#[derive(Debug)]
struct Known {
    name: String,
    hash: u64,
    up: bool,
    /// In flight, by the number of the change after which they were sent: of the present one, and of those before.
    sent_now: usize,
    sent_before: usize,
}

impl Shards {
    /// Shards over these identities, by their names as the hub knows them (`device` or `device/module`); repeated ones count once. All are down
    /// until [`Shards::set_up`].
    ///
    /// # Errors
    /// When there is none.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self, NoIdentity> {
        let mut shards = Self {
            known: Vec::new(),
            current: Vec::new(),
            before: None,
            later: VecDeque::new(),
            changes: 0,
        };
        shards.current = shards.identities(names)?;
        Ok(shards)
    }

    /// The identities in use, in the order they were named; while a change is under way, of the new set.
    #[must_use]
    pub fn identities_in_use(&self) -> &[Identity] {
        &self.current
    }

    /// The name of an identity.
    #[must_use]
    pub fn name(&self, identity: Identity) -> &str {
        self.known
            .get(identity.0)
            .map_or("", |known| known.name.as_str())
    }

    /// Whether the identity has a connection.
    pub fn set_up(&mut self, identity: Identity, up: bool) {
        if let Some(known) = self.known.get_mut(identity.0) {
            known.up = up;
        }
    }

    /// Where events with this key go now.
    #[must_use]
    pub fn route(&self, key: &str) -> Route {
        let hash = fnv1a(key.as_bytes());
        let owner = self.owner(&self.current, hash);
        if let Some(before) = &self.before {
            let old = self.owner(before, hash);
            let in_flight = self.known.get(old.0).map_or(0, |known| known.sent_before);
            if old != owner && in_flight > 0 {
                return Route::Draining(old);
            }
        }
        if self.known.get(owner.0).is_some_and(|known| known.up) {
            Route::By(owner)
        } else {
            Route::Down(owner)
        }
    }

    /// An event is sent by this identity.
    pub fn sent(&mut self, identity: Identity) -> Shipped {
        if let Some(known) = self.known.get_mut(identity.0) {
            known.sent_now += 1;
        }
        Shipped {
            identity,
            change: self.changes,
        }
    }

    /// A message is no longer in flight.
    pub fn settled(&mut self, shipped: &Shipped) {
        let Some(known) = self.known.get_mut(shipped.identity.0) else {
            return;
        };
        let count = if shipped.change == self.changes {
            &mut known.sent_now
        } else {
            &mut known.sent_before
        };
        *count = count.saturating_sub(1);
        self.go_on();
    }

    /// Another set of identities from now on, by the drain rule.
    ///
    /// # Errors
    /// When there is none; then nothing changes.
    pub fn change<S: AsRef<str>>(&mut self, names: &[S]) -> Result<(), NoIdentity> {
        let new = self.identities(names)?;
        self.later.push_back(new);
        self.go_on();
        Ok(())
    }

    /// Whether a change is not through yet.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.before.is_some() || !self.later.is_empty()
    }

    fn go_on(&mut self) {
        loop {
            if self.before.is_some() && self.known.iter().any(|known| known.sent_before > 0) {
                return;
            }
            self.before = None;
            let Some(next) = self.later.pop_front() else {
                return;
            };
            if self.is_same(&next) {
                continue;
            }
            self.changes += 1;
            for known in &mut self.known {
                known.sent_before += std::mem::take(&mut known.sent_now);
            }
            self.before = Some(std::mem::replace(&mut self.current, next));
        }
    }

    fn is_same(&self, other: &[Identity]) -> bool {
        self.current.len() == other.len()
            && other.iter().all(|identity| self.current.contains(identity))
    }

    fn identities<S: AsRef<str>>(&mut self, names: &[S]) -> Result<Vec<Identity>, NoIdentity> {
        let mut identities = Vec::with_capacity(names.len());
        for name in names {
            let name = name.as_ref();
            let place = self.known.iter().position(|known| known.name == name);
            let identity = Identity(place.unwrap_or(self.known.len()));
            if place.is_none() {
                self.known.push(Known {
                    name: name.to_owned(),
                    hash: fnv1a(name.as_bytes()),
                    up: false,
                    sent_now: 0,
                    sent_before: 0,
                });
            }
            if !identities.contains(&identity) {
                identities.push(identity);
            }
        }
        if identities.is_empty() {
            return Err(NoIdentity);
        }
        Ok(identities)
    }

    fn owner(&self, set: &[Identity], key: u64) -> Identity {
        let weight = |identity: &Identity| {
            self.known.get(identity.0).map(|known| {
                // The name decides between equals, so that the order of the list never does.
                (mix(key ^ mix(known.hash)), known.name.as_str())
            })
        };
        let owner = set.iter().copied().max_by_key(|identity| weight(identity));
        // No set is empty.
        owner.unwrap_or(Identity(0))
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
