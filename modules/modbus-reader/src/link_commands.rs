//! What a command asks of a link, in between the polls.

use measurement::{BadReason, Reading};
use tokio::sync::oneshot;

use crate::call_error::CallError;
use crate::connection::Connection;
use crate::encode::Encoded;
use crate::requests::Request;

/// Commands that may wait for one link.
pub const QUEUE: usize = 32;

/// Work for a link, and where the outcome goes.
#[derive(Debug)]
pub struct LinkCommand {
    /// The device's unit.
    pub unit: u8,
    /// What to do.
    pub work: Work,
    /// If it is closed by the time the link gets to the command, nothing is done.
    pub reply: oneshot::Sender<Result<Done, CallError>>,
}

/// What to do.
#[derive(Debug)]
pub enum Work {
    /// Read so many tags by these requests.
    Read {
        /// As planned.
        requests: Vec<Request>,
        /// How many tags the requests know.
        tags: usize,
    },
    /// Write one tag.
    Write {
        /// First address.
        address: u16,
        /// What.
        value: Encoded,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// In the order of the tags; what could not be read is bad.
    Read(Vec<Reading>),
    /// The device confirmed.
    Written,
}

impl LinkCommand {
    /// How many requests it is.
    pub fn requests(&self) -> u64 {
        match &self.work {
            Work::Read { requests, .. } => requests.len() as u64,
            Work::Write { .. } => 1,
        }
    }

    /// Reads may be broken off at any time, writes not.
    pub fn is_read(&self) -> bool {
        matches!(self.work, Work::Read { .. })
    }

    /// Answers that there is no connection.
    pub fn refuse(self, link: &str) {
        let text = format!("link {link} has no connection");
        let kind = std::io::ErrorKind::NotConnected;
        let _ = self.reply.send(Err(CallError::Transport { kind, text }));
    }

    /// Does it. Gives back an error after which the connection must be mended.
    pub async fn execute(self, connection: &mut Connection) -> Option<CallError> {
        if self.reply.is_closed() {
            return None;
        }
        match self.work {
            Work::Read { requests, tags } => {
                let mut readings = vec![Reading::Bad(BadReason::NotRead); tags];
                let mut broken: Option<CallError> = None;
                for request in &requests {
                    if let Some(error) = &broken {
                        request.fail(error.reason(), &mut readings);
                        continue;
                    }
                    match connection.read(self.unit, request).await {
                        Ok(answer) => request.decode(&answer, &mut readings),
                        Err(error) => {
                            request.fail(error.reason(), &mut readings);
                            broken = Some(error).filter(|error| !error.is_answer());
                        }
                    }
                }
                let _ = self.reply.send(Ok(Done::Read(readings)));
                broken
            }
            Work::Write { address, value } => {
                let outcome = connection.write(self.unit, address, &value).await;
                let error = outcome.clone().err();
                let _ = self.reply.send(outcome.map(|()| Done::Written));
                error
            }
        }
    }
}
