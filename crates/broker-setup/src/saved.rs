//! Streams in files: out of one broker and into another, with their events, numbers, times and consumers.
//!
//! nats-server does not take over what it has stored when it becomes one of a cluster, or leaves it: it takes such streams for orphans
//! and deletes them after half a minute. They have to be saved before and restored after. Protocol: NATS documentation, "JetStream wire API
//! reference", `STREAM.SNAPSHOT` and `STREAM.RESTORE`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, Request, RequestErrorKind};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::server_api::{ServerApi, stream_words};
use crate::setup_error::SetupError;

/// Bytes of one message of the transfer.
const CHUNK: usize = 128 << 10;
/// The status of the last, empty piece.
const COMPLETE: u16 = 204;
/// Until the next piece, or the answer to one. The server has to read or write the disk meanwhile.
const PIECE: Duration = Duration::from_secs(30);
/// Until the answer to the last piece: by then the server has written and checked everything.
const LAST_PIECE: Duration = Duration::from_secs(300);
/// The server gives up a restoration whose pieces stay out after 5 s (nats-server 2.15, `processStreamRestore`).
const STALLED: Duration = Duration::from_secs(8);
/// `JSStreamNameExistRestoreFailedErr` of the JetStream API.
const NAME_TAKEN: u64 = 10130;
/// Until a restored stream has all its consumers.
const CONSUMERS: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);
/// Of the line with the stream's configuration, in bytes.
const LONGEST_HEAD: u64 = 1 << 20;

/// What stands in the first line of a file; the server's own snapshot follows.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    config: Value,
    state: Value,
}

#[derive(Serialize)]
struct SnapshotRequest<'a> {
    deliver_subject: &'a str,
    no_consumers: bool,
    chunk_size: usize,
}

#[derive(Deserialize)]
struct RestoreBegun {
    deliver_subject: String,
}

/// A reply to a piece: empty, or what went wrong; the last one also describes the stream.
#[derive(Deserialize)]
struct PieceAnswer {
    error: Option<PieceError>,
}

#[derive(Deserialize)]
struct PieceError {
    description: String,
    #[serde(default)]
    err_code: u64,
}

/// Writes a stream into `<folder>/<stream>.stream`, in place of what was saved there before. What is published or acknowledged meanwhile may
/// be in the file or not: stop publishers and subscribers first. Returns the file.
///
/// # Errors
/// When there is no such stream, the broker does not answer, or the file cannot be written.
pub async fn save(client: &Client, stream: &str, folder: &Path) -> Result<PathBuf, SetupError> {
    let path = file_of(folder, stream);
    let part = path.with_extension("part");
    let what = format!("saving {}", stream_words(stream));
    let inbox = client.new_inbox();
    let mut pieces = client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| no_answer(&what, &error.to_string()))?;
    let request = SnapshotRequest {
        deliver_subject: &inbox,
        no_consumers: false,
        chunk_size: CHUNK,
    };
    let head: Head = ServerApi::new(client).snapshot(stream, &request).await?;
    fs::create_dir_all(folder).map_err(|error| of_file(folder, &error))?;
    let mut file = BufWriter::new(File::create(&part).map_err(|error| of_file(&part, &error))?);
    let mut put = |bytes: &[u8]| {
        file.write_all(bytes)
            .map_err(|error| of_file(&part, &error))
    };
    let mut line = serde_json::to_vec(&head).map_err(|error| of_file(&part, &error.into()))?;
    line.push(b'\n');
    put(&line)?;
    loop {
        let piece = match timeout(PIECE, pieces.next()).await {
            Ok(Some(piece)) => piece,
            Ok(None) | Err(_) => return Err(no_answer(&what, "the transfer stopped")),
        };
        if piece.payload.is_empty() {
            if piece
                .status
                .is_none_or(|status| status.as_u16() == COMPLETE)
            {
                break;
            }
            return Err(SetupError::Answer {
                what,
                reason: piece.description.unwrap_or_default(),
            });
        }
        put(&piece.payload)?;
        if let Some(reply) = piece.reply {
            client
                .publish(reply, "".into())
                .await
                .map_err(|error| no_answer(&what, &error.to_string()))?;
        }
    }
    let file = file
        .into_inner()
        .map_err(|error| of_file(&part, error.error()))?;
    file.sync_all().map_err(|error| of_file(&part, &error))?;
    fs::rename(&part, &path)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|error| of_file(&path, &error))?;
    Ok(path)
}

/// Makes a stream of what was saved, if something was; returns whether. The file is called `<stream>.restored` afterwards, so that it is
/// not used again.
///
/// # Errors
/// When the broker does not answer or refuses, or the file cannot be read.
pub(crate) async fn restore(
    client: &Client,
    stream: &str,
    folder: &Path,
) -> Result<bool, SetupError> {
    let path = file_of(folder, stream);
    let mut file = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(of_file(&path, &error)),
    };
    let mut head = read_head(&mut file).map_err(|error| of_file(&path, &error))?;
    // A server alone takes no other number; the plan's comes with the next look.
    if let Some(config) = head.config.as_object_mut() {
        config.insert("num_replicas".to_owned(), 1.into());
    }
    let api = ServerApi::new(client);
    let what = format!("restoring {}", stream_words(stream));
    let begun: RestoreBegun = match api.restore(stream, &head).await {
        Err(SetupError::Refused {
            code: NAME_TAKEN, ..
        }) => {
            forget_remains(&api, stream, &what).await?;
            api.restore(stream, &head).await?
        }
        begun => begun?,
    };
    let mut piece = vec![0; CHUNK];
    loop {
        let length = read_piece(&mut file, &mut piece).map_err(|error| of_file(&path, &error))?;
        let bytes = Bytes::copy_from_slice(piece.get(..length).unwrap_or_default());
        let answer = send_piece(client, &begun.deliver_subject, bytes, &what).await?;
        if !answer.is_empty() {
            let said: PieceAnswer =
                serde_json::from_slice(&answer).map_err(|error| SetupError::Answer {
                    what: what.clone(),
                    reason: error.to_string(),
                })?;
            if let Some(error) = said.error {
                return Err(SetupError::Refused {
                    what,
                    reason: error.description,
                    code: error.err_code,
                });
            }
        }
        if length == 0 {
            break;
        }
    }
    let consumers = head.state.get("consumer_count").and_then(Value::as_u64);
    let all_there = async {
        // A cluster assigns them one by one.
        while (api.consumers(stream).await?.len() as u64) < consumers.unwrap_or(0) {
            sleep(PAUSE).await;
        }
        Ok::<(), SetupError>(())
    };
    timeout(CONSUMERS, all_there)
        .await
        .map_err(|_| no_answer(&what, "not every consumer came back"))??;
    fs::rename(&path, path.with_extension("restored")).map_err(|error| of_file(&path, &error))?;
    Ok(true)
}

/// Takes away what a restoration that was cut off has left: in a cluster its name stays assigned, without a stream, and no server ever
/// deletes it (nats-server 2.15, `processStreamAssignmentResults`: "Leave failed restore assignments for explicit cleanup"). Nothing
/// is lost: the file has everything until its stream is complete.
async fn forget_remains(api: &ServerApi, stream: &str, what: &str) -> Result<(), SetupError> {
    let until = Instant::now() + STALLED;
    // A restoration that still runs, or a stream that comes up late, shows by then.
    while Instant::now() < until {
        if api.stream(stream).await?.is_some() {
            return Err(no_answer(what, "the stream has just appeared"));
        }
        sleep(PAUSE).await;
    }
    api.delete_stream(stream).await.map(drop)
}

/// Sends a piece, once it can reach the server that restores: that may be another one than this client's, whose subscription is known here
/// a moment after its answer. Only a piece that nobody has taken is sent again.
async fn send_piece(
    client: &Client,
    subject: &str,
    bytes: Bytes,
    what: &str,
) -> Result<Bytes, SetupError> {
    let patience = if bytes.is_empty() { LAST_PIECE } else { PIECE };
    let until = Instant::now() + STALLED;
    loop {
        let request = Request::new()
            .payload(bytes.clone())
            .timeout(Some(patience));
        match client.send_request(subject.to_owned(), request).await {
            Ok(answer) => return Ok(answer.payload),
            Err(error)
                if error.kind() == RequestErrorKind::NoResponders && Instant::now() < until =>
            {
                sleep(PAUSE / 10).await;
            }
            Err(error) => return Err(no_answer(what, &error.to_string())),
        }
    }
}

fn file_of(folder: &Path, stream: &str) -> PathBuf {
    folder.join(format!("{stream}.stream"))
}

fn read_head(file: &mut impl BufRead) -> io::Result<Head> {
    let mut line = Vec::new();
    file.take(LONGEST_HEAD).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// Fills the piece; less only at the end of the file.
fn read_piece(file: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = piece.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn no_answer(what: &str, reason: &str) -> SetupError {
    SetupError::NoAnswer {
        what: what.to_owned(),
        within: PIECE,
        reason: reason.to_owned(),
    }
}

fn of_file(path: &Path, error: &io::Error) -> SetupError {
    SetupError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}
