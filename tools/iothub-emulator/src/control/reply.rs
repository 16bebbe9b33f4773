//! Answers of the control interface, the refusing ones above all.

use axum::Json;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::hub::error::HubError;

/// A refusal as IoT Hub's service side words it: `{"errorCode":404103,"message":"…"}`.
#[derive(Debug)]
pub(crate) struct Refused(HubError);

impl From<HubError> for Refused {
    fn from(error: HubError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code) = self.0.codes();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (
            status,
            Json(json!({"errorCode": code, "message": self.0.to_string()})),
        )
            .into_response()
    }
}

/// Reads a JSON body; the content type is not looked at, so that plain `curl -d` works.
pub(crate) fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, HubError> {
    serde_json::from_slice(bytes).map_err(|error| HubError::Invalid(format!("body: {error}")))
}
