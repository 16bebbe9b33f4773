//! `fieldgate reset` as a person, a script or the device's start runs it: exit status, what is printed, what is left.

use std::path::Path;

use crate::program::{fieldgate, said};

/// Exit status, standard output and standard error.
fn reset(root: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(
        fieldgate(&["reset"])
            .args(arguments)
            .arg("--root")
            .arg(root),
    )
}

/// A device that has a name, a connection string and a queue.
fn device() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        ("etc/hostname", "gate-7\n"),
        ("fieldgate/provision/preserve", "name\n"),
        (
            "fieldgate/provision/secrets/hub-connection-string",
            "secret",
        ),
        ("fieldgate/volumes/iothub-module-state/queue.db", "events"),
    ] {
        let path = root.path().join("data").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

#[test]
fn a_device_is_reset_at_its_next_start() {
    let root = device();
    let root = root.path();
    let has = |path: &str| root.join("data").join(path).exists();

    let (status, out, err) = reset(root, &[]);
    assert_eq!(status, 1, "nobody can be asked");
    assert!(err.contains("--yes"), "{err}");
    assert!(out.contains("Factory reset of gate-7."), "{out}");
    let (_, out, _) = reset(root, &["--status"]);
    assert!(
        out.starts_with("no reset is asked for\nthis device was never reset"),
        "{out}"
    );

    let (status, out, err) = reset(root, &["--yes", "--reason", "goes to hall 5"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("Stays: the system itself, and name.\n  /data/etc/hostname\n"),
        "{out}"
    );
    assert!(
        has("fieldgate/volumes"),
        "nothing goes before the next start"
    );
    let (_, out, _) = reset(root, &["--status"]);
    assert!(out.contains("(goes to hall 5); stays: name"), "{out}");

    let (status, out, err) = reset(root, &["--apply"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.ends_with("the factory reset is complete\n"), "{out}");
    assert!(has("etc/hostname") && !has("fieldgate/volumes") && !has("etc/machine-id"));
    let (status, out, _) = reset(root, &["--apply"]);
    assert_eq!(
        (status, out.as_str()),
        (0, "no factory reset is asked for\n")
    );
    let (_, out, _) = reset(root, &["--status"]);
    assert!(
        out.contains("(goes to hall 5)") && out.contains("kept /data/etc/hostname\n"),
        "{out}"
    );
}

#[test]
fn the_list_on_the_command_line_counts_instead() {
    let root = device();
    let (status, out, _) = reset(root.path(), &["--yes", "--preserve", "hub"]);
    assert_eq!(status, 0, "{out}");
    reset(root.path(), &["--apply"]);
    let data = root.path().join("data");
    let secret = data.join("fieldgate/provision/secrets/hub-connection-string");
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "secret");
    assert!(!data.join("etc/hostname").exists());

    let root = device();
    std::fs::remove_dir_all(root.path().join("data/fieldgate/provision")).unwrap();
    let (_, out, _) = reset(root.path(), &["--yes", "--preserve", "hub"]);
    assert!(
        out.contains("no connection string was provisioned"),
        "{out}"
    );
}

#[test]
fn a_folder_that_is_no_appliance_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("data/photographs")).unwrap();
    let (status, _, err) = reset(root.path(), &["--yes"]);
    assert_eq!(status, 1);
    assert!(
        err.contains("no appliance") && err.contains("fieldgate uninstall"),
        "{err}"
    );
    let (status, ..) = reset(root.path(), &["--apply"]);
    assert_eq!(status, 0);
    assert!(root.path().join("data/photographs").exists());
}

#[test]
fn a_button_that_is_not_there_is_told_with_its_name() {
    let root = device();
    let (status, _, err) = reset(
        root.path(),
        &["--button", "gpiochip-none:4:low", "--hold", "5s"],
    );
    assert_eq!(status, 1);
    assert!(
        err.contains("gpiochip-none:4") && err.contains("gpioinfo"),
        "{err}"
    );
    let (status, _, err) = reset(root.path(), &["--button", "17", "--hold", "5s"]);
    assert!(status == 2 && err.contains("gpiochip0:17:low"), "{err}");
}
