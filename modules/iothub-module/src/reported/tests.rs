use iothub_protocol::twin::{check_patch, merge_patch};
use proptest::prelude::*;

use super::*;

fn at(second: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(second).unwrap()
}

/// Reports what is to be reported to a model of the hub.
fn report(reported: &mut Reported, hub: &mut Value) -> Option<Value> {
    if !reported.knows_hub() {
        reported.found(hub);
    }
    let wanted = reported.wanted();
    let patch = reported.patch(&wanted)?;
    merge_patch(hub, &patch);
    reported.confirmed(wanted);
    Some(patch)
}

#[test]
fn only_what_changed_is_reported() {
    let (mut reported, mut hub) = (Reported::default(), json!({}));
    reported.set(
        "modbus-reader",
        Some(json!({"ready": true, "details": {"lines": 2}})),
        at(1),
    );
    reported.set("opcua-bridge", Some(json!({"ready": false})), at(1));
    report(&mut reported, &mut hub);
    assert_eq!(report(&mut reported, &mut hub), None);
    reported.set(
        "modbus-reader",
        Some(json!({"ready": true, "details": {"lines": 3}})),
        at(2),
    );
    let patch = report(&mut reported, &mut hub).unwrap();
    assert_eq!(
        patch,
        json!({"modules": {"modbus-reader": {"details": {"lines": 3}}}})
    );
}

#[test]
fn what_a_status_no_longer_has_is_removed() {
    let (mut reported, mut hub) = (Reported::default(), json!({}));
    reported.set("a", Some(json!({"ready": true, "warning": "x"})), at(1));
    report(&mut reported, &mut hub);
    reported.set("a", Some(json!({"ready": true, "warning": null})), at(2));
    assert_eq!(
        report(&mut reported, &mut hub),
        Some(json!({"modules": {"a": {"warning": null}}}))
    );
    reported.set("a", None, at(3));
    assert_eq!(
        report(&mut reported, &mut hub),
        Some(json!({"modules": {"a": null}}))
    );
    assert_eq!(hub, json!({"modules": {}}));
}

#[test]
fn after_a_start_what_an_earlier_run_left_is_mended_and_strangers_are_kept() {
    let mut reported = Reported::default();
    let mut hub = json!({"other": 1, "modules": {
        "a": {"ready": false, "reasons": {"sidecar": "starting"}},
        "b": {"ready": true},
        "c": {"ready": true, "old": 1},
    }});
    reported.set("a", Some(json!({"ready": true})), at(1));
    reported.set("b", None, at(1));
    assert_eq!(
        report(&mut reported, &mut hub),
        Some(json!({"modules": {"a": {"ready": true, "reasons": null}, "b": null}}))
    );
    reported.set("c", Some(json!({"ready": true, "new": 2})), at(2));
    assert_eq!(
        report(&mut reported, &mut hub),
        Some(json!({"modules": {"c": {"old": null, "new": 2}}}))
    );
    reported.forget_hub();
    assert_eq!(report(&mut reported, &mut hub), None, "it is all there");
    assert_eq!(hub["other"], 1);
}

#[test]
fn an_older_status_does_not_replace_a_newer_one() {
    let mut reported = Reported::default();
    reported.set("a", Some(json!({"n": 2})), at(2));
    reported.set("a", Some(json!({"n": 1})), at(1));
    assert_eq!(reported.wanted(), json!({"modules": {"a": {"n": 2}}}));
}

#[test]
fn a_clock_that_was_set_back_does_not_freeze_a_status() {
    let mut reported = Reported::default();
    let now = OffsetDateTime::now_utc();
    reported.set("a", Some(json!({"n": 1})), now + time::Duration::days(1));
    reported.set("a", Some(json!({"n": 2})), now);
    assert_eq!(reported.wanted(), json!({"modules": {"a": {"n": 2}}}));
}

#[test]
fn error_lists_give_way_first() {
    let mut reported = Reported::default();
    let errors: Vec<String> = (0..40)
        .map(|number| format!("{number}: {}", "x".repeat(1500)))
        .collect();
    reported.set(
        "a",
        Some(json!({"ready": false, "configuration": {"state": "rejected", "errors": errors}})),
        at(1),
    );
    reported.set(
        "b",
        Some(json!({"ready": true, "details": {"lines": 2}})),
        at(1),
    );
    let wanted = reported.wanted();
    assert!(wanted.to_string().len() <= 30 * 1024);
    let a = &wanted["modules"]["a"];
    assert!(!a["configuration"]["errors"].as_array().unwrap().is_empty());
    assert_eq!(
        (&a["configuration"]["state"], &a["truncated"]),
        (&json!("rejected"), &json!(true))
    );
    assert_eq!(
        wanted["modules"]["b"],
        json!({"ready": true, "details": {"lines": 2}})
    );
}

#[test]
fn what_a_twin_does_not_take_is_given_a_form_that_it_takes() {
    let mut deep = json!("bottom");
    for _ in 0..20 {
        deep = json!({ "down": deep });
    }
    let mut reported = Reported::default();
    let status = json!({"a.b$c d": 1, "long": "ä".repeat(5000), "wide": u64::MAX, "deep": deep, "list": [[1], {"x.y": 2}]});
    reported.set("m.1", Some(status), at(1));
    let wanted = reported.wanted();
    check_patch(&wanted).unwrap();
    let status = &wanted["modules"]["m_1"];
    assert_eq!(
        (&status["a_b_c_d"], &status["wide"]),
        (&json!(1), &json!("18446744073709551615"))
    );
    assert!(status["long"].as_str().unwrap().ends_with('…'));
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z.$ ]{0,12}".prop_map(Value::from),
        (100usize..6000).prop_map(|length| Value::from("y".repeat(length))),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map("[a-z.]{1,6}|errors|details|configuration", inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn status() -> impl Strategy<Value = Option<Value>> {
    prop::option::weighted(
        0.9,
        prop::collection::btree_map(
            "[a-z]{1,6}|errors|details|configuration",
            json_value(),
            0..6,
        )
        .prop_map(|map| Value::Object(map.into_iter().collect())),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_hub_ends_up_with_what_is_wanted_and_within_its_limits(
        steps in prop::collection::vec(("[a-d]", status(), prop::bool::weighted(0.2)), 1..20),
    ) {
        let (mut reported, mut hub) = (Reported::default(), json!({}));
        for (second, (module, status, reconnect)) in steps.into_iter().enumerate() {
            reported.set(&module, status, at(second as i64));
            if reconnect {
                // The hub keeps its section over a reconnect.
                reported.forget_hub();
            }
            if let Some(patch) = report(&mut reported, &mut hub) {
                prop_assert!(check_patch(&patch).is_ok(), "{:?}", check_patch(&patch));
            }
            let wanted = reported.wanted();
            prop_assert!(wanted.to_string().len() <= 32 * 1024);
            if !reconnect {
                prop_assert_eq!(&reported.patch(&wanted), &None);
            }
        }
    }
}
