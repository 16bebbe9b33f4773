//! Finds the values that rules ask for in one pass over a JSON text, without building the rest of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::data_path::Step;
use crate::value::Value;

/// The values that were asked for, in the order of [`Lookup::add`].
pub(crate) type Found<'e> = Vec<Option<Value<'e>>>;

/// All paths that rules ask for. Of a key that is there twice the last one counts, as everywhere in this product.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    root: Node,
    count: usize,
}

#[derive(Debug, Default)]
struct Node {
    slot: Option<usize>,
    /// Sorted.
    keys: Vec<(Box<str>, Node)>,
    /// Sorted.
    entries: Vec<(usize, Node)>,
}

impl Lookup {
    /// The position in [`Found`] of the value at a path; the same path has the same position.
    pub(crate) fn add(&mut self, steps: &[Step]) -> usize {
        let mut node = &mut self.root;
        for step in steps {
            node = match step {
                Step::Key(key) => child(
                    &mut node.keys,
                    |known| (**known).cmp(key),
                    || key.as_str().into(),
                ),
                Step::Index(index) => child(&mut node.entries, |known| known.cmp(index), || *index),
            };
        }
        *node.slot.get_or_insert_with(|| {
            self.count += 1;
            self.count - 1
        })
    }

    /// The values in a text that is known to be JSON.
    pub(crate) fn find<'e>(&self, json: &'e [u8]) -> Found<'e> {
        let attempt = |is_careful: bool| {
            let mut found = vec![None; self.count];
            let seed = Search {
                node: &self.root,
                found: &mut found,
                is_careful,
            };
            let result = seed.deserialize(&mut serde_json::Deserializer::from_slice(json));
            (found, result.is_ok())
        };
        let (found, is_complete) = attempt(false);
        if is_complete {
            return found;
        }
        // A number out of range where a mapping was looked for ends the fast way.
        attempt(true).0
    }
}

fn child<K>(
    children: &mut Vec<(K, Node)>,
    compare: impl Fn(&K) -> std::cmp::Ordering,
    key: impl FnOnce() -> K,
) -> &mut Node {
    let at = match children.binary_search_by(|(known, _)| compare(known)) {
        Ok(at) => at,
        Err(at) => {
            children.insert(at, (key(), Node::default()));
            at
        }
    };
    &mut children[at].1
}

impl Node {
    fn has_children(&self) -> bool {
        !(self.keys.is_empty() && self.entries.is_empty())
    }

    fn key(&self, key: &str) -> Option<&Self> {
        let at = self
            .keys
            .binary_search_by(|(known, _)| (**known).cmp(key))
            .ok()?;
        self.keys.get(at).map(|(_, node)| node)
    }

    fn entry(&self, index: usize) -> Option<&Self> {
        let at = self
            .entries
            .binary_search_by(|(known, _)| known.cmp(&index))
            .ok()?;
        self.entries.get(at).map(|(_, node)| node)
    }

    /// Takes back what was found below.
    fn clear(&self, found: &mut Found<'_>) {
        if let Some(slot) = self.slot.and_then(|slot| found.get_mut(slot)) {
            *slot = None;
        }
        let keys = self.keys.iter().map(|(_, node)| node);
        for node in keys.chain(self.entries.iter().map(|(_, node)| node)) {
            node.clear(found);
        }
    }
}

struct Search<'n, 'f, 'e> {
    node: &'n Node,
    found: &'f mut Found<'e>,
    is_careful: bool,
}

impl<'e> DeserializeSeed<'e> for Search<'_, '_, 'e> {
    type Value = ();

    fn deserialize<D: Deserializer<'e>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.node.slot.is_none() && !self.is_careful {
            return deserializer.deserialize_any(self);
        }
        let json: &'e RawValue = serde::Deserialize::deserialize(deserializer)?;
        if let Some(slot) = self.node.slot.and_then(|slot| self.found.get_mut(slot)) {
            *slot = Some(Value::of(json));
        }
        let may_hold = json.get().starts_with(['{', '[']);
        if self.node.has_children() && may_hold {
            let mut inner = serde_json::Deserializer::from_str(json.get());
            return inner
                .deserialize_any(self)
                .map_err(serde::de::Error::custom);
        }
        Ok(())
    }
}

impl<'e> Visitor<'e> for Search<'_, '_, 'e> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'e>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(node) = map.next_key_seed(Key(self.node))? {
            match node {
                Some(node) => {
                    node.clear(self.found);
                    map.next_value_seed(Search {
                        node,
                        found: &mut *self.found,
                        is_careful: self.is_careful,
                    })?;
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'e>>(self, mut list: A) -> Result<(), A::Error> {
        for index in 0.. {
            let went_on = match self.node.entry(index) {
                Some(node) => {
                    let search = Search {
                        node,
                        found: &mut *self.found,
                        is_careful: self.is_careful,
                    };
                    list.next_element_seed(search)?.is_some()
                }
                None => list.next_element::<IgnoredAny>()?.is_some(),
            };
            if !went_on {
                break;
            }
        }
        Ok(())
    }

    // Something else than a mapping or a list: what was looked for in it is not there.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// What is looked for under a key, if anything.
struct Key<'n>(&'n Node);

impl<'n, 'e> DeserializeSeed<'e> for Key<'n> {
    type Value = Option<&'n Node>;

    fn deserialize<D: Deserializer<'e>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'n> Visitor<'_> for Key<'n> {
    type Value = Option<&'n Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.key(key))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;

    fn shown(lookup: &Lookup, json: &str) -> Vec<Option<String>> {
        let found = lookup.find(json.as_bytes());
        found
            .iter()
            .map(|value| value.as_ref().map(ToString::to_string))
            .collect()
    }

    fn lookup(paths: &[&str]) -> Lookup {
        let mut lookup = Lookup::default();
        for path in paths {
            lookup.add(&crate::data_path::parse(path).unwrap());
        }
        lookup
    }

    #[test]
    fn values_keep_their_literals() {
        let lookup = lookup(&["a", "b.c", "b", "l[1].x", "l[2]", "n", "t"]);
        let json = r#"{"x":[1,{"a":2}],"a":18446744073709551615,"b":{"c":1.50,"d":{}},"l":[0,{"x":true},[ ]],"n":null,"t":"ä\n\"","z":0}"#;
        let texts = [
            "18446744073709551615",
            "1.50",
            "a mapping",
            "true",
            "a list",
            "null",
            "\"ä\\n\\\"\"",
        ];
        assert_eq!(
            shown(&lookup, json),
            texts.map(|text| Some(text.to_owned()))
        );
        assert_eq!(shown(&lookup, "[1]"), vec![None; 7]);
        assert_eq!(shown(&lookup, "7"), vec![None; 7]);
    }

    #[test]
    fn the_same_path_is_looked_for_once() {
        let mut lookup = Lookup::default();
        let path = crate::data_path::parse("a.b").unwrap();
        assert_eq!((lookup.add(&path), lookup.add(&path)), (0, 0));
    }

    #[test]
    fn of_a_repeated_key_the_last_one_counts_with_all_that_is_in_it() {
        let lookup = lookup(&["a.b", "a.c"]);
        assert_eq!(
            shown(&lookup, r#"{"a":{"b":1,"c":2},"a":{"c":3}}"#),
            [None, Some("3".to_owned())]
        );
        assert_eq!(shown(&lookup, r#"{"a":{"b":1},"a":5}"#), [None, None]);
    }

    #[test]
    fn numbers_out_of_range_and_half_surrogates_hide_nothing_else() {
        let lookup = lookup(&["a.b", "n", "s", "z"]);
        let json = r#"{"a":1e999,"n":-1e999,"s":"\ud800","z":3}"#;
        let texts = [None, Some("-1e999"), Some("\"\\\\ud800\""), Some("3")];
        assert_eq!(
            shown(&lookup, json),
            texts.map(|text| text.map(str::to_owned))
        );
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            "[a-c\"\\\\é]{0,4}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    fn any_path() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            "[a-c]".prop_map(Step::Key),
            (0usize..3).prop_map(Step::Index)
        ];
        prop::collection::vec(step, 1..4)
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_is_there(json in any_json(), paths in prop::collection::vec(any_path(), 1..6)) {
            let text = json.to_string();
            let mut lookup = Lookup::default();
            let slots: Vec<usize> = paths.iter().map(|path| lookup.add(path)).collect();
            let found = lookup.find(text.as_bytes());
            for (path, slot) in paths.iter().zip(slots) {
                let there = path.iter().try_fold(&json, |json, step| match step {
                    Step::Key(key) => json.get(key.as_str()),
                    Step::Index(index) => json.get(*index),
                });
                let expected = there.map(|json| match json {
                    Json::Array(_) => "a list".to_owned(),
                    Json::Object(_) => "a mapping".to_owned(),
                    Json::String(text) => format!("{text:?}"),
                    other => other.to_string(),
                });
                prop_assert_eq!(found[slot].as_ref().map(ToString::to_string), expected);
            }
        }
    }
}
