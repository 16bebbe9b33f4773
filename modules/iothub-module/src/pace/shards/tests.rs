use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The name of the identity that has the key.
fn owner<'n>(names: &[&'n str], key: &str) -> &'n str {
    names[Shards::new(names).owner(key)]
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("press-{number}")).collect()
}

const EIGHT: [&str; 8] = [
    "gate", "gate/s1", "gate/s2", "gate/s3", "gate/s4", "gate/s5", "gate/s6", "gate/s7",
];

#[test]
fn the_choice_is_the_same_in_every_release() {
    let keys = ["press-1", "press-2", "oven", "", "Öfen/3"];
    // Computed by another program.
    assert_eq!(
        keys.map(|key| owner(&EIGHT, key)),
        ["gate/s5", "gate/s6", "gate/s6", "gate/s7", "gate/s4"]
    );
}

#[test]
fn the_order_of_the_list_does_not_matter() {
    let mut turned = EIGHT;
    turned.reverse();
    for key in keys(200) {
        assert_eq!(owner(&EIGHT, &key), owner(&turned, &key));
    }
}

#[test]
fn keys_are_spread_evenly() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for key in keys(8000) {
        *counts.entry(owner(&EIGHT, &key)).or_default() += 1;
    }
    assert!(
        counts.len() == 8 && counts.values().all(|count| (850..1150).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn one_identity_has_all_keys() {
    assert_eq!(owner(&["gate"], "press-1"), "gate");
    assert_eq!(Shards::new::<&str>(&[]).owner("press-1"), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Adding or taking away one identity moves only the keys that must.
    #[test]
    fn only_keys_move_that_must(count in 2_usize..8, salt in any::<u32>()) {
        let (few, more) = (&EIGHT[..count - 1], &EIGHT[..count]);
        for number in 0..100 {
            let key = format!("{salt}-{number}");
            let now = owner(more, &key);
            prop_assert!(now == owner(few, &key) || now == EIGHT[count - 1]);
        }
    }
}
