//! `fieldgate routes test` as a person runs it: exit status, what is printed, where it points.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::program::{self, said};

const DOCUMENT: &str = r#"name: gate-7
hub: {connection_string_file: /secret}
queue: {path: /q/queue.db}
subscriptions:
  - {pubsub: t, topic: telemetry}
  - {pubsub: a, topic: alarms}
  - {pubsub: s, topic: status}
routes:
  - {name: alarms, when: {topic: alarms}, priority: 9}
  - name: high
    when:
      subject: "press-*"
      data:
        values.pressure: {above: 8.5}
    priority: 8
    ttl: 24h
    properties: {pressure: {data: values.pressure}, order: {data: values.order}}
    batch: {encoding: compact, gzip: true}
  - {name: debug, when: {subject: "*/debug"}, drop: true}
"#;

const HIGH: &str = r#"{"specversion":"1.0","id":"a/1","source":"/x","type":"t","subject":"press-1/fast","data":{"values":{"pressure":9}}}"#;
const DEBUG: &str = r#"{"specversion":"1.0","id":"a/2","source":"/x","type":"t","subject":"press-1/debug","data":{"values":{"pressure":"9"}}}"#;
const ALARM: &str = r#"{"specversion":"1.0","id":"a/3","source":"/x","type":"t","topic":"alarms"}"#;

/// A folder with a document and a file with three events.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gate.yaml"), DOCUMENT).unwrap();
    let events = format!("{HIGH}\n{DEBUG}\n\n{ALARM}\n");
    std::fs::write(folder.path().join("events.jsonl"), events).unwrap();
    folder
}

/// Exit status, standard output and standard error.
fn test(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(
        program::fieldgate(&["routes", "test"])
            .args(arguments)
            .current_dir(folder),
    )
}

#[test]
fn each_event_is_told_with_its_route_and_the_reasons() {
    let folder = folder();
    let topic = ["gate.yaml", "events.jsonl", "--topic", "telemetry"];
    let (status, out, errors) = test(folder.path(), &topic);
    assert_eq!((status, errors.as_str()), (0, ""), "{out}");
    let expected = r#"events.jsonl:1: a/1 from telemetry
  alarms           no    topic equals "alarms", but it is "telemetry" (gate.yaml:9:27)
  high             TAKES sent with priority 8, dropped after 24h, with others in a message (compact with gzip, up to 256KiB, after 1s)
                         property pressure: "9"
                         property order is left out: its value is absent
events.jsonl:2: a/2 from telemetry
  alarms           no    topic equals "alarms", but it is "telemetry" (gate.yaml:9:27)
  high             no    data values.pressure above 8.5, but it is "9" (gate.yaml:14:9)
  debug            TAKES dropped: acknowledged, counted, sent nowhere
"#;
    assert!(out.starts_with(expected), "{out}");
    assert!(
        out.ends_with("3 events: high 1, debug 1 dropped, default 1\n"),
        "{out}"
    );
}

#[test]
fn the_topic_may_be_in_the_event_and_is_asked_for_if_it_is_nowhere() {
    let folder = folder();
    let (status, out, _) = test(folder.path(), &["gate.yaml", "events.jsonl"]);
    assert_eq!(status, 1);
    assert!(out.contains("events.jsonl:1: ERROR has no attribute topic; say with --topic where it comes from: alarms, telemetry"), "{out}");
    assert!(out.contains("events.jsonl:4: a/3 from alarms\n  alarms           TAKES sent with priority 9, as a message of its own\n"), "{out}");
    assert!(
        out.ends_with("1 event: alarms 1; 2 not as expected\n"),
        "{out}"
    );
    let (status, _, errors) = test(
        folder.path(),
        &["gate.yaml", "events.jsonl", "--topic", "status"],
    );
    assert_eq!(status, 1);
    assert!(errors.contains("--topic status: no subscription of gate.yaml brings it to the queue; those that do: alarms, telemetry"), "{errors}");
}

#[test]
fn an_expectation_decides_the_exit_status() {
    let folder = folder();
    std::fs::write(folder.path().join("high.json"), HIGH).unwrap();
    let test = |expected| {
        let arguments = [
            "gate.yaml",
            "high.json",
            "--topic",
            "telemetry",
            "--expect",
            expected,
        ];
        test(folder.path(), &arguments)
    };
    assert_eq!(test("high").0, 0);
    let (status, out, _) = test("debug");
    assert_eq!(status, 1);
    assert!(out.contains("; EXPECTED debug\n"), "{out}");
    let (status, _, errors) = test("hihg");
    assert_eq!(status, 1);
    assert!(
        errors.contains("there is no such route; gate.yaml has alarms, high, debug, default"),
        "{errors}"
    );
}

#[test]
fn json_is_one_object_an_event() {
    let folder = folder();
    let arguments = ["gate.yaml", "-", "--topic", "telemetry", "--json"];
    let mut call = program::fieldgate(&["routes", "test"]);
    let mut child = call
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = format!("{HIGH}\n{{\"specversion\":\n\"1.0\"}}\nx");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let out = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines[0],
        serde_json::json!({
            "event": "standard input:1", "id": "a/1", "topic": "telemetry", "route": "high", "drop": false, "priority": 8, "ttl": "24h",
            "batch": {"encoding": "compact", "gzip": true, "max_bytes": "256KiB", "max_delay": "1s"},
            "properties": {"pressure": "9"}, "left_out": {"order": "absent"},
            "passed_over": [{"route": "alarms", "because": [{"at": "when.topic", "wanted": "topic equals \"alarms\"", "seen": "\"telemetry\""}]}]
        })
    );
    assert_eq!(lines[1]["event"], "standard input:2");
    assert!(
        lines[1]["error"].as_str().unwrap().contains("dead letter"),
        "{out}"
    );
    assert_eq!(lines[2]["event"], "standard input:4");
    assert!(
        lines[2]["error"]
            .as_str()
            .unwrap()
            .starts_with("is not JSON: "),
        "{out}"
    );
    assert_eq!(lines.len(), 3);
}

#[test]
fn mistakes_of_the_document_are_told_with_their_places() {
    let folder = folder();
    let bad = "subscriptions: [{pubsub: t, topic: telemetry}]\nroutes:\n  - {name: a, when: {topic: telemety}}\n  - {name: a, priorty: 3}\n";
    std::fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let (status, out, errors) = test(folder.path(), &["bad.yaml", "events.jsonl"]);
    assert_eq!((status, out.as_str()), (78, ""));
    assert!(
        errors.contains(
            "bad.yaml:3:29: routes[0].when.topic: can never hold: events come from telemetry\n"
        ),
        "{errors}"
    );
    assert!(
        errors.contains(
            "bad.yaml:4:15: routes[1].priorty: unknown key; did you mean \"priority\"?\n"
        ),
        "{errors}"
    );
    assert!(
        errors.contains("bad.yaml:4:12: routes[1].name: is the name of the rule at 3:12"),
        "{errors}"
    );
    let (status, _, errors) = test(folder.path(), &["none.yaml", "events.jsonl"]);
    assert_eq!(status, 1);
    assert!(errors.contains("none.yaml: cannot be read"), "{errors}");
    let (status, _, errors) = test(folder.path(), &["gate.yaml", "none.jsonl"]);
    assert_eq!(status, 1);
    assert!(errors.contains("none.jsonl: cannot be read"), "{errors}");
}
