//! `fieldgate agent` as systemd starts it: a request on standard input, an answer on standard output, what is left on the disk.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use agent_protocol::{Bundle, Command as Asked, Origin, Preserved, Reset, UpdateRequest};
use serde_json::{Value, json};

use crate::program::fieldgate;

fn run(root: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = fieldgate(&["agent"])
        .args(arguments)
        .arg("--root")
        .arg(root)
        // systemd is not there: what would be started is not.
        .env("PATH", root.join("programs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What is refused at once may not be read to its end.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn answer(root: &Path, input: &str) -> Value {
    let output = run(root, &[], input);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ask(root: &Path, command: &Asked) -> Value {
    answer(root, &command.to_json().to_string())
}

fn device() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("data/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("data/etc/hostname", "gate-7\n"),
        ("etc/os-release", "ID=debian\nIMAGE_VERSION=0.1.0\n"),
        (
            "proc/cmdline",
            "root=PARTLABEL=root-a ro rauc.slot=a quiet\n",
        ),
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

fn update() -> UpdateRequest {
    UpdateRequest {
        bundle: Bundle {
            uri: "https://user:secret@h.example/x.raucb?key=secret".to_owned(),
            sha256: "0".repeat(64),
            version: Some("0.2.0".to_owned()),
            allow_downgrade: false,
        },
        origin: Origin::Method,
    }
}

#[test]
fn a_machine_without_rauc_says_so_and_what_it_knows() {
    let root = device();
    let status = ask(root.path(), &Asked::UpdateStatus);
    let status = &status["result"];
    assert_eq!(status["name"], "gate-7");
    assert_eq!(status["system"]["version"], "0.1.0");
    assert_eq!(status["system"]["booted"], "a");
    let errors = status["system"]["errors"].to_string();
    assert!(errors.contains("rauc"), "{errors}");
    assert_eq!(
        (&status["request"], &status["reset"]),
        (&json!(null), &json!({}))
    );

    let health = ask(root.path(), &Asked::Health);
    assert_eq!(health["result"]["healthy"], false, "{health}");
}

#[test]
fn what_is_no_request_is_refused_and_nothing_is_done() {
    let root = device();
    for (input, code) in [
        ("", "invalid-input"),
        (r#"{"version": 1, "command": "shell"}"#, "unknown-command"),
        (r#"{"version": 9, "command": "health"}"#, "unknown-version"),
        (&"x".repeat(1 << 20), "invalid-input"),
    ] {
        let answer = answer(root.path(), input);
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    assert!(!root.path().join("var").exists());
}

#[test]
fn an_update_that_cannot_be_started_leaves_no_record() {
    let root = device();
    let refused = ask(root.path(), &Asked::Update(update()));
    assert_eq!(refused["error"]["code"], "not-here", "{refused}");
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("systemd"),
        "{refused}"
    );
    let status = ask(root.path(), &Asked::UpdateStatus);
    assert_eq!(status["result"]["request"], Value::Null);
    let retry = ask(root.path(), &Asked::Retry { id: "1".to_owned() });
    assert_eq!(retry["error"]["code"], "unknown-update");
}

#[test]
fn why_an_update_failed_is_kept_and_told_without_the_key_in_its_url() {
    let root = device();
    let folder = root.path().join("var/lib/fieldgate/agent");
    std::fs::create_dir_all(&folder).unwrap();
    let record = json!({"bundle": update().bundle, "origin": "desired", "attempts": 1, "begun": "2026-01-01T00:00:00Z"});
    std::fs::write(folder.join("update.json"), record.to_string()).unwrap();
    let status = ask(root.path(), &Asked::UpdateStatus);
    assert_eq!(status["result"]["request"]["state"], "interrupted");

    let output = run(root.path(), &["carry-out"], "");
    assert!(!output.status.success(), "{output:?}");
    let status = ask(root.path(), &Asked::UpdateStatus);
    let request = &status["result"]["request"];
    assert_eq!(request["state"], "failed", "{status}");
    assert!(
        request["reason"].as_str().unwrap().contains("rauc"),
        "{status}"
    );
    assert_eq!(
        (&request["uri"], &request["retry"]),
        (&json!("https://h.example/x.raucb"), &json!(false))
    );
    assert!(!status.to_string().contains("secret"), "{status}");

    let id = request["id"].as_str().unwrap().to_owned();
    let forgotten = ask(root.path(), &Asked::Forget { id });
    assert!(forgotten.get("result").is_some(), "{forgotten}");
}

#[test]
fn a_reset_needs_the_device_s_own_name() {
    let root = device();
    let reset = |name: &str| {
        Asked::Reset(Reset {
            name: name.to_owned(),
            preserve: Some(vec![Preserved::Name]),
        })
    };
    let refused = ask(root.path(), &reset("gate-8"));
    assert_eq!(refused["error"]["code"], "wrong-name", "{refused}");
    assert_eq!(refused["error"]["field"], "name");
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("gate-7"),
        "{refused}"
    );
    // The tree of another device is not reset from here.
    let other = ask(root.path(), &reset("gate-7"));
    assert_eq!(other["error"]["code"], "not-here", "{other}");
    assert!(!root.path().join("data/fieldgate-reset.json").exists());

    let nobody = tempfile::tempdir().unwrap();
    let refused = ask(nobody.path(), &reset("gate-7"));
    assert_eq!(refused["error"]["code"], "not-here", "{refused}");
}
