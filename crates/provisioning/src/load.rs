//! Reads a document and what lies beside it; every problem of all of it at once.

use std::collections::BTreeSet;
use std::path::Path as FilePath;

use k3s_manifest_gen::Documents;
use k3s_manifest_gen::yaml::Located;
use module_runtime::configuration::{Segment, sha256};
use module_runtime::{ConfigurationError, Problem, load_str_as_written};
use serde_json::Value;

use crate::check::fault_of_file;
use crate::document::{Provision, TAKEN};
use crate::redact::redact;
use crate::secrets::Secrets;
use crate::stored::Stored;

/// The largest document, in bytes.
const LARGEST: u64 = 1 << 20;

/// A document that held.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The document.
    pub provision: Provision,
    /// The modules' documents and the certificates of a private certification authority.
    pub documents: Documents,
    /// SHA-256 (hex) of what the document says, without its secrets: the same before and after they were wiped.
    pub hash: String,
    /// The document as it is written, for its parts that become documents of their own.
    pub(crate) value: Value,
    pub(crate) secrets: Secrets,
    /// Where everything is in `text`.
    pub(crate) located: Located,
    pub(crate) text: String,
}

impl Loaded {
    /// The names of the files beside the document that it needs, in the order of the alphabet.
    pub fn files(&self) -> BTreeSet<String> {
        let modules = self.provision.module_files().map(|(_, file)| file);
        let hub = self.provision.hub.as_ref();
        modules
            .chain(hub.and_then(|hub| hub.ca.as_ref()))
            .chain(&self.secrets.files)
            .cloned()
            .collect()
    }

    /// Every name of a file that the document has, also of those that were taken over and are gone.
    pub(crate) fn named_files(&self) -> impl Iterator<Item = String> {
        self.files().into_iter().chain(self.secrets.named.clone())
    }
}

/// Reads and checks a document and the files it names, which lie beside it. With `stored`, secrets that were taken over must be there.
///
/// # Errors
/// Every problem, each with its file, line and column; none of them repeats a secret.
pub fn load(file: &FilePath, stored: Option<&Stored>) -> Result<Loaded, ConfigurationError> {
    let shown = file.display().to_string();
    let text = read(file).map_err(|message| of_file(&shown, message))?;
    let directory = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(FilePath::new("."));
    load_text(&shown, &text, directory, stored)
}

/// As [`load`], with the text at hand; `file` is only for the messages.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    file: &str,
    text: &str,
    directory: &FilePath,
    stored: Option<&Stored>,
) -> Result<Loaded, ConfigurationError> {
    let text = text.trim_start_matches('\u{feff}');
    let mut problems = Vec::new();
    let loaded = match load_str_as_written::<Provision>(file, text) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            problems.extend(error.problems);
            None
        }
    };
    let mut secrets = Secrets::default();
    let mut documents = Documents::default();
    // Also when the document does not hold: what lies beside it is looked at all the same.
    let located = Located::parse(file, text).ok();
    if let Some(located) = &located {
        secrets = Secrets::find(located, directory, stored, &mut problems);
        if names_files_beside(located.value()) {
            documents = Documents::read(file, text, directory, &mut problems);
        }
    }
    if let (Some(loaded), Some(located), true) = (loaded, located, problems.is_empty()) {
        return Ok(Loaded {
            provision: (*loaded.configuration).clone(),
            documents,
            hash: hash_of(&located, &secrets),
            value: located.value().clone(),
            secrets,
            located,
            text: text.to_owned(),
        });
    }
    for problem in &mut problems {
        redact(problem, &secrets);
    }
    problems.sort();
    problems.dedup();
    Err(ConfigurationError {
        problems,
        hash: None,
    })
}

/// Whether every file that becomes a document lies beside this one: others are refused, and must not be read.
fn names_files_beside(document: &Value) -> bool {
    let modules = document.get("modules").and_then(Value::as_object);
    modules
        .into_iter()
        .flatten()
        .filter_map(|(_, module)| module.get("configuration"))
        .chain(document.pointer("/hub/ca"))
        .filter_map(Value::as_str)
        .all(|name| fault_of_file(name).is_none())
}

fn read(file: &FilePath) -> Result<String, String> {
    let size = std::fs::metadata(file)
        .map_err(|error| {
            format!("cannot be read ({error}); give the path of the provisioning file")
        })?
        .len();
    if size > LARGEST {
        return Err("is larger than 1MiB; is it the provisioning file?".to_owned());
    }
    let bytes = std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "is not UTF-8; save the file as UTF-8".to_owned())
}

fn of_file(file: &str, message: String) -> ConfigurationError {
    ConfigurationError {
        problems: vec![Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message,
        }],
        hash: None,
    }
}

fn hash_of(document: &Located, secrets: &Secrets) -> String {
    let mut value = document.value().clone();
    // Also those that were taken: blanks may follow the word.
    for path in secrets.written.iter().chain(&secrets.taken) {
        let place = path
            .segments()
            .iter()
            .try_fold(&mut value, |value, segment| match segment {
                Segment::Key(key) => value.get_mut(key),
                Segment::Index(index) => value.get_mut(index),
            });
        if let Some(place) = place {
            *place = TAKEN.into();
        }
    }
    sha256(value.to_string().as_bytes())
}
