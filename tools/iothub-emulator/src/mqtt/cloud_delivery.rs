//! Cloud-to-device messages that were sent on this connection and wait for their PUBACK.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Sent, locked and not yet acknowledged. At most as many as a device's queue holds.
#[derive(Debug)]
pub(super) struct CloudDelivery {
    lock: Duration,
    sent: HashMap<u16, Sent>,
    last_pkid: u16,
}

#[derive(Debug)]
struct Sent {
    sequence: u64,
    locked_until: Instant,
}

impl CloudDelivery {
    pub(super) fn new(lock: Duration) -> Self {
        Self {
            lock,
            sent: HashMap::new(),
            last_pkid: 0,
        }
    }

    pub(super) fn is_locked(&self, sequence: u64) -> bool {
        self.sent.values().any(|sent| sent.sequence == sequence)
    }

    /// The packet id under which a message is sent now.
    pub(super) fn sent(&mut self, sequence: u64) -> u16 {
        // The queue's limit (50) leaves most ids free.
        loop {
            self.last_pkid = self.last_pkid.wrapping_add(1);
            if self.last_pkid != 0 && !self.sent.contains_key(&self.last_pkid) {
                break;
            }
        }
        self.sent.insert(
            self.last_pkid,
            Sent {
                sequence,
                locked_until: Instant::now() + self.lock,
            },
        );
        self.last_pkid
    }

    /// A PUBACK came: the message it is for, unless its lock has expired meanwhile.
    pub(super) fn acknowledged(&mut self, pkid: u16) -> Option<u64> {
        self.sent.remove(&pkid).map(|sent| sent.sequence)
    }

    /// Gives up expired locks; `true` if there were any.
    pub(super) fn unlock_expired(&mut self) -> bool {
        let (before, now) = (self.sent.len(), Instant::now());
        self.sent.retain(|_, sent| sent.locked_until > now);
        self.sent.len() < before
    }

    /// When the next lock expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.sent.values().map(|sent| sent.locked_until).min()
    }
}
