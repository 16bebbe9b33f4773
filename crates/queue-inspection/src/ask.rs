//! Asks the process that has a queue open.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::protocol::{Answer, Command, MAX_ANSWER, Request, VERSION};
use crate::socket::{Address, socket_of};

/// For the connection, and for the request to be taken.
const CONNECTING: Duration = Duration::from_secs(10);
/// Between two answers: a purge of a large backlog takes its time.
const ANSWERING: Duration = Duration::from_secs(600);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no socket, or nobody listens at it.
    #[error("nobody answers at {}: {source}", socket.display())]
    Nobody {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// This user may not ask.
    #[error("{}: {source}; run this as root, or as the user that owns the queue's file", socket.display())]
    Denied {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was not answered in time, or not to the end.
    #[error("the process that has the queue open, at {}: {reason}", socket.display())]
    Broken {
        /// Where.
        socket: PathBuf,
        /// What happened.
        reason: String,
    },
    /// It said why not.
    #[error("the process that has the queue open says: {0}")]
    Refused(String),
}

/// A connection with one request on it.
#[derive(Debug)]
pub struct Asker {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Asker {
    /// Connects to who has the queue with this file open, and asks.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(queue: &Path, command: Command) -> Result<Self, AskError> {
        let socket = socket_of(queue);
        let connect = async {
            let address = Address::of(&socket)?;
            UnixStream::connect(&address.path).await
        };
        let connected = match timeout(CONNECTING, connect).await {
            Ok(connected) => connected,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        };
        let stream = connected.map_err(|source| {
            let socket = socket.clone();
            if source.kind() == ErrorKind::PermissionDenied {
                AskError::Denied { socket, source }
            } else {
                AskError::Nobody { socket, source }
            }
        })?;
        let mut asker = Self {
            socket,
            stream: BufReader::new(stream),
        };
        let request = Request {
            version: VERSION,
            command,
        };
        let mut line =
            serde_json::to_vec(&request).map_err(|error| asker.broken(&error.to_string()))?;
        line.push(b'\n');
        match timeout(CONNECTING, asker.stream.get_mut().write_all(&line)).await {
            Ok(Ok(())) => Ok(asker),
            Ok(Err(error)) => Err(asker.broken(&error.to_string())),
            Err(_) => Err(asker.broken("it does not take the request")),
        }
    }

    /// The next answer.
    ///
    /// # Errors
    /// [`AskError`]; also when the connection ends.
    pub async fn answer(&mut self) -> Result<Answer, AskError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_ANSWER as u64);
        let read = match timeout(ANSWERING, limited.read_until(b'\n', &mut line)).await {
            Ok(read) => read,
            Err(_) => return Err(self.broken("it does not answer")),
        };
        match read {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) => return Err(self.broken("it ended before the answer was complete")),
            Err(error) => return Err(self.broken(&error.to_string())),
        }
        match serde_json::from_slice(&line) {
            Ok(Answer::Error(reason)) => Err(AskError::Refused(reason)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.broken(&format!(
                "it answers something that is not known here ({error}); is it of another release?"
            ))),
        }
    }

    fn broken(&self, reason: &str) -> AskError {
        AskError::Broken {
            socket: self.socket.clone(),
            reason: reason.to_owned(),
        }
    }
}
