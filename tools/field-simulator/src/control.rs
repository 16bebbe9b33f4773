//! The HTTP side of the simulator: what devices hold and have seen, and how they shall misbehave.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;

use crate::device::{Counters, SimulatedDevice};
use crate::fault::ScriptedFault;
use crate::simulator::{Reach, Simulator};

/// The routes:
///
/// | | |
/// |---|---|
/// | `GET /devices` | each device with its address, counters and active faults |
/// | `GET /devices/{name}/points` | what its writable points hold |
/// | `GET`, `POST`, `DELETE /devices/{name}/faults` | list, start one ([`ScriptedFault`]), end all |
pub fn router(simulator: Arc<Simulator>) -> Router {
    Router::new()
        .route("/devices", get(devices))
        .route("/devices/{name}/points", get(points))
        .route(
            "/devices/{name}/faults",
            post(start_fault).get(faults).delete(clear_faults),
        )
        .with_state(simulator)
}

/// A device as it is listed, also in the line that says the simulator is ready.
#[derive(Debug, Serialize)]
pub struct Listed {
    pub name: String,
    pub unit: u8,
    #[serde(flatten)]
    pub reach: Reach,
    #[serde(flatten)]
    pub counters: Counters,
    pub faults: Vec<ScriptedFault>,
}

/// All devices as they are listed.
#[must_use]
pub fn listed(simulator: &Simulator) -> Vec<Listed> {
    let listed = |(device, reach): (&Arc<SimulatedDevice>, &Reach)| Listed {
        name: device.device().name.clone(),
        unit: device.device().unit,
        reach: reach.clone(),
        counters: device.counters(),
        faults: device.faults(),
    };
    simulator.devices().map(listed).collect()
}

#[derive(Debug)]
enum Refusal {
    UnknownDevice(String),
    BadFault(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::UnknownDevice(name) => (
                StatusCode::NOT_FOUND,
                "unknown-device",
                format!("no device {name}; GET /devices lists them"),
            ),
            Self::BadFault(why) => (StatusCode::BAD_REQUEST, "bad-fault", why),
        };
        (
            status,
            Json(json!({"error": {"code": code, "message": message}})),
        )
            .into_response()
    }
}

async fn devices(State(simulator): State<Arc<Simulator>>) -> Response {
    Json(json!({"devices": listed(&simulator)})).into_response()
}

async fn points(
    State(simulator): State<Arc<Simulator>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let device = find(&simulator, name)?;
    Ok(Json(json!({"points": device.held()})).into_response())
}

async fn faults(
    State(simulator): State<Arc<Simulator>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let device = find(&simulator, name)?;
    Ok(Json(json!({"faults": device.faults()})).into_response())
}

async fn start_fault(
    State(simulator): State<Arc<Simulator>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Response, Refusal> {
    let device = find(&simulator, name)?;
    let wanted: ScriptedFault =
        serde_json::from_slice(&body).map_err(|error| Refusal::BadFault(error.to_string()))?;
    let lasting = wanted.seconds.map(Duration::try_from_secs_f64).transpose();
    let lasting = lasting.map_err(|error| Refusal::BadFault(format!("seconds: {error}")))?;
    device.start_fault(wanted.fault, lasting);
    Ok(Json(json!({"faults": device.faults()})).into_response())
}

async fn clear_faults(
    State(simulator): State<Arc<Simulator>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let device = find(&simulator, name)?;
    device.clear_faults();
    Ok(Json(json!({"faults": []})).into_response())
}

fn find(simulator: &Simulator, name: String) -> Result<&Arc<SimulatedDevice>, Refusal> {
    simulator.device(&name).ok_or(Refusal::UnknownDevice(name))
}
