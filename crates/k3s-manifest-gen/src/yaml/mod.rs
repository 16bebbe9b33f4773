//! YAML in and out: texts with positions, and objects as a person would write them.

mod emit;
mod located;
mod order;
mod plain;

pub use emit::emit;
pub use located::{Located, value_at};
