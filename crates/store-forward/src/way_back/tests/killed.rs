//! A process that is killed on its way up or down.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "STORE_FORWARD_TEST_WAY_BACK";

/// The process that is killed: goes up and down, and says how often.
#[test]
#[ignore = "started by killed_on_the_way_nothing_is_lost"]
fn child() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let path = Path::new(&path);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!();
    loop {
        start(path, 4, BOUND).0.close().unwrap();
        println!("up");
        let queue = Queue::open(options(path, BOUND, WhenFull::Reject)).unwrap();
        println!("down");
        runtime.block_on(queue.close()).unwrap();
    }
}

#[tokio::test]
async fn killed_on_the_way_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (path, expected) = sample(folder.path()).await;
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "way_back::tests::killed::child",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // One line more each time: killed on the way up, and on the way down.
        let said = lines
            .by_ref()
            .map_while(Result::ok)
            .filter(|line| line == "up" || line == "down")
            .take(round + 1)
            .count();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(said, round + 1);
        let queue = Queue::open(options(&path, BOUND, WhenFull::Reject)).unwrap();
        assert_eq!(read_all(&queue).await, expected, "round {round}");
        assert_sound(&queue.stats());
        queue.close().await.unwrap();
    }
}
