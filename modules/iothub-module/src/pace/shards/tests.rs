use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

fn up(names: &[&str]) -> Shards {
    let mut shards = Shards::new(names).unwrap();
    bring_up(&mut shards);
    shards
}

fn bring_up(shards: &mut Shards) {
    for identity in shards.identities_in_use().to_vec() {
        shards.set_up(identity, true);
    }
}

/// The name of the identity that has the key.
fn owner(shards: &Shards, key: &str) -> String {
    let (Route::By(identity) | Route::Down(identity) | Route::Draining(identity)) =
        shards.route(key);
    shards.name(identity).to_owned()
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("press-{number}")).collect()
}

const EIGHT: [&str; 8] = [
    "gate", "gate/s1", "gate/s2", "gate/s3", "gate/s4", "gate/s5", "gate/s6", "gate/s7",
];

#[test]
fn the_choice_is_the_same_in_every_release() {
    let shards = up(&EIGHT);
    let owners: Vec<String> = ["press-1", "press-2", "oven", "", "Öfen/3"]
        .iter()
        .map(|key| owner(&shards, key))
        .collect();
    // Computed by another program.
    assert_eq!(
        owners,
        ["gate/s5", "gate/s6", "gate/s6", "gate/s7", "gate/s4"]
    );
}

#[test]
fn the_order_of_the_list_and_repeats_do_not_matter() {
    let shards = up(&EIGHT);
    let mut turned = EIGHT.to_vec();
    turned.reverse();
    turned.push("gate/s3");
    let other = up(&turned);
    assert_eq!(other.identities_in_use().len(), 8);
    for key in keys(200) {
        assert_eq!(owner(&shards, &key), owner(&other, &key));
    }
}

#[test]
fn keys_are_spread_evenly() {
    let shards = up(&EIGHT);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for key in keys(8000) {
        *counts.entry(owner(&shards, &key)).or_default() += 1;
    }
    assert!(
        counts.len() == 8 && counts.values().all(|count| (850..1150).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn without_identities_there_is_nothing() {
    assert_eq!(Shards::new::<&str>(&[]).err(), Some(NoIdentity));
    let mut shards = up(&["gate"]);
    assert_eq!(shards.change::<&str>(&[]), Err(NoIdentity));
    assert_eq!(owner(&shards, "press-1"), "gate");
}

#[test]
fn while_one_identity_is_down_its_keys_wait_and_the_others_flow() {
    let mut shards = up(&EIGHT);
    let down = shards.identities_in_use()[3];
    let before: Vec<String> = keys(200).iter().map(|key| owner(&shards, key)).collect();
    shards.set_up(down, false);
    let mut waiting = 0;
    for (key, before) in keys(200).iter().zip(&before) {
        match shards.route(key) {
            Route::By(identity) => assert_eq!(shards.name(identity), before),
            Route::Down(identity) => {
                assert_eq!(identity, down);
                waiting += 1;
            }
            Route::Draining(_) => panic!("nothing changes"),
        }
    }
    assert!((10..50).contains(&waiting), "{waiting} of 200");
}

#[test]
fn a_key_that_moves_waits_for_what_is_in_flight_and_others_do_not() {
    let mut shards = up(&["gate", "gate/s1"]);
    let keys = keys(100);
    let old: HashMap<&String, String> = keys.iter().map(|key| (key, owner(&shards, key))).collect();
    let gate = shards.identities_in_use()[0];
    let in_flight = shards.sent(gate);
    shards.change(&["gate", "gate/s1", "gate/s2"]).unwrap();
    bring_up(&mut shards);
    assert!(shards.is_changing());
    let (mut moved, mut held) = (0, 0);
    for key in &keys {
        match shards.route(key) {
            Route::Draining(identity) => {
                assert_eq!((identity, old[key].as_str()), (gate, "gate"));
                held += 1;
            }
            Route::By(identity) if shards.name(identity) == old[key] => {}
            // The other identity has nothing in flight.
            Route::By(_) => {
                assert_eq!(old[key], "gate/s1");
                moved += 1;
            }
            Route::Down(_) => panic!("all are up"),
        }
    }
    assert!(held > 5 && moved > 5, "{held}, {moved}");
    let later = shards.sent(gate);
    shards.settled(&in_flight);
    assert!(
        !shards.is_changing(),
        "what was sent after the change is not waited for"
    );
    assert!(
        keys.iter()
            .all(|key| matches!(shards.route(key), Route::By(_)))
    );
    shards.settled(&later);
}

#[test]
fn a_second_change_waits_for_the_first() {
    let mut shards = up(&["gate"]);
    let gate = shards.identities_in_use()[0];
    let first = shards.sent(gate);
    shards.change(&["gate/s1"]).unwrap();
    shards.change(&["gate/s2"]).unwrap();
    shards.change(&["gate/s2"]).unwrap();
    bring_up(&mut shards);
    assert_eq!(shards.route("press-1"), Route::Draining(gate));
    shards.settled(&first);
    assert!(!shards.is_changing());
    assert_eq!(owner(&shards, "press-1"), "gate/s2");
}

/// What became of each message, per key.
#[derive(Debug, Default)]
struct World {
    /// Next number of each key to send.
    next: HashMap<String, u64>,
    /// In flight, in the order of sending: key, number.
    flying: Vec<(String, u64, Shipped)>,
    /// What each key has at the hub.
    arrived: HashMap<String, Vec<u64>>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Adding or taking away one identity moves only the keys that must.
    #[test]
    fn only_keys_move_that_must(count in 2_usize..8, salt in any::<u32>()) {
        let few = up(&EIGHT[..count - 1]);
        let more = up(&EIGHT[..count]);
        for number in 0..100 {
            let key = format!("{salt}-{number}");
            let now = owner(&more, &key);
            prop_assert!(now == owner(&few, &key) || now == EIGHT[count - 1]);
        }
    }

    /// Identities confirm in any order among each other (in order each), go down and up, and the set changes: every key arrives in order.
    #[test]
    fn whatever_happens_a_key_stays_in_order(
        steps in prop::collection::vec((0_u8..10, any::<prop::sample::Index>(), 1_u8..=255), 1..400),
    ) {
        let mut shards = up(&EIGHT[..3]);
        let mut world = World::default();
        let keys = keys(12);
        for (step, which, bits) in steps {
            match step {
                0..=4 => {
                    let key = which.get(&keys);
                    if let Route::By(identity) = shards.route(key) {
                        let number = world.next.entry(key.clone()).or_default();
                        let shipped = shards.sent(identity);
                        world.flying.push((key.clone(), *number, shipped));
                        *number += 1;
                    }
                }
                5..=7 => {
                    if let Some((_, _, chosen)) = (!world.flying.is_empty()).then(|| which.get(&world.flying)) {
                        // The connection of one identity keeps its order.
                        let place = world.flying.iter().position(|(_, _, shipped)| shipped.identity == chosen.identity).unwrap();
                        let (key, number, shipped) = world.flying.remove(place);
                        shards.settled(&shipped);
                        world.arrived.entry(key).or_default().push(number);
                    }
                }
                8 => {
                    let identities = shards.identities_in_use().to_vec();
                    shards.set_up(*which.get(&identities), bits % 2 == 0);
                }
                _ => {
                    let names: Vec<&str> = EIGHT.iter().enumerate().filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, name)| *name).collect();
                    shards.change(&names).unwrap();
                    bring_up(&mut shards);
                }
            }
        }
        // In the end everything flows again.
        for (key, number, shipped) in world.flying.drain(..) {
            shards.settled(&shipped);
            world.arrived.entry(key).or_default().push(number);
        }
        bring_up(&mut shards);
        prop_assert!(!shards.is_changing());
        prop_assert!(keys.iter().all(|key| matches!(shards.route(key), Route::By(_))));
        for (key, numbers) in &world.arrived {
            prop_assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        }
    }
}
