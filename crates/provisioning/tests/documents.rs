//! The sample documents: good ones are taken, bad ones are refused with every problem and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use provisioning::{Loaded, load, plan};

fn documents(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/documents")
        .join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // What the documents name lies beside them.
        .filter(|path| !path.to_string_lossy().contains("beside-"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn take(file: &Path) -> Loaded {
    load(file, None).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn good_documents_are_taken() {
    for file in documents("good") {
        let planned = plan(&take(&file));
        assert!(planned.len() > 1, "{}", file.display());
    }
}

/// A bad document lists what is wrong with it in comments: `# PATH: part of the message`. None of the messages repeats a secret: in
/// these documents, secrets have `hunter` in them.
#[test]
fn bad_documents_are_refused_with_every_problem() {
    for file in documents("bad") {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut expected: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .map(|line| line.split_once(": ").unwrap())
            .collect();
        let Err(error) = load(&file, None) else {
            panic!("{} holds", file.display());
        };
        assert!(!error.to_string().contains("hunter"), "{error}");
        let mut unexpected = Vec::new();
        for problem in &error.problems {
            assert!(problem.line > 0, "{problem}");
            let found = expected
                .iter()
                .position(|(path, part)| problem.path == *path && problem.message.contains(part));
            match found {
                Some(position) => drop(expected.remove(position)),
                None => unexpected.push(problem.to_string()),
            }
        }
        assert!(
            expected.is_empty() && unexpected.is_empty(),
            "{}:\nnot found: {expected:#?}\nnot expected: {unexpected:#?}",
            file.display()
        );
    }
}

/// The example of the documentation, as it is on a medium.
#[test]
fn the_example_holds() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/start/examples/appliance/fieldgate-provision.yaml");
    let loaded = take(&example);
    let paths: Vec<String> = plan(&loaded)
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    for path in [
        "/data/etc/hostname",
        "/data/etc/network/10-fieldgate-eth0.network",
        "/data/etc/ssh/authorized_keys",
        "/data/etc/fieldgate/appliance.yaml",
        "/data/etc/fieldgate/modbus-reader.yaml",
        "/data/fieldgate/provision/secrets/hub-connection-string",
    ] {
        assert!(paths.iter().any(|found| found == path), "{path}: {paths:?}");
    }
}
