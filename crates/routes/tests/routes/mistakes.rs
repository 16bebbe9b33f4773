//! What is said about rules that cannot be: every mistake at once, with its place and its remedy.

use crate::document;

/// Asserts that a document has exactly these problems: where each begins, and words of its message.
fn assert_problems(text: &str, expected: &[(&str, &str)]) {
    let problems = document::load(text).unwrap_err();
    for (place, words) in expected {
        let found = problems
            .iter()
            .find(|problem| problem.starts_with(&format!("{place}: ")));
        assert!(
            found.is_some_and(|problem| problem.contains(words)),
            "{place}: {words}\nin {problems:#?}"
        );
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
}

#[test]
fn every_mistake_is_told_with_its_place() {
    assert_problems(
        r#"routes:
  - name: default
    when: {topic: telemety}
  - name: a b
    when: {topic: [telemetry, alarm*, x]}
  - name: high
    when:
      subject: ""
      source: []
      attributes: {Severity: high, data: x}
      data:
        values..pressure: {above: 8}
        values.a: {above: 8, below: 8}
        values.b: {at_least: 5, below: 5.0}
        values.c: {exists: false, equals: 1}
        values.d: {}
        values.e: {one_of: []}
    ttl: 10ms
    identity: line-5
  - name: high
    when: {all: [], any: [{}], not: {}, data: {}, attributes: {}}
    drop: true
    priority: 3
    batch: {max_bytes: 512KiB, max_delay: 1ms}
  - name: props
    when: {topic: alarms}
    properties:
      topic: x
      $.mid: x
      iothub-x: x
      none: {}
      both: {attribute: id, data: a}
      wrong: {attribute: Id}
      path: {data: "a..b"}
"#,
        &[
            ("2:11: routes[0].name", "takes all the others"),
            (
                "3:19: routes[0].when.topic",
                "events come from telemetry, alarms",
            ),
            ("4:11: routes[1].name", "is not a name"),
            ("5:39: routes[1].when.topic[2]", "can never hold"),
            ("8:16: routes[2].when.subject", "give a text, or *"),
            ("9:15: routes[2].when.source", "name a text"),
            ("10:20: routes[2].when.attributes.Severity", "a-z and 0-9"),
            ("10:36: routes[2].when.attributes.data", "named under data"),
            (
                "12:9: routes[2].when.data[\"values..pressure\"]",
                "empty step",
            ),
            (
                "13:19: routes[2].when.data[\"values.a\"]",
                "no number is above 8 and below 8",
            ),
            (
                "14:19: routes[2].when.data[\"values.b\"]",
                "no number is at least 5 and below 5",
            ),
            (
                "15:28: routes[2].when.data[\"values.c\"].exists",
                "can never hold",
            ),
            (
                "16:19: routes[2].when.data[\"values.d\"]",
                "compare with equals",
            ),
            (
                "17:28: routes[2].when.data[\"values.e\"].one_of",
                "name a value",
            ),
            ("18:10: routes[2].ttl", "1s to 1000h"),
            ("19:15: routes[2].identity", "use one of plant, line-4"),
            ("20:11: routes[3].name", "is the name of the rule at 6:11"),
            ("21:17: routes[3].when.all", "is empty"),
            ("21:27: routes[3].when.any[0]", "is empty"),
            ("21:37: routes[3].when.not", "is empty"),
            ("21:47: routes[3].when.data", "is empty"),
            ("21:63: routes[3].when.attributes", "is empty"),
            ("23:5: routes[3].priority", "beside drop"),
            ("24:5: routes[3].batch", "beside drop"),
            ("24:24: routes[3].batch.max_bytes", "1KiB to 256KiB"),
            ("24:43: routes[3].batch.max_delay", "10ms to 1h"),
            ("28:7: routes[4].properties.topic", "already"),
            ("29:7: routes[4].properties[\"$.mid\"]", "system properties"),
            ("30:7: routes[4].properties.iothub-x", "IoT Hub's own"),
            ("31:13: routes[4].properties.none", "give attribute or data"),
            ("32:13: routes[4].properties.both", "keep one"),
            ("33:26: routes[4].properties.wrong.attribute", "a-z and 0-9"),
            ("34:20: routes[4].properties.path.data", "empty step"),
        ],
    );
}

#[test]
fn what_the_schema_refuses_is_told_together_with_the_rest() {
    assert_problems(
        r#"routes:
  - name: high
    when:
      topics: telemetry
      data:
        values.pressure: {abov: 8.5}
        values.temperature: {above: hot}
        values.mode: {is: string}
        values.list: [a, [b]]
    priority: 10
    properties: {line: [4]}
    batch: {encoding: zip}
  - name: rest
    ttl: 5d
  - name: behind
    when: {topic: alarms}
"#,
        &[
            ("4:7: routes[0].when.topics", "did you mean \"topic\"?"),
            (
                "6:27: routes[0].when.data[\"values.pressure\"].abov",
                "did you mean \"above\"?",
            ),
            (
                "7:37: routes[0].when.data[\"values.temperature\"].above",
                "must be a number",
            ),
            ("8:27: routes[0].when.data[\"values.mode\"].is", "number"),
            ("9:26: routes[0].when.data[\"values.list\"][1]", "must be"),
            ("10:15: routes[0].priority", "from 0 to 9"),
            ("11:24: routes[0].properties.line", "must be"),
            (
                "12:23: routes[0].batch.encoding",
                "plain, compact, opcua-pubsub-json",
            ),
            ("14:10: routes[1].ttl", "a duration"),
            ("15:5: routes[2]", "the rule at 13:5 takes every event"),
        ],
    );
}

#[test]
fn rules_that_are_never_reached_are_mistakes() {
    assert_problems(
        "routes:\n  - {name: a, when: {topic: alarms}}\n  - {name: b, when: {topic: alarms}, priority: 9}\n  - {name: c}\n  - {name: d}\n",
        &[
            (
                "3:21: routes[1].when",
                "the rule at 2:5 has the same conditions",
            ),
            ("5:5: routes[3]", "the rule at 4:5 takes every event"),
        ],
    );
}

#[test]
fn conditions_are_not_nested_for_ever() {
    let not = "{not: ".repeat(8);
    let good = format!(
        "routes: [{{name: a, when: {not}{{topic: alarms}}{}}}]",
        "}".repeat(8)
    );
    document::load(&good).unwrap();
    let bad = format!(
        "routes: [{{name: a, when: {{not: {not}{{topic: alarms}}{}}}]",
        "}".repeat(9)
    );
    let problems = document::load(&bad).unwrap_err();
    assert!(problems[0].contains("nested too deep"), "{problems:#?}");
}

#[test]
fn a_document_has_256_rules_at_most() {
    let rules: Vec<String> = (0..257)
        .map(|index| format!("{{name: r{index}, when: {{subject: s{index}}}}}"))
        .collect();
    let problems = document::load(&format!("routes: [{}]", rules.join(", "))).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].contains("257 rules; at most 256"),
        "{problems:#?}"
    );
}
