//! What the schema cannot say about rules.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use iothub_protocol::limits::MESSAGE_BYTES;
use measurement::{NAME_RULE, valid_name};
use module_runtime::Problems;
use module_runtime::configuration::{ByteSize, Duration, Path};

use crate::configuration::{
    BatchConfiguration, Comparisons, Conditions, Patterns, PropertyConfiguration,
    RouteConfiguration, Test,
};
use crate::data_path;
use crate::number::Number;
use crate::pattern::Pattern;
use crate::property::{self, MOST_PROPERTIES, VALUE_BYTES};
use crate::routes::{DEFAULT_ROUTE, HIGHEST_PRIORITY};

/// Rules of one document at most.
pub const MOST_ROUTES: usize = 256;
/// How deep `all`, `any` and `not` may stand in each other.
pub const DEEPEST: usize = 8;

const SHORTEST_TTL: Duration = Duration::from_secs(1);
const BATCH_BYTES: (ByteSize, ByteSize) = (
    ByteSize::from_kib(1),
    ByteSize::from_bytes(MESSAGE_BYTES as u64),
);
const BATCH_DELAY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));

/// What rules refer to elsewhere in the document.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// Names of hub identities that rules may use; none: they are not checked.
    pub identities: Option<&'a [&'a str]>,
    /// Topics whose events are routed; none: they are not checked.
    pub topics: Option<&'a [&'a str]>,
}

/// Adds every problem of the rules that are written at `at`.
pub fn check(
    routes: &[RouteConfiguration],
    at: &Path,
    surroundings: Surroundings<'_>,
    problems: &mut Problems,
) {
    let mut checker = Checker {
        surroundings,
        problems,
    };
    if routes.len() > MOST_ROUTES {
        let message = format!(
            "has {} rules; at most {MOST_ROUTES} are allowed",
            routes.len()
        );
        checker.problems.add(at.clone(), message);
    }
    for (index, route) in routes.iter().enumerate() {
        checker.route(route, &at.join(index));
    }
    names(routes, at, checker.problems);
    unreachable(routes, at, checker.problems);
}

fn names(routes: &[RouteConfiguration], at: &Path, problems: &mut Problems) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        let here = at.join(index).join("name");
        if route.name == DEFAULT_ROUTE {
            let message = "is the name of the way that events without a rule take; choose another one. A last rule without \"when\" takes all the others";
            problems.add(here, message);
        } else if !valid_name(&route.name) {
            problems.add(here, format!("is not a name; use {NAME_RULE}"));
        } else if let Some(first) = seen.get(route.name.as_str()) {
            let place = problems.location(at.join(*first).join("name"));
            problems.add(
                here,
                format!("is the name of the rule at {place}, too; rename one"),
            );
        } else {
            seen.insert(&route.name, index);
        }
    }
}

/// Rules behind one that takes everything, or the same.
fn unreachable(routes: &[RouteConfiguration], at: &Path, problems: &mut Problems) {
    let taking_all = routes.iter().position(takes_all);
    for (index, route) in routes.iter().enumerate() {
        if let Some(first) = taking_all.filter(|first| *first < index) {
            let place = problems.location(at.join(first));
            let message = format!(
                "can never be reached: the rule at {place} takes every event; move this rule before it, or remove it"
            );
            problems.add(at.join(index), message);
        } else if let Some(first) = routes
            .iter()
            .take(index)
            .position(|before| before.when == route.when)
        {
            let place = problems.location(at.join(first));
            let message = format!(
                "can never be reached: the rule at {place} has the same conditions; change them, or remove one of the two"
            );
            problems.add(at.join(index).join("when"), message);
        }
    }
}

fn takes_all(route: &RouteConfiguration) -> bool {
    route.when.is_none()
}

struct Checker<'a, 'p> {
    surroundings: Surroundings<'a>,
    problems: &'p mut Problems,
}

impl Checker<'_, '_> {
    fn route(&mut self, route: &RouteConfiguration, at: &Path) {
        // Named one by one, so that none is forgotten.
        let RouteConfiguration {
            name: _,
            when,
            drop,
            priority,
            ttl,
            identity,
            properties,
            batch,
        } = route;
        if let Some(when) = when {
            self.conditions(when, &at.join("when"), 0);
        }
        if *drop {
            let beside = [
                ("priority", priority.is_some()),
                ("ttl", ttl.is_some()),
                ("identity", identity.is_some()),
                ("properties", properties.is_some()),
                ("batch", batch.is_some()),
            ];
            for (key, _) in beside.into_iter().filter(|(_, is_given)| *is_given) {
                let message = "has no effect beside drop: true; remove one of the two";
                self.problems.add_at_key(at.join(key), message);
            }
        }
        if let Some(priority) = priority {
            self.problems
                .check_range(at.join("priority"), priority, 0..=HIGHEST_PRIORITY);
        }
        if let Some(ttl) = ttl {
            self.problems
                .check_range(at.join("ttl"), ttl, SHORTEST_TTL..=Duration::MAX);
        }
        if let Some(identity) = identity {
            self.identity(identity, &at.join("identity"));
        }
        if let Some(properties) = properties {
            self.properties(properties, &at.join("properties"));
        }
        if let Some(batch) = batch {
            self.batch(batch, &at.join("batch"));
        }
    }

    fn identity(&mut self, identity: &str, at: &Path) {
        let Some(known) = self.surroundings.identities else {
            return;
        };
        if known.contains(&identity) {
            return;
        }
        let message = match known {
            [] => "names an identity of the hub, but the document gives none a name; remove it"
                .to_owned(),
            _ => format!(
                "is not the name of an identity of the hub; use one of {}",
                known.join(", ")
            ),
        };
        self.problems.add(at.clone(), message);
    }

    fn batch(&mut self, batch: &BatchConfiguration, at: &Path) {
        let (least, most) = BATCH_BYTES;
        self.problems
            .check_range(at.join("max_bytes"), &batch.max_bytes, least..=most);
        let (shortest, longest) = BATCH_DELAY;
        self.problems
            .check_range(at.join("max_delay"), &batch.max_delay, shortest..=longest);
    }

    fn properties(&mut self, properties: &BTreeMap<String, PropertyConfiguration>, at: &Path) {
        if properties.len() > MOST_PROPERTIES {
            let message = format!(
                "has {} properties; at most {MOST_PROPERTIES} are allowed",
                properties.len()
            );
            self.problems.add(at.clone(), message);
        }
        for (name, value) in properties {
            let here = at.join(name.as_str());
            if let Err(message) = property::check_name(name) {
                self.problems.add_at_key(here.clone(), message);
            }
            match value {
                PropertyConfiguration::Constant(scalar) => {
                    self.property_value(&property::text(scalar), &here);
                }
                PropertyConfiguration::Taken(taken) => {
                    match (&taken.attribute, &taken.data) {
                        (Some(attribute), None) => {
                            self.attribute(attribute, &here.join("attribute"), false)
                        }
                        (None, Some(path)) => {
                            if let Err(message) = data_path::parse(path) {
                                self.problems.add(here.join("data"), message);
                            }
                        }
                        (None, None) => self.problems.add(
                            here.clone(),
                            "says not where its value is taken from; give attribute or data",
                        ),
                        (Some(_), Some(_)) => self.problems.add(
                            here.clone(),
                            "takes its value from attribute and from data; keep one of the two",
                        ),
                    }
                    if let Some(default) = &taken.default {
                        self.property_value(&property::text(default), &here.join("default"));
                    }
                }
            }
        }
    }

    fn property_value(&mut self, value: &str, at: &Path) {
        if value.len() > VALUE_BYTES {
            let message = format!("has {} bytes; a property takes {VALUE_BYTES}", value.len());
            self.problems.add(at.clone(), message);
        }
    }

    fn conditions(&mut self, conditions: &Conditions, at: &Path, depth: usize) {
        // Named one by one, so that none is forgotten.
        let Conditions {
            topic,
            kind,
            source,
            subject,
            attributes,
            data,
            all,
            any,
            not,
        } = conditions;
        if *conditions == Conditions::default() {
            let message = if depth == 0 {
                "is empty; name a condition, or leave \"when\" out to take every event"
            } else {
                "is empty; name a condition, or remove it"
            };
            self.problems.add(at.clone(), message);
        }
        if depth > DEEPEST {
            self.problems.add(
                at.clone(),
                format!(
                    "is nested too deep; all, any and not may stand in each other {DEEPEST} times"
                ),
            );
            return;
        }
        if let Some(topic) = topic {
            self.topic(topic, &at.join("topic"));
        }
        for (key, patterns) in [
            ("topic", topic),
            ("type", kind),
            ("source", source),
            ("subject", subject),
        ] {
            if let Some(patterns) = patterns {
                self.patterns(patterns, &at.join(key));
            }
        }
        if let Some(attributes) = attributes {
            let at = at.join("attributes");
            self.not_empty(attributes.is_empty(), &at, "an attribute");
            for (name, test) in attributes {
                let here = at.join(name.as_str());
                self.attribute(name, &here, true);
                self.test(test, &here);
            }
        }
        if let Some(data) = data {
            let at = at.join("data");
            self.not_empty(data.is_empty(), &at, "a value of the data");
            for (path, test) in data {
                let here = at.join(path.as_str());
                if let Err(message) = data_path::parse(path) {
                    self.problems.add_at_key(here.clone(), message);
                }
                self.test(test, &here);
            }
        }
        for (key, list) in [("all", all), ("any", any)] {
            if let Some(list) = list {
                let at = at.join(key);
                self.not_empty(list.is_empty(), &at, "a condition");
                for (index, conditions) in list.iter().enumerate() {
                    self.conditions(conditions, &at.join(index), depth + 1);
                }
            }
        }
        if let Some(not) = not {
            self.conditions(not, &at.join("not"), depth + 1);
        }
    }

    fn not_empty(&mut self, is_empty: bool, at: &Path, what: &str) {
        if is_empty {
            self.problems
                .add(at.clone(), format!("is empty; name {what}, or remove it"));
        }
    }

    fn topic(&mut self, patterns: &Patterns, at: &Path) {
        let Some(topics) = self.surroundings.topics else {
            return;
        };
        for (index, text) in patterns.texts().iter().enumerate() {
            let pattern = Pattern::new(text);
            if text.is_empty() || topics.iter().any(|topic| pattern.is_match(topic)) {
                continue;
            }
            let at = match patterns {
                Patterns::One(_) => at.clone(),
                Patterns::AnyOf(_) => at.join(index),
            };
            let message = match topics {
                [] => "can never hold: no subscription brings events to the queue".to_owned(),
                _ => format!("can never hold: events come from {}", topics.join(", ")),
            };
            self.problems.add(at, message);
        }
    }

    fn patterns(&mut self, patterns: &Patterns, at: &Path) {
        self.not_empty(patterns.texts().is_empty(), at, "a text");
        for (index, text) in patterns.texts().iter().enumerate() {
            if text.is_empty() {
                let at = match patterns {
                    Patterns::One(_) => at.clone(),
                    Patterns::AnyOf(_) => at.join(index),
                };
                self.problems.add(at, "is empty; give a text, or * for any");
            }
        }
    }

    /// An attribute's name (CloudEvents, "Attribute Naming Convention"), as a key or as a value.
    fn attribute(&mut self, name: &str, at: &Path, is_key: bool) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let message = if name == "data" || name == "data_base64" {
            "is no attribute; what is in the data is named under data, such as values.pressure"
        } else if name.is_empty() || !name.chars().all(plain) {
            "is not an attribute's name; CloudEvents allows a-z and 0-9"
        } else {
            return;
        };
        if is_key {
            self.problems.add_at_key(at.clone(), message);
        } else {
            self.problems.add(at.clone(), message);
        }
    }

    fn test(&mut self, test: &Test, at: &Path) {
        match test {
            Test::Is(_) => {}
            Test::AnyOf(list) => self.not_empty(list.is_empty(), at, "a value"),
            Test::Comparisons(comparisons) => self.comparisons(comparisons, at),
        }
    }

    fn comparisons(&mut self, written: &Comparisons, at: &Path) {
        if *written == Comparisons::default() {
            let message = "is empty; compare with equals, not_equals, one_of, matches, above, at_least, below, at_most, exists or is";
            self.problems.add(at.clone(), message);
        }
        if let Some(list) = &written.one_of {
            self.not_empty(list.is_empty(), &at.join("one_of"), "a value");
        }
        if let Some(patterns) = &written.matches {
            self.patterns(patterns, &at.join("matches"));
        }
        let others = Comparisons {
            exists: None,
            ..written.clone()
        };
        if written.exists == Some(false) && others != Comparisons::default() {
            let message =
                "can never hold together with the others here: what is absent is nothing else";
            self.problems.add(at.join("exists"), message);
        }
        self.range(written, at);
    }

    /// Bounds between which there is no number.
    fn range(&mut self, written: &Comparisons, at: &Path) {
        let lower = [("above", &written.above), ("at_least", &written.at_least)];
        let upper = [("below", &written.below), ("at_most", &written.at_most)];
        for (low_key, low) in lower {
            for (high_key, high) in &upper {
                let (Some(low), Some(high)) = (low, high) else {
                    continue;
                };
                let order = Number::from(low).compare(Number::from(high));
                let may_be_equal = low_key == "at_least" && *high_key == "at_most";
                if order == Ordering::Greater || order == Ordering::Equal && !may_be_equal {
                    let words = |key: &str| key.replace('_', " ");
                    let message = format!(
                        "no number is {} {low} and {} {high}; for a number outside of a range use any with two conditions",
                        words(low_key),
                        words(high_key)
                    );
                    self.problems.add(at.clone(), message);
                }
            }
        }
    }
}
