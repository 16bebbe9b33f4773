//! Manifest files in a directory: what is there, what should be, and how one becomes the other without losing what a person wrote.

mod adopt;
mod folder;
mod overrides;
mod plan;
mod text;

pub use folder::{OutputError, Plan};
pub use plan::{Action, Options, Step, plan, plan_files};
