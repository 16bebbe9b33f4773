//! What one file of the output holds.

use serde_json::Value;

/// One file of Kubernetes objects.
#[derive(Debug, Clone, PartialEq)]
pub struct ManifestFile {
    /// The file's name in the output directory: `modbus-reader.yaml`.
    pub name: String,
    /// What the file is for, one sentence for its header.
    pub purpose: String,
    /// Who may change it.
    pub ownership: Ownership,
    /// The objects in the order in which they are applied.
    pub objects: Vec<Object>,
}

/// One object of a manifest file.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What it is for: one line, without the comment sign. Written above the object.
    pub comment: String,
    /// The object itself: `apiVersion`, `kind`, `metadata` and the rest. Its keys may come in any order; the labels
    /// `app.kubernetes.io/managed-by`, `app.kubernetes.io/part-of` and `fieldgate.io/appliance` are added where they are missing.
    pub value: Value,
}

impl Object {
    /// An object and what it is for.
    pub fn new(comment: impl Into<String>, value: Value) -> Self {
        Self {
            comment: comment.into(),
            value,
        }
    }
}

/// Who may change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Written at every run; changes of a person go into the file's override.
    Generated,
    /// Written as long as nobody has edited it; from then on a person's own.
    Seed,
}
