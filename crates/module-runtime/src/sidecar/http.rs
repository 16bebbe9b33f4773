//! The sidecar's HTTP side: invocation (its gRPC side cuts error bodies at 64 bytes) and health.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::error::with_sources;
use super::{InvokeReply, MAX_MESSAGE, SidecarError};
use crate::args::Secret;

const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
const HEALTH_DEADLINE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct HttpSide {
    base: String,
    token: Option<HeaderValue>,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl HttpSide {
    pub(crate) fn new(port: u16, token: &Secret) -> Self {
        let token = token.get().and_then(|token| {
            let mut value = HeaderValue::from_str(token).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_DEADLINE));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .build(connector);
        Self {
            base: format!("http://127.0.0.1:{port}"),
            token,
            client,
        }
    }

    pub(crate) async fn invoke(
        &self,
        app: &str,
        method: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<InvokeReply, SidecarError> {
        for (what, name) in [("application", app), ("method", method)] {
            if !is_path_segment(name) {
                return Err(SidecarError::Invalid(format!(
                    "{name:?} cannot be the name of an {what}: use letters, digits, '.', '_' and '-'"
                )));
            }
        }
        let path = format!("/v1.0/invoke/{app}/method/{method}");
        let operation = format!("the invocation of {app}/{method}");
        let call = self.call(Method::POST, &path, body);
        tokio::time::timeout(deadline, call)
            .await
            .unwrap_or(Err(SidecarError::Timeout {
                operation,
                after: deadline,
            }))
    }

    pub(crate) async fn healthy(&self) -> bool {
        let call = self.call(Method::GET, "/v1.0/healthz/outbound", Bytes::new());
        matches!(
            tokio::time::timeout(HEALTH_DEADLINE, call).await,
            Ok(Ok(reply)) if (200..300).contains(&reply.status)
        )
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<InvokeReply, SidecarError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header("dapr-api-token", token.clone());
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| SidecarError::Invalid(error.to_string()))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| SidecarError::Unavailable(with_sources(&error)))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_MESSAGE)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    SidecarError::Invalid("the answer is larger than 16 MiB".to_owned())
                } else {
                    SidecarError::Unavailable(format!("the answer broke off: {error}"))
                }
            })?
            .to_bytes();
        Ok(InvokeReply { status, body })
    }
}

/// Names go into a URL as they are.
fn is_path_segment(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'~'))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};

    use super::*;
    use crate::test_client::Served;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn sidecar() -> (Served, HttpSide) {
        let invoke = async |headers: HeaderMap, body: Bytes| {
            let token = headers.get("dapr-api-token").cloned();
            assert_eq!(token.unwrap(), "hunter2");
            // Longer than the 64 bytes that Dapr's gRPC invocation leaves of an error.
            (
                StatusCode::NOT_FOUND,
                [body.as_ref(), &[b'x'; 500]].concat(),
            )
        };
        let router = Router::new()
            .route("/v1.0/invoke/modbus-reader/method/write", post(invoke))
            .route(
                "/v1.0/invoke/modbus-reader/method/hang",
                post(std::future::pending::<()>),
            )
            .route(
                "/v1.0/healthz/outbound",
                get(async || StatusCode::NO_CONTENT),
            );
        let served = Served::start(router).await;
        let side = HttpSide::new(served.port(), &Secret::from("hunter2"));
        (served, side)
    }

    #[tokio::test]
    async fn status_and_body_come_back_whole() {
        let (_served, side) = sidecar().await;
        let body = Bytes::from_static(b"{}");
        let reply = side
            .invoke("modbus-reader", "write", body, DEADLINE)
            .await
            .unwrap();
        assert_eq!((reply.status, reply.body.len()), (404, 502));
        assert!(side.healthy().await);
    }

    #[tokio::test]
    async fn a_hanging_method_times_out() {
        let (_served, side) = sidecar().await;
        let error = side
            .invoke(
                "modbus-reader",
                "hang",
                Bytes::new(),
                Duration::from_millis(50),
            )
            .await
            .unwrap_err();
        assert!(matches!(error, SidecarError::Timeout { .. }), "{error}");
    }

    #[tokio::test]
    async fn names_cannot_lead_elsewhere() {
        let (_served, side) = sidecar().await;
        for (app, method) in [
            ("..", "write"),
            ("a/b", "write"),
            ("a", "x?y"),
            ("", "w"),
            ("a", "é"),
        ] {
            let error = side
                .invoke(app, method, Bytes::new(), DEADLINE)
                .await
                .unwrap_err();
            assert!(!error.is_retryable(), "{error}");
        }
    }

    #[tokio::test]
    async fn without_a_sidecar_a_call_is_retryable() {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let side = HttpSide::new(port, &Secret::default());
        let error = side
            .invoke("a", "b", Bytes::new(), DEADLINE)
            .await
            .unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(!side.healthy().await);
    }
}
