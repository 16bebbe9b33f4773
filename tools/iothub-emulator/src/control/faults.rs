//! Faults on request.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;

use super::reply::{Refused, body};
use crate::faults::{ActiveFault, Fault};
use crate::hub::Hub;
use crate::hub::connections::Ended;

pub(super) async fn list(State(hub): State<Arc<Hub>>) -> Json<Vec<ActiveFault>> {
    Json(hub.faults.list())
}

pub(super) async fn add(
    State(hub): State<Arc<Hub>>,
    bytes: Bytes,
) -> Result<Json<Vec<ActiveFault>>, Refused> {
    let fault: Fault = body(&bytes)?;
    hub.faults.add(&fault);
    tracing::info!(?fault, "fault");
    match &fault {
        Fault::Down { .. } | Fault::Drop { client: None } => {
            hub.connections.end_all(Ended::Fault);
        }
        Fault::Drop {
            client: Some(client),
        } => hub.connections.end_of(client, Ended::Fault),
        _ => {}
    }
    Ok(Json(hub.faults.list()))
}

pub(super) async fn clear(State(hub): State<Arc<Hub>>) -> Json<Vec<ActiveFault>> {
    hub.faults.clear();
    tracing::info!("faults cleared");
    Json(hub.faults.list())
}
