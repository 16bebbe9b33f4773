//! Answers who asks about a queue that is open in this process.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use store_forward::{Queue, WhenFull};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::plan::{Plan, purge};
use crate::protocol::{Answer, Command, MAX_REQUEST, Request, VERSION};
use crate::selection::Selection;
use crate::socket::{Address, socket_of};
use crate::status::Status;
use crate::walk::Walk;

/// Connections at a time; who comes then waits.
const CONNECTIONS: usize = 4;
/// A whole request must be there within this time.
const READING: Duration = Duration::from_secs(10);
/// Who reads page by page may take so long for a page.
const WRITING: Duration = Duration::from_secs(600);
/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(200);

/// What is said of the queue beside what it says itself.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bound of its files.
    pub max_bytes: u64,
    /// What happens at the bound.
    pub when_full: WhenFull,
}

/// Listens at the socket beside a queue's file. The socket is taken away with it.
#[derive(Debug)]
pub struct Listener {
    queue: Queue,
    path: PathBuf,
    settings: Settings,
    listener: UnixListener,
    own: u32,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(socket_of(&self.path));
    }
}

impl Listener {
    /// Begins to listen. `path` is that of the queue's file, which this process has open: a socket that is there is of one before.
    ///
    /// # Errors
    /// The system's.
    pub fn new(queue: Queue, path: &Path, settings: Settings) -> std::io::Result<Self> {
        let socket = socket_of(path);
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let address = Address::of(&socket)?;
        let listener = UnixListener::bind(&address.path)?;
        std::fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        // Whose it is, is who runs this.
        let own = std::fs::metadata(&socket)?.uid();
        Ok(Self {
            queue,
            path: path.to_owned(),
            settings,
            listener,
            own,
        })
    }

    /// Answers until it is dropped. What is being answered then ends with it.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS {
                let _ = connections.join_next().await;
            }
            while connections.try_join_next().is_some() {}
            let accepted = self.listener.accept().await;
            let accepted = accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?, stream)));
            let (peer, stream) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "a connection to the queue's socket could not be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let connection = Connection {
                queue: self.queue.clone(),
                path: self.path.clone(),
                settings: self.settings,
                stream: BufReader::new(stream),
            };
            connections.spawn(connection.serve(peer, self.own));
        }
    }
}

struct Connection {
    queue: Queue,
    path: PathBuf,
    settings: Settings,
    stream: BufReader<UnixStream>,
}

/// Who asked has gone, or does not read.
struct Gone;

impl Connection {
    async fn serve(mut self, peer: UCred, own: u32) {
        // The modes of the socket and its folder say the same, as long as nobody changed them.
        let answered = if peer.uid() == 0 || peer.uid() == own {
            match self.request().await {
                Ok(command) => self.obey(command, peer).await,
                Err(reason) => self.say(&Answer::Error(reason)).await,
            }
        } else {
            let reason = "only root and the user of this process may ask".to_owned();
            self.say(&Answer::Error(reason)).await
        };
        if answered.is_err() {
            tracing::debug!("who asked about the queue went before all was said");
        }
    }

    async fn request(&mut self) -> Result<Command, String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(MAX_REQUEST as u64);
        match timeout(READING, limited.read_until(b'\n', &mut line)).await {
            Ok(Ok(_)) if line.ends_with(b"\n") => {}
            Ok(Ok(_)) => {
                return Err(format!(
                    "a request is one line of at most {MAX_REQUEST} bytes"
                ));
            }
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("the request was not there in time".to_owned()),
        }
        #[derive(serde::Deserialize)]
        struct Version {
            version: u32,
        }
        let wrong = |error: serde_json::Error| format!("that is no request: {error}");
        let Version { version } = serde_json::from_slice(&line).map_err(wrong)?;
        if version != VERSION {
            return Err(format!(
                "the request is of version {version}, this process knows {VERSION}; take the `fieldgate` of the same release"
            ));
        }
        let request: Request = serde_json::from_slice(&line).map_err(wrong)?;
        Ok(request.command)
    }

    async fn obey(&mut self, command: Command, peer: UCred) -> Result<(), Gone> {
        let answer = match command {
            Command::Status => {
                let bound = (self.settings.max_bytes, self.settings.when_full);
                Answer::Status(Box::new(Status::of(&self.queue, Some(bound))))
            }
            Command::Items { selection, events } => {
                return self.items(&selection, events).await;
            }
            Command::Plan { selection } => match Plan::of(&self.queue, &selection).await {
                Ok(plan) => Answer::Plan(plan),
                Err(reason) => Answer::Error(reason),
            },
            Command::Purge { selection, .. } if selection.until.is_none() => Answer::Error(
                "a purge must say up to which number; ask for the plan before".to_owned(),
            ),
            Command::Purge { selection, by } => self.purge(&selection, by, peer).await,
        };
        self.say(&answer).await
    }

    async fn items(&mut self, selection: &Selection, events: bool) -> Result<(), Gone> {
        let queue = self.queue.clone();
        let mut walk = match Walk::new(&queue, selection) {
            Ok(walk) => walk,
            Err(error) => return self.say(&Answer::Error(error.to_string())).await,
        };
        loop {
            let items = match walk.next_lines(events).await {
                Ok(items) => items,
                Err(error) => return self.say(&Answer::Error(error.to_string())).await,
            };
            if items.is_empty() {
                return self.say(&Answer::End(walk.end())).await;
            }
            let mut lines = Vec::new();
            for item in items {
                write_line(&Answer::Item(item), &mut lines)?;
            }
            self.write(&lines).await?;
        }
    }

    async fn purge(&self, selection: &Selection, by: Option<String>, peer: UCred) -> Answer {
        let queue = self.path.display();
        let by: Option<String> = by.map(|by| by.chars().take(100).collect());
        let pid = peer.pid();
        let uid = peer.uid();
        tracing::warn!(%queue, by, uid, pid, ?selection, "a purge of the queue begins");
        match purge(&self.queue, selection).await {
            Ok(purged) => {
                tracing::warn!(%queue, by, uid, pid, events = purged.events, "events were purged from the queue; they are counted as dropped");
                Answer::Purged(purged)
            }
            Err(reason) => {
                tracing::error!(%queue, by, uid, pid, reason, "a purge of the queue stopped");
                Answer::Error(format!("{reason}; what was taken out until then stays out"))
            }
        }
    }

    async fn say(&mut self, answer: &Answer) -> Result<(), Gone> {
        let mut line = Vec::new();
        write_line(answer, &mut line)?;
        self.write(&line).await
    }

    async fn write(&mut self, lines: &[u8]) -> Result<(), Gone> {
        match timeout(WRITING, self.stream.get_mut().write_all(lines)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

fn write_line(answer: &Answer, to: &mut Vec<u8>) -> Result<(), Gone> {
    serde_json::to_writer(&mut *to, answer).map_err(|_| Gone)?;
    to.push(b'\n');
    Ok(())
}
