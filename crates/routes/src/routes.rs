//! All rules of a document, ready for events.

use std::sync::Arc;
use std::time::Duration;

use crate::condition::{Condition, Mismatch};
use crate::configuration::{BatchConfiguration, RouteConfiguration};
use crate::event::{Event, Lookups, View};
use crate::property::Property;

/// The name of the route that takes what no rule takes.
pub const DEFAULT_ROUTE: &str = "default";
/// The priority where a rule says nothing, and that of [`DEFAULT_ROUTE`].
pub const DEFAULT_PRIORITY: u8 = 5;
/// The highest priority.
pub const HIGHEST_PRIORITY: u8 = 9;

/// Rules in their order. Immutable: a changed document makes another one, and an `Arc` of it is swapped in.
#[derive(Debug)]
pub struct Routes {
    rules: Vec<Rule>,
    lookups: Lookups,
}

#[derive(Debug)]
struct Rule {
    /// None takes every event.
    condition: Option<Condition>,
    route: Route,
    properties: Vec<Property>,
}

/// What becomes of the events of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The rule's name, or [`DEFAULT_ROUTE`].
    pub name: Arc<str>,
    /// What to do with them.
    pub treatment: Treatment,
}

/// What to do with events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// Acknowledge them, count them, and forget them.
    Drop,
    /// Send them to the hub.
    Send(Handling),
}

/// How events are stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handling {
    /// 0 to 9; 9 goes first.
    pub priority: u8,
    /// What waits longer is dropped.
    pub lifetime: Option<Duration>,
    /// The hub identity that sends them; any, if none is named.
    pub identity: Option<Arc<str>>,
    /// Several of them in one message.
    pub batch: Option<BatchConfiguration>,
}

impl Default for Handling {
    fn default() -> Self {
        Self {
            priority: DEFAULT_PRIORITY,
            lifetime: None,
            identity: None,
            batch: None,
        }
    }
}

/// Which way an event goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'r> {
    /// The route's position in [`Routes::all`].
    pub position: usize,
    /// The route that took the event.
    pub route: &'r Route,
    /// Application properties for its message: names and values, in the order of the names. Empty for one that is dropped.
    pub properties: Vec<(&'r str, String)>,
}

/// A decision with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'r> {
    /// The rules before the one that took the event, in their order.
    pub passed_over: Vec<PassedOver<'r>>,
    /// What [`Routes::route`] gives.
    pub decision: Decision<'r>,
    /// Properties that the message goes without, and what the event has in their place.
    pub left_out: Vec<(&'r str, String)>,
}

/// A rule that did not take the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver<'r> {
    /// The rule's name.
    pub route: &'r str,
    /// Conditions that did not hold, each of them enough; of alternatives one for each.
    pub mismatches: Vec<Mismatch>,
}

impl Routes {
    /// The rules of a document that [`crate::check`] found nothing in. A rule that it would refuse takes no events.
    #[must_use]
    pub fn compile(written: &[RouteConfiguration]) -> Self {
        let mut lookups = Lookups::default();
        let mut rules: Vec<Rule> = written
            .iter()
            .filter_map(|rule| Rule::of(rule, &mut lookups))
            .collect();
        rules.push(Rule {
            condition: None,
            route: Route {
                name: DEFAULT_ROUTE.into(),
                treatment: Treatment::Send(Handling::default()),
            },
            properties: Vec::new(),
        });
        Self { rules, lookups }
    }

    /// Every route in the order of its rule, [`DEFAULT_ROUTE`] at the end.
    pub fn all(&self) -> impl ExactSizeIterator<Item = &Route> {
        self.rules.iter().map(|rule| &rule.route)
    }

    /// The route of a name: for events that were stored under it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Route> {
        self.all().find(|route| *route.name == *name)
    }

    /// Which way an event goes: that of the first rule that fits, or [`DEFAULT_ROUTE`].
    ///
    /// The event's data is read at most once, and only if a rule that is reached needs it.
    #[must_use]
    pub fn route<'r>(&'r self, event: &Event<'_>) -> Decision<'r> {
        let view = View::new(*event, &self.lookups);
        let (position, rule) = self.taker(&view);
        let values = rule
            .properties
            .iter()
            .filter_map(|property| Some((property.name(), property.value(&view).ok()?)));
        Decision {
            position,
            route: &rule.route,
            properties: values.collect(),
        }
    }

    /// As [`Self::route`], with the reasons; for people, slower.
    #[must_use]
    pub fn explain<'r>(&'r self, event: &Event<'_>) -> Explanation<'r> {
        let view = View::new(*event, &self.lookups);
        let decision = self.route(event);
        let passed_over = self.rules.iter().take(decision.position).map(|rule| {
            let mut mismatches = Vec::new();
            if let Some(condition) = &rule.condition {
                condition.mismatches(&view, &mut mismatches);
            }
            PassedOver {
                route: &rule.route.name,
                mismatches,
            }
        });
        let properties = self
            .rules
            .get(decision.position)
            .map(|rule| &rule.properties);
        let left_out = properties
            .into_iter()
            .flatten()
            .filter_map(|property| Some((property.name(), property.value(&view).err()?)));
        Explanation {
            passed_over: passed_over.collect(),
            left_out: left_out.collect(),
            decision,
        }
    }

    fn taker(&self, view: &View<'_, '_>) -> (usize, &Rule) {
        let last = self.rules.len() - 1;
        let taking = self.rules.iter().position(|rule| match &rule.condition {
            Some(condition) => condition.holds(view),
            None => true,
        });
        let position = taking.unwrap_or(last);
        (position, &self.rules[position])
    }
}

/// Every event takes [`DEFAULT_ROUTE`].
impl Default for Routes {
    fn default() -> Self {
        Self::compile(&[])
    }
}

impl Rule {
    fn of(written: &RouteConfiguration, lookups: &mut Lookups) -> Option<Self> {
        // Named one by one, so that none is forgotten.
        let RouteConfiguration {
            name,
            when,
            drop,
            priority,
            ttl,
            identity,
            properties,
            batch,
        } = written;
        let condition = match when {
            Some(when) => Some(Condition::of(when, lookups)?),
            None => None,
        };
        let treatment = if *drop {
            Treatment::Drop
        } else {
            Treatment::Send(Handling {
                priority: priority.unwrap_or(DEFAULT_PRIORITY).min(HIGHEST_PRIORITY),
                lifetime: ttl.map(module_runtime::configuration::Duration::get),
                identity: identity.as_deref().map(Into::into),
                batch: batch.clone(),
            })
        };
        let properties = properties.iter().flatten().filter(|_| !*drop);
        let properties = properties.map(|(name, value)| Property::of(name, value, lookups));
        Some(Self {
            condition,
            route: Route {
                name: name.as_str().into(),
                treatment,
            },
            properties: properties.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use measurement::Envelope;

    use super::*;

    #[test]
    fn data_is_read_only_where_a_rule_that_is_reached_needs_it() {
        let rules: Vec<RouteConfiguration> = serde_json::from_str(
            r#"[{"name": "saws", "when": {"data": {"values.x": 1}, "subject": "saw-*"}},
                {"name": "first", "when": {"subject": "press-1/*"}},
                {"name": "others", "when": {"data": {"values.x": 1}}}]"#,
        )
        .unwrap();
        let routes = Routes::compile(&rules);
        for (subject, route, is_read) in [
            ("press-1/fast", "first", false),
            ("press-2/fast", "others", true),
            ("saw-1/fast", "saws", true),
        ] {
            let body = format!(
                r#"{{"specversion":"1.0","id":"1","source":"/x","type":"t","subject":"{subject}","data":{{"values":{{"x":1}}}}}}"#
            );
            let envelope = Envelope::parse(body.as_bytes()).unwrap();
            let event = Event {
                topic: "telemetry",
                envelope: &envelope,
                body: body.as_bytes(),
            };
            let view = View::new(event, &routes.lookups);
            let (_, rule) = routes.taker(&view);
            assert_eq!((&*rule.route.name, view.has_read_data()), (route, is_read));
        }
    }
}
