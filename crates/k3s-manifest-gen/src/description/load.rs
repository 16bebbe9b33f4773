//! Reads a description and the documents it names; every problem of all of them at once.

use std::path::Path as FilePath;

use module_runtime::configuration::{CheckedSchema, SchemaError};
use module_runtime::{Problem, load_str, path};
use serde_json::{Value, json};

use super::names::is_tag;
use super::{Appliance, Documents, PROGRAM_VERSION, documents};
use crate::invalid::{Invalid, of_file};
use crate::yaml::Located;

/// The largest description, in bytes.
const LARGEST: u64 = 1 << 20;

impl Appliance {
    /// Reads a description and the documents it names, which are found relative to it.
    ///
    /// # Errors
    /// Every problem of the description and of the documents, each with its file, line and column.
    pub fn load(file: &FilePath) -> Result<(Self, Documents), Invalid> {
        let shown = file.display();
        let is_large = std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > LARGEST);
        if is_large {
            return Err(Invalid::one(of_file(
                shown,
                "is larger than 1MiB; is it the appliance's description?",
            )));
        }
        let text = std::fs::read_to_string(file).map_err(|error| {
            Invalid::one(of_file(
                &shown,
                format!("cannot be read ({error}); give the description with --appliance"),
            ))
        })?;
        let directory = file.parent().unwrap_or(FilePath::new("."));
        Self::parse(&shown.to_string(), &text, directory)
    }

    /// As [`Self::load`], with the text at hand; `file` is only for the messages.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(
        file: &str,
        text: &str,
        directory: &FilePath,
    ) -> Result<(Self, Documents), Invalid> {
        let text = text.trim_start_matches('\u{feff}');
        let mut problems = Vec::new();
        let loaded = match load_str::<Self>(file, text) {
            Ok(loaded) => Some(loaded),
            Err(error) => {
                problems.extend(error.problems);
                None
            }
        };
        // Also when the description does not hold: its documents are looked at all the same.
        let mut documents = Documents::default();
        if let Ok(located) = Located::parse(file, text) {
            check_top(&located, &mut problems);
            documents = documents::read(&located, text, directory, &mut problems);
        }
        Invalid::unless_empty(problems)?;
        let Some(loaded) = loaded else {
            return Err(Invalid::one(of_file(file, "cannot be read")));
        };
        let mut appliance = (*loaded.configuration).clone();
        appliance.version = match loaded.version {
            version if version.is_empty() => PROGRAM_VERSION.to_owned(),
            version => version,
        };
        Ok((appliance, documents))
    }
}

/// What belongs to every configuration document, and here means something else or nothing.
fn check_top(located: &Located, problems: &mut Vec<Problem>) {
    if located.value().get("name").is_some() {
        problems.push(located.problem(
            &path!["name"],
            "is unknown; the appliance's name is called appliance",
        ));
    }
    let version = located.value().get("version");
    let tag = match version {
        Some(Value::String(text)) => text.clone(),
        // 0.1 may have been 0.10: what was written is not known any more.
        Some(Value::Number(_)) => String::new(),
        _ => return,
    };
    if !is_tag(&tag) {
        problems.push(located.problem(
            &path!["version"],
            "is no version of images; write it in quotes, such as \"0.1.0\"",
        ));
    }
}

/// The JSON Schema of the description.
///
/// # Errors
/// When the types of the description make none: a defect of this program.
pub fn description_schema() -> Result<Value, SchemaError> {
    let mut schema = CheckedSchema::of::<Appliance>()?.schema().clone();
    if let Some(properties) = schema
        .pointer_mut("/properties")
        .and_then(Value::as_object_mut)
    {
        properties.insert(
            "version".to_owned(),
            json!({
                "type": "string",
                "description": "The tag of Fieldgate's own images; that of the program when left out.",
            }),
        );
    }
    Ok(schema)
}
