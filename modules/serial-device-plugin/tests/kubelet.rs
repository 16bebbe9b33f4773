//! What the kubelet sees: registrations, devices, allocations, and what happens when it restarts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serial_device_plugin::engine::Pace;
use support::kubelet::Kubelet;
use support::terminal::Terminal;
use support::{PACE, Site, until};

#[tokio::test]
async fn a_port_has_two_devices_that_follow_the_plug() {
    let site = Site::new();
    let terminal = Terminal::open();
    site.plug("line-1", terminal.slave());
    site.describe(&["line-1", "line-2"]);
    let kubelet = Kubelet::start(site.kubelet_directory());
    let plugin = site.start();

    let resource = kubelet.sees("line-1", "Healthy").await;
    assert_eq!(resource.endpoint, "fieldgate-serial-line-1.sock");
    let ids: Vec<&String> = resource.devices.keys().collect();
    assert_eq!(ids, ["line-1-a", "line-1-b"]);
    kubelet.sees("line-2", "Unhealthy").await;

    site.plug("line-2", "/dev/null");
    kubelet.sees("line-2", "Healthy").await;
    site.unplug("line-2");
    kubelet.sees("line-2", "Unhealthy").await;

    // The link stays, what it leads to vanishes.
    drop(terminal);
    kubelet.sees("line-1", "Unhealthy").await;
    assert_eq!(kubelet.resource("line-1").unwrap().registrations, 1);

    plugin.stop().await;
    let left = fs::read_dir(site.kubelet_directory()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["kubelet.sock"]);
}

/// udev makes /dev/serial/by-id with the first adapter and removes it with the last.
#[tokio::test]
async fn the_folder_of_links_may_come_and_go() {
    let site = Site::new();
    let by_id = site.port("serial").join("by-id");
    site.write(&format!(
        "ports: [{{name: line-1, path: {}}}]\n",
        by_id.join("usb-x").display()
    ));
    let kubelet = Kubelet::start(site.kubelet_directory());
    let plugin = site.start();
    for _ in 0..2 {
        kubelet.sees("line-1", "Unhealthy").await;
        fs::create_dir_all(&by_id).unwrap();
        symlink("/dev/null", by_id.join("usb-x")).unwrap();
        kubelet.sees("line-1", "Healthy").await;
        fs::remove_dir_all(site.port("serial")).unwrap();
    }
    kubelet.sees("line-1", "Unhealthy").await;
    plugin.stop().await;
}

#[tokio::test]
async fn a_container_is_given_the_stable_path() {
    let site = Site::new();
    let terminal = Terminal::open();
    site.plug("line-1", "/dev/null");
    site.plug("line-2", terminal.slave());
    site.describe(&["line-1", "line-2"]);
    let kubelet = Kubelet::start(site.kubelet_directory());
    let plugin = site.start();
    kubelet.sees("line-1", "Healthy").await;
    kubelet.sees("line-2", "Healthy").await;

    let given = kubelet.allocate("line-1", "line-1-b").await.unwrap();
    assert_eq!((given.devices.len(), given.mounts.len()), (1, 0));
    let device = &given.devices[0];
    assert_eq!(device.host_path, site.port("line-1").to_str().unwrap());
    assert_eq!(device.container_path, "/dev/fieldgate/serial-line-1");
    assert_eq!(device.permissions, "rw");

    let given = kubelet.allocate("line-2", "line-2-a").await.unwrap();
    assert_eq!((given.devices.len(), given.mounts.len()), (0, 1));
    let mount = &given.mounts[0];
    assert_eq!(mount.host_path, site.port("line-2").to_str().unwrap());
    assert_eq!(mount.container_path, "/dev/fieldgate/serial-line-2");
    assert!(!mount.read_only);

    let refused = kubelet.allocate("line-1", "line-2-a").await.unwrap_err();
    assert!(refused.contains("line-1-a and line-1-b"), "{refused}");
    plugin.stop().await;
}

#[tokio::test]
async fn what_is_not_plugged_is_refused_with_name_and_path() {
    let site = Site::new();
    site.describe(&["line-1"]);
    let kubelet = Kubelet::start(site.kubelet_directory());
    let plugin = site.start();
    kubelet.sees("line-1", "Unhealthy").await;
    let path = site.port("line-1");

    let refused = kubelet.allocate("line-1", "line-1-a").await.unwrap_err();
    for part in ["line-1", path.to_str().unwrap(), "does not exist"] {
        assert!(refused.contains(part), "{refused}");
    }
    // A container that starts again is not allocated for: this keeps it from starting without its port.
    let waits = kubelet.pre_start("line-1", "line-1-a").await.unwrap_err();
    assert_eq!(waits, refused);
    fs::write(&path, "").unwrap();
    let refused = kubelet.allocate("line-1", "line-1-a").await.unwrap_err();
    assert!(refused.contains("a regular file"), "{refused}");
    site.plug("line-1", "/dev/null");
    kubelet.pre_start("line-1", "line-1-a").await.unwrap();
    plugin.stop().await;
}

#[tokio::test]
async fn a_kubelet_that_comes_late_and_restarts_is_followed() {
    let site = Site::new();
    site.plug("line-1", "/dev/null");
    site.describe(&["line-1"]);
    fs::remove_dir(site.kubelet_directory()).unwrap();
    let plugin = site.start();
    until("the reason in readiness", || {
        let reasons = plugin.health.reasons();
        let reason = reasons.get("port line-1")?;
        reason.contains("kubelet.sock").then_some(())
    })
    .await;

    let kubelet = Kubelet::start(site.kubelet_directory());
    kubelet.sees("line-1", "Healthy").await;
    until("readiness", || {
        (!plugin.health.reasons().contains_key("port line-1")).then_some(())
    })
    .await;

    kubelet.kill().await;
    let kubelet = Kubelet::start(site.kubelet_directory());
    kubelet.sees("line-1", "Healthy").await;

    // Without the kill: its socket is replaced while it still listens to the old stream.
    let second = Kubelet::start(site.kubelet_directory());
    second.sees("line-1", "Healthy").await;
    kubelet.kill().await;
    plugin.stop().await;
}

#[tokio::test]
async fn a_refused_registration_is_tried_again() {
    let site = Site::new();
    site.plug("line-1", "/dev/null");
    site.describe(&["line-1"]);
    let kubelet = Kubelet::start(site.kubelet_directory());
    kubelet.refuse(true);
    let plugin = site.start();
    until("the reason in readiness", || {
        let reasons = plugin.health.reasons();
        let reason = reasons.get("port line-1")?;
        reason.contains("refused by the test").then_some(())
    })
    .await;
    kubelet.refuse(false);
    kubelet.sees("line-1", "Healthy").await;
    plugin.stop().await;
}

#[tokio::test]
async fn a_removed_socket_and_a_closed_stream_lead_to_a_new_registration() {
    let site = Site::new();
    site.plug("line-1", "/dev/null");
    site.describe(&["line-1"]);
    let kubelet = Kubelet::start(site.kubelet_directory());
    let plugin = site.start_with(Pace {
        forgotten_after: Duration::from_millis(50),
        ..PACE
    });
    let resource = kubelet.registered("line-1", 1).await;
    fs::remove_file(site.kubelet_directory().join(resource.endpoint)).unwrap();
    let resource = kubelet.registered("line-1", 2).await;
    kubelet.forget();
    kubelet
        .registered("line-1", resource.registrations + 1)
        .await;
    kubelet.sees("line-1", "Healthy").await;
    plugin.stop().await;
}

#[tokio::test]
async fn the_document_is_followed() {
    let site = Site::new();
    site.plug("line-1", "/dev/null");
    site.plug("line-2", "/dev/zero");
    site.describe(&["line-1"]);
    let kubelet = Kubelet::start(site.kubelet_directory());
    let plugin = site.start();
    kubelet.sees("line-1", "Healthy").await;

    site.describe(&["line-1", "line-2"]);
    kubelet.sees("line-2", "Healthy").await;
    site.describe(&["line-2"]);
    until("the end of line-1", || {
        let socket = site
            .kubelet_directory()
            .join("fieldgate-serial-line-1.sock");
        (!socket.exists()).then_some(())
    })
    .await;
    assert_eq!(kubelet.resource("line-2").unwrap().registrations, 1);
    plugin.stop().await;
}
