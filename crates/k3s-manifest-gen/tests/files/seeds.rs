//! Documents that begin as the description's and become somebody's own.

use k3s_manifest_gen::output::Action;

use super::site::{Site, action, shown};

#[test]
fn a_seed_is_written_once_and_then_its_owners() {
    let mut site = Site::new();
    site.write();
    let name = "reader-configuration.yaml";
    site.edit(name, "links: []", "links: [] # mine");
    let edited = site.text(name);
    site.document = "links: []\ngroups: []\n";
    assert_eq!(
        action(&site.write(), name),
        &Action::Keep {
            differs: true,
            faults: Vec::new()
        }
    );
    assert_eq!(site.text(name), edited);

    let plan = site.try_plan(false, &["reader"]).unwrap();
    assert_eq!(
        shown(action(&plan, name)),
        [
            "ConfigMap reader-configuration: data.reader.yaml line 1: \"links: [] # mine\" → \"links: []\""
        ]
    );
    plan.write().unwrap();
    assert!(site.text(name).contains("groups: []"));
    let message = site.refused(false, &["raeder"]);
    assert!(message.contains("there are: reader"), "{message}");
}

/// A device that was claimed after its demonstration: nobody wrote the document that is there.
#[test]
fn a_seed_that_nobody_edited_follows_the_description() {
    let mut site = Site::new();
    site.write();
    let name = "reader-configuration.yaml";
    site.document = "links: [one]\n";
    let plan = site.write();
    assert_eq!(
        shown(action(&plan, name)),
        [
            "ConfigMap reader-configuration: data.reader.yaml line 1: \"links: []\" → \"links: [one]\""
        ]
    );
    assert!(site.text(name).contains("links: [one]"));
    assert_eq!(action(&site.write(), name), &Action::Unchanged);

    // An edit stays, and one that is taken back follows again.
    site.edit(name, "[one]", "[mine]");
    site.document = "links: [two]\n";
    assert!(matches!(
        action(&site.write(), name),
        Action::Keep { differs: true, .. }
    ));
    assert!(site.text(name).contains("[mine]"));
    site.edit(name, "[mine]", "[one]");
    assert!(matches!(action(&site.write(), name), Action::Update(_)));
    assert!(site.text(name).contains("[two]"));

    // What was reset follows, too.
    site.edit(name, "[two]", "[mine]");
    site.try_plan(false, &["reader"]).unwrap().write().unwrap();
    site.document = "links: [three]\n";
    assert!(matches!(action(&site.write(), name), Action::Update(_)));
}

/// The power is cut between what is remembered and the file, and the description changes before the next run.
#[test]
fn a_cut_neither_makes_an_edit_nor_hides_one() {
    let mut site = Site::new();
    let (name, memory) = (
        "reader-configuration.yaml",
        ".fieldgate/reader-configuration.yaml.seeded",
    );
    site.write();
    let (old, known) = (site.text(name), site.text(memory));
    site.document = "links: [one]\n";
    site.write();
    let (new, then) = (site.text(name), site.text(memory));
    assert!(known.lines().count() == 1 && then.lines().count() == 1 && known != then);
    let both = format!("{known}{then}");
    for there in [&old, &new] {
        site.put(name, there);
        site.put(memory, &both);
        site.document = "links: [two]\n";
        assert!(matches!(action(&site.write(), name), Action::Update(_)));
        assert!(site.text(name).contains("[two]"));
    }
    site.put(name, &new.replace("[one]", "[mine]"));
    site.put(memory, &both);
    assert!(matches!(action(&site.write(), name), Action::Keep { .. }));
    assert!(site.text(name).contains("[mine]"));
    // Before the first of all files there is only what is remembered.
    std::fs::remove_file(site.path(name)).unwrap();
    assert_eq!(action(&site.write(), name), &Action::Create);
}

/// 0.1.0 remembered nothing: what it would have written for this description nobody edited, and of anything else nobody knows.
#[test]
fn a_seed_of_an_older_version_follows_where_that_is_certain() {
    let mut site = Site::new();
    site.write();
    let (name, memory) = (
        "reader-configuration.yaml",
        ".fieldgate/reader-configuration.yaml.seeded",
    );
    let body = site.text(name).split_once("\n\n").unwrap().1.to_owned();
    // From the demonstration's other description, which has the same document.
    let old = format!(
        "\
# reader-configuration.yaml: What it does.
#
# Yours: `fieldgate manifests` wrote it once, from the document that delivering.yaml names, and never changes it again. Edit it here: the
# module takes a valid document over without a restart; an invalid one it refuses, says why, and keeps the one it has.
# `fieldgate manifests --reset reader` writes this file anew from that document.
# fieldgate-seed: reader

{body}"
    );
    let forget = || std::fs::remove_file(site.path(memory)).unwrap();
    site.put(name, &old);
    forget();
    assert_eq!(action(&site.write(), name), &Action::Update(Vec::new()));
    for edited in [
        old.replace("links: []", "links: [mine]"),
        old.replace("# fieldgate-seed", "# Hall 4.\n# fieldgate-seed"),
    ] {
        site.put(name, &edited);
        forget();
        assert!(matches!(action(&site.write(), name), Action::Keep { .. }));
        assert_eq!(site.text(name), edited);
        site.put(memory, "");
    }
    site.put(name, &old);
    site.document = "links: [two]\n";
    assert!(matches!(
        action(&site.write(), name),
        Action::Keep { differs: true, .. }
    ));
    assert_eq!(site.text(name), old);
}

#[test]
fn a_seed_that_kubernetes_would_refuse_is_told() {
    let site = Site::new();
    site.write();
    let name = "reader-configuration.yaml";
    site.edit(name, "data:", "dada:");
    let plan = site.write();
    match action(&plan, name) {
        Action::Keep { faults, .. } => assert!(
            faults[0].to_string().contains("dada: is not a field"),
            "{faults:?}"
        ),
        other => panic!("{other:?}"),
    }
    assert!(plan.needs_person());
}
