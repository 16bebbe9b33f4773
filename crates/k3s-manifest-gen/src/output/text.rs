//! A manifest file as text: header, objects, checksum.

use module_runtime::configuration::sha256;
use serde_json::{Value, json};

use crate::description::PROGRAM_VERSION;
use crate::manifest_file::{ManifestFile, Object, Ownership};
use crate::yaml::emit;

const CHECKSUM: &str = "# fieldgate-checksum: sha256:";
const SEED: &str = "# fieldgate-seed: ";
/// How a file of a module's configuration ends.
pub(super) const SEED_ENDING: &str = "-configuration.yaml";
/// How the file of a person's changes ends.
pub(super) const OVERRIDE_ENDING: &str = ".override";

/// What a file's header says beside what the file itself knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    /// The description's file name.
    pub(super) description: &'a str,
    /// Whether there are changes of a person in it.
    pub(super) has_override: bool,
}

/// The text of a file.
pub(super) fn compose(file: &ManifestFile, objects: &[Object], origin: Origin<'_>) -> String {
    let (name, description) = (&file.name, origin.description);
    let mut head = format!("# {name}: {}\n#\n", file.purpose);
    let body = body(objects);
    match file.ownership {
        Ownership::Generated => {
            head.push_str(&format!(
                "\
# Written by `fieldgate manifests` {PROGRAM_VERSION} from {description}. Do not edit it here: an edit is never overwritten, but the next run
# reports it and leaves this file as it is until the edit is gone or in the override.
# To change an object for good, write {name}{OVERRIDE_ENDING} next to this file: YAML documents with the object's apiVersion, kind and
# metadata.name and only the fields that differ. Mappings merge, lists of things that have a name merge by name, other lists are replaced,
# null removes a field. Then run it again. Comments of your own belong there too. `fieldgate manifests --adopt` moves edits there.
"
            ));
            if origin.has_override {
                head.push_str(&format!(
                    "# The changes of {name}{OVERRIDE_ENDING} are in it.\n"
                ));
            }
            let checksum = sha256(format!("{head}{body}").as_bytes());
            format!("{head}{CHECKSUM}{checksum}\n\n{body}")
        }
        Ownership::Seed => {
            let module = seed_module(name);
            format!(
                "{head}\
# Yours: `fieldgate manifests` wrote it from the document that {description} names. Edit it here, and it is never written over again; as long
# as nobody does, it follows that document. The module takes a valid document over without a restart; an invalid one it refuses, says why, and
# keeps the one it has. `fieldgate manifests --reset {module}` writes this file anew from that document.
{SEED}{module}

{body}"
            )
        }
    }
}

/// The text of a module's configuration as 0.1.0 wrote it, from the description that `existing` says; none where that is no such text. That
/// version kept no digest, so only what it would have written tells whether somebody edited it.
pub(super) fn compose_as_before(file: &ManifestFile, existing: &str) -> Option<String> {
    let (_, rest) =
        existing.split_once("`fieldgate manifests` wrote it once, from the document that ")?;
    let (description, _) = rest.split_once(" names, and never changes it again.")?;
    let (name, module) = (&file.name, seed_module(&file.name));
    let (purpose, body) = (&file.purpose, body(&file.objects));
    Some(format!(
        "\
# {name}: {purpose}
#
# Yours: `fieldgate manifests` wrote it once, from the document that {description} names, and never changes it again. Edit it here: the
# module takes a valid document over without a restart; an invalid one it refuses, says why, and keeps the one it has.
# `fieldgate manifests --reset {module}` writes this file anew from that document.
{SEED}{module}

{body}"
    ))
}

fn body(objects: &[Object]) -> String {
    let mut body = String::new();
    for (position, object) in objects.iter().enumerate() {
        if position > 0 {
            body.push_str("---\n");
        }
        for line in object.comment.lines() {
            body.push_str("# ");
            body.push_str(line);
            body.push('\n');
        }
        body.push_str(&emit(&object.value));
    }
    body
}

/// The module of a seed file.
pub(super) fn seed_module(name: &str) -> &str {
    name.strip_suffix(SEED_ENDING).unwrap_or(name)
}

/// The checksum in a file's header, if it has one.
pub(super) fn checksum(text: &str) -> Option<&str> {
    header(text).find_map(|line| line.strip_prefix(CHECKSUM))
}

/// Whether a file is one that this program seeded.
pub(super) fn is_seed(text: &str) -> bool {
    header(text).any(|line| line.starts_with(SEED))
}

/// Whether a generated file is as it was written.
pub(super) fn is_untouched(text: &str) -> bool {
    let Some(written) = checksum(text) else {
        return false;
    };
    let line = format!("{CHECKSUM}{written}\n\n");
    match text.split_once(&line) {
        Some((head, body)) => sha256(format!("{head}{body}").as_bytes()) == written,
        None => false,
    }
}

fn header(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.starts_with('#'))
}

/// Adds the labels that tell whose an object is, where it has none.
pub(super) fn label(object: &mut Value, appliance: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    let Some(labels) = labels.as_object_mut() else {
        return;
    };
    for (key, value) in [
        ("app.kubernetes.io/managed-by", "fieldgate"),
        ("app.kubernetes.io/part-of", "fieldgate"),
        ("fieldgate.io/appliance", appliance),
    ] {
        labels.entry(key).or_insert_with(|| json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(ownership: Ownership) -> ManifestFile {
        ManifestFile {
            name: "x-configuration.yaml".to_owned(),
            purpose: "for tests.".to_owned(),
            ownership,
            objects: vec![
                Object::new("First.", json!({"kind": "A", "metadata": {"name": "a"}})),
                Object::new("Second.", json!({"kind": "B"})),
            ],
        }
    }

    const ORIGIN: Origin<'static> = Origin {
        description: "appliance.yaml",
        has_override: false,
    };

    #[test]
    fn an_edit_anywhere_is_noticed() {
        let file = file(Ownership::Generated);
        let text = compose(&file, &file.objects, ORIGIN);
        assert!(is_untouched(&text));
        assert!(!is_seed(&text));
        for (from, to) in [
            ("kind: A", "kind: C"),
            ("for tests", "for nothing"),
            ("# Second.", "# Other."),
            ("sha256:", "sha256:0"),
            ("\n\n", "\n"),
        ] {
            assert!(text.contains(from));
            assert!(!is_untouched(&text.replacen(from, to, 1)), "{from}");
        }
        assert!(!is_untouched(&format!("{text}\n")));
        assert!(
            text.ends_with("# First.\nkind: A\nmetadata:\n  name: a\n---\n# Second.\nkind: B\n")
        );
    }

    #[test]
    fn a_seed_has_no_checksum() {
        let file = file(Ownership::Seed);
        let text = compose(&file, &file.objects, ORIGIN);
        assert!(is_seed(&text) && checksum(&text).is_none());
        assert!(text.contains("--reset x`"));
    }

    #[test]
    fn owner_labels_are_added_where_they_are_missing() {
        let mut object =
            json!({"metadata": {"name": "a", "labels": {"app.kubernetes.io/part-of": "other"}}});
        label(&mut object, "gate-7");
        assert_eq!(
            object["metadata"]["labels"],
            json!({
                "app.kubernetes.io/managed-by": "fieldgate",
                "app.kubernetes.io/part-of": "other",
                "fieldgate.io/appliance": "gate-7",
            })
        );
    }
}
