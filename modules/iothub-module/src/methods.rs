//! Direct methods: `{app}.{method}` becomes an invocation of that method of that Dapr application, if the configuration allows it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::limits::METHOD_PAYLOAD_BYTES;
use measurement::rfc3339_micros;
use module_runtime::{InvokeReply, Sidecar, SidecarError};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, watch};

use crate::configuration::Configuration;
use crate::metrics::METHODS;
use crate::payload;

/// Invocations at the same time; one more is answered with 429.
pub const AT_ONCE: usize = 16;

/// What the caller in the cloud gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// As HTTP: 200 to 299 is success.
    pub status: u16,
    /// JSON.
    pub payload: Value,
}

impl Answer {
    fn error(status: u16, code: &str, message: impl fmt::Display) -> Self {
        Self {
            status,
            payload: json!({"error": {"code": code, "message": message.to_string()}}),
        }
    }
}

/// Splits `{app}.{method}`; none for any other form. A Dapr app id has no dots.
#[must_use]
pub fn split(name: &str) -> Option<(&str, &str)> {
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    name.split_once('.')
        .filter(|(app, method)| plain(app) && plain(method))
}

type StatusOf = Box<dyn Fn() -> Value + Send + Sync>;

/// Answers direct methods.
pub struct Methods {
    sidecar: Arc<dyn Sidecar>,
    configuration: watch::Receiver<Arc<Configuration>>,
    status: StatusOf,
    permits: Semaphore,
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods")
            .field("free", &self.permits.available_permits())
            .finish_non_exhaustive()
    }
}

impl Methods {
    /// The allow-list is the one of the configuration in force at each call; `status` answers the method `status`.
    #[must_use]
    pub fn new(
        sidecar: Arc<dyn Sidecar>,
        configuration: watch::Receiver<Arc<Configuration>>,
        status: StatusOf,
    ) -> Self {
        Self {
            sidecar,
            configuration,
            status,
            permits: Semaphore::new(AT_ONCE),
        }
    }

    /// The answer to one call; takes as long as the method's deadline at most.
    pub async fn answer(&self, name: &str, payload: &Value) -> Answer {
        let answer = match name {
            "ping" => Answer {
                status: 200,
                payload: json!({"pong": true, "time": rfc3339_micros(OffsetDateTime::now_utc())}),
            },
            "status" => Answer {
                status: 200,
                payload: (self.status)(),
            },
            _ => self.forward(name, payload).await,
        };
        metrics::counter!(METHODS.name, "status" => answer.status.to_string()).increment(1);
        bounded(name, answer)
    }

    async fn forward(&self, name: &str, payload: &Value) -> Answer {
        let Some((app, method)) = split(name) else {
            return Answer::error(
                404,
                "unknown-method",
                format_args!("{name:?} is not ping, status or APP.METHOD"),
            );
        };
        let Some(deadline) = self.deadline(name) else {
            return Answer::error(
                403,
                "not-allowed",
                format_args!(
                    "{name} is not in commands.allow of the iothub-module's configuration"
                ),
            );
        };
        let Ok(_permit) = self.permits.try_acquire() else {
            return Answer::error(
                429,
                "busy",
                format_args!("{AT_ONCE} methods are running; call again later"),
            );
        };
        // Our commands take an object; a caller without arguments sends nothing or null.
        let body = if payload.is_null() {
            Bytes::from_static(b"{}")
        } else {
            Bytes::from(payload.to_string())
        };
        let call = self.sidecar.invoke(app, method, body, deadline);
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(reply)) => passed_on(app, &reply),
            Err(_) | Ok(Err(SidecarError::Timeout { .. })) => Answer::error(
                504,
                "deadline",
                format_args!(
                    "{name} did not answer within {deadline:?}; it may have been carried out"
                ),
            ),
            Ok(Err(error @ SidecarError::Unavailable(_))) => {
                Answer::error(503, "unavailable", error)
            }
            Ok(Err(error)) => Answer::error(502, "invocation-failed", error),
        }
    }

    fn deadline(&self, name: &str) -> Option<Duration> {
        let configuration = self.configuration.borrow();
        configuration
            .commands
            .allow
            .iter()
            .find(|allowed| allowed.method == name)
            .map(|allowed| allowed.deadline.get())
    }
}

fn passed_on(app: &str, reply: &InvokeReply) -> Answer {
    let payload = payload::to_json(&reply.body);
    // The sidecar's own answer when it cannot reach the application, not the application's.
    let unreachable = reply.status >= 500
        && payload
            .get("errorCode")
            .and_then(Value::as_str)
            .is_some_and(|code| code.starts_with("ERR_DIRECT_INVOKE"));
    if unreachable {
        let reason = payload
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        return Answer::error(
            503,
            "unavailable",
            format_args!("application {app} cannot be reached: {reason}"),
        );
    }
    Answer {
        status: reply.status,
        payload,
    }
}

fn bounded(name: &str, answer: Answer) -> Answer {
    let size = answer.payload.to_string().len();
    if size <= METHOD_PAYLOAD_BYTES {
        return answer;
    }
    Answer::error(
        502,
        "reply-too-large",
        format_args!(
            "{name} answered {} with {size} bytes; IoT Hub takes {METHOD_PAYLOAD_BYTES}",
            answer.status
        ),
    )
}

#[cfg(test)]
mod tests;
