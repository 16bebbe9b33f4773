//! The medium that brings the document: found, told what is wrong, and freed of its secrets.

mod errors;
mod journal;
mod search;
mod wipe;

pub use errors::ERRORS;
pub use search::{FILE, search};
pub use wipe::{WipeError, wipe};

pub(crate) use errors::{remove_errors, write_errors};
pub(crate) use wipe::{resume, wipe_with};
