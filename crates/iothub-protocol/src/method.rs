//! Direct methods: a request with a name and a JSON payload, answered with a status and a JSON payload.

use std::borrow::Cow;

use serde_json::Value;

use crate::limits::{METHOD_NAME_CHARS, METHOD_PAYLOAD_BYTES};
use crate::topic::{DeviceTopic, HubTopic, TopicError};

/// A call as it arrived. The request id is only good on the connection that brought it.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodRequest {
    pub name: String,
    pub rid: String,
    /// `null` where the payload is empty.
    pub payload: Value,
}

#[derive(Debug, thiserror::Error)]
pub enum MethodError {
    #[error(transparent)]
    Topic(#[from] TopicError),
    #[error("method {name}: the payload is not JSON: {source}")]
    Payload {
        name: String,
        rid: String,
        source: serde_json::Error,
    },
    #[error("method name has {0} characters; IoT Hub takes {METHOD_NAME_CHARS}")]
    Name(usize),
    #[error("method payload has {0} bytes; IoT Hub takes {METHOD_PAYLOAD_BYTES}")]
    TooLarge(usize),
}

impl MethodRequest {
    /// Reads a call from its topic and payload.
    pub fn parse(topic: &str, payload: &[u8]) -> Result<Self, MethodError> {
        match HubTopic::parse(topic)? {
            HubTopic::Method { name, rid } => Self::from_parts(name, rid, payload),
            _ => Err(TopicError::Unknown(topic.to_owned()).into()),
        }
    }

    /// Reads a call from a parsed topic and its payload. [`MethodError::Payload`] holds the request id, so the caller can still be answered.
    pub fn from_parts(name: Cow<'_, str>, rid: &str, payload: &[u8]) -> Result<Self, MethodError> {
        match parse_payload(payload) {
            Ok(payload) => Ok(Self {
                name: name.into_owned(),
                rid: rid.to_owned(),
                payload,
            }),
            Err(source) => Err(MethodError::Payload {
                name: name.into_owned(),
                rid: rid.to_owned(),
                source,
            }),
        }
    }

    /// The topic an answer goes to.
    pub fn response_topic(&self, status: i32) -> String {
        DeviceTopic::MethodResponse {
            status,
            rid: &self.rid,
        }
        .to_string()
    }

    /// Whether IoT Hub would take a call with this name and payload.
    pub fn check(name: &str, payload: &[u8]) -> Result<(), MethodError> {
        let length = name.chars().count();
        if length == 0 || length > METHOD_NAME_CHARS {
            return Err(MethodError::Name(length));
        }
        check_payload(payload)
    }
}

/// JSON, or `null` where there is nothing but white space (device guide, direct methods: payload "valid JSON or empty").
pub fn parse_payload(payload: &[u8]) -> Result<Value, serde_json::Error> {
    if payload.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(payload)
}

/// Whether a payload, in either direction, is small enough.
pub fn check_payload(payload: &[u8]) -> Result<(), MethodError> {
    if payload.len() > METHOD_PAYLOAD_BYTES {
        return Err(MethodError::TooLarge(payload.len()));
    }
    Ok(())
}
