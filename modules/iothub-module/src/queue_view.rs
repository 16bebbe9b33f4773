//! Lets root and this process's user look into the queue and take events out of it while this module has it open: `fieldgate queue`.
//! By a socket beside the queue's file, so it is on no network.

use queue_inspection::{Listener, Settings, socket_of};
use store_forward::Queue;
use tokio_util::sync::CancellationToken;

use crate::configuration::QueueConfiguration;

/// Answers until `shutdown`.
pub async fn run(queue: Queue, configuration: QueueConfiguration, shutdown: CancellationToken) {
    let settings = Settings {
        max_bytes: configuration.max_bytes.get(),
        when_full: configuration.when_full.into(),
    };
    match Listener::new(queue, &configuration.path, settings) {
        Ok(listener) => tokio::select! {
            () = shutdown.cancelled() => {}
            () = listener.run() => {}
        },
        Err(error) => {
            tracing::warn!(
                socket = %socket_of(&configuration.path).display(),
                %error,
                "`fieldgate queue` cannot ask this process; it looks at a copy of the queue's file instead, and purges nothing"
            );
            shutdown.cancelled().await;
        }
    }
}
