//! The emulated hub's control interface, as far as the demo uses it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::http::Http;

const DEADLINE: Duration = Duration::from_secs(10);

/// A message that arrived at the hub.
#[derive(Debug, Deserialize)]
pub(crate) struct HubMessage<'a> {
    /// Counts up from 1, the first message the hub ever stored.
    pub(crate) index: u64,
    /// When it arrived: microseconds since the Unix epoch.
    pub(crate) received_us: i64,
    /// The JSON document, byte for byte.
    #[serde(borrow, default)]
    pub(crate) body: Option<&'a RawValue>,
}

/// Control interface of the emulated hub.
#[derive(Debug, Clone)]
pub(crate) struct Emulator {
    http: Http,
    url: String,
}

#[derive(Deserialize)]
struct Registered {
    #[serde(rename = "connectionString")]
    connection_string: String,
}

impl Emulator {
    pub(crate) fn new(http: Http, port: u16) -> Self {
        Self {
            http,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Registers a device (again, too) and returns its connection string.
    pub(crate) async fn register(&self, device: &str) -> Result<String> {
        let url = format!("{}/devices/{device}", self.url);
        let answer = self
            .http
            .send(Method::PUT, &url, &json!({}), DEADLINE)
            .await?;
        let registered: Registered =
            serde_json::from_slice(&answer).with_context(|| format!("the answer to PUT {url}"))?;
        Ok(registered.connection_string)
    }

    /// Messages after `index`, at most `limit`, one JSON document a line.
    pub(crate) async fn messages(&self, after: u64, limit: usize) -> Result<bytes::Bytes> {
        let url = format!("{}/messages?after={after}&limit={limit}", self.url);
        self.http.get(&url, DEADLINE).await
    }

    /// The hub refuses connections and drops those it has.
    pub(crate) async fn go_down(&self, seconds: u64) -> Result<()> {
        self.http
            .send(
                Method::POST,
                &format!("{}/faults", self.url),
                &json!({"kind": "down", "seconds": seconds}),
                DEADLINE,
            )
            .await
            .map(drop)
    }
}

/// Waits for a file that a process writes when it is ready, and reads it.
pub(crate) async fn ready_file(path: &Path, deadline: Duration) -> Result<String> {
    let wait = async {
        loop {
            match tokio::fs::read_to_string(path).await {
                Ok(text) if !text.trim().is_empty() => return text,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(deadline, wait).await.with_context(|| {
        format!(
            "{} did not appear in {} s",
            path.display(),
            deadline.as_secs()
        )
    })
}
