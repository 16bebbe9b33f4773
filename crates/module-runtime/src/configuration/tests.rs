//! Every kind of mistake, with its exact place.

#![allow(dead_code)] // The types are there to be read into.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::path;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Plant {
    #[serde(default)]
    links: Vec<Link>,
    devices: Vec<Device>,
    #[serde(default)]
    publish: Option<Publish>,
    #[serde(default)]
    on_full: Option<WhenFull>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Link {
    name: String,
    #[serde(flatten)]
    transport: Transport,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Transport {
    Tcp(Tcp),
    Serial(Serial),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Tcp {
    host: String,
    #[serde(default)]
    port: Option<u16>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Serial {
    path: String,
    parity: Parity,
}

/// Documented variants make a oneOf of constants.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Parity {
    /// An even number of ones.
    Even,
    /// An odd number of ones.
    Odd,
    /// No parity bit.
    None,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum WhenFull {
    DropOldest,
    DropNewest,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Device {
    name: String,
    #[schemars(range(min = 1, max = 247))]
    unit: u8,
    #[serde(default)]
    period: Option<Duration>,
    #[serde(default)]
    scale: Option<f64>,
    #[serde(default)]
    count: u32,
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    enabled: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Source {
    File { path: String },
    Secret { store: String, key: String },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Publish {
    topic: String,
    buffer: ByteSize,
}

impl ModuleConfiguration for Plant {
    fn check(&self, problems: &mut Problems) {
        for (index, device) in self.devices.iter().enumerate() {
            if let Some(period) = device.period {
                problems.check_range(
                    path!["devices", index, "period"],
                    &period,
                    Duration::from_millis(10)..=Duration::from_secs(60),
                );
            }
            if device.name == "forbidden" {
                problems.add(path!["devices", index, "unit"], "is taken; choose another");
                problems.add(path!["devices", index, "scale"], "is needed here");
            }
        }
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

const DEVICES: &str = "devices: []\n";

#[test]
fn a_good_document_is_loaded_without_its_name_and_version() {
    let text = "name: line-4\nversion: 3\ndevices:\n  - {name: press-1, unit: 1, period: 250ms}\npublish: {topic: t, buffer: 64KiB}\nlinks:\n  - {name: a, tcp: {host: h}}\n";
    let loaded = load_str::<Plant>("plant.yaml", text).unwrap();
    assert_eq!(
        (loaded.name.as_str(), loaded.version.as_str()),
        ("line-4", "3")
    );
    assert_eq!(loaded.hash.len(), 64);
    let plant = &loaded.configuration;
    assert_eq!(plant.devices[0].period.unwrap().as_millis(), 250);
    assert_eq!(plant.publish.as_ref().unwrap().buffer.get(), 65536);
}

#[test]
fn json_is_read_too() {
    let text = "{\n\t\"devices\": [\n\t\t{\"name\": \"a\", \"unit\": 500}\n\t]\n}\n";
    expect(
        text,
        &["plant.yaml:3:25: devices[0].unit: 500 is out of range; give a number from 1 to 247"],
    );
}

#[test]
fn unknown_keys_are_found_with_the_one_meant() {
    expect(
        "devices:\n  - name: a\n    unit: 1\n    peroid: 1s\n    colour: red\nlabel: {}\n",
        &[
            "plant.yaml:4:5: devices[0].peroid: unknown key; did you mean \"period\"?",
            "plant.yaml:5:5: devices[0].colour: unknown key; remove it, or use one of: count, enabled, name, period, scale, source, unit",
            "plant.yaml:6:1: label: unknown key; did you mean \"labels\"?",
        ],
    );
}

#[test]
fn wrong_types_are_told_with_what_is_wanted() {
    expect(
        "devices:\n  - name: 7\n    unit: one\n    scale: big\n    period: 100\n    enabled: 1\nlabels: [a]\n",
        &[
            "plant.yaml:2:11: devices[0].name: must be a text, not the number 7",
            "plant.yaml:3:11: devices[0].unit: must be a whole number from 1 to 247, not the text \"one\"",
            "plant.yaml:4:12: devices[0].scale: must be a number, not the text \"big\"",
            "plant.yaml:5:13: devices[0].period: must be a duration: a whole number and ms, s, m or h, such as \"250ms\" or \"5m\", not the number 100",
            "plant.yaml:6:14: devices[0].enabled: must be true or false, not the number 1",
            "plant.yaml:7:9: labels: must be a mapping, not a list",
        ],
    );
}

#[test]
fn missing_keys_are_told_at_their_mapping() {
    expect(
        "devices:\n  - name: a\n  - unit: 3\n",
        &[
            "plant.yaml:2:5: devices[0]: the key \"unit\" is missing; add it: a whole number from 1 to 247",
            "plant.yaml:3:5: devices[1]: the key \"name\" is missing; add it: a text",
        ],
    );
    expect(
        "",
        &["plant.yaml:1:1: the key \"devices\" is missing; add it: a list"],
    );
    expect(
        "# nothing\n",
        &["plant.yaml:1:1: the key \"devices\" is missing; add it: a list"],
    );
}

#[test]
fn numbers_out_of_range_are_told_with_the_range() {
    expect(
        "devices:\n  - {name: a, unit: 0}\n  - {name: b, unit: 248}\n  - {name: c, unit: 1, count: 4294967296}\n  - {name: d, unit: 1, count: -1}\n",
        &[
            "plant.yaml:2:21: devices[0].unit: 0 is out of range; give a number from 1 to 247",
            "plant.yaml:3:21: devices[1].unit: 248 is out of range; give a number from 1 to 247",
            "plant.yaml:4:31: devices[2].count: 4294967296 is out of range; give a number from 0 to 4294967295",
            "plant.yaml:5:31: devices[3].count: -1 is out of range; give a number from 0 to 4294967295",
        ],
    );
}

#[test]
fn choices_are_listed_and_the_near_one_named() {
    expect(
        &format!(
            "{DEVICES}on_full: drop-oldets\nlinks:\n  - name: a\n    serial:\n      path: /dev/ttyS0\n      parity: evne\n"
        ),
        &[
            "plant.yaml:2:10: on_full: must be one of drop-oldest, drop-newest, not the text \"drop-oldets\"; did you mean drop-oldest?",
            "plant.yaml:7:15: links[0].serial.parity: must be one of even, odd, none, not the text \"evne\"; did you mean even?",
        ],
    );
}

#[test]
fn an_optional_part_is_explained_like_a_required_one() {
    expect(
        &format!("{DEVICES}publish:\n  topik: t\n  buffer: 64KB\n"),
        &[
            "plant.yaml:3:3: publish: the key \"topic\" is missing; add it: a text",
            "plant.yaml:3:3: publish.topik: unknown key; did you mean \"topic\"?",
            "plant.yaml:4:11: publish.buffer: must be a size: a whole number and B, KiB, MiB or GiB, such as \"64KiB\", or a number of bytes, not the text \"64KB\"",
        ],
    );
    expect(
        &format!("{DEVICES}publish: 3\n"),
        &[
            "plant.yaml:2:10: publish: must be a mapping with the keys buffer, topic, not the number 3",
        ],
    );
}

#[test]
fn the_alternative_that_was_meant_is_explained() {
    expect(
        &format!("{DEVICES}links:\n  - name: a\n    tcp: {{host: 5, prot: 1}}\n"),
        &[
            "plant.yaml:4:17: links[0].tcp.host: must be a text, not the number 5",
            "plant.yaml:4:20: links[0].tcp.prot: unknown key; did you mean \"port\"?",
        ],
    );
    expect(
        &format!("{DEVICES}links:\n  - name: a\n"),
        &["plant.yaml:3:5: links[0]: has none of the keys tcp, serial; give one"],
    );
    expect(
        &format!("{DEVICES}links:\n  - name: a\n    tpc: {{host: h}}\n"),
        &[
            "plant.yaml:3:5: links[0]: has none of the keys tcp, serial; give one; did you mean \"tcp\"?",
            "plant.yaml:4:5: links[0].tpc: unknown key; did you mean \"tcp\"?",
        ],
    );
}

#[test]
fn a_tagged_alternative_is_found_by_its_tag() {
    let device = |source: &str| format!("devices:\n  - {{name: a, unit: 1, source: {source}}}\n");
    expect(
        &device("{kind: file, pth: x}"),
        &[
            "plant.yaml:2:32: devices[0].source: the key \"path\" is missing; add it: a text",
            "plant.yaml:2:45: devices[0].source.pth: unknown key; did you mean \"path\"?",
        ],
    );
    expect(
        &device("{kind: fiel, path: x}"),
        &[
            "plant.yaml:2:39: devices[0].source.kind: must be one of file, secret, not the text \"fiel\"; did you mean file?",
        ],
    );
    expect(
        &device("{path: x}"),
        &[
            "plant.yaml:2:32: devices[0].source: the key \"kind\" is missing; add it: one of file, secret",
        ],
    );
}

#[test]
fn syntax_errors_are_located() {
    let first = |text: &str| problems(text).remove(0);
    assert!(
        first("devices:\n  - name: \"a\n").starts_with("plant.yaml:"),
        "{}",
        first("devices:\n  - name: \"a\n")
    );
    let tab = first("devices:\n\t- name: a\n");
    assert!(tab.starts_with("plant.yaml:2:"), "{tab}");
    assert!(tab.ends_with("indent with spaces, not with a tab"), "{tab}");
    let colon = first("devices:\n  - name: a: b\n");
    assert!(
        colon.starts_with("plant.yaml:2:12: not valid YAML"),
        "{colon}"
    );
}

#[test]
fn duplicate_keys_are_errors() {
    expect(
        "devices:\n  - name: a\n    unit: 1\n    name: b\n",
        &["plant.yaml:4:5: the key \"name\" appears twice in this mapping; remove one of the two"],
    );
    expect(
        "devices: []\nlabels: {1: a, \"1\": b}\n",
        &["plant.yaml:2:16: labels.1: appears twice; remove one of the two"],
    );
}

#[test]
fn what_json_cannot_hold_is_refused() {
    expect(
        "devices:\n  - {name: a, unit: 1, scale: .inf}\n",
        &[
            "plant.yaml:2:31: devices[0].scale: is not a finite number; a configuration has no use for .inf and .nan",
        ],
    );
    expect(
        "devices: []\n---\ndevices: []\n",
        &["plant.yaml:3:1: a second document starts here; a configuration file holds exactly one"],
    );
    assert!(problems("devices: !set {a, b}\n")[0].contains("has the tag"));
    assert!(problems("devices: []\n[1]: x\n")[0].contains("a key must be a plain text"));
}

#[test]
fn a_document_of_another_shape_is_told() {
    expect(
        "- a\n",
        &[
            "plant.yaml:1:1: must be a mapping with the keys devices, labels, links, on_full, publish, not a list",
        ],
    );
    expect(
        "name: [x]\ndevices: []\n",
        &["plant.yaml:1:7: name: must be a text, not a list"],
    );
}

#[test]
fn semantic_problems_are_placed_at_what_they_name() {
    expect(
        "devices:\n  - name: forbidden\n    unit: 5\n    period: 5ms\n",
        &[
            "plant.yaml:2:5: devices[0].scale: is needed here",
            "plant.yaml:3:11: devices[0].unit: is taken; choose another",
            "plant.yaml:4:13: devices[0].period: 5ms is out of range; 10ms to 1m is allowed",
        ],
    );
}

#[test]
fn anchors_work_and_bombs_do_not() {
    assert!(problems("devices:\n  - &d {name: a, unit: 1}\n  - *d\n").is_empty());
    let mut bomb = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let refs = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("b{level}: &a{level} [{refs}]\n"));
    }
    assert!(
        problems(&bomb)[0].contains("not valid YAML"),
        "{:?}",
        problems(&bomb)
    );
}

#[test]
fn deep_nesting_does_not_end_the_process() {
    for depth in [100, 200, 5_000, 200_000] {
        let brackets = format!("devices: {}{}\n", "[".repeat(depth), "]".repeat(depth));
        assert!(!problems(&brackets).is_empty());
        let dashes = format!("devices:\n{}x\n", "- ".repeat(depth));
        assert!(!problems(&dashes).is_empty());
    }
}

#[test]
fn large_integers_stay_exact() {
    let document = Document::parse(
        "x",
        "a: 18446744073709551615\nb: -9223372036854775808\nc: 1.5e300\n",
    )
    .unwrap();
    assert_eq!(document.value()["a"].as_u64(), Some(u64::MAX));
    assert_eq!(document.value()["b"].as_i64(), Some(i64::MIN));
    assert_eq!(document.value()["c"].as_f64(), Some(1.5e300));
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none.yaml");
    let error = load::<Plant>(&missing).unwrap_err().to_string();
    assert!(error.contains("none.yaml: cannot be opened"), "{error}");
    let latin = directory.path().join("latin.yaml");
    std::fs::write(&latin, b"devices: []\n# M\xfcller\n").unwrap();
    let error = load::<Plant>(&latin).unwrap_err().to_string();
    assert!(
        error.ends_with("latin.yaml:2:4: is not UTF-8; save the file as UTF-8"),
        "{error}"
    );
    let bom = directory.path().join("bom.yaml");
    std::fs::write(&bom, b"\xef\xbb\xbfdevices: []\n").unwrap();
    assert!(load::<Plant>(&bom).is_ok());
}

#[test]
fn the_schema_knows_name_and_version() {
    let schema = document_schema::<Plant>();
    assert!(schema["properties"]["name"].is_object());
    assert!(schema["properties"]["version"].is_object());
    assert!(jsonschema::validator_for(&schema).is_ok());
}
