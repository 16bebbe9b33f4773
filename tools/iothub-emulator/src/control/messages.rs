//! Device-to-cloud messages for readers: a reader remembers the number of the last message it has and asks for more.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::reply::Refused;
use crate::hub::Hub;
use crate::hub::error::HubError;
use crate::storage::message_log::Selection;

/// Messages of one answer, if the request does not say.
const DEFAULT_LIMIT: usize = 1_000;
/// Messages of one answer at most.
const LARGEST_LIMIT: usize = 100_000;
/// Bytes of one answer, beyond which it is shorter than asked for.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
    device: Option<String>,
}

/// One JSON object per line, in the order of their numbers. An empty answer means that there are no more (yet).
pub(super) async fn read(
    State(hub): State<Arc<Hub>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(wanted) = wanted.map_err(|error| HubError::Invalid(error.to_string()))?;
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT).min(LARGEST_LIMIT);
    let selection = Selection {
        after: wanted.after,
        limit,
        max_bytes: LARGEST_ANSWER,
        device: wanted.device,
    };
    let lines = spawn_blocking(move || hub.messages.read(&selection)).await;
    let lines = lines
        .map_err(std::io::Error::other)
        .and_then(|lines| lines)
        .map_err(HubError::from)?;
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

pub(super) async fn count(State(hub): State<Arc<Hub>>) -> Json<Value> {
    Json(json!({"count": hub.messages.count()}))
}
