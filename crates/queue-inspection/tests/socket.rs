//! Asking the process that has a queue open.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is test code"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use queue_inspection::{
    Answer, AskError, Asker, Command, Listener, Selection, Settings, Status, socket_of,
};
use store_forward::{NewItem, Priority, Queue, QueueOptions, Route, WhenFull};
use tokio::task::JoinHandle;

const MAX_BYTES: u64 = 8 << 20;

struct Open {
    queue: Queue,
    path: PathBuf,
    listening: JoinHandle<()>,
}

fn open(folder: &Path) -> Open {
    let path = folder.join("queue.db");
    let queue = Queue::open(QueueOptions::new(&path, MAX_BYTES, WhenFull::Reject)).unwrap();
    let settings = Settings {
        max_bytes: MAX_BYTES,
        when_full: WhenFull::Reject,
    };
    let listener = Listener::new(queue.clone(), &path, settings).unwrap();
    Open {
        queue,
        path,
        listening: tokio::spawn(listener.run()),
    }
}

/// Every third is an alarm.
fn event(number: u64) -> NewItem {
    let alarm = number.is_multiple_of(3);
    NewItem {
        key: format!("press-{}", number % 2),
        id: number.to_string(),
        payload: format!("{{\"id\":\"{number}\",\r\n \"data\": 1.10}}").into(),
        priority: Priority::new(if alarm { 9 } else { 5 }).unwrap(),
        route: Route::new(if alarm { "alarms" } else { "default" }).unwrap(),
        ..NewItem::default()
    }
}

async fn ask(path: &Path, command: Command) -> Answer {
    let mut asker = Asker::ask(path, command).await.unwrap();
    asker.answer().await.unwrap()
}

async fn status(path: &Path) -> Status {
    match ask(path, Command::Status).await {
        Answer::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

async fn items(path: &Path, selection: Selection, events: bool) -> Vec<(u64, Option<String>)> {
    let mut asker = Asker::ask(path, Command::Items { selection, events })
        .await
        .unwrap();
    let mut found = Vec::new();
    loop {
        match asker.answer().await.unwrap() {
            Answer::Item(item) => {
                found.push((item.number, item.event.map(|event| event.get().to_owned())));
            }
            Answer::End(end) => {
                assert_eq!(end.items, found.len() as u64);
                return found;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_takes_what_was_counted_and_nothing_that_came_since() {
    let folder = tempfile::tempdir().unwrap();
    let open = open(folder.path());
    open.queue
        .append((1..=1000).map(event).collect())
        .await
        .unwrap();
    let selection = Selection {
        route: Some("alarms".to_owned()),
        key: Some("press-1".to_owned()),
        from: Some(10),
        ..Selection::default()
    };
    let asked = Command::Plan {
        selection: selection.clone(),
    };
    let Answer::Plan(plan) = ask(&open.path, asked).await else {
        panic!("no plan");
    };
    // 15, 21, … 999.
    assert_eq!((plan.events, plan.until), (165, 999));
    assert_eq!(plan.priorities, [(9, 165)].into());
    assert!(plan.oldest.is_some() && plan.oldest <= plan.newest);
    open.queue
        .append((1001..=1100).map(event).collect())
        .await
        .unwrap();
    let until = Some(plan.until);
    let by = Some("anna".to_owned());
    let purge = Command::Purge {
        selection: Selection { until, ..selection },
        by,
    };
    let Answer::Purged(purged) = ask(&open.path, purge).await else {
        panic!("no purge");
    };
    assert_eq!(purged.events, 165);
    let now = status(&open.path).await;
    assert_eq!((now.events, now.last_number), (935, 1100));
    assert_eq!(
        (now.max_bytes, now.when_full.as_deref()),
        (Some(MAX_BYTES), Some("reject"))
    );
    let dropped = &now.since_opened.dropped;
    assert_eq!(
        (dropped.len(), dropped[0].reason.as_str(), dropped[0].events),
        (1, "purged", 165)
    );
    let left = items(
        &open.path,
        Selection {
            key: Some("press-1".to_owned()),
            route: Some("alarms".to_owned()),
            ..Selection::default()
        },
        false,
    )
    .await;
    let left: Vec<u64> = left.into_iter().map(|(number, _)| number).collect();
    let expected: Vec<u64> = [3, 9]
        .into_iter()
        .chain((1001..=1100).filter(|n| n % 6 == 3))
        .collect();
    assert_eq!(left, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_as_they_were_taken_in_on_one_line_and_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let open = open(folder.path());
    open.queue
        .append((1..=600).map(event).collect())
        .await
        .unwrap();
    let not_json = NewItem {
        id: "x".to_owned(),
        payload: "nonsense".into(),
        ..NewItem::default()
    };
    open.queue.append(vec![not_json]).await.unwrap();
    let all = items(&open.path, Selection::default(), true).await;
    assert_eq!(all.len(), 600);
    assert_eq!(
        all[6],
        (7, Some("{\"id\":\"7\",   \"data\": 1.10}".to_owned()))
    );
    let some = Selection {
        priority: Some(9),
        from: Some(100),
        until: Some(400),
        limit: Some(2),
        ..Selection::default()
    };
    assert_eq!(
        items(&open.path, some, false).await,
        [(102, None), (105, None)]
    );
    let none = Selection {
        from: Some(602),
        ..Selection::default()
    };
    assert_eq!(items(&open.path, none, false).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let open = open(folder.path());
    let socket = socket_of(&open.path);
    let refused = move |line: &'static str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(move || {
        for (line, reason) in [
            ("", "one line"),
            ("nonsense\n", "no request"),
            ("{\"version\":1,\"command\":\"erase\"}\n", "erase"),
            ("{\"version\":2,\"command\":\"later\"}\n", "of version 2"),
            (
                "{\"version\":1,\"command\":{\"purge\":{\"selection\":{}}}}\n",
                "up to which number",
            ),
            (
                "{\"version\":1,\"command\":{\"plan\":{\"selection\":{\"priority\":10}}}}\n",
                "0 to 9",
            ),
        ] {
            let answer = refused(line);
            assert!(
                answer.starts_with("{\"error\":") && answer.contains(reason),
                "{line}: {answer}"
            );
        }
    })
    .await
    .unwrap();
    assert_eq!(status(&open.path).await.events, 0, "and it goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_the_owners_alone_and_goes_with_the_listener() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than a socket's path may be.
    let long = folder.path().join("f".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let open = open(&long);
    let socket = socket_of(&open.path);
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(status(&open.path).await.events, 0);
    open.listening.abort();
    assert!(open.listening.await.unwrap_err().is_cancelled());
    assert!(!socket.exists());
    let error = Asker::ask(&open.path, Command::Status).await.unwrap_err();
    assert!(matches!(error, AskError::Nobody { .. }), "{error}");
}
