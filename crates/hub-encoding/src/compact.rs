//! `compact`: the measurements of a message as columns. See `docs/reference/encodings.md`.

mod column;
mod columns;
mod cursor;
mod form;
mod reader;
mod stream;

pub(crate) use columns::Columns;
pub(crate) use reader::read;

/// What a compact message says it is.
pub(crate) const NAME: &str = "fieldgate-compact";
/// The version of the form. A reader refuses a higher one.
pub(crate) const VERSION: u32 = 1;

/// The attributes that follow from others, and the places of the bits that say which of them an event does not have.
const DERIVED: [&str; 4] = ["subject", "partitionkey", "sequence", "datacontenttype"];
/// The type of the data of every measurement.
const DATA_CONTENT_TYPE: &str = "application/json";
