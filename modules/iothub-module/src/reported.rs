//! The reported properties: the newest status of every module, in a form that a twin takes, and what of it the hub does not have yet.

mod fit;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// Modules remembered; a status of one more is left out.
pub const MODULES: usize = 64;

#[derive(Debug)]
struct Status {
    /// None: the module's status was removed.
    value: Option<Value>,
    at: OffsetDateTime,
}

/// What should be reported, and what was.
#[derive(Debug, Default)]
pub struct Reported {
    modules: BTreeMap<String, Status>,
    /// What the hub has; none when that is not known.
    hub: Option<Value>,
}

impl Reported {
    /// A module's status as of `at`; an older one than the last is ignored, unless the clock was set back since. `None` removes it from the
    /// twin.
    pub fn set(&mut self, module: &str, status: Option<Value>, at: OffsetDateTime) {
        let name = fit::key(module);
        if let Some(known) = self.modules.get_mut(&name) {
            if known.at <= at || known.at > OffsetDateTime::now_utc() {
                *known = Status { value: status, at };
            }
        } else if self.modules.len() < MODULES {
            self.modules.insert(name, Status { value: status, at });
        }
    }

    /// After a new connection or a failed report it is not known what the hub has.
    pub fn forget_hub(&mut self) {
        self.hub = None;
    }

    /// What the reported section should hold, within the twin's limits.
    #[must_use]
    pub fn wanted(&self) -> Value {
        let modules: Map<String, Value> = self
            .modules
            .iter()
            .filter_map(|(name, status)| Some((name.clone(), status.value.clone()?)))
            .collect();
        fit::fit(json!({ "modules": modules }))
    }

    /// Whether what the hub has is known; if not, it must be read and given to [`Self::found`].
    #[must_use]
    pub fn knows_hub(&self) -> bool {
        self.hub.is_some()
    }

    /// The merge patch that brings the hub to `wanted`; none when it is there, or when it is not known what the hub has.
    #[must_use]
    pub fn patch(&self, wanted: &Value) -> Option<Value> {
        let hub = self.hub.as_ref()?;
        difference(hub, &self.with_strangers(hub, wanted))
    }

    /// The reported section as the hub has it; only its `modules` are looked at.
    pub fn found(&mut self, section: &Value) {
        let modules = section
            .get("modules")
            .filter(|modules| modules.is_object())
            .cloned();
        self.hub = Some(json!({ "modules": modules.unwrap_or_else(|| json!({})) }));
    }

    /// The hub took the patch to `wanted`.
    pub fn confirmed(&mut self, wanted: Value) {
        self.hub = Some(match &self.hub {
            Some(hub) => self.with_strangers(hub, &wanted),
            None => wanted,
        });
    }

    /// `wanted`, and what the hub has of modules that were not heard of since this module started: their status stands until they say otherwise.
    fn with_strangers(&self, hub: &Value, wanted: &Value) -> Value {
        let mut whole = wanted.clone();
        for (name, status) in hub["modules"].as_object().into_iter().flatten() {
            if !self.modules.contains_key(name) {
                whole["modules"][name] = status.clone();
            }
        }
        whole
    }
}

/// The merge patch (RFC 7386) from one value to the other; neither holds a null in an object.
fn difference(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return Some(to.clone());
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut patch = Map::new();
    for name in names {
        match (old.get(name), new.get(name)) {
            (Some(_), None) => {
                patch.insert(name.clone(), Value::Null);
            }
            (None, Some(value)) => {
                patch.insert(name.clone(), value.clone());
            }
            (Some(before), Some(after)) => {
                if let Some(change) = difference(before, after) {
                    patch.insert(name.clone(), change);
                }
            }
            (None, None) => {}
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests;
