//! `fieldgate manifests` as a person runs it: exit status, what is printed, what is written.

use std::path::{Path, PathBuf};

use crate::program::{self, said};

/// A folder with a description of one module of a person's own.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = "appliance: gate-7\nmodules:\n  filter: {image: registry.example/filter:1}\n";
    std::fs::write(folder.path().join("appliance.yaml"), text).unwrap();
    folder
}

/// Exit status, standard output and standard error.
fn fieldgate(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(
        program::fieldgate(&["manifests"])
            .args(arguments)
            .current_dir(folder),
    )
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join("out").join(name)
}

#[test]
fn check_tells_by_its_exit_status_and_writes_nothing() {
    let folder = folder();
    let folder = folder.path();
    let check = ["--output", "out", "--check"];
    let (status, out, _) = fieldgate(folder, &check);
    assert_eq!(status, 1);
    assert!(
        out.contains("create   filter.yaml") && out.ends_with("would change\n"),
        "{out}"
    );
    assert!(!folder.join("out").exists());

    assert_eq!(fieldgate(folder, &["--output", "out"]).0, 0);
    let (status, out, _) = fieldgate(folder, &check);
    assert_eq!(
        (status, out.lines().last()),
        (0, Some("everything is as described"))
    );
}

#[test]
fn an_edit_fails_until_it_is_adopted() {
    let folder = folder();
    let folder = folder.path();
    fieldgate(folder, &["--output", "out"]);
    let text = std::fs::read_to_string(file(folder, "filter.yaml")).unwrap();
    let edited = text.replace("replicas: 1", "replicas: 0");
    assert_ne!(text, edited);
    std::fs::write(file(folder, "filter.yaml"), &edited).unwrap();

    let (status, out, _) = fieldgate(folder, &["--output", "out"]);
    assert_eq!(status, 1);
    assert!(
        out.contains("EDITED   filter.yaml\n           Deployment filter: spec.replicas: 1 → 0\n"),
        "{out}"
    );
    assert!(out.contains("--adopt"), "{out}");
    assert_eq!(
        std::fs::read_to_string(file(folder, "filter.yaml")).unwrap(),
        edited
    );

    assert_eq!(fieldgate(folder, &["--output", "out", "--adopt"]).0, 0);
    let changes = std::fs::read_to_string(file(folder, "filter.yaml.override")).unwrap();
    assert!(
        changes.contains("kind: Deployment\nmetadata:\n  name: filter\nspec:\n  replicas: 0\n"),
        "{changes}"
    );
    assert_eq!(fieldgate(folder, &["--output", "out", "--check"]).0, 0);
}

#[test]
fn a_module_that_is_gone_leaves_with_the_commands_that_remove_what_runs() {
    let folder = folder();
    let folder = folder.path();
    fieldgate(folder, &["--output", "out"]);
    std::fs::write(folder.join("appliance.yaml"), "appliance: gate-7\n").unwrap();
    let (status, out, _) = fieldgate(folder, &["--output", "out"]);
    assert_eq!(status, 0);
    assert!(
        out.contains("remove   filter.yaml") && out.contains("-l fieldgate.io/module=filter"),
        "{out}"
    );
    assert!(!file(folder, "filter.yaml").exists());
}

#[test]
fn every_mistake_is_printed_with_its_place() {
    let folder = folder();
    let folder = folder.path();
    std::fs::write(
        folder.join("appliance.yaml"),
        "appliance: ''\nmodules:\n  filter: {}\n",
    )
    .unwrap();
    let (status, out, errors) = fieldgate(folder, &["--output", "out"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(
        errors.contains("appliance.yaml:1:12: appliance: ")
            && errors.contains("appliance.yaml:3:3: modules.filter: "),
        "{errors}"
    );
    let (status, _, errors) = fieldgate(folder, &[]);
    assert_eq!(status, 2);
    assert!(errors.contains("--output"), "{errors}");
}

#[test]
fn a_new_module_is_printed_or_appended() {
    let folder = folder();
    let folder = folder.path();
    let (status, out, duties) = fieldgate(folder, &["new-module", "my-filter"]);
    assert_eq!(status, 0);
    assert!(
        out.contains("my-filter:\n  # The program's image."),
        "{out}"
    );
    assert!(duties.contains("What the program has to do"), "{duties}");

    let append = ["new-module", "my-filter", "--appliance", "appliance.yaml"];
    assert_eq!(fieldgate(folder, &append).0, 0);
    assert_eq!(fieldgate(folder, &["--output", "out"]).0, 0);
    assert!(file(folder, "my-filter.yaml").exists());
    let (status, _, errors) = fieldgate(folder, &append);
    assert_eq!(status, 1);
    assert!(errors.contains("is described already"), "{errors}");
}

#[test]
fn the_schema_is_one() {
    let folder = folder();
    let (status, out, _) = fieldgate(folder.path(), &["--print-schema"]);
    assert_eq!(status, 0);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(schema["properties"]["version"]["description"].is_string());
    assert!(schema["properties"]["modules"].is_object());
}
