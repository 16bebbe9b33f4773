//! The host's side, behind its socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_protocol::{Answer, Code, Command, Fault, MAX_ANSWER, Status};
use module_runtime::CommandError;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::metrics::{HOST_FAILURES, HOST_REQUESTS};

/// Less than a command of this module may take.
const DEADLINE: Duration = Duration::from_secs(55);

/// Why the host did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nobody listens.
    #[error(
        "there is no host at {}: {reason}; only the appliance's images have one (fieldgate-agent.socket)", socket.display()
    )]
    Absent {
        /// Where.
        socket: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The connection broke, or what came is no answer.
    #[error("the host at {} gave no answer: {reason}", socket.display())]
    Broken {
        /// Where.
        socket: PathBuf,
        /// Why not.
        reason: String,
    },
    /// It answered no.
    #[error("{0}")]
    Refused(Fault),
}

impl From<HostError> for CommandError {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Absent { .. } => Self::unavailable("no-host", error.to_string()),
            HostError::Broken { .. } => Self::new(502, "no-answer", error.to_string()),
            HostError::Refused(Fault {
                code,
                message,
                field,
            }) => {
                let error = Self::new(code.status(), code.as_str(), message);
                match field {
                    Some(field) => error.at(field),
                    None => error,
                }
            }
        }
    }
}

/// Asks for one thing. Dropping the future closes the connection; what was asked for may have been done.
///
/// # Errors
/// Within 55 s at most.
pub async fn ask(socket: &Path, command: &Command) -> Result<Value, HostError> {
    metrics::counter!(HOST_REQUESTS.name).increment(1);
    let result = match timeout(DEADLINE, exchange(socket, command)).await {
        Ok(result) => result,
        Err(_) => Err(HostError::Refused(Fault::new(
            Code::Deadline,
            format!(
                "the host did not answer {} within {} s",
                command.name(),
                DEADLINE.as_secs()
            ),
        ))),
    };
    if result.is_err() {
        metrics::counter!(HOST_FAILURES.name).increment(1);
    }
    result
}

/// The device as its host sees it.
///
/// # Errors
/// As [`ask`].
pub async fn status(socket: &Path) -> Result<Status, HostError> {
    let value = ask(socket, &Command::UpdateStatus).await?;
    serde_json::from_value(value).map_err(|error| HostError::Broken {
        socket: socket.to_owned(),
        reason: format!("its status is not understood: {error}"),
    })
}

async fn exchange(socket: &Path, command: &Command) -> Result<Value, HostError> {
    let broken = |reason: String| HostError::Broken {
        socket: socket.to_owned(),
        reason,
    };
    let mut stream = UnixStream::connect(socket).await.map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::PermissionDenied => {
                format!(
                    "{error}, this program needs the group {}",
                    agent_protocol::GROUP
                )
            }
            _ => error.to_string(),
        };
        HostError::Absent {
            socket: socket.to_owned(),
            reason,
        }
    })?;
    let request = command.to_json().to_string();
    let mut answer = Vec::new();
    let most = u64::try_from(MAX_ANSWER).unwrap_or(u64::MAX);
    let talking = async {
        stream.write_all(request.as_bytes()).await?;
        stream.shutdown().await?;
        stream.take(most + 1).read_to_end(&mut answer).await
    };
    talking.await.map_err(|error| broken(error.to_string()))?;
    if answer.len() > MAX_ANSWER {
        return Err(broken(format!("it is larger than {MAX_ANSWER} bytes")));
    }
    Answer::parse(&answer)
        .map_err(broken)?
        .map_err(HostError::Refused)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::net::UnixListener;

    use super::*;

    /// Answers one request with these bytes; gives the request.
    fn serve(socket: &Path, answer: &[u8]) -> tokio::task::JoinHandle<Vec<u8>> {
        let listener = UnixListener::bind(socket).unwrap();
        let answer = answer.to_owned();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            stream.read_to_end(&mut request).await.unwrap();
            // A client that has had enough leaves.
            let _ = stream.write_all(&answer).await;
            request
        })
    }

    async fn asked(answer: &[u8]) -> (Result<Value, HostError>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let serving = serve(&socket, answer);
        let result = ask(&socket, &Command::Health).await;
        (result, serving.await.unwrap())
    }

    #[tokio::test]
    async fn a_request_is_one_object_and_so_is_its_answer() {
        let (result, request) = asked(br#"{"version": 1, "result": {"healthy": true}}"#).await;
        assert_eq!(result, Ok(json!({"healthy": true})));
        assert_eq!(Command::parse(&request), Ok(Command::Health));
    }

    #[tokio::test]
    async fn what_the_host_refuses_is_told_as_it_said_it() {
        let fault = Fault::new(Code::WrongName, "this is gate-7").at("name");
        let text = serde_json::to_vec(&Answer::from(Err(fault))).unwrap();
        let (result, _) = asked(&text).await;
        let error = CommandError::from(result.unwrap_err());
        assert_eq!((error.status, error.code), (422, "wrong-name"));
        assert_eq!(error.field.as_deref(), Some("name"));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        let large = vec![b' '; MAX_ANSWER + 2];
        for answer in [&b""[..], b"x", b"{}", &large] {
            let (result, _) = asked(answer).await;
            let Err(error @ HostError::Broken { .. }) = result else {
                panic!("{result:?}");
            };
            assert_eq!(CommandError::from(error).status, 502);
        }
    }

    #[tokio::test]
    async fn without_a_host_the_reason_says_where_one_would_be() {
        let error = ask(Path::new("/none/agent.sock"), &Command::Health)
            .await
            .unwrap_err();
        let error = CommandError::from(error);
        assert_eq!((error.status, error.code), (503, "no-host"));
        assert!(error.message.contains("/none/agent.sock"), "{error}");
    }
}
