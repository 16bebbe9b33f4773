//! Two descriptions and the files that they become: the example of the documentation, and three nodes. `FIELDGATE_BLESS=1 cargo test -p k3s-manifest-gen --test golden` writes them
//! anew: read the difference before it is committed.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k3s_manifest_gen::output::{Options, plan};
use k3s_manifest_gen::{Appliance, output::Action};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn texts(directory: &Path) -> BTreeMap<String, String> {
    std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn the_example_becomes_the_golden_files() {
    becomes(
        "docs/start/examples/appliance/appliance.yaml",
        "tests/golden",
    );
}

#[test]
fn three_nodes_become_the_golden_files() {
    let here = "crates/k3s-manifest-gen/tests/three-nodes/appliance.yaml";
    becomes(here, "tests/three-nodes/golden");
}

fn becomes(description: &str, golden: &str) {
    let (appliance, documents) = Appliance::load(&repository().join(description)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        directory: directory.path(),
        description: "appliance.yaml",
        adopt: false,
        reset: &[],
    };
    plan(&appliance, &documents, options)
        .unwrap()
        .write()
        .unwrap();
    let again = plan(&appliance, &documents, options).unwrap();
    assert!(
        again
            .steps
            .iter()
            .all(|step| step.action == Action::Unchanged)
    );

    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
    let made = texts(directory.path());
    if std::env::var_os("FIELDGATE_BLESS").is_some() {
        let _ = std::fs::remove_dir_all(&golden);
        std::fs::create_dir_all(&golden).unwrap();
        for (name, text) in &made {
            std::fs::write(golden.join(name), text).unwrap();
        }
    }
    let expected = texts(&golden);
    assert_eq!(
        made.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>(),
        "run with FIELDGATE_BLESS=1"
    );
    for (name, text) in &made {
        for never in [
            "kind: Secret",
            "SharedAccessKey",
            "PRIVATE KEY",
            "privileged: true",
            "runAsUser: 0",
        ] {
            assert!(!text.contains(never), "{name} has {never}");
        }
        let first = text
            .lines()
            .zip(expected[name].lines())
            .enumerate()
            .find(|(_, (made, golden))| made != golden);
        assert!(
            *text == expected[name],
            "{name} is another one, first at line {:?}; run with FIELDGATE_BLESS=1 and read the difference",
            first.map(|(line, (made, golden))| (line + 1, made, golden)),
        );
    }
}
