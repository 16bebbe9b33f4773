//! Values that are moved to the data partition and wiped from the medium.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// What stands in the place of a secret that the device has taken over. Shorter than any secret that is valid, so it fits into its place,
/// and no secret itself.
pub const TAKEN: &str = "<taken>";

/// A secret: the text itself, or the file beside the document that has it. After the device has taken it over, `<taken>`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Secret {
    /// The text itself, or `<taken>`.
    Text(String),
    /// The file that has it.
    File(SecretFile),
}

/// A file beside the document that holds a secret and nothing else; overwritten and removed after it was taken over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// The file's name, without a folder.
    pub file: String,
}

impl Secret {
    /// Whether it says that the device has it.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Text(text) if is_taken(text))
    }

    /// The text, where it stands in the document.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !is_taken(text) => Some(text),
            _ => None,
        }
    }
}

/// Whether a value of a secret says that the device has it.
pub(crate) fn is_taken(text: &str) -> bool {
    text.trim() == TAKEN
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => out.write_str("Secret(…)"),
            Self::File(file) => file.fmt(out),
        }
    }
}
