//! What is left of a document.

use super::*;
use crate::load::load;
use crate::test_documents::{Bench, HUB, full};

fn wiped(text: &str) -> String {
    let bench = Bench::new();
    bench.write(text);
    let loaded = load(&bench.document(), None).unwrap_or_else(|error| panic!("{error}"));
    assert!(wipe(&loaded, &bench.document(), &bench.root()).unwrap());
    assert!(bench.tree().is_empty(), "the journal is gone");
    let after = std::fs::read_to_string(bench.document()).unwrap();
    assert_eq!(after.len(), text.len());
    let again = load(&bench.document(), None).unwrap_or_else(|error| panic!("{error}\n{after}"));
    assert_eq!(again.hash, loaded.hash);
    assert!(!wipe(&again, &bench.document(), &bench.root()).unwrap());
    after
}

#[test]
fn everything_but_the_secrets_stays_byte_for_byte() {
    let text = full("");
    let after = wiped(&text);
    let blank = |text: &str| " ".repeat(text.len() - TAKEN.len());
    let expected = text
        .replace("was: correct horse", "was: *************")
        .replace("'correct horse'", "'<taken>'      ")
        .replace(HUB, &format!("{TAKEN}{}", blank(HUB)))
        .replace(
            "\"http://user:hunter2hunter2@proxy:3128\"",
            &format!(
                "\"{TAKEN}\"{}",
                blank("http://user:hunter2hunter2@proxy:3128")
            ),
        );
    assert_eq!(after, expected);
}

#[test]
fn every_form_of_a_text_is_wiped() {
    for (form, line) in [
        (
            "plain, at the end of the file",
            format!("connection_string: {HUB}"),
        ),
        ("flow", format!("{{connection_string: {HUB}}}\n")),
        (
            "quoted",
            format!("{{\"connection_string\": \"{HUB}\", ca: }}\n"),
        ),
        (
            "escaped",
            format!("{{connection_string: \"\\x48{}\"}}\n", &HUB[1..]),
        ),
        ("literal", format!("connection_string: |\n    {HUB}\n")),
        ("folded", format!("connection_string: >-\n\n    {HUB}\n\n")),
        (
            "on the next line",
            format!("connection_string:\n    {HUB}\n"),
        ),
        ("anchored", format!("connection_string: &hub {HUB}\n")),
    ] {
        let after = if line.starts_with('{') {
            wiped(&format!("name: ä\nhub: {line}").replace('ä', "a"))
        } else {
            wiped(&format!(
                "\u{feff}# größer\nname: a\nhub:\n  {line}\n# the end\n"
            ))
        };
        let key = &HUB[HUB.len() - 30..];
        assert!(!after.contains(key), "{form}: {after}");
        assert!(after.contains(TAKEN), "{form}: {after}");
    }
}

#[test]
fn line_ends_of_other_systems_stay() {
    let after = wiped(&format!(
        "name: a\r\nhub:\r\n  connection_string: {HUB}\r\nssh: []\r\n"
    ));
    assert!(
        after.contains(" \r\nssh: []\r\n") && !after.contains("SharedAccessKey"),
        "{after}"
    );
}

#[test]
fn a_secret_in_a_file_goes_with_the_file() {
    let bench = Bench::new();
    bench.write("name: a\nhub: {connection_string: {file: hub.txt}}\n");
    let file = bench.medium().join("hub.txt");
    std::fs::write(&file, HUB).unwrap();
    let loaded = load(&bench.document(), None).unwrap();
    assert!(wipe(&loaded, &bench.document(), &bench.root()).unwrap());
    assert!(!file.exists());
}

#[test]
fn a_document_that_was_changed_meanwhile_is_left_alone() {
    let bench = Bench::new();
    bench.write(&full(""));
    let loaded = load(&bench.document(), None).unwrap();
    bench.write("name: other\n");
    let error = wipe(&loaded, &bench.document(), &bench.root()).unwrap_err();
    assert!(error.to_string().contains("changed meanwhile"), "{error}");
    assert_eq!(
        std::fs::read_to_string(bench.document()).unwrap(),
        "name: other\n"
    );
}

#[test]
fn a_torn_write_is_finished_by_the_next_run() {
    let bench = Bench::new();
    bench.write(&full(""));
    let loaded = load(&bench.document(), None).unwrap();
    let journal = journal(&loaded, &full(""), &bench.document()).unwrap();
    journal.save(&Disk::default(), &bench.root()).unwrap();
    // The middle of a secret became garbage.
    let mut torn = full("").into_bytes();
    let part = journal.parts.last().unwrap().clone();
    torn[part.start + 1] = 0;
    torn[part.end - 1] = b'\n';
    std::fs::write(bench.document(), &torn).unwrap();
    resume(&Disk::default(), &bench.document(), &bench.root()).unwrap();
    assert_eq!(
        std::fs::read_to_string(bench.document()).unwrap(),
        journal.document
    );

    // Another document is none of its business.
    journal.save(&Disk::default(), &bench.root()).unwrap();
    bench.write("name: other\n");
    resume(&Disk::default(), &bench.document(), &bench.root()).unwrap();
    assert_eq!(
        std::fs::read_to_string(bench.document()).unwrap(),
        "name: other\n"
    );
    assert!(bench.tree().is_empty());
}
