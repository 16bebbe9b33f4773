//! A person looks into the queue of a module at work and takes events out of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

use module_runtime::test_support::{ModuleProcess, SidecarPort};
use queue_inspection::{Answer, Asker, Command as Question, Selection, socket_of};
use store_forward::{NewItem, Queue, QueueOptions, WhenFull};

fn start(folder: &Path, sidecar: &SidecarPort) -> ModuleProcess {
    let configuration = folder.join("iothub.yaml");
    let document = format!(
        "hub: {{connection_string_file: {0}/missing}}\nqueue: {{path: {0}/queue.db, max_bytes: 8MiB, when_full: reject}}\nsubscriptions: [{{pubsub: p, topic: telemetry}}]\n",
        folder.display()
    );
    std::fs::write(&configuration, document).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_iothub-module"));
    command
        .arg("--config")
        .arg(configuration)
        .args(["--ops-address", "127.0.0.1:0", "--app-port", "0"])
        .env("DAPR_HTTP_PORT", sidecar.port().to_string())
        // Nobody listens there: what is subscribed to waits.
        .env("DAPR_GRPC_PORT", "1");
    ModuleProcess::start(&mut command)
}

/// A queue with events that no module has open.
async fn fill(path: &Path) {
    let queue = Queue::open(QueueOptions::new(path, 8 << 20, WhenFull::Reject)).unwrap();
    let event = |number: u64| NewItem {
        id: number.to_string(),
        payload: "{}".into(),
        ..NewItem::default()
    };
    queue.append((1..=20).map(event).collect()).await.unwrap();
    queue.close().await.unwrap();
}

async fn ask(path: &Path, question: Question) -> Answer {
    let mut asker = Asker::ask(path, question).await.unwrap();
    asker.answer().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_at_work_answers_and_counts_what_was_purged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    fill(&path).await;
    let sidecar = SidecarPort::start(true);
    let mut module = start(folder.path(), &sidecar);
    module.wait_for("queue open");
    module.until("the module to listen", |_| {
        std::os::unix::net::UnixStream::connect(socket_of(&path)).is_ok()
    });
    let Answer::Status(status) = ask(&path, Question::Status).await else {
        panic!("no status");
    };
    assert_eq!((status.events, status.max_bytes), (20, Some(8 << 20)));
    let purge = Question::Purge {
        selection: Selection {
            until: Some(5),
            ..Selection::default()
        },
        by: Some("anna".to_owned()),
    };
    let Answer::Purged(purged) = ask(&path, purge).await else {
        panic!("no purge");
    };
    assert_eq!(purged.events, 5);
    module.wait_for("events were purged from the queue");
    assert!(module.log().contains("\"by\":\"anna\""), "{}", module.log());
    module.until("the figures", |module| {
        let (_, text) = module.get("/metrics");
        let purged = text
            .lines()
            .filter(|line| line.contains("dropped_total{") && line.contains("reason=\"purged\""));
        purged.clone().count() == 1
            && purged.clone().all(|line| line.ends_with(" 5"))
            && text.contains("fieldgate_iothub_module_queued_events 15")
    });
    module.terminate();
    let (status, log) = module.ended();
    assert_eq!(status, Some(0), "{log}");
    assert!(!socket_of(&path).exists());
}
