//! One appliance description in, Kubernetes manifests out.
//!
//! A description ([`Appliance`], `appliance.yaml`) and the modules' configuration documents ([`Documents`]) become one
//! [`ManifestFile`] per concern ([`objects::manifest_files`]): plain YAML that k3s applies from its manifests folder and a
//! person can read and edit. [`output::plan`] compares them with what is in the folder and says what is to be done: a person's
//! changes live in override files, and what was edited in a generated file is never overwritten.

pub mod changes;
pub mod description;
pub mod new_module;
pub mod objects;
pub mod output;
pub mod patch;
pub mod validate;
pub mod yaml;

mod invalid;
mod manifest_file;

pub use description::{Appliance, Documents};
pub use invalid::Invalid;
pub use manifest_file::{ManifestFile, Object, Ownership};
