//! Identities and what can be done with one of them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use iothub_protocol::HubIdentity;
use serde::Deserialize;
use serde_json::Value;

use super::reply::{Refused, body};
use crate::hub::Hub;
use crate::hub::cloud_messages::{NewCloudMessage, PendingCloudMessage};
use crate::hub::error::HubError;
use crate::hub::identities::{Listed, Registered};
use crate::hub::methods::{MethodCall, MethodResult};

type Device = Path<String>;
type Module = Path<(String, String)>;
type Answer<T> = Result<Json<T>, Refused>;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Registration {
    #[serde(default)]
    primary_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TwinPatch {
    desired: Value,
}

pub(super) async fn list(State(hub): State<Arc<Hub>>) -> Json<Vec<Listed>> {
    Json(hub.list())
}

pub(super) async fn register_device(
    State(hub): State<Arc<Hub>>,
    Path(id): Device,
    bytes: Bytes,
) -> Answer<Registered> {
    register(&hub, &device(&id)?, &bytes)
}

pub(super) async fn register_module(
    State(hub): State<Arc<Hub>>,
    Path(ids): Module,
    bytes: Bytes,
) -> Answer<Registered> {
    register(&hub, &module(&ids)?, &bytes)
}

pub(super) async fn device_twin(State(hub): State<Arc<Hub>>, Path(id): Device) -> Answer<Value> {
    Ok(Json(hub.twin(&device(&id)?)?.to_json()))
}

pub(super) async fn module_twin(State(hub): State<Arc<Hub>>, Path(ids): Module) -> Answer<Value> {
    Ok(Json(hub.twin(&module(&ids)?)?.to_json()))
}

pub(super) async fn patch_device_twin(
    State(hub): State<Arc<Hub>>,
    Path(id): Device,
    bytes: Bytes,
) -> Answer<Value> {
    patch_twin(&hub, &device(&id)?, &bytes)
}

pub(super) async fn patch_module_twin(
    State(hub): State<Arc<Hub>>,
    Path(ids): Module,
    bytes: Bytes,
) -> Answer<Value> {
    patch_twin(&hub, &module(&ids)?, &bytes)
}

pub(super) async fn call_device(
    State(hub): State<Arc<Hub>>,
    Path(id): Device,
    bytes: Bytes,
) -> Answer<MethodResult> {
    Ok(Json(
        hub.call(&device(&id)?, body::<MethodCall>(&bytes)?).await?,
    ))
}

pub(super) async fn call_module(
    State(hub): State<Arc<Hub>>,
    Path(ids): Module,
    bytes: Bytes,
) -> Answer<MethodResult> {
    Ok(Json(
        hub.call(&module(&ids)?, body::<MethodCall>(&bytes)?)
            .await?,
    ))
}

pub(super) async fn enqueue(
    State(hub): State<Arc<Hub>>,
    Path(id): Device,
    bytes: Bytes,
) -> Answer<PendingCloudMessage> {
    Ok(Json(hub.enqueue(
        &device(&id)?,
        body::<NewCloudMessage>(&bytes)?,
    )?))
}

pub(super) async fn pending(
    State(hub): State<Arc<Hub>>,
    Path(id): Device,
) -> Answer<Vec<PendingCloudMessage>> {
    Ok(Json(hub.pending(&device(&id)?)?))
}

fn register(hub: &Hub, identity: &HubIdentity, bytes: &Bytes) -> Answer<Registered> {
    let registration = if bytes.is_empty() {
        Registration::default()
    } else {
        body(bytes)?
    };
    Ok(Json(
        hub.register(identity, registration.primary_key.as_deref())?,
    ))
}

fn patch_twin(hub: &Hub, identity: &HubIdentity, bytes: &Bytes) -> Answer<Value> {
    let patch: TwinPatch = body(bytes)?;
    Ok(Json(hub.desire(identity, &patch.desired)?.to_json()))
}

fn device(id: &str) -> Result<HubIdentity, HubError> {
    HubIdentity::device_only(id).map_err(|error| HubError::Invalid(error.to_string()))
}

fn module((device, module): &(String, String)) -> Result<HubIdentity, HubError> {
    HubIdentity::new(device, Some(module)).map_err(|error| HubError::Invalid(error.to_string()))
}
