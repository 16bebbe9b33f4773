//! Values that a schema accepts, for places of a document where what was written cannot be used.

use serde_json::{Map, Number, Value};

use super::words::{choices, is_null, resolve};

/// How many sets of values are tried. What is said about the document with all of them does not depend on the choice.
pub(crate) const TURNS: usize = 4;
/// Schemas may refer to themselves.
const DEEPEST: usize = 12;

/// Chooses values; every turn takes others, where the schema leaves a choice.
#[derive(Debug)]
pub(crate) struct Filler<'s> {
    root: &'s Value,
    turn: usize,
    /// What a text becomes that may be anything.
    text: Option<String>,
}

impl<'s> Filler<'s> {
    /// The choices of one turn, from 0: that of turn 0 is what the document would have had without the place.
    pub(crate) fn of_turn(root: &'s Value, turn: usize) -> Self {
        Self {
            root,
            turn,
            text: None,
        }
    }

    /// Like a later turn, with this text wherever any text will do.
    pub(crate) fn with_text(root: &'s Value, text: &str) -> Self {
        Self {
            root,
            turn: 1,
            text: Some(text.to_owned()),
        }
    }

    pub(crate) fn root(&self) -> &'s Value {
        self.root
    }

    pub(crate) fn turn(&self) -> usize {
        self.turn
    }

    /// A value for a place, or what makes a mapping that is there complete. None where the schema is beyond this.
    pub(crate) fn fill(&self, schema: &'s Value, written: Option<&Value>) -> Option<Value> {
        if let Some(Value::Object(object)) = written
            && let Some(branch) = self.object_schema(schema, DEEPEST)
        {
            return self.complete(object.clone(), branch, DEEPEST);
        }
        self.value(schema, DEEPEST)
    }

    fn value(&self, schema: &'s Value, depth: usize) -> Option<Value> {
        let values = self.candidates(schema, depth);
        let last = values.len().checked_sub(1)?;
        let position = if last < TURNS {
            self.turn % (last + 1)
        } else {
            // Spread over all of them, the last one included.
            self.turn % TURNS * last / (TURNS - 1)
        };
        values.into_iter().nth(position)
    }

    fn candidates(&self, schema: &'s Value, depth: usize) -> Vec<Value> {
        let Some(depth) = depth.checked_sub(1) else {
            return Vec::new();
        };
        let target = resolve(self.root, schema);
        let either = |keyword: &str| schema.get(keyword).or_else(|| target.get(keyword));
        if let (Some(text), true) = (&self.text, is_any_text(target)) {
            return vec![Value::String(text.clone())];
        }
        let mut values: Vec<Value> = either("default").cloned().into_iter().collect();
        if let Some(choices) = choices(self.root, target) {
            values.extend(choices);
        } else if let Some(examples) = either("examples").and_then(Value::as_array) {
            values.extend(examples.iter().cloned());
        } else if let Some(branches) = alternatives(target).filter(|_| !is_object(target)) {
            let branches = branches.iter().filter(|branch| !is_null(branch));
            values.extend(branches.flat_map(|branch| {
                match self.object_schema(branch, depth) {
                    // Some mapping may have keys beside those of the branch.
                    Some(_) => self
                        .complete(Map::new(), branch, depth)
                        .into_iter()
                        .collect(),
                    None => self.candidates(branch, depth),
                }
            }));
        } else {
            for kind in types(target) {
                values.extend(self.of_type(kind, target, depth));
            }
        }
        let mut distinct: Vec<Value> = Vec::with_capacity(values.len());
        for value in values {
            if !distinct.contains(&value) {
                distinct.push(value);
            }
        }
        distinct
    }

    fn of_type(&self, kind: &str, schema: &'s Value, depth: usize) -> Vec<Value> {
        match kind {
            "null" => vec![Value::Null],
            "boolean" => vec![Value::Bool(false), Value::Bool(true)],
            "integer" => integers(schema),
            "number" => numbers(schema),
            "string" => texts(schema),
            "array" => self.lists(schema, depth),
            "object" => self
                .complete(Map::new(), schema, depth)
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }

    fn lists(&self, schema: &'s Value, depth: usize) -> Vec<Value> {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let fixed = schema.get("prefixItems").and_then(Value::as_array);
        let fixed: Option<Vec<Value>> = fixed
            .into_iter()
            .flatten()
            .map(|schema| self.value(schema, depth))
            .collect();
        let item = schema
            .get("items")
            .and_then(|schema| self.value(schema, depth));
        let of_length = |length: u64| -> Option<Value> {
            let mut list = fixed.clone()?;
            while (list.len() as u64) < length.min(64) {
                list.push(item.clone()?);
            }
            Some(Value::Array(list))
        };
        [of_length(least), of_length(least.max(1))]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The mapping a schema wants, if it is one: of alternatives the one of this turn.
    fn object_schema(&self, schema: &'s Value, depth: usize) -> Option<&'s Value> {
        let depth = depth.checked_sub(1)?;
        let target = resolve(self.root, schema);
        if is_object(target) {
            return Some(target);
        }
        let fitting: Vec<&'s Value> = alternatives(target)?
            .iter()
            .filter_map(|branch| self.object_schema(branch, depth))
            .collect();
        fitting.get(self.turn % fitting.len().max(1)).copied()
    }

    /// Adds what the schema requires, and sets what it fixes.
    fn complete(
        &self,
        mut object: Map<String, Value>,
        schema: &'s Value,
        depth: usize,
    ) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let schema = resolve(self.root, schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, of_key) in properties.into_iter().flatten() {
            if let Some(fixed) = of_key.get("const") {
                object.insert(key.clone(), fixed.clone());
            }
        }
        let required = schema.get("required").and_then(Value::as_array);
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(key) {
                let of_key = properties.and_then(|properties| properties.get(key));
                let value = match of_key {
                    Some(schema) => self.value(schema, depth)?,
                    None => Value::Null,
                };
                object.insert(key.to_owned(), value);
            }
        }
        // Alternatives beside own keys: a flattened enum.
        if let Some(branches) = alternatives(schema).filter(|branches| !branches.is_empty()) {
            let branch = branches.get(self.turn % branches.len())?;
            return self.complete(object, branch, depth);
        }
        Some(Value::Object(object))
    }
}

/// Whether a value may stand at a place, as far as its type and a list of choices say.
pub(crate) fn may_fit(root: &Value, schema: &Value, value: &Value) -> bool {
    let target = resolve(root, schema);
    if let Some(choices) = choices(root, target) {
        return choices.contains(value);
    }
    if let Some(branches) = alternatives(target) {
        return branches.iter().any(|branch| may_fit(root, branch, value));
    }
    types(target).any(|kind| match value {
        Value::Null => false,
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => kind == "number" || kind == "integer" && !number.is_f64(),
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    })
}

/// The schema of a place in a document.
pub(crate) fn schema_of<'s>(
    root: &'s Value,
    schema: &'s Value,
    path: &[super::Segment],
) -> Option<&'s Value> {
    use super::Segment;
    let Some((first, rest)) = path.split_first() else {
        return Some(schema);
    };
    let target = resolve(root, schema);
    let own = match first {
        Segment::Key(key) => target
            .get("properties")
            .and_then(|properties| properties.get(key))
            .or_else(|| target.get("additionalProperties")),
        Segment::Index(index) => target
            .get("prefixItems")
            .and_then(|items| items.get(index))
            .or_else(|| target.get("items")),
    };
    own.and_then(|schema| schema_of(root, schema, rest))
        .or_else(|| {
            alternatives(target)?
                .iter()
                .find_map(|branch| schema_of(root, branch, path))
        })
}

/// A text without a form, a list or a default of its own.
pub(crate) fn is_any_text(schema: &Value) -> bool {
    types(schema).any(|kind| kind == "string")
        && ["pattern", "enum", "const", "format", "examples"]
            .iter()
            .all(|keyword| schema.get(keyword).is_none())
}

fn is_object(schema: &Value) -> bool {
    types(schema).any(|kind| kind == "object") || schema.get("properties").is_some()
}

fn alternatives(schema: &Value) -> Option<&Vec<Value>> {
    ["oneOf", "anyOf", "allOf"]
        .into_iter()
        .find_map(|keyword| schema.get(keyword)?.as_array())
}

/// The types a schema names; nothing ("null") first, as what an absent key is.
fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let named: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let (nothing, some): (Vec<&str>, Vec<&str>) =
        named.into_iter().partition(|kind| *kind == "null");
    nothing.into_iter().chain(some)
}

/// Both ends of the range, and one between.
fn integers(schema: &Value) -> Vec<Value> {
    let whole = |keyword: &str| -> Option<i128> {
        let bound = schema.get(keyword)?;
        let exact = bound.as_i64().map(i128::from);
        exact.or_else(|| bound.as_u64().map(i128::from))
    };
    let above = whole("exclusiveMinimum").and_then(|bound| bound.checked_add(1));
    let below = whole("exclusiveMaximum").and_then(|bound| bound.checked_sub(1));
    let (least, most) = (whole("minimum").or(above), whole("maximum").or(below));
    let low = least.unwrap_or(most.map_or(0, |most| most.saturating_sub(1000).min(0)));
    let high = most.unwrap_or(low.max(1000));
    let number = |value: i128| -> Option<Value> {
        let number = i64::try_from(value).map(Number::from);
        let number = number.or_else(|_| u64::try_from(value).map(Number::from));
        number.ok().map(Value::Number)
    };
    [low, high, low + (high - low) / 3]
        .into_iter()
        .filter_map(number)
        .collect()
}

fn numbers(schema: &Value) -> Vec<Value> {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    let (least, most) = (bound("minimum"), bound("maximum"));
    let (above, below) = (bound("exclusiveMinimum"), bound("exclusiveMaximum"));
    let end = most.or(below);
    let low = least
        .or(above)
        .unwrap_or(end.map_or(0.0, |end| (end - 1000.0).min(0.0)));
    let high = end.unwrap_or(low + 1000.0);
    let fits = |value: &f64| {
        least.is_none_or(|bound| *value >= bound)
            && most.is_none_or(|bound| *value <= bound)
            && above.is_none_or(|bound| *value > bound)
            && below.is_none_or(|bound| *value < bound)
    };
    [
        low,
        high,
        low + (high - low) / 3.0,
        low + (high - low) / 7.0,
    ]
    .into_iter()
    .filter(fits)
    .filter_map(Number::from_f64)
    .map(Value::Number)
    .collect()
}

fn texts(schema: &Value) -> Vec<Value> {
    let length = |keyword: &str| {
        let length = schema.get(keyword).and_then(Value::as_u64)?;
        usize::try_from(length).ok()
    };
    let least = length("minLength").unwrap_or(0);
    let most = length("maxLength").unwrap_or(usize::MAX);
    // Too long to be worth the memory is beyond this.
    if least > 4096 {
        return Vec::new();
    }
    // Nobody's names, so that they are not taken for somebody's.
    ["", "‹1›", "‹2›", "‹3›"]
        .into_iter()
        .map(|text| {
            let filled = text.chars().chain(std::iter::repeat('›'));
            let length = text.chars().count();
            filled.take(length.max(least).min(most)).collect()
        })
        .map(Value::String)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_turn_gives_what_the_schema_accepts() {
        let root = json!({"$defs": {
            "Parity": {"oneOf": [{"const": "even"}, {"const": "odd"}]},
            "Tree": {"type": "object", "properties": {
                "leaf": {"type": "integer"},
                "trees": {"type": "array", "items": {"$ref": "#/$defs/Tree"}},
            }, "required": ["leaf", "trees"]},
        }});
        let schemas = [
            json!({"type": "integer", "minimum": 3, "maximum": 3}),
            json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
            json!({"type": "integer", "exclusiveMinimum": 5}),
            json!({"type": "integer", "maximum": -5}),
            json!({"type": "number", "exclusiveMaximum": -5.0}),
            json!({"type": ["number", "null"], "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}),
            json!({"type": "string", "minLength": 3, "maxLength": 3}),
            json!({"type": "string", "pattern": "^[0-9]+s$", "examples": ["1s", "2s"]}),
            json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2}),
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false, "minItems": 2}),
            json!({"anyOf": [{"$ref": "#/$defs/Parity"}, {"type": "null"}]}),
            json!({"$ref": "#/$defs/Tree"}),
            json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "oneOf": [
                {"type": "object", "properties": {"b": {"$ref": "#/$defs/Tree"}}, "required": ["b"]},
                {"type": "object", "properties": {"kind": {"type": "string", "const": "c"}}, "required": ["kind"]},
            ]}),
        ];
        for schema in schemas {
            let mut whole = schema.clone();
            whole["$defs"] = root["$defs"].clone();
            let validator = jsonschema::validator_for(&whole).unwrap();
            let mut seen = Vec::new();
            for turn in 0..TURNS {
                let value = Filler::of_turn(&whole, turn).fill(&whole, None).unwrap();
                assert!(validator.is_valid(&value), "{value} for {schema}");
                seen.push(value);
            }
            let has_choice = schema["maximum"] != 3;
            assert_eq!(
                seen.iter().any(|value| *value != seen[0]),
                has_choice,
                "{seen:?}"
            );
        }
    }

    #[test]
    fn a_schema_that_never_ends_is_left_alone() {
        let root = json!({"$ref": "#/$defs/Endless", "$defs": {"Endless": {
            "type": "object", "properties": {"next": {"$ref": "#/$defs/Endless"}}, "required": ["next"],
        }}});
        assert_eq!(Filler::of_turn(&root, 0).fill(&root, None), None);
    }
}
