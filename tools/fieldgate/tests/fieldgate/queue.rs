//! `fieldgate queue` on the files of a module that runs, has ended, was killed, or is of another release; and on what is no queue.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use queue_inspection::{Listener, Settings};
use serde_json::Value;
use store_forward::{NewItem, Priority, Queue, QueueOptions, Route, WhenFull};
use tokio::runtime::Runtime;

use crate::program::{fieldgate, said};

const BOUND: u64 = 8 << 20;

/// A folder with a queue in it.
struct Plant {
    folder: tempfile::TempDir,
    runtime: Runtime,
}

fn payload(number: u64) -> String {
    format!("{{\"specversion\":\"1.0\",\"id\":\"e/{number}\",\"data\":{{\"value\":{number}.50}}}}")
}

/// Every tenth is an alarm.
fn event(number: u64) -> NewItem {
    let alarm = number.is_multiple_of(10);
    NewItem {
        key: format!("press-{}", number % 3),
        id: format!("e/{number}"),
        payload: payload(number).into(),
        priority: Priority::new(if alarm { 9 } else { 5 }).unwrap(),
        route: Route::new(if alarm { "alarms" } else { "default" }).unwrap(),
        ..NewItem::default()
    }
}

impl Plant {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
        }
    }

    /// With events from 1 to this one.
    fn with(events: u64) -> Self {
        let plant = Self::new();
        let queue = plant.open();
        plant.append(&queue, 1..=events);
        plant.runtime.block_on(queue.close()).unwrap();
        plant
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    fn open(&self) -> Queue {
        let options = QueueOptions::new(self.path(), BOUND, WhenFull::DropOldest);
        Queue::open(options).unwrap()
    }

    fn append(&self, queue: &Queue, events: std::ops::RangeInclusive<u64>) {
        let items = events.map(event).collect();
        self.runtime.block_on(queue.append(items)).unwrap();
    }

    /// As a module does while it has it open.
    fn listen(&self, queue: &Queue) {
        let settings = Settings {
            max_bytes: BOUND,
            when_full: WhenFull::DropOldest,
        };
        let _inside = self.runtime.enter();
        let listener = Listener::new(queue.clone(), &self.path(), settings).unwrap();
        self.runtime.spawn(listener.run());
    }

    /// Everything in the folder.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.folder.path()).unwrap().flatten();
        let read = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap_or_default())
        };
        entries.map(read).collect()
    }

    fn call(&self, arguments: &[&str]) -> (i32, String, String) {
        run_on(&self.path(), arguments)
    }

    fn status(&self) -> Value {
        let (status, out, errors) = self.call(&["status", "--json"]);
        assert_eq!(status, 0, "{errors}");
        serde_json::from_str(&out).unwrap()
    }
}

/// Exit status, standard output and standard error.
fn run_on(path: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(
        fieldgate(&["queue"])
            .args(arguments)
            .arg("--file")
            .arg(path),
    )
}

#[test]
fn a_queue_that_nobody_has_open_is_looked_at_and_stays_what_it_was() {
    let plant = Plant::with(30);
    let before = plant.files();
    let status = plant.status();
    assert_eq!(status["events"], 30);
    assert_eq!(
        (&status["open"], &status["asked"]),
        (&Value::Bool(false), &"copy".into())
    );
    assert_eq!(status["layout"], store_forward::LAYOUT);
    assert_eq!(status["priorities"][0]["events"], 3);
    assert_eq!(status["routes"][1]["route"], "alarms");
    let (_, out, _) = plant.call(&["status"]);
    for line in [
        "open      in no process",
        "events    30, ",
        "priority  9: 3, ",
        "numbers 10 to 30",
        "route     alarms: 3, ",
    ] {
        assert!(out.contains(line), "{line}\n{out}");
    }

    let (status, out, errors) = plant.call(&[
        "list", "--route", "default", "--key", "press-1", "--from", "5", "--limit", "2",
    ]);
    assert_eq!((status, errors.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert_eq!(
        (lines[0][0], &lines[0][2..]),
        (
            "7",
            ["5", lines[0][3], "default", "press-1", "e/7"].as_slice()
        )
    );
    assert_eq!(lines[1][0], "13");
    let (_, out, _) = plant.call(&["list", "--priority", "9", "--json"]);
    let numbers: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["number"].clone())
        .collect();
    assert_eq!(numbers, [10, 20, 30]);

    let (status, out, errors) = plant.call(&["export"]);
    assert_eq!(status, 0);
    assert_eq!(errors, "30 events; they are in the queue as before\n");
    let expected: Vec<String> = (1..=30).map(payload).collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    assert_eq!(
        plant.files(),
        before,
        "nothing changed and nothing was left"
    );
}

#[test]
fn an_export_into_a_file_is_there_when_it_is_whole() {
    let plant = Plant::with(20);
    let output = plant.folder.path().join("events.jsonl");
    fs::write(&output, "of yesterday").unwrap();
    let written = output.to_str().unwrap();
    let (status, out, _) =
        plant.call(&["export", "--numbered", "--from", "19", "--output", written]);
    assert_eq!((status, out.as_str()), (0, ""));
    let text = fs::read_to_string(&output).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["number"], &last["route"]),
        (&20.into(), &"alarms".into())
    );
    assert!(
        text.ends_with(&format!("\"event\":{}}}\n", payload(20))),
        "{text}"
    );

    let missing = plant.folder.path().join("nowhere/events.jsonl");
    let (status, _, errors) = plant.call(&["export", "--output", missing.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(errors.contains("nowhere"), "{errors}");
    let other = plant.folder.path().join("letter.txt");
    fs::write(&other, "x").unwrap();
    let (status, ..) = run_on(&other, &["export", "--output", written]);
    assert_eq!(status, 1);
    assert_eq!(
        fs::read_to_string(&output).unwrap(),
        text,
        "what was there stays"
    );
}

#[test]
fn who_reads_may_have_had_enough() {
    let plant = Plant::with(3000);
    let mut call = fieldgate(&["queue", "list", "--file"]);
    let mut child = call
        .arg(plant.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), output.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );
}

#[test]
fn a_module_that_runs_is_asked_and_purges_itself() {
    let plant = Plant::new();
    let queue = plant.open();
    plant.append(&queue, 1..=50);
    plant.listen(&queue);
    let status = plant.status();
    assert_eq!(
        (&status["open"], &status["asked"]),
        (&Value::Bool(true), &"module".into())
    );
    assert_eq!(
        (&status["max_bytes"], &status["when_full"]),
        (&BOUND.into(), &"drop-oldest".into())
    );
    let (status, out, _) = plant.call(&["list", "--priority", "9"]);
    assert_eq!((status, out.lines().count()), (0, 5));
    let (status, out, errors) = plant.call(&["export", "--key", "press-0"]);
    assert_eq!((status, out.lines().count()), (0, 16), "{errors}");

    let (status, out, errors) = plant.call(&["purge", "--priority", "9"]);
    assert_eq!(status, 1);
    assert!(
        errors.contains("--yes") && out.contains("events      5, "),
        "{out}{errors}"
    );
    assert_eq!(queue.stats().depth, 50, "nobody agreed");
    let (status, out, errors) = plant.call(&["purge", "--priority", "9", "--yes"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(
        out.contains("priorities  9 (5)\nroutes      alarms (5)\n"),
        "{out}"
    );
    assert!(out.ends_with("5 events were taken out\n"), "{out}");
    let stats = queue.stats();
    assert_eq!(
        (stats.depth, stats.dropped_purged, stats.removed),
        (45, 5, 0)
    );
    let (_, out, _) = plant.call(&["status"]);
    assert!(
        out.contains("dropped   5 as purged, of priority 9 and route alarms"),
        "{out}"
    );
    let (status, out, _) = plant.call(&["purge", "--priority", "9", "--yes"]);
    assert_eq!(
        (status, out.as_str()),
        (0, "No event in the queue is meant; nothing was done.\n")
    );
}

#[test]
fn a_module_that_does_not_answer_is_looked_at_in_a_copy_and_its_queue_is_left_alone() {
    let plant = Plant::new();
    let queue = plant.open();
    plant.append(&queue, 1..=25);
    let (status, out, errors) = plant.call(&["export"]);
    assert_eq!((status, out.lines().count()), (0, 25));
    assert!(
        errors.contains("nobody answers") && errors.contains("a copy of the file"),
        "{errors}"
    );
    let status = plant.status();
    assert_eq!(
        (&status["open"], &status["asked"]),
        (&Value::Bool(true), &"copy".into())
    );
    let (status, _, errors) = plant.call(&["purge", "--yes"]);
    assert_eq!(status, 1);
    assert!(
        errors.contains("SIGTERM") && errors.contains("scale deployment"),
        "{errors}"
    );
    assert_eq!(queue.stats().depth, 25);
}

#[test]
fn a_purge_of_a_file_that_nobody_has_open() {
    let plant = Plant::with(30);
    if nix::unistd::geteuid().is_root() {
        // As that of a pod's user.
        for file in plant.files().keys() {
            chown(plant.folder.path().join(file), Some(65532), Some(65532)).unwrap();
        }
        chown(plant.folder.path(), Some(65532), Some(65532)).unwrap();
    }
    let owner = fs::metadata(plant.path()).unwrap().uid();
    let (status, out, errors) =
        plant.call(&["purge", "--from", "11", "--route", "default", "--yes"]);
    assert_eq!((status, errors.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("18 events were taken out\n"), "{out}");
    for entry in fs::read_dir(plant.folder.path()).unwrap().flatten() {
        assert_eq!(entry.metadata().unwrap().uid(), owner, "{:?}", entry.path());
    }
    let queue = plant.open();
    assert_eq!(queue.stats().depth, 12);
    plant.append(&queue, 31..=31);
    let (_, out, _) = plant.call(&["list", "--from", "30"]);
    assert!(
        out.lines().last().unwrap().trim_start().starts_with("31 "),
        "numbers go on: {out}"
    );
}

#[test]
fn what_a_module_left_that_was_killed_is_all_there() {
    let plant = Plant::new();
    let queue = plant.open();
    plant.append(&queue, 1..=40);
    // Its log is not in the database yet.
    let killed = tempfile::tempdir().unwrap();
    for (name, content) in plant.files() {
        fs::write(killed.path().join(name), content).unwrap();
    }
    let path = killed.path().join("queue.db");
    assert!(
        fs::metadata(killed.path().join("queue.db-wal"))
            .unwrap()
            .len()
            > 0
    );
    let (status, out, _) = run_on(&path, &["export"]);
    assert_eq!((status, out.lines().count()), (0, 40));
    let (status, out, errors) = run_on(&path, &["purge", "--from", "21", "--yes"]);
    assert_eq!((status, errors.as_str()), (0, ""), "{out}");
    let (_, out, _) = run_on(&path, &["export"]);
    assert_eq!(out.lines().count(), 20);
}

#[test]
fn damage_is_told_and_the_rest_is_exported() {
    let plant = Plant::with(30);
    let mut bytes = fs::read(plant.path()).unwrap();
    let wanted = b"\"value\":17.50";
    let at = bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .unwrap();
    bytes[at + 9] ^= 1;
    fs::write(plant.path(), &bytes).unwrap();
    let (status, out, errors) = plant.call(&["export"]);
    assert_eq!((status, out.lines().count()), (0, 29));
    assert!(
        errors.contains("1 more: damaged and cannot be read"),
        "{errors}"
    );
    assert_eq!(plant.status()["since_opened"]["damaged_events"], 1);
    assert_eq!(
        fs::read(plant.path()).unwrap(),
        bytes,
        "it is left as it is"
    );

    // A first page that says nothing: what is set aside is exported, too, and is nobody's to purge.
    bytes[..100].fill(0);
    let aside = plant.folder.path().join("queue.db.damaged-1700000000");
    fs::write(&aside, &bytes).unwrap();
    let (status, out, errors) = run_on(&aside, &["export"]);
    assert_eq!((status, out.lines().count()), (0, 29), "{errors}");
    let (status, _, errors) = run_on(&aside, &["purge", "--yes"]);
    assert_eq!(status, 1);
    assert!(errors.contains("was set aside"), "{errors}");
    let (_, out, _) = plant.call(&["status"]);
    assert!(
        out.contains(&format!("set aside {}, ", aside.display())),
        "{out}"
    );
}

#[test]
fn a_file_of_an_older_release_is_read_and_not_changed() {
    let plant = Plant::new();
    first_release(&plant.path(), 5);
    let before = fs::read(plant.path()).unwrap();
    let status = plant.status();
    assert_eq!(
        (&status["layout"], &status["events"]),
        (&1.into(), &5.into())
    );
    let (_, out, _) = plant.call(&["export"]);
    assert_eq!(out.lines().last().unwrap(), payload(5));
    let (status, _, errors) = plant.call(&["purge", "--yes"]);
    assert_eq!(status, 1);
    assert!(errors.contains("schema version 1"), "{errors}");
    assert_eq!(fs::read(plant.path()).unwrap(), before);
}

/// A queue as the first release made it.
fn first_release(path: &Path, events: u64) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA user_version = 1; PRAGMA application_id = 0x46475101;
             CREATE TABLE item (\n  sequence INTEGER PRIMARY KEY,\n  enqueued INTEGER NOT NULL,\n  checksum INTEGER NOT NULL,\n  key TEXT NOT NULL,\n  id TEXT NOT NULL,\n  properties BLOB NOT NULL,\n  payload BLOB NOT NULL\n) STRICT;",
        )
        .unwrap();
    for number in 1..=events {
        let (id, payload) = (format!("e/{number}"), payload(number).into_bytes());
        let enqueued: i64 = 1_700_000_000_000_000;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&number.to_le_bytes());
        hasher.update(&enqueued.to_le_bytes());
        let parts: [&[u8]; 4] = [b"press-1", id.as_bytes(), b"", &payload];
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
        }
        parts.iter().for_each(|part| hasher.update(part));
        let number = i64::try_from(number).unwrap();
        connection
            .execute(
                "INSERT INTO item VALUES (?1, ?2, ?3, 'press-1', ?4, x'', ?5)",
                (number, enqueued, hasher.finalize(), &id, &payload),
            )
            .unwrap();
    }
}

#[test]
fn what_is_no_queue_is_told_with_what_to_do() {
    let plant = Plant::new();
    let (status, _, errors) = plant.call(&["status"]);
    assert_eq!(status, 1);
    assert!(
        errors.contains("there is no such file") && errors.contains("queue.path"),
        "{errors}"
    );
    let other = plant.folder.path().join("letter.txt");
    fs::write(&other, "Dear Sir or Madam").unwrap();
    for command in ["status", "list", "export", "purge"] {
        let (status, out, errors) = run_on(&other, &[command]);
        assert_eq!((status, out.as_str()), (1, ""), "{command}");
        assert!(errors.contains("letter.txt is not a queue"), "{errors}");
    }
    assert_eq!(fs::read(&other).unwrap(), b"Dear Sir or Madam");
    let (status, _, errors) = run_on(plant.folder.path(), &["status"]);
    assert_eq!(status, 1);
    assert!(errors.contains("no regular file"), "{errors}");
    let (status, _, errors) = said(&mut fieldgate(&["queue", "status", "--root", "/nowhere"]));
    assert_eq!(status, 1);
    assert!(
        errors.contains("iothub-module-state/queue.db") && errors.contains("--file"),
        "{errors}"
    );
    let (status, _, errors) = plant.call(&["list", "--priority", "10"]);
    assert!(status == 2 && errors.contains("0..=9"), "{errors}");
}

#[test]
fn the_module_of_a_node_is_found_by_its_name() {
    let plant = Plant::with(10);
    let root = tempfile::tempdir().unwrap();
    let put = |path: &str, content: &[u8]| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put(
        "var/lib/fieldgate/volumes/iothub-module-state/events/hub.db",
        &plant.files()["queue.db"],
    );
    put(
        "var/lib/rancher/k3s/server/manifests/iothub-module-configuration.yaml",
        b"kind: ConfigMap\nmetadata: {name: iothub-module-configuration}\ndata:\n  iothub-module.yaml: |\n    queue: {path: /var/lib/fieldgate/state/events/hub.db, max_bytes: 1GiB, when_full: reject}\n",
    );
    let (status, out, errors) = said(fieldgate(&["queue", "status", "--root"]).arg(root.path()));
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(
        out.contains(" of 1.0 GiB, reject when full") && out.contains("events    10, "),
        "{out}"
    );
}

#[test]
fn who_may_not_read_it_is_told_who_may() {
    let plant = Plant::with(3);
    fs::set_permissions(plant.path(), fs::Permissions::from_mode(0o600)).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_fieldgate"));
    let mut call = if nix::unistd::geteuid().is_root() {
        // Somebody else, who can start a copy of the program.
        let copy = plant.folder.path().join("fieldgate");
        fs::copy(program, &copy).unwrap();
        for (path, mode) in [(plant.folder.path(), 0o755), (copy.as_path(), 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let everybodys = |folder: &Path| fs::metadata(folder).unwrap().mode() & 0o001 != 0;
        if !plant.folder.path().ancestors().all(everybodys) {
            let _ = writeln!(
                std::io::stderr(),
                "nobody else may enter {}",
                plant.folder.path().display()
            );
            return;
        }
        let mut call = Command::new(copy);
        call.uid(65534).gid(65534);
        call
    } else {
        fs::set_permissions(plant.path(), fs::Permissions::from_mode(0o000)).unwrap();
        Command::new(program)
    };
    call.args(["queue", "list", "--file"])
        .arg(plant.path())
        .stdin(Stdio::null());
    let (status, _, errors) = said(&mut call);
    assert_eq!(status, 1);
    assert!(
        errors.contains("root and the module's user may") && errors.contains("ermission denied"),
        "{errors}"
    );
}
