//! A type's JSON Schema, made ready to check documents against.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::explain::{self, Sentence};
use super::path::Path;

/// A JSON Schema that the validator refused: a mistake in the type, not in a document.
#[derive(Debug, thiserror::Error)]
#[error("the JSON Schema of {of} is not usable: {reason}; this is a defect of the module")]
pub struct SchemaError {
    of: String,
    reason: String,
}

/// The schema of a type and its validator.
#[derive(Debug)]
pub struct CheckedSchema {
    schema: Value,
    validator: jsonschema::Validator,
}

impl CheckedSchema {
    /// The schema of what `T` deserializes from.
    ///
    /// # Errors
    /// When the type's schema is not a valid schema.
    pub fn of<T: JsonSchema>() -> Result<Self, SchemaError> {
        let mut schema = SchemaSettings::draft2020_12()
            .into_generator()
            .into_root_schema_for::<T>()
            .to_value();
        bound_integers(&mut schema);
        let validator = jsonschema::validator_for(&schema).map_err(|error| SchemaError {
            of: T::schema_name().into_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { schema, validator })
    }

    /// The schema itself.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Everything in `value` that the schema forbids.
    pub(crate) fn violations(&self, value: &Value) -> Vec<Sentence<'_>> {
        self.validator
            .iter_errors(value)
            .flat_map(|error| explain::sentences(&self.schema, &error))
            .collect()
    }

    /// The first violation as (path, message), for documents that have no file: command inputs.
    pub(crate) fn first_violation(&self, value: &Value) -> Option<(Path, String)> {
        let error = self.validator.iter_errors(value).next()?;
        explain::sentences(&self.schema, &error)
            .into_iter()
            .next()
            .map(|found| (found.path, found.message))
    }
}

/// schemars bounds 8 and 16 bit integers and only names the wider ones: their bounds belong to the schema too, or a number
/// too large would be found without its place.
fn bound_integers(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(bound_integers),
        Value::Object(object) => {
            let bounds: Option<(Value, Value)> = match object.get("format").and_then(Value::as_str)
            {
                Some("int32") => Some((i32::MIN.into(), i32::MAX.into())),
                Some("uint32") => Some((0.into(), u32::MAX.into())),
                Some("int64") => Some((i64::MIN.into(), i64::MAX.into())),
                Some("uint64" | "uint") => Some((0.into(), u64::MAX.into())),
                _ => None,
            };
            if let Some((minimum, maximum)) = bounds {
                object.entry("minimum").or_insert(minimum);
                object.entry("maximum").or_insert(maximum);
            }
            object.values_mut().for_each(bound_integers);
        }
        _ => {}
    }
}

/// The JSON Schema of a whole document: the type's, and the `name` and `version` every document may carry.
pub fn document_schema<C: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<C>()
        .to_value();
    let texts = [
        (
            "name",
            "string",
            "The configuration's name, reported with the module's status",
        ),
        (
            "version",
            "string",
            "The configuration's version, reported with the module's status",
        ),
    ];
    if let Some(object) = schema.as_object_mut() {
        let properties = object
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(properties) = properties.as_object_mut() {
            for (key, kind, description) in texts {
                properties.insert(
                    key.to_owned(),
                    serde_json::json!({"type": kind, "description": description}),
                );
            }
        }
    }
    schema
}
