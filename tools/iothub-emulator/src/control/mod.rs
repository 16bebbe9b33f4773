//! The control interface: plain HTTP with JSON, for tests, demonstrations and people. It has no authentication, hence
//! listens on loopback unless told otherwise.

mod devices;
mod faults;
mod messages;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post, put};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// For requests in progress when the emulator stops.
const GRACE: Duration = Duration::from_secs(1);

/// Serves until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, hub: Arc<Hub>, shutdown: CancellationToken) {
    let server = axum::serve(listener, router(hub))
        .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        ended = async { server.await } => if let Err(error) = ended {
            tracing::error!(%error, "the control interface ended");
        },
        () = async { shutdown.cancelled().await; sleep(GRACE).await } => {}
    }
}

fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/devices", get(devices::list))
        .route("/devices/{device}", put(devices::register_device))
        .route(
            "/devices/{device}/modules/{module}",
            put(devices::register_module),
        )
        .route(
            "/devices/{device}/twin",
            get(devices::device_twin).patch(devices::patch_device_twin),
        )
        .route(
            "/devices/{device}/modules/{module}/twin",
            get(devices::module_twin).patch(devices::patch_module_twin),
        )
        .route("/devices/{device}/methods", post(devices::call_device))
        .route(
            "/devices/{device}/modules/{module}/methods",
            post(devices::call_module),
        )
        .route(
            "/devices/{device}/messages/devicebound",
            post(devices::enqueue).get(devices::pending),
        )
        .route("/messages", get(messages::read))
        .route("/messages/count", get(messages::count))
        .route(
            "/faults",
            get(faults::list).post(faults::add).delete(faults::clear),
        )
        .with_state(hub)
}
