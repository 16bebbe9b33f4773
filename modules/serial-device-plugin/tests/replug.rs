//! Containers that hold an outdated device are stopped, and no others.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use support::runtime::ContainerRuntime;
use support::terminal::Terminal;
use support::{Site, until};

fn stopped(id: &str) -> (String, i64) {
    (id.to_owned(), 30)
}

#[tokio::test]
async fn other_numbers_restart_the_container_and_the_same_ones_do_not() {
    let site = Site::new();
    site.plug("line-1", "/dev/null");
    site.plug("line-2", "/dev/full");
    site.describe(&["line-1", "line-2"]);
    let runtime = ContainerRuntime::start(&site.runtime_endpoint());
    runtime.with_device("reader-1", "line-1", &site.port("line-1"), (1, 3));
    runtime.with_device("other", "line-2", &site.port("line-2"), (1, 7));
    let plugin = site.start();
    runtime.was_asked().await;
    assert_eq!(runtime.stopped(), []);

    // Away, and back with the same numbers.
    site.unplug("line-1");
    runtime.was_asked().await;
    site.plug("line-1", "/dev/null");
    runtime.was_asked().await;
    assert_eq!(runtime.stopped(), []);

    site.plug("line-1", "/dev/zero");
    assert_eq!(runtime.has_stopped(1).await, [stopped("reader-1")]);
    // The kubelet starts it again, the runtime resolves the path anew.
    runtime.with_device("reader-2", "line-1", &site.port("line-1"), (1, 5));
    runtime.was_asked().await;
    assert_eq!(runtime.stopped(), [stopped("reader-1")]);
    plugin.stop().await;
}

#[tokio::test]
async fn numbers_taken_by_another_port_restart_the_container() {
    let site = Site::new();
    site.plug("line-1", "/dev/null");
    site.describe(&["line-1", "line-2"]);
    let runtime = ContainerRuntime::start(&site.runtime_endpoint());
    runtime.with_device("reader-1", "line-1", &site.port("line-1"), (1, 3));
    let plugin = site.start();
    site.unplug("line-1");
    runtime.was_asked().await;
    assert_eq!(runtime.stopped(), []);
    site.plug("line-2", "/dev/null");
    assert_eq!(runtime.has_stopped(1).await, [stopped("reader-1")]);
    plugin.stop().await;
}

#[tokio::test]
async fn another_terminal_restarts_the_container() {
    let site = Site::new();
    let first = Terminal::open();
    site.plug("line-1", first.slave());
    site.describe(&["line-1"]);
    let runtime = ContainerRuntime::start(&site.runtime_endpoint());
    let path = site.port("line-1");
    runtime.with_mount("reader-1", "line-1", &path, first.slave());
    let plugin = site.start();
    runtime.was_asked().await;
    assert_eq!(runtime.stopped(), []);

    let second = Terminal::open();
    site.plug("line-1", second.slave());
    assert_eq!(runtime.has_stopped(1).await, [stopped("reader-1")]);
    runtime.with_mount("reader-2", "line-1", &path, second.slave());
    runtime.was_asked().await;
    assert_eq!(runtime.stopped().len(), 1);
    plugin.stop().await;
}

/// Terminals take the lowest free number, so the successor mostly has the same one. The mount of the one before stays dead.
#[tokio::test]
async fn a_terminal_made_anew_with_the_same_number_restarts_the_container() {
    let site = Site::new();
    let first = Terminal::open();
    let slave = first.slave().to_owned();
    site.plug("line-1", &slave);
    site.describe(&["line-1"]);
    let runtime = ContainerRuntime::start(&site.runtime_endpoint());
    runtime.with_mount("reader-1", "line-1", &site.port("line-1"), &slave);
    let plugin = site.start();
    runtime.was_asked().await;
    assert_eq!(runtime.stopped(), []);
    drop(first);
    // Other tests open terminals, too: those that are not it are kept until it is found.
    let mut others = Vec::new();
    let _again = until("the same terminal", || {
        let terminal = Terminal::open();
        if terminal.slave() == slave {
            return Some(terminal);
        }
        others.push(terminal);
        None
    })
    .await;
    assert_eq!(runtime.has_stopped(1).await, [stopped("reader-1")]);
    plugin.stop().await;
}

/// Found by state, not by event: the plugin, or the runtime, was not there when it happened.
#[tokio::test]
async fn what_was_missed_is_found_later() {
    let site = Site::new();
    site.plug("line-1", "/dev/zero");
    site.describe(&["line-1"]);
    let plugin = site.start();
    until("the reason in readiness", || {
        let reasons = plugin.health.reasons();
        let reason = reasons.get("container runtime")?;
        reason.contains("runtime.sock").then_some(())
    })
    .await;
    let runtime = ContainerRuntime::start(&site.runtime_endpoint());
    runtime.with_device("reader-1", "line-1", &site.port("line-1"), (1, 3));
    assert_eq!(runtime.has_stopped(1).await, [stopped("reader-1")]);
    until("readiness", || {
        (!plugin.health.reasons().contains_key("container runtime")).then_some(())
    })
    .await;
    plugin.stop().await;
}

#[tokio::test]
async fn what_a_restart_would_repeat_is_left_alone() {
    let site = Site::new();
    site.plug("line-1", "/dev/null");
    site.describe(&["line-1"]);
    let runtime = ContainerRuntime::start(&site.runtime_endpoint());
    runtime.with_device("reader-1", "line-1", &site.port("before"), (1, 7));
    let plugin = site.start();
    runtime.was_asked().await;
    assert_eq!(runtime.stopped(), []);
    plugin.stop().await;
}

/// A runtime that does not follow links anew, or tells them in its own way, must not keep a module from working for ever.
#[tokio::test]
async fn a_container_is_not_stopped_for_ever() {
    let site = Site::new();
    site.plug("line-1", "/dev/zero");
    site.describe(&["line-1"]);
    let runtime = ContainerRuntime::start(&site.runtime_endpoint());
    let plugin = site.start();
    for times in 1..=3 {
        let id = format!("reader-{times}");
        runtime.with_device(&id, "line-1", &site.port("line-1"), (1, 3));
        runtime.has_stopped(times).await;
    }
    runtime.with_device("reader-4", "line-1", &site.port("line-1"), (1, 3));
    runtime.was_asked().await;
    assert_eq!(runtime.stopped().len(), 3);
    // Another state of the port is another matter.
    site.plug("line-1", "/dev/full");
    assert_eq!(runtime.has_stopped(4).await[3], stopped("reader-4"));
    plugin.stop().await;
}
