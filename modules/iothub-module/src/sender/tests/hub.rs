//! A hub whose connections break as they are told to.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iothub_client::SendError;
use iothub_protocol::Message;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::hub::{Connection, Hub, Stopped};
use crate::pace::Loss;

/// What one connection of the test hub does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// It breaks at this publish, counted from 0.
    pub(super) publishes: usize,
    /// So many PUBACKs get through.
    pub(super) acknowledges: usize,
    /// Whether the message of the publish at which it breaks still reaches the hub.
    pub(super) last_arrives: bool,
    /// Its PUBACKs come when it breaks, all of them: as at a planned end.
    pub(super) is_planned: bool,
}

/// How long a PUBACK, or room in the window, may be missing.
pub(super) const WATCHDOG: Duration = Duration::from_millis(30);
/// Takes messages and never confirms one.
pub(super) const SILENT: Life = Life {
    publishes: usize::MAX,
    acknowledges: 0,
    last_arrives: true,
    is_planned: false,
};
pub(super) const FOR_EVER: Life = Life {
    publishes: usize::MAX,
    acknowledges: usize::MAX,
    last_arrives: true,
    is_planned: false,
};

#[derive(Debug, Default)]
pub(super) struct Record {
    /// Generation and event of every message that reached the hub.
    pub(super) received: Mutex<Vec<(u64, String)>>,
    pub(super) generation: AtomicU64,
    pub(super) given_up: AtomicU64,
}

#[derive(Clone, Debug)]
pub(super) struct TestHub {
    pub(super) record: Arc<Record>,
    pub(super) lives: Arc<Mutex<VecDeque<Life>>>,
    pub(super) window: usize,
    pub(super) watchdog: Duration,
    /// Whether it takes no message with a list of events.
    pub(super) refuses_lists: bool,
}

#[derive(Clone, Debug)]
pub(super) struct TestConnection {
    refuses_lists: bool,
    generation: u64,
    record: Arc<Record>,
    life: Life,
    watchdog: Duration,
    published: Arc<AtomicU64>,
    window: Arc<Semaphore>,
    lost: CancellationToken,
    pubacks: mpsc::Sender<oneshot::Sender<()>>,
}

pub(super) struct Confirmation(oneshot::Receiver<()>);

impl Future for Confirmation {
    type Output = Result<(), SendError>;

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map_err(|_| SendError::ConnectionLost)
    }
}

impl TestHub {
    pub(super) fn new(lives: impl IntoIterator<Item = Life>, window: usize) -> Self {
        Self {
            record: Arc::default(),
            lives: Arc::new(Mutex::new(lives.into_iter().collect())),
            window,
            watchdog: WATCHDOG,
            refuses_lists: false,
        }
    }

    pub(super) fn received(&self) -> Vec<(u64, String)> {
        self.record.received.lock().unwrap().clone()
    }
}

impl Hub for TestHub {
    type Connection = TestConnection;

    async fn connection(&self) -> Result<TestConnection, Stopped> {
        let watchdog = self.watchdog;
        let life = self.lives.lock().unwrap().pop_front().unwrap_or(FOR_EVER);
        let (pubacks, mut waiting) = mpsc::channel::<oneshot::Sender<()>>(self.window);
        let window = Arc::new(Semaphore::new(self.window));
        let lost = CancellationToken::new();
        let (room, ends) = (Arc::clone(&window), lost.clone());
        tokio::spawn(async move {
            let (mut acknowledged, mut held) = (0, Vec::new());
            loop {
                tokio::select! {
                    () = ends.cancelled() => {
                        waiting.close();
                        while let Some(puback) = waiting.recv().await {
                            held.push(puback);
                        }
                        for puback in held.into_iter().filter(|_| life.is_planned) {
                            let _ = puback.send(());
                        }
                        return;
                    }
                    next = waiting.recv() => match next {
                        Some(puback) if life.is_planned => held.push(puback),
                        Some(puback) if acknowledged < life.acknowledges => {
                            tokio::task::yield_now().await;
                            acknowledged += 1;
                            let _ = puback.send(());
                            room.add_permits(1);
                        }
                        // Swallowed: the client's watchdog ends the connection over it.
                        Some(puback) => {
                            let _ = tokio::time::timeout(watchdog, ends.cancelled()).await;
                            ends.cancel();
                            drop(puback);
                        }
                        None => return,
                    },
                }
            }
        });
        Ok(TestConnection {
            refuses_lists: self.refuses_lists,
            generation: self.record.generation.fetch_add(1, Ordering::SeqCst),
            record: Arc::clone(&self.record),
            life,
            watchdog,
            published: Arc::default(),
            window,
            lost,
            pubacks,
        })
    }

    async fn loss(&self, _: u64) -> Loss {
        Loss::Network
    }
}

impl Connection for TestConnection {
    type Confirmation = Confirmation;

    fn generation(&self) -> u64 {
        self.generation
    }

    async fn publish(&self, message: Message) -> Result<Confirmation, SendError> {
        let is_list = message.body.starts_with(b"[");
        if message.body.starts_with(b"too large") || is_list && self.refuses_lists {
            return Err(SendError::TooLarge {
                size: 300_000,
                limit: 262_144,
            });
        }
        tokio::select! {
            () = self.lost.cancelled() => return Err(SendError::ConnectionLost),
            place = self.window.acquire() => match place {
                Ok(place) => place.forget(),
                Err(_) => return Err(SendError::ConnectionLost),
            },
            // A window that no PUBACK opens again: the watchdog breaks the connection.
            () = tokio::time::sleep(self.watchdog) => {
                self.lost.cancel();
                return Err(SendError::ConnectionLost);
            }
        }
        let last = self.published.fetch_add(1, Ordering::SeqCst) as usize >= self.life.publishes;
        if !last || self.life.last_arrives {
            self.record
                .received
                .lock()
                .unwrap()
                .push((self.generation, message.id.unwrap()));
        }
        if last {
            self.lost.cancel();
            return Err(SendError::ConnectionLost);
        }
        let (puback, confirmation) = oneshot::channel();
        self.pubacks
            .send(puback)
            .await
            .map_err(|_| SendError::ConnectionLost)?;
        Ok(Confirmation(confirmation))
    }

    fn give_up(&self, _: Duration) {
        self.record.given_up.fetch_add(1, Ordering::SeqCst);
        self.lost.cancel();
    }
}
