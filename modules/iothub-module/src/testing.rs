//! A sidecar and a queue in a folder of their own, for this crate's tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use module_runtime::Sidecar;
use serde_json::json;
use store_forward::{Queue, QueueOptions, WhenFull};
use tempfile::TempDir;

use crate::publisher::Publisher;

pub(crate) use module_runtime::test_support::TestSidecar;

pub(crate) fn publisher(sidecar: &Arc<TestSidecar>) -> Arc<Publisher> {
    let sidecar: Arc<dyn Sidecar> = Arc::<TestSidecar>::clone(sidecar);
    Arc::new(Publisher::new(
        sidecar,
        "pubsub".to_owned(),
        "gate-7",
        "iothub-module",
    ))
}

/// A queue that commits at once; the folder lives as long as the guard.
pub(crate) fn queue(max_bytes: u64, when_full: WhenFull) -> (Queue, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = QueueOptions::new(folder.path().join("queue.db"), max_bytes, when_full);
    options.commit_delay = Duration::ZERO;
    (Queue::open(options).unwrap(), folder)
}

/// A measurement event as modbus-reader publishes it.
pub(crate) fn measurement(device: &str, sequence: u64) -> Bytes {
    let id = format!("modbus-reader/{device}/fast/e1/{sequence}");
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/fieldgate/gate-7/modbus-reader", "type": "com.fieldgate.measurements.v1",
        "subject": format!("{device}/fast"), "partitionkey": device, "sequence": format!("{sequence:020}"),
        "data": {"device": device, "group": "fast", "epoch": "e1", "sequence": sequence, "values": {"temperature": 21.5}, "bad": {}}
    });
    Bytes::from(event.to_string())
}

/// Waits until `holds`, or fails after a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for: {what}");
}
