//! Which identity sends an event: the one that its route names, or else the one that has its partition key.

use std::collections::HashMap;
use std::sync::Arc;

use routes::RouteConfiguration;

use crate::pace::Shards;
use crate::sender::Mine;

/// See the module's documentation. Fixed at the module's start: two senders must never be of two minds about an event.
#[derive(Debug)]
pub struct Owners {
    shards: Shards,
    identities: usize,
    /// Indices of identities, by the route that names them.
    by_route: HashMap<String, usize>,
}

impl Owners {
    /// `names` of all identities, and the routes of the module's start.
    #[must_use]
    pub fn new(names: &[String], routes: &[RouteConfiguration]) -> Self {
        let by_route = routes.iter().filter_map(|route| {
            let named = route.identity.as_ref()?;
            let index = names.iter().position(|name| name == named)?;
            Some((route.name.clone(), index))
        });
        Self {
            shards: Shards::new(names),
            identities: names.len(),
            by_route: by_route.collect(),
        }
    }

    /// What the identity with this index sends.
    #[must_use]
    pub fn mine(self: &Arc<Self>, identity: usize) -> Mine {
        let owners = Arc::clone(self);
        if self.identities <= 1 {
            Mine::All
        } else if self.by_route.is_empty() {
            Mine::Keys(Arc::new(move |key| owners.shards.owner(key) == identity))
        } else {
            Mine::KeysAndRoutes(Arc::new(move |key, route| {
                owners.owner(key, route) == identity
            }))
        }
    }

    fn owner(&self, key: &str, route: &str) -> usize {
        let named = self.by_route.get(route);
        named.map_or_else(|| self.shards.owner(key), |index| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_names_an_identity_goes_by_it_and_others_by_their_key() {
        let names = ["gate", "gate/s1", "gate/s2"].map(str::to_owned);
        let routes: Vec<RouteConfiguration> = serde_json::from_value(serde_json::json!([
            {"name": "alarms", "identity": "gate/s1"}, {"name": "trends"}, {"name": "gone", "identity": "gate/s9"},
        ]))
        .unwrap();
        let owners = Owners::new(&names, &routes);
        let mut seen = [0; 3];
        for number in 0..300 {
            let key = format!("press-{number}");
            assert_eq!(owners.owner(&key, "alarms"), 1);
            assert_eq!(owners.owner(&key, "trends"), owners.owner(&key, "gone"));
            seen[owners.owner(&key, "trends")] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
