//! What happens to a directory of manifests: nothing that a person wrote is ever lost or passed over in silence.

#![allow(clippy::unwrap_used, clippy::panic)]

mod seeds;
mod site;

use k3s_manifest_gen::output::{Action, Options, plan_files};
use site::{Site, action, shown};

const OVERRIDE: &str = "\
# More memory for the press, agreed with its line.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: reader
spec:
  template:
    spec:
      containers:
      - name: reader
        resources:
          limits:
            memory: 128Mi
";

#[test]
fn a_second_run_touches_nothing() {
    let site = Site::new();
    let first = site.write();
    assert!(first.steps.iter().all(|step| step.action == Action::Create));
    let before = site.everything();
    let second = site.write();
    assert!(
        second
            .steps
            .iter()
            .all(|step| step.action == Action::Unchanged)
    );
    assert!(!second.has_changes() && !second.needs_person());
    assert_eq!(site.everything(), before);
}

#[test]
fn planning_writes_nothing() {
    let mut site = Site::new();
    assert!(site.plan().has_changes());
    assert_eq!(site.everything().len(), 0);
    site.write();
    site.memory = "96Mi";
    let before = site.everything();
    assert!(site.plan().has_changes());
    assert_eq!(site.everything(), before);
}

#[test]
fn a_change_of_the_description_is_told_field_by_field() {
    let mut site = Site::new();
    site.write();
    site.memory = "96Mi";
    let plan = site.write();
    assert_eq!(
        shown(action(&plan, "reader.yaml")),
        [
            "Deployment reader: spec.template.spec.containers[reader].resources.limits.memory: \"64Mi\" → \"96Mi\""
        ]
    );
    assert!(site.text("reader.yaml").contains("memory: 96Mi"));
}

#[test]
fn an_edit_is_reported_and_never_overwritten() {
    let mut site = Site::new();
    site.write();
    site.edit("reader.yaml", "value: info", "value: debug");
    let edited = site.text("reader.yaml");
    let told = [
        "Deployment reader: spec.template.spec.containers[reader].env[LOG].value: \"info\" → \"debug\"",
    ];

    let plan = site.write();
    assert_eq!(shown(action(&plan, "reader.yaml")), told);
    assert!(plan.needs_person() && !plan.has_changes());
    assert_eq!(site.text("reader.yaml"), edited);

    // Also when the description changes: the edit is told apart from that, and the file waits.
    site.memory = "96Mi";
    site.modules.push("other");
    let plan = site.write();
    assert_eq!(shown(action(&plan, "reader.yaml")), told);
    assert_eq!(site.text("reader.yaml"), edited);
    assert_eq!(action(&plan, "other.yaml"), &Action::Create);
}

#[test]
fn an_adopted_edit_survives_what_the_description_brings() {
    let mut site = Site::new();
    site.put("reader.yaml.override", OVERRIDE);
    site.write();
    site.edit("reader.yaml", "value: info", "value: debug");
    site.image = "x/reader:2";
    let plan = site.adopt();
    assert_eq!(shown(action(&plan, "reader.yaml")).len(), 1);

    let changes = site.text("reader.yaml.override");
    assert!(changes.starts_with(OVERRIDE), "{changes}");
    let adopted = changes.strip_prefix(OVERRIDE).unwrap();
    assert!(adopted.contains("value: debug"), "{changes}");
    assert!(
        !adopted.contains("image") && !adopted.contains("memory"),
        "only the edit: {changes}"
    );
    let text = site.text("reader.yaml");
    assert!(
        text.contains("x/reader:2")
            && text.contains("value: debug")
            && text.contains("memory: 128Mi"),
        "{text}"
    );
    assert!(text.contains("# The changes of reader.yaml.override are in it."));

    assert_eq!(action(&site.write(), "reader.yaml"), &Action::Unchanged);
    site.image = "x/reader:3";
    site.write();
    let text = site.text("reader.yaml");
    assert!(
        text.contains("x/reader:3") && text.contains("value: debug"),
        "{text}"
    );
}

#[test]
fn without_the_copy_an_edit_is_found_all_the_same() {
    let site = Site::new();
    site.write();
    std::fs::remove_dir_all(site.path(".fieldgate")).unwrap();
    site.edit("reader.yaml", "value: info", "value: debug");
    assert_eq!(shown(action(&site.plan(), "reader.yaml")).len(), 1);
    site.adopt();
    assert!(site.text("reader.yaml").contains("value: debug"));
    assert_eq!(action(&site.write(), "reader.yaml"), &Action::Unchanged);
}

#[test]
fn an_edit_that_moved_into_the_override_by_hand_is_settled() {
    let site = Site::new();
    site.write();
    site.edit("reader.yaml", "memory: 64Mi", "memory: 128Mi");
    site.put("reader.yaml.override", OVERRIDE);
    let plan = site.write();
    assert!(!plan.needs_person());
    assert_eq!(action(&site.write(), "reader.yaml"), &Action::Unchanged);
}

#[test]
fn objects_that_are_removed_or_added_by_hand() {
    let site = Site::new();
    site.write();
    let text = site.text("reader.yaml");
    let (head, rest) = text.split_once("# Who it is").unwrap();
    let (_, tail) = rest.split_once("---\n").unwrap();
    site.put("reader.yaml", &format!("{head}{tail}"));
    let plan = site.adopt();
    assert_eq!(
        shown(action(&plan, "reader.yaml")),
        ["ServiceAccount reader removed"]
    );
    assert!(!site.text("reader.yaml").contains("ServiceAccount"));
    assert_eq!(action(&site.write(), "reader.yaml"), &Action::Unchanged);

    let text = site.text("reader.yaml");
    site.put(
        "reader.yaml",
        &format!("{text}---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: mine\n"),
    );
    assert_eq!(
        shown(action(&site.plan(), "reader.yaml")),
        ["ConfigMap mine added"]
    );
    let message = site.refused(true, &[]);
    assert!(
        message.contains("ConfigMap mine is not generated"),
        "{message}"
    );
    assert!(message.starts_with("reader.yaml:"), "{message}");
}

#[test]
fn comments_alone_are_an_edit_too() {
    let site = Site::new();
    site.write();
    site.edit(
        "reader.yaml",
        "# The module",
        "# The module. Ask the owner before you change it.",
    );
    let plan = site.write();
    assert_eq!(action(&plan, "reader.yaml"), &Action::Edited(Vec::new()));
    assert!(site.text("reader.yaml").contains("Ask the owner"));
    site.adopt();
    assert!(!site.text("reader.yaml").contains("Ask the owner"));
    assert!(!site.path("reader.yaml.override").exists());
}

#[test]
fn what_cannot_be_read_or_is_not_ours_is_left_alone() {
    let site = Site::new();
    site.write();
    site.edit("reader.yaml", "metadata:", "metadata: [");
    assert!(
        matches!(action(&site.write(), "reader.yaml"), Action::Unreadable(problem) if problem.line > 0)
    );

    let other = Site::new();
    other.put(
        "reader.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: mine}\n",
    );
    for plan in [other.write(), other.adopt()] {
        assert_eq!(action(&plan, "reader.yaml"), &Action::Foreign);
        assert!(plan.needs_person());
    }
    assert!(other.text("reader.yaml").contains("name: mine"));
}

#[test]
fn wrong_overrides_are_told_by_line_and_nothing_is_written() {
    let site = Site::new();
    site.write();
    let refused = |text: &str| {
        site.put("reader.yaml.override", text);
        site.refused(false, &[])
    };
    let message = refused(&OVERRIDE.replace("name: reader\nspec", "name: raeder\nspec"));
    assert!(
        message.starts_with(
            "reader.yaml.override:5:9: metadata.name: there is no apps/v1 Deployment raeder"
        ) && message.ends_with("there are: v1 ServiceAccount reader, apps/v1 Deployment reader"),
        "{message}"
    );
    let message = refused(&OVERRIDE.replace("memory:", "memroy: 1\n          limit:"));
    assert!(
        message.starts_with("reader.yaml.override:")
            && message.contains("containers[0].resources.limit: ")
            && message.contains("is not a field"),
        "{message}"
    );
    let message =
        refused(&OVERRIDE.replace("spec:\n  template", "spec:\n  replicas: many\n  template"));
    assert!(message.starts_with("reader.yaml.override:7:13: spec.replicas: Deployment reader would not be valid: invalid type"), "{message}");
    let message = refused("kind: Deployment\n");
    assert!(
        message.starts_with("reader.yaml.override:1:1: apiVersion: is missing"),
        "{message}"
    );
    let message = refused("a: [\n");
    assert!(message.contains("not valid YAML"), "{message}");
    let message = refused(&format!("{OVERRIDE}$patch: remove\n"));
    assert!(
        message.contains("$patch") && message.contains("delete and replace"),
        "{message}"
    );
}

#[test]
fn an_override_for_nothing_is_told() {
    let site = Site::new();
    site.put("raeder.yaml.override", OVERRIDE);
    site.put("reader-configuration.yaml.override", OVERRIDE);
    let message = site.refused(false, &[]);
    assert!(
        message.contains("raeder.yaml.override: changes raeder.yaml, which is not generated"),
        "{message}"
    );
    assert!(message.contains("There are: reader.yaml"), "{message}");
    assert!(message.contains("which is yours"), "{message}");
}

#[test]
fn files_of_a_module_that_is_gone() {
    let mut site = Site::new();
    site.modules = vec!["reader", "other", "third"];
    site.write();
    site.put(
        "mine.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n",
    );
    site.edit("third.yaml", "value: info", "value: debug");
    site.modules = vec!["reader"];
    let plan = site.write();
    assert_eq!(action(&plan, "other.yaml"), &Action::Remove);
    assert_eq!(
        action(&plan, "third.yaml"),
        &Action::Stale { is_seed: false }
    );
    assert_eq!(
        action(&plan, "other-configuration.yaml"),
        &Action::Stale { is_seed: true }
    );
    assert!(!site.path("other.yaml").exists() && !site.path(".fieldgate/other.yaml.base").exists());
    for kept in [
        "third.yaml",
        "other-configuration.yaml",
        "third-configuration.yaml",
        "mine.yaml",
    ] {
        assert!(site.path(kept).exists(), "{kept}");
    }
    assert!(plan.steps.iter().all(|step| step.file != "mine.yaml"));
}

#[test]
fn every_object_has_its_owner_labels() {
    let site = Site::new();
    site.write();
    let text = site.text("reader.yaml");
    for label in [
        "app.kubernetes.io/managed-by: fieldgate",
        "app.kubernetes.io/part-of: fieldgate",
        "fieldgate.io/appliance: gate-7",
    ] {
        assert_eq!(text.matches(label).count(), 2, "{text}");
    }
}

#[test]
fn nothing_of_a_directory_that_is_not_there_is_needed() {
    let mut site = Site::new();
    let deeper = site.path("a/b");
    let options = Options {
        directory: &deeper,
        description: "appliance.yaml",
        adopt: false,
        reset: &[],
    };
    site.modules = vec!["reader"];
    plan_files(site.files(), "gate-7", options)
        .unwrap()
        .write()
        .unwrap();
    assert!(deeper.join("reader.yaml").exists());
}
