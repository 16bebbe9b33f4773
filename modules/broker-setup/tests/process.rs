//! The program beside a real nats-server.

// A test ends with a panic; clippy knows that only inside of #[test].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

// The server as the library's tests have it, of which these here need less.
#[allow(dead_code)]
#[path = "../../../crates/broker-setup/tests/broker/server.rs"]
mod server;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broker_setup::{Keep, Plan, StreamLimits, reconcile};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use server::{PATIENCE, Server};
use tempfile::TempDir;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(10);

fn plan() -> Plan {
    Plan::standard(
        &StreamLimits::default(),
        &[("iothub-module", "telemetry")],
        1,
    )
}

/// The program, with its plan and its log in a folder.
struct Setup {
    process: Child,
    folder: TempDir,
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Setup {
    fn start(address: &str, seed: Option<&str>, plan: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plan.yaml"), plan).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_broker-setup"));
        command
            .arg(folder.path().join("plan.yaml"))
            .args(["--broker", address, "--ops-address", "127.0.0.1:0"])
            .args(arguments)
            .env_remove("NKEY_SETUP_SEED")
            .stdin(Stdio::null())
            .stderr(File::create(folder.path().join("log")).unwrap());
        if let Some(seed) = seed {
            command.env("NKEY_SETUP_SEED", seed);
        }
        let process = command.spawn().unwrap();
        Self { process, folder }
    }

    fn beside(server: &Server) -> Self {
        let seed = server.seed("setup");
        Self::start(
            &server.address(),
            Some(&seed),
            &plan().to_yaml().unwrap(),
            &[],
        )
    }

    fn put_plan(&self, text: &str) {
        // As Kubernetes does it: the old or the new one, never a part.
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, text).unwrap();
        std::fs::rename(fresh, self.plan_file()).unwrap();
    }

    fn plan_file(&self) -> PathBuf {
        self.folder.path().join("plan.yaml")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < until, "{what}:\n{}", self.log());
            std::thread::park_timeout(LOOK);
        }
    }

    /// Status and body; 0 as long as nobody listens.
    fn get(&self, path: &str) -> (u16, String) {
        let log = self.log();
        let Some((_, rest)) = log.split_once("\"operation\":\"") else {
            return (0, String::new());
        };
        let mut stream = TcpStream::connect(rest.split('"').next().unwrap()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    fn is_ready(&self) -> bool {
        self.get("/readyz").0 == 200
    }

    /// The exit status, when it ends by itself.
    fn status(&mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(Instant::now() < until, "does not end:\n{}", self.log());
            std::thread::park_timeout(LOOK);
        }
    }

    fn terminate(&mut self) -> i32 {
        kill(
            Pid::from_raw(i32::try_from(self.process.id()).unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        self.status()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_when_the_broker_is_like_its_plan() {
    let mut server = Server::new(&plan());
    let mut setup = Setup::beside(&server);
    setup.wait_until("it serves without a broker", || {
        setup.get("/healthz").0 == 200
    });
    assert_eq!(setup.get("/readyz").0, 503);

    server.start();
    setup.wait_until("ready", || setup.is_ready());
    let client = server.client("setup").await;
    assert!(!reconcile(&client, &plan()).await.unwrap().changed());
    for what in [
        "stream fieldgate-kept",
        "consumer iothub-module-telemetry of stream fieldgate",
    ] {
        let line = format!("\"created\",\"what\":\"{what}\"");
        assert!(setup.log().contains(&line), "{line}:\n{}", setup.log());
    }
    let (_, figures) = setup.get("/metrics");
    for line in [
        "fieldgate_broker_stream_limit_bytes{stream=\"fieldgate\"} 268435456",
        "fieldgate_broker_consumer_pending_events{stream=\"fieldgate\",consumer=\"iothub-module-telemetry\"} 0",
        "\nfieldgate_broker_plan_rejected 0",
    ] {
        assert!(figures.contains(line), "{line}:\n{figures}");
    }

    server.kill();
    setup.wait_until("not ready without its broker", || {
        setup.get("/readyz").0 == 503
    });
    server.start();
    setup.wait_until("ready again", || setup.is_ready());
    assert_eq!(setup.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_plan_is_put_in_place_and_a_wrong_one_is_not() {
    let server = Server::running(&plan());
    let mut setup = Setup::beside(&server);
    setup.wait_until("ready", || setup.is_ready());

    let mut smaller = plan();
    smaller.streams[0].max_bytes = 8 << 20;
    setup.put_plan(&smaller.to_yaml().unwrap());
    let limit = "fieldgate_broker_stream_limit_bytes{stream=\"fieldgate\"} 8388608";
    setup.wait_until("the new bound", || setup.get("/metrics").1.contains(limit));

    let rejected = |setup: &Setup| {
        setup
            .get("/metrics")
            .1
            .contains("\nfieldgate_broker_plan_rejected 1")
    };
    setup.put_plan("streams: []");
    setup.wait_until("rejected", || rejected(&setup));
    assert!(setup.is_ready());
    assert!(
        setup.log().contains("name at least one stream"),
        "{}",
        setup.log()
    );

    setup.put_plan(&smaller.to_yaml().unwrap());
    setup.wait_until("accepted", || !rejected(&setup));

    // What the broker refuses is not in force either, and what it had changed is changed back.
    let mut refused = plan();
    refused.consumers.clear();
    refused.streams[1].keep = Keep::Interest;
    setup.put_plan(&refused.to_yaml().unwrap());
    setup.wait_until("refused", || rejected(&setup));
    setup.wait_until("ready", || setup.is_ready());
    let client = server.client("setup").await;
    assert!(!reconcile(&client, &smaller).await.unwrap().changed());
    assert_eq!(setup.terminate(), 0);
}

#[test]
fn what_no_restart_mends_ends_with_status_78() {
    let user = nkeys_seed();
    let start =
        |seed: Option<&str>, plan: &str| Setup::start("nats://127.0.0.1:1", seed, plan, &[]);
    let good = plan().to_yaml().unwrap();
    let mut two_problems = plan();
    two_problems.streams[0].max_bytes = 1;
    two_problems.streams[1].replicas = 2;
    for (seed, plan, words) in [
        (
            Some(user.as_str()),
            two_problems.to_yaml().unwrap(),
            vec!["max_bytes", "replicas"],
        ),
        (Some(user.as_str()), "no plan".to_owned(), vec!["plan.yaml"]),
        (None, good.clone(), vec!["NKEY_SETUP_SEED"]),
        (Some("hunter2"), good.clone(), vec!["NKEY_SETUP_SEED"]),
    ] {
        let mut setup = start(seed, &plan);
        assert_eq!(setup.status(), 78, "{}", setup.log());
        for word in words {
            assert!(setup.log().contains(word), "{word}:\n{}", setup.log());
        }
        assert!(!setup.log().contains("hunter2"));
    }
    let mut check = Setup::start("nats://127.0.0.1:1", None, &good, &["--check"]);
    assert_eq!(check.status(), 0, "{}", check.log());
}

#[test]
fn it_stops_at_once_while_it_waits_for_a_broker() {
    let mut setup = Setup::start(
        "nats://127.0.0.1:1",
        Some(&nkeys_seed()),
        &plan().to_yaml().unwrap(),
        &[],
    );
    setup.wait_until("listens", || setup.get("/healthz").0 == 200);
    let began = Instant::now();
    assert_eq!(setup.terminate(), 0);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_consumer_is_taken_out_by_hand_only() {
    let server = Server::running(&plan());
    let client = server.client("setup").await;
    let subscriptions = [("iothub-module", "telemetry"), ("old", "telemetry")];
    let before = Plan::standard(&StreamLimits::default(), &subscriptions, 1);
    reconcile(&client, &before).await.unwrap();
    let setup = Setup::beside(&server);
    setup.wait_until("told", || {
        let planned =
            "fieldgate_broker_consumer_planned{stream=\"fieldgate\",consumer=\"old-telemetry\"} 0";
        setup.get("/metrics").1.contains(planned)
    });

    let remove = |name: &str| {
        let seed = server.seed("setup");
        let text = plan().to_yaml().unwrap();
        let mut remover = Setup::start(
            &server.address(),
            Some(&seed),
            &text,
            &["--remove-consumer", name],
        );
        (remover.status(), remover.log())
    };
    let (status, log) = remove("fieldgate/iothub-module-telemetry");
    assert!(status == 1 && log.contains("is in the plan"), "{log}");
    assert_eq!(remove("fieldgate/old-telemetry").0, 0);
    let (status, log) = remove("fieldgate/old-telemetry");
    assert!(status == 1 && log.contains("has no consumer"), "{log}");
    assert_eq!(
        reconcile(&client, &plan())
            .await
            .unwrap()
            .unplanned()
            .count(),
        0
    );
}

fn nkeys_seed() -> String {
    nkeys::KeyPair::new_user().seed().unwrap()
}
