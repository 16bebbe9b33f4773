//! Who is connected, and how the hub reaches them: one connection per identity, the newest wins.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use iothub_protocol::{HubIdentity, Subscription};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;

/// What may wait for one connection to send; a device that takes no more is dropped.
const OUTGOING: usize = 64;

/// Something the hub wants sent, besides cloud-to-device messages (these wait in the state).
#[derive(Debug)]
pub(crate) enum Outgoing {
    Desired {
        version: u64,
        payload: Bytes,
    },
    Method {
        name: String,
        rid: String,
        payload: Bytes,
    },
}

/// A device's answer to a direct method.
#[derive(Debug)]
pub(crate) struct MethodReply {
    pub(crate) status: i32,
    pub(crate) payload: Bytes,
}

/// Why the hub ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The same identity connected again (IoT Hub: 400027).
    TakenOver,
    /// A fault asked for it.
    Fault,
    /// It does not take what it is sent.
    Overloaded,
    /// The emulator stops.
    Shutdown,
}

/// The hub's end of one live connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) identity: HubIdentity,
    pub(crate) since_us: u64,
    generation: u64,
    outgoing: mpsc::Sender<Outgoing>,
    cloud_messages: Notify,
    listening: Mutex<HashSet<Subscription>>,
    methods: Mutex<HashMap<String, oneshot::Sender<MethodReply>>>,
    stop: CancellationToken,
    reason: OnceLock<Ended>,
    gone: CancellationToken,
}

/// All live connections.
#[derive(Debug)]
pub(crate) struct Connections {
    live: Mutex<Live>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Live {
    links: HashMap<HubIdentity, Arc<Link>>,
    opened: u64,
    /// How often each identity has connected since the start.
    counts: HashMap<HubIdentity, u64>,
}

/// A connection's place in the table; leaving the scope gives it up.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    connections: &'a Connections,
    pub(crate) link: Arc<Link>,
    /// The connection that this one replaces; it must be gone before this one goes on.
    pub(crate) previous: Option<Arc<Link>>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self {
            live: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// Enters a connection whose credentials are good and ends the one it replaces.
    pub(crate) fn open(&self, identity: &HubIdentity) -> (Seat<'_>, mpsc::Receiver<Outgoing>) {
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let mut live = lock(&self.live);
        live.opened += 1;
        let link = Arc::new(Link {
            identity: identity.clone(),
            since_us: clock::unix_microseconds(),
            generation: live.opened,
            outgoing,
            cloud_messages: Notify::new(),
            listening: Mutex::default(),
            methods: Mutex::default(),
            stop: CancellationToken::new(),
            reason: OnceLock::new(),
            gone: CancellationToken::new(),
        });
        *live.counts.entry(identity.clone()).or_default() += 1;
        let previous = live.links.insert(identity.clone(), Arc::clone(&link));
        drop(live);
        if let Some(previous) = &previous {
            previous.end(Ended::TakenOver);
        }
        self.tell();
        (
            Seat {
                connections: self,
                link,
                previous,
            },
            receiver,
        )
    }

    pub(crate) fn get(&self, identity: &HubIdentity) -> Option<Arc<Link>> {
        lock(&self.live).links.get(identity).cloned()
    }

    /// How often an identity has connected since the emulator started.
    pub(crate) fn count_of(&self, identity: &HubIdentity) -> u64 {
        lock(&self.live).counts.get(identity).copied().unwrap_or(0)
    }

    /// Ends every connection.
    pub(crate) fn end_all(&self, reason: Ended) {
        for link in lock(&self.live).links.values() {
            link.end(reason);
        }
    }

    /// Ends the connection of one client, if it has one.
    pub(crate) fn end_of(&self, client_id: &str, reason: Ended) {
        for (identity, link) in &lock(&self.live).links {
            if identity.client_id() == client_id {
                link.end(reason);
            }
        }
    }

    /// Changes whenever somebody connects, leaves or subscribes.
    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Says that a connection listens to other things than before.
    pub(crate) fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut live = lock(&self.connections.live);
        if live
            .links
            .get(&self.link.identity)
            .is_some_and(|link| link.generation == self.link.generation)
        {
            live.links.remove(&self.link.identity);
        }
        drop(live);
        // In this order: whoever registers a call after the table is cleared sees that the connection is gone.
        self.link.gone.cancel();
        // Dropped senders tell whoever waits for a method's answer that none will come.
        lock(&self.link.methods).clear();
        self.connections.tell();
    }
}

impl Link {
    pub(crate) fn end(&self, reason: Ended) {
        self.reason.get_or_init(|| reason);
        self.stop.cancel();
    }

    /// Waits until the hub ends this connection.
    pub(crate) async fn ended(&self) -> Ended {
        self.stop.cancelled().await;
        self.reason.get().copied().unwrap_or(Ended::Shutdown)
    }

    /// Waits until the connection's task has finished with everything it had received.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Hands something to the connection; `false` if it is going or does not keep up (then it is dropped).
    pub(crate) fn send(&self, outgoing: Outgoing) -> bool {
        match self.outgoing.try_send(outgoing) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.end(Ended::Overloaded);
                false
            }
        }
    }

    /// Tells the connection that there are cloud-to-device messages.
    pub(crate) fn wake_for_cloud_messages(&self) {
        self.cloud_messages.notify_one();
    }

    pub(crate) async fn cloud_messages_arrived(&self) {
        self.cloud_messages.notified().await;
    }

    pub(crate) fn set_listening(&self, subscriptions: impl Iterator<Item = Subscription>) {
        *lock(&self.listening) = subscriptions.collect();
    }

    pub(crate) fn listens_to(&self, subscription: Subscription) -> bool {
        lock(&self.listening).contains(&subscription)
    }

    /// Registers a call; its answer must name `rid` on this connection.
    pub(crate) fn expect_reply(&self, rid: &str) -> oneshot::Receiver<MethodReply> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.methods).insert(rid.to_owned(), sender);
        // The connection may have gone in between; then nobody would clear the entry again.
        if self.gone.is_cancelled() {
            lock(&self.methods).clear();
        }
        receiver
    }

    pub(crate) fn forget_reply(&self, rid: &str) {
        lock(&self.methods).remove(rid);
    }

    /// Delivers an answer; one that nobody waits for is ignored.
    pub(crate) fn reply(&self, rid: &str, reply: MethodReply) {
        if let Some(sender) = lock(&self.methods).remove(rid) {
            // The caller may have given up.
            let _ = sender.send(reply);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
