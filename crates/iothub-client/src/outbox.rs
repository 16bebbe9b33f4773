//! Events on their way to the user: a bounded backlog, so that a slow user never stops the connection.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::event::HubEvent;

const CHANNEL: usize = 64;
const BACKLOG: usize = 256;

#[derive(Debug)]
pub(crate) struct Outbox {
    sender: mpsc::Sender<HubEvent>,
    backlog: VecDeque<HubEvent>,
}

impl Outbox {
    pub(crate) fn new() -> (Self, mpsc::Receiver<HubEvent>) {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        (
            Self {
                sender,
                backlog: VecDeque::new(),
            },
            receiver,
        )
    }

    /// Queues an event, or gives it back where the backlog is full or nobody listens.
    pub(crate) fn push(&mut self, event: HubEvent) -> Result<(), Box<HubEvent>> {
        let event = if self.backlog.is_empty() {
            match self.sender.try_send(event) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(event)) => return Err(Box::new(event)),
                Err(TrySendError::Full(event)) => event,
            }
        } else {
            event
        };
        if self.backlog.len() >= BACKLOG {
            return Err(Box::new(event));
        }
        self.backlog.push_back(event);
        Ok(())
    }

    /// Queues a change of the connection. It always finds room: older ones in a full backlog have lost their meaning.
    pub(crate) fn push_change(&mut self, event: HubEvent) {
        if self.backlog.len() >= BACKLOG {
            self.backlog.retain(|event| {
                !matches!(
                    event,
                    HubEvent::Connected { .. } | HubEvent::Disconnected { .. }
                )
            });
        }
        if let Err(event) = self.push(event)
            && !self.sender.is_closed()
        {
            self.backlog.push_back(*event);
        }
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Moves one event from the backlog to the user. Cancel safe.
    pub(crate) async fn flush(&mut self) {
        match self.sender.reserve().await {
            Ok(place) => {
                if let Some(event) = self.backlog.pop_front() {
                    place.send(event);
                }
            }
            Err(_) => self.backlog.clear(),
        }
    }

    /// Runs `work` to its end and hands out the backlog meanwhile.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.flush(), if self.has_backlog() => {}
            }
        }
    }
}
