//! A small HTTP/1.1 client for control and metrics ports on loopback.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

/// Largest answer that is read, bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Clones share one pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Http {
    pub(crate) fn new() -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// GET; an answer outside 2xx is an error.
    pub(crate) async fn get(&self, url: &str, deadline: Duration) -> Result<Bytes> {
        let (status, body) = self.call(Method::GET, url, None, deadline).await?;
        if !status.is_success() {
            bail!("GET {url}: {status}: {}", excerpt(&body));
        }
        Ok(body)
    }

    /// Sends JSON; an answer outside 2xx is an error.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        json: &serde_json::Value,
        deadline: Duration,
    ) -> Result<Bytes> {
        let body = Bytes::from(serde_json::to_vec(json)?);
        let name = method.clone();
        let (status, body) = self.call(method, url, Some(body), deadline).await?;
        if !status.is_success() {
            bail!("{name} {url}: {status}: {}", excerpt(&body));
        }
        Ok(body)
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        json: Option<Bytes>,
        deadline: Duration,
    ) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(json.unwrap_or_default()))
            .with_context(|| format!("request to {url}"))?;
        let exchange = async {
            let answer = self.client.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?
                .to_bytes();
            anyhow::Ok((status, body))
        };
        tokio::time::timeout(deadline, exchange)
            .await
            .with_context(|| format!("{url}: no answer within {} ms", deadline.as_millis()))?
            .with_context(|| url.to_owned())
    }
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}
