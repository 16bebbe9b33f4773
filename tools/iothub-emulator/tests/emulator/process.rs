//! The program itself: says where it listens, keeps its promises over `kill -9`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Device, HUB, Login, PATIENCE, tls};
use iothub_protocol::ConnectionString;
use serde_json::Value;
use tokio::time::timeout;

struct Process {
    child: Child,
    endpoints: Value,
}

impl Process {
    async fn start(data: &Path) -> Self {
        let _ = std::fs::remove_file(data.join("endpoints.json"));
        let child = Command::new(env!("CARGO_BIN_EXE_iothub-emulator"))
            .args(["--data".as_ref(), data.as_os_str()])
            .args([
                "--host-name",
                HUB,
                "--mqtt-address",
                "127.0.0.1:0",
                "--control-address",
                "127.0.0.1:0",
                "--san",
                "10.0.0.7",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let file = data.join("endpoints.json");
        let text = crate::support::eventually("endpoints.json", async || {
            std::fs::read_to_string(&file).ok()
        })
        .await;
        Self {
            child,
            endpoints: serde_json::from_str(&text).unwrap(),
        }
    }

    fn port(&self, name: &str) -> u16 {
        self.endpoints[name].as_u64().unwrap().try_into().unwrap()
    }

    async fn http(&self, method: &str, path: &str) -> String {
        crate::support::http_request(self.port("control_port"), method, path, "")
            .await
            .1
    }

    async fn connect(&self, data: &Path, login: &Login) -> Device {
        let (device, code, _) = Device::connect(self.port("mqtt_port"), tls(data), login).await;
        assert_eq!(code, 0);
        device
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: nothing is flushed or closed in order.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let first = Process::start(data).await;
    let registered: Value =
        serde_json::from_str(&first.http("PUT", "/devices/dev1").await).unwrap();
    let connection =
        ConnectionString::parse(registered["connectionString"].as_str().unwrap()).unwrap();
    assert_eq!(connection.host_name, HUB);
    let login = Login::new(connection.identity, connection.key);
    let ca = std::fs::read(data.join("ca.pem")).unwrap();
    let mut device = first.connect(data, &login).await;
    for number in 1..=20 {
        device.tell(&number.to_string()).await;
    }
    drop(first);

    let second = Process::start(data).await;
    assert_eq!(std::fs::read(data.join("ca.pem")).unwrap(), ca);
    let mut device = second.connect(data, &login).await;
    device.tell("21").await;
    let messages = second.http("GET", "/messages").await;
    let bodies: Vec<u64> = messages
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["body"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(bodies, (1..=21).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_folder_in_use_is_not_opened_twice() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Process::start(folder.path()).await;
    let second =
        iothub_emulator::Emulator::start(iothub_emulator::Options::new(folder.path(), HUB));
    let error = timeout(PATIENCE, second).await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("in use by another emulator"),
        "{error}"
    );
}
