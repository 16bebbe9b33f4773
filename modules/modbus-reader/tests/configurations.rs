//! The sample documents: good ones are taken, bad ones are refused with every problem and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

use modbus_reader::configuration::Configuration;
use module_runtime::load;

fn documents(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/configurations")
        .join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn good_documents_are_taken() {
    for file in documents("good") {
        if let Err(error) = load::<Configuration>(&file) {
            panic!("{error}");
        }
    }
}

/// A bad document lists what is wrong with it in comments: `# PATH: part of the message`.
#[test]
fn bad_documents_are_refused_with_every_problem() {
    for file in documents("bad") {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut expected: Vec<(&str, &str)> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .map(|line| line.split_once(": ").unwrap())
            .collect();
        let error = load::<Configuration>(&file).unwrap_err();
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
