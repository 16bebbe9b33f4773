//! Commands: what other applications may call, over the sidecar, with JSON in and out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::args::Secret;
use crate::configuration::CheckedSchema;
use crate::sidecar::BoxFuture;

/// A command that takes longer is given up: its future is dropped, the caller gets 504.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The largest input, in bytes.
pub const MAX_INPUT: usize = 1 << 20;

/// Why a command was not done: answered as `{"error":{"code","message","field"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CommandError {
    /// HTTP status: 4xx for what the caller can mend.
    #[serde(skip)]
    pub status: u16,
    /// For programs: a kebab-case word that stays the same.
    pub code: &'static str,
    /// For people: what is wrong and what would be right.
    pub message: String,
    /// The part of the input it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl CommandError {
    /// Any status.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            field: None,
        }
    }

    /// 400: the input is wrong.
    pub fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// 404: what the input names does not exist.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(404, code, message)
    }

    /// 503: not now.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(503, code, message)
    }

    /// Names the part of the input it is about.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}

impl IntoResponse for CommandError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(json!({ "error": self }))).into_response()
    }
}

type Handler =
    Box<dyn Fn(Bytes) -> BoxFuture<'static, Result<Vec<u8>, CommandError>> + Send + Sync>;

struct Command {
    description: &'static str,
    input: CheckedSchema,
    output: Value,
    handler: Handler,
}

/// A module's commands. Clones share one set, and commands can be added while it is served.
#[derive(Clone, Default)]
pub struct Commands {
    set: Arc<RwLock<BTreeMap<&'static str, Arc<Command>>>>,
    /// Calls are refused: another instance of this module works.
    standby: Arc<AtomicBool>,
}

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.all().keys()).finish()
    }
}

impl Commands {
    /// Without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command, callable as `POST /{name}`. The input is checked against its schema before the handler sees it.
    ///
    /// The handler's future is dropped when the caller goes away or after [`DEADLINE`].
    pub fn add<I, O, F, Fut>(&self, name: &'static str, description: &'static str, handler: F)
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema,
        F: Fn(I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, CommandError>> + Send + 'static,
    {
        let (input, output) = match (CheckedSchema::of::<I>(), CheckedSchema::of::<O>()) {
            (Ok(input), Ok(output)) => (input, output.schema().clone()),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(command = name, %error, "command left out");
                return;
            }
        };
        let handler: Handler = Box::new(move |body| match serde_json::from_slice::<I>(&body) {
            Ok(input) => {
                let work = handler(input);
                Box::pin(async move {
                    serde_json::to_vec(&work.await?)
                        .map_err(|error| CommandError::new(500, "internal", error.to_string()))
                })
            }
            Err(error) => Box::pin(std::future::ready(Err(invalid(error.to_string())))),
        });
        let command = Command {
            description,
            input,
            output,
            handler,
        };
        self.set
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, Arc::new(command));
    }

    /// Refuses every call with 503 `standby`, or no longer does.
    pub(crate) fn set_standby(&self, standby: bool) {
        self.standby.store(standby, Ordering::Relaxed);
    }

    /// The router of the port the sidecar calls. With a token, every call must carry it as `dapr-api-token`.
    pub fn router(&self, token: Secret) -> Router {
        Router::new()
            .route("/commands", get(list))
            // What daprd asks of every application. Subscriptions are streams, not callbacks.
            .route("/dapr/config", get(async || Json(json!({}))))
            .route("/dapr/subscribe", get(async || Json(json!([]))))
            .route("/{name}", post(call))
            .layer(DefaultBodyLimit::max(MAX_INPUT))
            .layer(from_fn_with_state(token, authorize))
            .with_state(self.clone())
    }

    /// Runs a command as a call would: for tests and for modules that call their own.
    ///
    /// # Errors
    /// 503 `standby` while another instance works, 404 when there is no such command, 400 when the input does not fit its schema, 504 after [`DEADLINE`], and what
    /// the command itself answers.
    pub async fn run(&self, name: &str, input: Bytes) -> Result<Vec<u8>, CommandError> {
        if self.standby.load(Ordering::Relaxed) {
            return Err(CommandError::unavailable(
                "standby",
                format!(
                    "this instance waits for its turn to work and did not look at {name}; call again in a moment"
                ),
            ));
        }
        let Some(command) = self.all().get(name).cloned() else {
            return Err(CommandError::not_found(
                "unknown-command",
                format!("there is no command {name}; GET /commands lists them"),
            ));
        };
        // A command without input may be called without a body.
        let input = if input.is_empty() {
            Bytes::from_static(b"{}")
        } else {
            input
        };
        let value: Value = serde_json::from_slice(&input)
            .map_err(|error| invalid(format!("the input is not JSON: {error}")))?;
        if let Some((path, message)) = command.input.first_violation(&value) {
            let error = invalid(message);
            let path = path.to_string();
            return Err(if path.is_empty() {
                error
            } else {
                error.at(path)
            });
        }
        tokio::time::timeout(DEADLINE, (command.handler)(input))
            .await
            .unwrap_or_else(|_| {
                Err(CommandError::new(
                    504,
                    "deadline",
                    format!("{name} did not end within {DEADLINE:?}"),
                ))
            })
    }

    fn all(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<&'static str, Arc<Command>>> {
        self.set.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid(message: String) -> CommandError {
    CommandError::bad_request("invalid-input", message)
}

async fn list(State(commands): State<Commands>) -> Json<Value> {
    let entries: Vec<Value> = commands
        .all()
        .iter()
        .map(|(name, command)| {
            json!({
                "name": name,
                "description": command.description,
                "input": command.input.schema(),
                "output": command.output,
            })
        })
        .collect();
    Json(json!({ "commands": entries }))
}

async fn call(
    State(commands): State<Commands>,
    Path(name): Path<String>,
    input: Bytes,
) -> Response {
    match commands.run(&name, input).await {
        Ok(output) => ([(header::CONTENT_TYPE, "application/json")], output).into_response(),
        Err(error) => {
            tracing::debug!(command = name, %error, status = error.status, "command failed");
            error.into_response()
        }
    }
}

async fn authorize(State(token): State<Secret>, request: Request, next: Next) -> Response {
    if token
        .get()
        .is_none_or(|token| carries(request.headers(), token))
    {
        return next.run(request).await;
    }
    CommandError::new(
        401,
        "unauthorized",
        "the header dapr-api-token is missing or wrong; start the sidecar with the same APP_API_TOKEN",
    )
    .into_response()
}

/// Compares without ending at the first difference, so that time tells nothing about the token.
fn carries(headers: &HeaderMap, token: &str) -> bool {
    let given = headers
        .get("dapr-api-token")
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    let differences = given
        .iter()
        .zip(token.as_bytes())
        .fold(0, |sum, (left, right)| sum | (left ^ right));
    given.len() == token.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_client::Served;

    #[derive(Debug, serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Write {
        device: String,
        value: u64,
    }

    #[derive(Debug, Serialize, JsonSchema)]
    struct Written {
        written: u64,
    }

    #[derive(Debug, serde::Deserialize, JsonSchema)]
    struct Nothing {}

    fn commands() -> Commands {
        let commands = Commands::new();
        commands.add("write", "Writes a tag", async |input: Write| {
            if input.device == "press-1" {
                Ok(Written {
                    written: input.value,
                })
            } else {
                let message = format!("there is no device {}", input.device);
                Err(CommandError::not_found("unknown-device", message).at("device"))
            }
        });
        commands.add("hang", "Never ends", async |_: Nothing| {
            std::future::pending::<()>().await;
            Ok(json!(null))
        });
        commands
    }

    #[tokio::test]
    async fn a_command_answers_with_exact_numbers() {
        let served = Served::start(commands().router(Secret::default())).await;
        let body = format!(r#"{{"device":"press-1","value":{}}}"#, u64::MAX);
        let (status, answer) = served.send("POST", "/write", &body).await;
        assert_eq!(
            (status, answer),
            (200, format!(r#"{{"written":{}}}"#, u64::MAX))
        );
    }

    #[tokio::test]
    async fn wrong_inputs_are_answered_with_their_field() {
        let served = Served::start(commands().router(Secret::default())).await;
        for (path, body, status, code, field) in [
            (
                "/write",
                r#"{"device":"press-9","value":1}"#,
                404,
                "unknown-device",
                Some("device"),
            ),
            (
                "/write",
                r#"{"device":"press-1","value":"x"}"#,
                400,
                "invalid-input",
                Some("value"),
            ),
            (
                "/write",
                r#"{"device":"press-1"}"#,
                400,
                "invalid-input",
                None,
            ),
            ("/write", r#"{"device":"#, 400, "invalid-input", None),
            ("/wriet", "{}", 404, "unknown-command", None),
        ] {
            let (found, answer) = served.send("POST", path, body).await;
            let error: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(found, status, "{answer}");
            assert_eq!(error["error"]["code"], code, "{answer}");
            assert_eq!(error["error"]["field"].as_str(), field, "{answer}");
        }
    }

    #[tokio::test]
    async fn commands_are_listed_with_their_schemas() {
        let served = Served::start(commands().router(Secret::default())).await;
        let (status, answer) = served.send("GET", "/commands", "").await;
        let listed: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(status, 200);
        assert_eq!(listed["commands"][1]["name"], "write");
        assert_eq!(
            listed["commands"][1]["input"]["properties"]["device"]["type"],
            "string"
        );
        for path in ["/dapr/config", "/dapr/subscribe"] {
            assert_eq!(served.send("GET", path, "").await.0, 200);
        }
    }

    #[tokio::test]
    async fn a_standby_refuses_calls_and_does_nothing() {
        let commands = commands();
        commands.set_standby(true);
        let served = Served::start(commands.router(Secret::default())).await;
        for path in ["/write", "/wriet"] {
            let (status, answer) = served.send("POST", path, "{}").await;
            let error: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!((status, &error["error"]["code"]), (503, &json!("standby")));
        }
        for path in ["/commands", "/dapr/config", "/dapr/subscribe"] {
            assert_eq!(served.send("GET", path, "").await.0, 200);
        }
        commands.set_standby(false);
        let body = r#"{"device":"press-1","value":1}"#;
        assert_eq!(served.send("POST", "/write", body).await.0, 200);
    }

    #[tokio::test]
    async fn without_the_token_nothing_is_done() {
        let served = Served::start(commands().router(Secret::from("hunter2"))).await;
        let body = r#"{"device":"press-1","value":1}"#;
        assert_eq!(served.send("POST", "/write", body).await.0, 401);
        let wrong = served.send_with("POST", "/write", body, "hunter3").await;
        assert_eq!(wrong.0, 401);
        let right = served.send_with("POST", "/write", body, "hunter2").await;
        assert_eq!(right.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_is_given_up() {
        let error = commands().run("hang", Bytes::new()).await.unwrap_err();
        assert_eq!((error.status, error.code), (504, "deadline"));
    }
}
