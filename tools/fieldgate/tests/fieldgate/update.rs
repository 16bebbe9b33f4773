//! `fieldgate update` and `fieldgate health` as a person and the device's units run them. Bundles and their signatures are real (`rauc bundle`,
//! `rauc info`); what needs rauc's service, systemd or a cluster is played by scripts that answer what the real ones answered.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::program::{fieldgate, said};

const COMPATIBLE: &str = "fieldgate-amd64-uefi";
const STATUS: &str = include_str!("../../src/update/rauc/captures/status-installed.json");

/// Keys and bundles, made once.
struct Bundles {
    folder: tempfile::TempDir,
}

impl Bundles {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn rauc() -> Option<PathBuf> {
    let found = ["/usr/bin/rauc", "/usr/sbin/rauc"].map(PathBuf::from);
    found.into_iter().find(|path| path.exists())
}

/// None where there is no rauc; scripts/test installs it.
fn bundles() -> Option<&'static Bundles> {
    static MADE: OnceLock<Option<Bundles>> = OnceLock::new();
    let made = MADE.get_or_init(|| rauc().map(|rauc| make(&rauc)));
    if made.is_none() {
        eprintln!("not tested: there is no rauc on this machine");
    }
    made.as_ref()
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn make(rauc: &Path) -> Bundles {
    let bundles = Bundles {
        folder: tempfile::tempdir().unwrap(),
    };
    for key in ["good", "other"] {
        succeed(
            Command::new("openssl")
                .args([
                    "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9999",
                ])
                .args(["-subj", &format!("/CN=fieldgate-test-{key}"), "-keyout"])
                .arg(bundles.path(&format!("{key}.key")))
                .arg("-out")
                .arg(bundles.path(&format!("{key}.crt"))),
        );
    }
    for (name, compatible, version, key) in [
        ("0.2.0", COMPATIBLE, "0.2.0", "good"),
        ("0.1.0", COMPATIBLE, "0.1.0", "good"),
        ("0.0.9", COMPATIBLE, "0.0.9", "good"),
        ("spring", COMPATIBLE, "spring 3", "good"),
        ("rpi", "fieldgate-rpi4", "0.3.0", "good"),
        ("foreign", COMPATIBLE, "0.2.0", "other"),
    ] {
        let content = bundles.path("content");
        let _ = fs::remove_dir_all(&content);
        fs::create_dir(&content).unwrap();
        // What shrinks to one page makes no bundle.
        let mut seed = 1_u32;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        });
        let image: Vec<u8> = noise.take(64 << 10).collect();
        fs::write(content.join("root.ext4"), image).unwrap();
        let manifest = format!(
            "[update]\ncompatible={compatible}\nversion={version}\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=root.ext4\n"
        );
        fs::write(content.join("manifest.raucm"), manifest).unwrap();
        let crt = bundles.path(&format!("{key}.crt"));
        succeed(
            Command::new(rauc)
                .arg(format!("--cert={}", crt.display()))
                .arg(format!(
                    "--key={}",
                    bundles.path(&format!("{key}.key")).display()
                ))
                .arg(format!("--keyring={}", crt.display()))
                .arg("bundle")
                .arg(&content)
                .arg(bundles.path(&format!("{name}.raucb"))),
        );
    }
    fs::write(bundles.path("junk.raucb"), vec![3; 5000]).unwrap();
    bundles
}

/// A device that runs 0.1.0 from slot a.
struct Bench {
    folder: tempfile::TempDir,
    bundles: &'static Bundles,
}

impl Bench {
    fn new() -> Option<Self> {
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            bundles: bundles()?,
        };
        let keyring = bench.bundles.path("good.crt");
        let here = bench.folder.path().display();
        bench.script(
            "rauc",
            &format!(
                "case $1 in
                 info) exec {} --keyring={} \"$@\" ;;
                 status) [ \"$2\" = mark-bad ] && echo \"$3\" >>{here}/marked && exit; cat {here}/status.json ;;
                 install) echo ' 46% Copying image to rootfs.1'
                   [ -e {here}/full ] && {{ echo 'LastError: Failed updating slot rootfs.1: No space left on device'; exit 1; }}
                   echo '100% Installing done.' ;;
                 esac",
                rauc()?.display(),
                keyring.display()
            ),
        );
        bench.script("systemctl", &format!("echo \"$@\" >>{here}/systemctl"));
        bench.script("kubectl", &format!("cat {here}/cluster.json"));
        bench.write("status.json", STATUS);
        bench.write("root/etc/os-release", "NAME=x\nIMAGE_VERSION=\"0.1.0\"\n");
        bench.write("root/proc/uptime", "100.00 90.00\n");
        bench.boot("boot-1", "a");
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn script(&self, name: &str, text: &str) {
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}\n"));
        let path = self.path(&format!("bin/{name}"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn boot(&self, id: &str, slot: &str) {
        self.write("root/proc/sys/kernel/random/boot_id", &format!("{id}\n"));
        self.write(
            "root/proc/cmdline",
            &format!("root=x rauc.slot={slot} quiet\n"),
        );
    }

    /// What kubectl lists: a node of this boot, Dapr, a broker; healthy or not.
    fn cluster(&self, boot: &str, broker_ready: bool) {
        let workload = |kind: &str, namespace: &str, name: &str, labels: Value| {
            json!({"kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels, "generation": 1},
                "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {"spec": {"containers": []}}},
                "status": {"observedGeneration": 1, "updatedReplicas": 1}})
        };
        let pod = |namespace: &str, name: &str, ready: bool| {
            let status = if ready { "True" } else { "False" };
            json!({"kind": "Pod", "metadata": {"name": format!("{name}-0"), "namespace": namespace, "labels": {"app": name}},
                "spec": {"nodeName": "gate", "containers": [{"name": name}]},
                "status": {"conditions": [{"type": "Ready", "status": status}],
                    "containerStatuses": [{"name": name, "ready": ready, "state": {"running": {"startedAt": "2999-01-01T00:00:00Z"}}}]}})
        };
        let broker = json!({"app.kubernetes.io/part-of": "fieldgate", "app.kubernetes.io/component": "broker"});
        let items = json!([
            {"kind": "Node", "metadata": {"name": "gate"}, "status": {"nodeInfo": {"bootID": boot},
                "conditions": [{"type": "Ready", "status": "True"}]}},
            workload("Deployment", "dapr-system", "dapr-operator", json!({})),
            pod("dapr-system", "dapr-operator", true),
            workload("StatefulSet", "fieldgate", "broker", broker),
            pod("fieldgate", "broker", broker_ready),
        ]);
        self.write("cluster.json", &json!({"items": items}).to_string());
    }

    /// Exit status, standard output and standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        said(
            fieldgate(arguments)
                .arg("--root")
                .arg(self.path("root"))
                .env("PATH", path),
        )
    }

    fn install(&self, bundle: &str, more: &[&str]) -> (i32, String, String) {
        let bundle = self.bundles.path(bundle);
        let mut arguments = vec!["update", "install", bundle.to_str().unwrap()];
        arguments.extend(more);
        self.run(&arguments)
    }

    fn last(&self) -> Value {
        let (status, out, err) = self.run(&["update", "status", "--json"]);
        assert_eq!(status, 0, "{err}");
        serde_json::from_str::<Value>(&out).unwrap()["last"].clone()
    }
}

#[test]
fn each_refusal_has_its_exit_status_and_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    bench.cluster("boot-1", true);
    for (bundle, options, status, part) in [
        ("foreign.raucb", vec![], 10, "not signed for this device"),
        ("rpi.raucb", vec![], 11, "is for fieldgate-rpi4"),
        ("0.0.9.raucb", vec![], 12, "--allow-downgrade"),
        (
            "0.2.0.raucb",
            vec![
                "--sha256",
                "0000000000000000000000000000000000000000000000000000000000000000",
            ],
            13,
            "SHA-256",
        ),
        (
            "0.2.0.raucb",
            vec!["--version", "0.4.0"],
            14,
            "is version 0.2.0, not 0.4.0",
        ),
        (
            "0.2.0.raucb",
            vec!["--version", "0.0.1"],
            12,
            "older than 0.1.0",
        ),
        ("junk.raucb", vec![], 17, "Invalid bundle format"),
        ("spring.raucb", vec![], 17, "spring 3"),
        ("absent.raucb", vec![], 1, "absent.raucb"),
    ] {
        let (found, out, err) = bench.install(bundle, &options);
        assert_eq!(found, status, "{bundle}: {out}{err}");
        assert!(err.contains(part), "{bundle}: {err}");
    }
    let (status, out, _) = bench.install("0.1.0.raucb", &[]);
    assert_eq!(status, 0);
    assert!(out.contains("runs already"), "{out}");
    assert_eq!(bench.last(), Value::Null);
    assert_eq!(bench.read("systemctl"), "", "nothing was restarted");

    bench.write("root/etc/os-release", "NAME=x\n");
    assert_eq!(bench.install("0.2.0.raucb", &[]).0, 16);
    fs::remove_file(bench.path("status.json")).unwrap();
    assert_eq!(bench.install("0.2.0.raucb", &[]).0, 16);
}

#[test]
fn a_good_update_is_confirmed() {
    let Some(bench) = Bench::new() else { return };
    bench.cluster("boot-1", true);
    let (status, out, err) = bench.install("0.2.0.raucb", &["--no-reboot"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("version 0.2.0 is in slot b"), "{out}");
    assert!(err.contains("46 %, Copying image to rootfs.1"), "{err}");
    assert_eq!(bench.last()["result"], "installed");
    assert_eq!(bench.last()["known"]["hub"], false);
    assert_eq!(bench.read("systemctl"), "");
    // Again, for example by a desired property: only the restart is missing.
    let (status, out, _) = bench.install("0.2.0.raucb", &[]);
    assert_eq!(status, 0);
    assert!(out.contains("is installed and starts next"), "{out}");
    assert_eq!(bench.read("systemctl"), "reboot\n");

    bench.boot("boot-2", "b");
    bench.write("root/etc/os-release", "IMAGE_VERSION=0.2.0\n");
    bench.write(
        "status.json",
        &STATUS
            .replace("\"booted\"", "\"x\"")
            .replace("\"inactive\"", "\"booted\"")
            .replace("\"x\"", "\"inactive\""),
    );
    let (status, out, _) = bench.run(&["update", "settle"]);
    assert_eq!((status, out.as_str()), (0, ""));
    // On trial: the slot to go back to is not overwritten.
    assert_eq!(bench.install("0.2.0.raucb", &["--reinstall"]).0, 22);
    bench.cluster("boot-2", true);
    let (status, out, err) = bench.run(&["update", "gate", "--limit", "1s"]);
    assert_eq!(status, 0, "{out}{err}");
    assert_eq!(bench.last()["result"], "confirmed");
    assert_eq!(bench.read("marked"), "");
    let (_, out, _) = bench.run(&["update", "status"]);
    assert!(
        out.contains("last update: 0.1.0 to 0.2.0 (slot b) confirmed"),
        "{out}"
    );
}

#[test]
fn a_bad_update_is_given_up_with_its_reason() {
    let Some(bench) = Bench::new() else { return };
    assert_eq!(
        bench.install("0.2.0.raucb", &["--no-reboot"]).0,
        0,
        "without a cluster to learn from, too"
    );
    bench.boot("boot-2", "b");
    bench.cluster("boot-2", false);
    let (status, out, _) = bench.run(&["health", "--since-known"]);
    assert_eq!(status, 1);
    assert!(out.contains("FAIL  broker: 0 of 1 pods ready"), "{out}");
    assert!(
        out.contains("-> kubectl -n fieldgate describe pod broker-0"),
        "{out}"
    );
    let (status, out, _) = bench.run(&["update", "gate", "--limit", "1ms"]);
    assert_eq!(status, 1, "{out}");
    assert!(out.contains("FAIL  broker: 0 of 1 pods ready"), "{out}");
    assert_eq!(bench.read("marked"), "booted\n");
    assert_eq!(bench.read("systemctl"), "reboot\n");

    bench.boot("boot-3", "a");
    assert_eq!(bench.run(&["update", "settle"]).0, 0);
    let last = bench.last();
    assert_eq!(last["result"], "reverted");
    assert_eq!(
        last["reasons"],
        json!(["broker: 0 of 1 pods ready: not ready: broker"])
    );
}

#[test]
fn an_update_that_never_came_up_or_was_cut_off_is_told_at_the_next_start() {
    let Some(bench) = Bench::new() else { return };
    assert_eq!(bench.install("0.2.0.raucb", &["--no-reboot"]).0, 0);
    bench.boot("boot-2", "a");
    let (_, out, _) = bench.run(&["update", "settle"]);
    assert!(out.contains("slot b did not come up"), "{out}");
    assert_eq!(bench.last()["result"], "reverted");
    // It may be tried again.
    assert_eq!(bench.install("0.2.0.raucb", &["--no-reboot"]).0, 0);
    let state = bench.read("root/var/lib/fieldgate/update/state.json");
    bench.write(
        "root/var/lib/fieldgate/update/state.json",
        &state.replace("\"installed\"", "\"installing\""),
    );
    bench.boot("boot-3", "a");
    let (_, out, _) = bench.run(&["update", "settle"]);
    assert!(out.contains("cut off"), "{out}");
    assert_eq!(bench.last()["result"], "failed");

    bench.write("full", "");
    let (status, _, err) = bench.install("0.2.0.raucb", &[]);
    assert_eq!(status, 21);
    assert!(err.contains("No space left on device"), "{err}");
    assert_eq!(bench.last()["result"], "failed");
}

#[test]
fn the_newest_bundle_for_the_device_is_taken_from_a_stick() {
    let Some(bench) = Bench::new() else { return };
    let media = bench.path("media");
    fs::create_dir_all(media.join("stick")).unwrap();
    let media = media.to_str().unwrap();
    assert_eq!(bench.run(&["update", "install", "--search", media]).0, 18);
    for name in ["rpi.raucb", "foreign.raucb", "junk.raucb"] {
        fs::copy(
            bench.bundles.path(name),
            bench.path("media/stick").join(name),
        )
        .unwrap();
    }
    let (status, _, err) = bench.run(&["update", "install", "--search", media]);
    assert_eq!(status, 18);
    assert!(err.contains("rpi.raucb is for fieldgate-rpi4"), "{err}");
    assert!(err.contains("foreign.raucb is not signed"), "{err}");
    for name in ["0.0.9.raucb", "0.2.0.raucb"] {
        fs::copy(
            bench.bundles.path(name),
            bench.path("media/stick").join(name),
        )
        .unwrap();
    }
    let search = ["update", "install", "--no-reboot", "--search", media];
    let (status, out, err) = bench.run(&search);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("version 0.2.0"), "{out}");

    // It did not work, and the stick was left in.
    bench.boot("boot-2", "a");
    assert_eq!(bench.run(&["update", "settle"]).0, 0);
    let (status, _, err) = bench.run(&search);
    assert_eq!(status, 23, "{err}");
    assert!(
        err.contains("0.2.0 was tried and taken back") && err.contains("did not come up"),
        "{err}"
    );
    assert_eq!(bench.run(&[&search[..], &["--reinstall"]].concat()).0, 0);
}

#[test]
fn a_bundle_comes_from_a_web_server_and_is_not_kept() {
    let Some(bench) = Bench::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = fs::read(bench.bundles.path("0.2.0.raucb")).unwrap();
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let request: Vec<String> = lines
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        let mut stream = stream;
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(&body).unwrap();
        request[0].clone()
    });
    let url = format!("http://{address}/u/0.2.0.raucb?sig=hunter2");
    let (status, out, err) = bench.run(&["update", "install", &url, "--no-reboot"]);
    assert_eq!(status, 0, "{err}");
    assert_eq!(
        serving.join().unwrap(),
        "GET /u/0.2.0.raucb?sig=hunter2 HTTP/1.1"
    );
    assert!(err.contains("downloading"), "{err}");
    assert!(!format!("{out}{err}").contains("hunter2"), "{out}{err}");
    assert_eq!(
        bench.last()["source"],
        format!("http://{address}/u/0.2.0.raucb")
    );
    let left: Vec<_> = fs::read_dir(bench.path("root/var/lib/fieldgate/update"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "state and lock only: {left:?}");
}
