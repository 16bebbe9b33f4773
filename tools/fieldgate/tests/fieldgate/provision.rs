//! `fieldgate provision` as a person, or the device's start, runs it: exit status, what is printed, what is written.

use std::path::Path;

use crate::program::{self, said};

const HUB: &str = "HostName=h.example;DeviceId=gate-7;SharedAccessKey=MDEyMzQ1Njc4OWFiY2RlZg==";

/// Exit status, standard output and standard error.
fn fieldgate(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(
        program::fieldgate(&["provision"])
            .args(arguments)
            .current_dir(folder),
    )
}

fn folder(document: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("media/stick")).unwrap();
    std::fs::create_dir(folder.path().join("device")).unwrap();
    std::fs::write(document_of(folder.path()), document).unwrap();
    folder
}

fn document_of(folder: &Path) -> std::path::PathBuf {
    folder.join("media/stick/fieldgate-provision.yaml")
}

const SEARCH: [&str; 5] = ["--search", "boot", "media", "--root", "device"];

#[test]
fn a_stick_provisions_a_device_once() {
    let folder = folder(&format!(
        "name: gate-7\nhub: {{connection_string: {HUB}}}\n"
    ));
    let folder = folder.path();
    let (status, out, err) = fieldgate(folder, &SEARCH);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(
        out.starts_with("found media/stick/fieldgate-provision.yaml\n"),
        "{out}"
    );
    assert!(
        out.contains("wrote /data/etc/hostname\n") && out.contains("wiped the secrets"),
        "{out}"
    );
    let left = std::fs::read_to_string(document_of(folder)).unwrap();
    assert!(!left.contains("SharedAccessKey"), "{left}");
    let stored = folder.join("device/data/fieldgate/provision/secrets/hub-connection-string");
    assert_eq!(std::fs::read_to_string(stored).unwrap(), HUB);

    let (status, out, _) = fieldgate(folder, &SEARCH);
    assert_eq!(status, 0);
    assert!(out.contains("nothing to do"), "{out}");
    let (status, out, _) = fieldgate(folder, &["--status", "--root", "device"]);
    assert_eq!(status, 0);
    assert!(out.starts_with("applied "), "{out}");
}

#[test]
fn every_mistake_is_told_on_the_console_and_beside_the_document() {
    let folder = folder("name: Gate\nhub: {connection_string: hunter2}\n");
    let folder = folder.path();
    let file = document_of(folder);
    let (status, _, err) = fieldgate(folder, &["--check", file.to_str().unwrap()]);
    assert_eq!((status, err.lines().count()), (78, 2), "{err}");
    let errors = file.with_file_name("fieldgate-provision.errors.txt");
    assert!(!errors.exists(), "a check writes nothing");

    let (status, _, err) = fieldgate(folder, &SEARCH);
    assert_eq!(status, 78);
    assert!(
        !err.contains("hunter2") && err.contains("errors.txt, too"),
        "{err}"
    );
    assert_eq!(std::fs::read_to_string(&errors).unwrap().lines().count(), 2);
    let (_, out, _) = fieldgate(folder, &["--status", "--root", "device"]);
    assert!(out.starts_with("invalid "), "{out}");

    std::fs::write(&file, "name: gate\n").unwrap();
    assert_eq!(fieldgate(folder, &SEARCH).0, 0);
    assert!(!errors.exists());
}

#[test]
fn nothing_found_is_no_failure_and_nothing_asked_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (status, out, _) = fieldgate(folder, &SEARCH);
    assert_eq!(status, 0);
    assert!(out.contains("goes on as it is"), "{out}");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    let (status, out, _) = fieldgate(folder, &["--status", "--root", "device"]);
    assert_eq!(status, 0);
    assert!(
        out.contains("no provisioning file was applied yet"),
        "{out}"
    );
    let (status, _, err) = fieldgate(folder, &[]);
    assert_eq!(status, 1);
    assert!(err.contains("--apply FILE"), "{err}");
    let (status, _, err) = fieldgate(folder, &["--apply", "absent.yaml", "--root", "device"]);
    assert_eq!(status, 1);
    assert!(err.contains("there is no file absent.yaml"), "{err}");
}
