//! Documents with mistakes of every kind at once.

#![allow(dead_code)] // The types are there to be read into.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::configuration::{Duration, ModuleConfiguration, Problems, load_str};
use crate::path;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Plant {
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    groups: Vec<Group>,
    #[schemars(length(max = 2))]
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    seal: Seal,
}

/// Nothing can be made up for it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Seal(#[schemars(regex(pattern = "^[0-9a-f]{40}$"))] String);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default)]
    timeout: Option<Duration>,
    #[serde(flatten)]
    transport: Transport,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Transport {
    Tcp { host: String },
    Serial { path: String },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Group {
    devices: Vec<String>,
    period: Duration,
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tag {
    name: String,
    address: u16,
    #[serde(default)]
    kind: Option<Kind>,
    #[serde(default)]
    length: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    U16,
    F32,
    F64,
    Text,
}

impl Tag {
    fn end(&self) -> u32 {
        let width = match self.kind {
            None | Some(Kind::U16) => 1,
            Some(Kind::F32) => 2,
            Some(Kind::F64) => 4,
            Some(Kind::Text) => self.length.unwrap_or(1),
        };
        u32::from(self.address) + u32::from(width)
    }
}

impl ModuleConfiguration for Plant {
    fn check(&self, problems: &mut Problems) {
        for (index, device) in self.devices.iter().enumerate() {
            let at = path!["devices", index];
            let first = self.devices.iter().position(|one| one.name == device.name);
            if let Some(first) = first.filter(|first| *first < index) {
                let place = problems.location(path!["devices", first, "name"]);
                problems.add(at.join("name"), format!("is already at {place}"));
            }
            if let Some(timeout) = device.timeout {
                let range = Duration::from_millis(10)..=Duration::from_secs(60);
                problems.check_range(at.join("timeout"), &timeout, range);
            }
        }
        for (index, group) in self.groups.iter().enumerate() {
            let at = path!["groups", index];
            for (position, name) in group.devices.iter().enumerate() {
                if !self.devices.iter().any(|device| device.name == *name) {
                    problems.add(at.join("devices").join(position), "no such device");
                }
            }
            for (position, tag) in group.tags.iter().enumerate() {
                let at = at.join("tags").join(position);
                if tag.kind == Some(Kind::Text) && tag.length.is_none() {
                    problems.add(&at, "a text needs its length");
                }
                if tag.end() > 0x1_0000 {
                    problems.add(at.join("address"), "reaches past 65535");
                }
                for (earlier, other) in group.tags.iter().take(position).enumerate() {
                    if u32::from(tag.address) < other.end() && u32::from(other.address) < tag.end()
                    {
                        let place = problems.location(path!["groups", index, "tags", earlier]);
                        problems.add(at.join("address"), format!("is also in the tag at {place}"));
                    }
                }
            }
        }
        assert!(
            self.topics.len() <= 2,
            "the schema holds whenever this is called"
        );
    }
}

fn problems(text: &str) -> Vec<String> {
    match load_str::<Plant>("plant.yaml", text) {
        Ok(_) => Vec::new(),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn expect(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected);
}

#[test]
fn every_kind_of_mistake_is_told_at_once() {
    expect(
        "
devices:
  - name: press-1
    tcp: {host: 10.0.0.5}
    timeout: 5ms
    colour: red
groups:
  - devices: [press-1, press-7]
    period: often
    tags:
      - {name: a, address: 10, kind: f32}
      - {name: b, address: 11, kind: u16}
      - {name: c, address: 70000}
      - {name: d, address: 65535, kind: f64}
      - {name: e, kind: u16}
",
        &[
            "plant.yaml:5:14: devices[0].timeout: 5ms is out of range; 10ms to 1m is allowed",
            "plant.yaml:6:5: devices[0].colour: unknown key; remove it, or use one of: name, timeout, tcp, serial",
            "plant.yaml:8:24: groups[0].devices[1]: no such device",
            "plant.yaml:9:13: groups[0].period: must be a duration: a whole number and ms, s, m or h, such as \"250ms\" or \"5m\", not the text \"often\"",
            "plant.yaml:12:28: groups[0].tags[1].address: is also in the tag at 11:9",
            "plant.yaml:13:28: groups[0].tags[2].address: 70000 is out of range; give a number from 0 to 65535",
            "plant.yaml:14:28: groups[0].tags[3].address: reaches past 65535",
            "plant.yaml:15:9: groups[0].tags[4]: the key \"address\" is missing; add it: a whole number from 0 to 65535",
        ],
    );
}

#[test]
fn what_takes_the_place_of_a_mistake_is_never_blamed() {
    // Wherever the address is put, it is in somebody's way.
    let mut tags = "      - {name: x, address: here}\n".to_owned();
    for (name, address) in [("a", 0), ("b", 65535), ("c", 21845)] {
        tags.push_str(&format!("      - {{name: {name}, address: {address}}}\n"));
    }
    expect(
        &format!("groups:\n  - devices: []\n    period: 1s\n    tags:\n{tags}"),
        &[
            "plant.yaml:5:28: groups[0].tags[0].address: must be a whole number from 0 to 65535, not the text \"here\"",
        ],
    );
}

#[test]
fn a_name_that_is_wrong_is_not_missed_by_those_who_use_it() {
    expect(
        "
devices:
  - {name: [press-1], tcp: {host: h}}
  - {name: press-2, tcp: {host: h}}
  - {name: press-2, tcp: {host: h}}
groups:
  - {devices: [press-1, press-2], period: 1s, tags: []}
",
        &[
            "plant.yaml:3:12: devices[0].name: must be a text, not a list",
            "plant.yaml:5:12: devices[2].name: is already at 4:12",
        ],
    );
}

#[test]
fn a_misspelled_key_is_taken_for_the_one_that_was_meant() {
    expect(
        "
devcies:
  - {nmae: press-1, tcp: {host: h}, timeout: 5ms}
  - {name: press-1, tcp: {host: 7}}
groups:
  - {devices: [press-1, press-7], period: 1s, tags: []}
",
        &[
            "plant.yaml:2:1: devcies: unknown key; did you mean \"devices\"?",
            "plant.yaml:3:5: devcies[0]: the key \"name\" is missing; add it: a text",
            "plant.yaml:3:6: devcies[0].nmae: unknown key; did you mean \"name\"?",
            "plant.yaml:3:46: devcies[0].timeout: 5ms is out of range; 10ms to 1m is allowed",
            "plant.yaml:4:12: devcies[1].name: is already at 3:12",
            "plant.yaml:4:33: devcies[1].tcp.host: must be a text, not the number 7",
            "plant.yaml:6:25: groups[0].devices[1]: no such device",
        ],
    );
}

#[test]
fn what_an_unknown_key_may_hold_is_not_missed() {
    expect(
        "
machines:
  - {name: press-1, tcp: {host: h}}
groups:
  - {devices: [press-1], period: 1s, tags: [{name: a, address: 1, type: text}, {name: b, address: 1}]}
",
        &[
            "plant.yaml:2:1: machines: unknown key; remove it, or use one of: devices, groups, seal, topics",
            "plant.yaml:5:67: groups[0].tags[0].type: unknown key; remove it, or use one of: address, kind, length, name",
            "plant.yaml:5:99: groups[0].tags[1].address: is also in the tag at 5:45",
        ],
    );
}

#[test]
fn an_unknown_key_that_fits_nowhere_changes_nothing() {
    expect(
        "groups:\n  - {devices: [b], wibble: wobble, tags: []}\n",
        &[
            "plant.yaml:2:5: groups[0]: the key \"period\" is missing; add it: a duration: a whole number and ms, s, m or h, such as \"250ms\" or \"5m\"",
            "plant.yaml:2:16: groups[0].devices[0]: no such device",
            "plant.yaml:2:20: groups[0].wibble: unknown key; remove it, or use one of: devices, period, tags",
        ],
    );
}

#[test]
fn many_values_that_only_the_type_refuses_are_all_told() {
    let group = "  - {devices: [b], period: 2000h, tags: []}\n";
    let found = problems(&format!("groups:\n{}", group.repeat(20)));
    assert_eq!(found.len(), 40, "{found:#?}");
}

#[test]
fn entries_keep_their_places() {
    expect(
        "groups:\n  - {devices: [1, press-7], period: 1s, tags: [7, {name: a, address: 1}, [], {name: b, address: 1}]}\n",
        &[
            "plant.yaml:2:16: groups[0].devices[0]: must be a text, not the number 1",
            "plant.yaml:2:19: groups[0].devices[1]: no such device",
            "plant.yaml:2:48: groups[0].tags[0]: must be a mapping with the keys address, kind, length, name, not the number 7",
            "plant.yaml:2:74: groups[0].tags[2]: must be a mapping with the keys address, kind, length, name, not a list",
            "plant.yaml:2:97: groups[0].tags[3].address: is also in the tag at 2:51",
        ],
    );
}

#[test]
fn what_only_the_type_refuses_does_not_hide_the_rest() {
    expect(
        "devices:\n  - {name: a, tcp: {host: h}, timeout: 5ms}\ngroups:\n  - {devices: [b], period: 2000h, tags: []}\n",
        &[
            "plant.yaml:2:40: devices[0].timeout: 5ms is out of range; 10ms to 1m is allowed",
            "plant.yaml:4:16: groups[0].devices[0]: no such device",
            "plant.yaml:4:28: groups[0].period: 2000h is too long; at most 1000h is allowed",
        ],
    );
}

#[test]
fn an_alternative_that_is_wrong_or_missing_does_not_hide_the_rest() {
    let rest = "  - {name: a, tcp: {host: h}}\n  - {name: a, tcp: {host: h}}\n";
    let twice = "plant.yaml:4:12: devices[2].name: is already at 3:12";
    for (device, problem) in [
        (
            "{name: z}",
            "plant.yaml:2:5: devices[0]: has none of the keys tcp, serial; give one",
        ),
        (
            "{name: z, tcp: {host: h}, serial: {path: p}}",
            "plant.yaml:2:5: devices[0]: fits more than one of: a mapping with the keys tcp or a mapping with the keys serial; leave only one",
        ),
        (
            "{name: z, tcp: {}}",
            "plant.yaml:2:20: devices[0].tcp: the key \"host\" is missing; add it: a text",
        ),
    ] {
        expect(
            &format!("devices:\n  - {device}\n{rest}"),
            &[problem, twice],
        );
    }
}

#[test]
fn what_cannot_be_repaired_is_told_alone() {
    expect(
        "seal: 3\ngroups:\n  - {devices: [b], period: 1s, tags: []}\n",
        &["plant.yaml:1:7: seal: must be a text, not the number 3"],
    );
    expect(
        "[a]\n",
        &[
            "plant.yaml:1:1: must be a mapping with the keys devices, groups, seal, topics, not a list",
        ],
    );
}

#[test]
fn a_list_that_is_too_long_does_not_hide_the_rest() {
    expect(
        "topics: [a, b, c]\ngroups:\n  - {devices: [b], period: 1s, tags: []}\n",
        &[
            "plant.yaml:1:9: topics: the list is too long; at most 2 entries",
            "plant.yaml:3:16: groups[0].devices[0]: no such device",
        ],
    );
}

#[test]
fn a_wrong_name_of_the_document_does_not_hide_the_rest() {
    expect(
        "name: [x]\ngroups:\n  - {devices: [b], period: 1s, tags: []}\n",
        &[
            "plant.yaml:1:7: name: must be a text, not a list",
            "plant.yaml:3:16: groups[0].devices[0]: no such device",
        ],
    );
}

/// Whatever is broken in a document with semantic problems: of these only such are told that the whole one has, and most.
#[test]
fn no_mistake_brings_up_another() {
    let whole = json!({
        "devices": [
            {"name": "a", "tcp": {"host": "h"}, "timeout": "1s"},
            {"name": "b", "serial": {"path": "p"}, "timeout": "1ms"},
            {"name": "a", "tcp": {"host": "h"}},
        ],
        "groups": [
            {"devices": ["a", "x", "b", "y"], "period": "1s", "tags": [
                {"name": "a", "address": 0, "kind": "f32"},
                {"name": "b", "address": 1},
                {"name": "c", "address": 65535, "kind": "f64"},
                {"name": "d", "address": 100, "kind": "text"},
                {"name": "e", "address": 200, "kind": "text", "length": 5},
                {"name": "f", "address": 204, "kind": "u16"},
            ]},
        ],
        "topics": ["t"],
    });
    let there = semantic(&whole);
    assert_eq!(there.len(), 8, "{there:?}");
    let mut paths = Vec::new();
    places(&whole, "", &mut paths);
    let (mut documents, mut told) = (0, 0);
    for path in &paths {
        for broken in broken(&whole, path) {
            let found = semantic(&broken);
            assert!(
                found.is_subset(&there),
                "{path}: {:?} in {broken}",
                found.difference(&there).collect::<Vec<_>>()
            );
            documents += 1;
            told += found.len();
        }
    }
    assert!(documents > 200, "{documents}");
    let kept = told * 100 / (documents * there.len());
    assert!(kept > 85, "only {kept} % of what is wrong was told");
}

/// (path, message) of what the check found; places in messages move with the mistakes.
fn semantic(document: &Value) -> BTreeSet<(String, String)> {
    let Err(error) = load_str::<Plant>("plant.json", &document.to_string()) else {
        return BTreeSet::new();
    };
    let of_check = [
        "is already",
        "no such",
        "needs its",
        "reaches",
        "is also",
        "to 1m is",
    ];
    error
        .problems
        .into_iter()
        .filter(|problem| of_check.iter().any(|words| problem.message.contains(words)))
        .map(|problem| {
            let message = problem.message.split(" at ").next().unwrap().to_owned();
            (problem.path, message)
        })
        .collect()
}

fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(entries) => {
            for (key, item) in entries {
                places(item, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

/// The document with another mistake at a place: wrong types, a key that nobody knows, one in place of the right one.
fn broken(whole: &Value, place: &str) -> Vec<Value> {
    let value = whole.pointer(place).unwrap();
    let mut documents = Vec::new();
    for wrong in [json!([]), json!({}), json!(true), json!(-1), json!(null)] {
        let mut document = whole.clone();
        *document.pointer_mut(place).unwrap() = wrong;
        // Nothing, where that is allowed, is another document and not a broken one.
        if !holds_but_for_the_check(&document) {
            documents.push(document);
        }
    }
    if value.is_object() {
        let mut document = whole.clone();
        document.pointer_mut(place).unwrap()["colour"] = json!("red");
        documents.push(document);
    }
    let (above, key) = place.rsplit_once('/').unwrap_or_default();
    let mut document = whole.clone();
    if let Some(object) = document.pointer_mut(above).and_then(Value::as_object_mut)
        && let Some(value) = object.remove(key)
    {
        object.insert("unheard-of".to_owned(), value);
        documents.push(document);
    }
    documents
}

fn holds_but_for_the_check(document: &Value) -> bool {
    serde_json::from_value::<Plant>(document.clone()).is_ok()
}
