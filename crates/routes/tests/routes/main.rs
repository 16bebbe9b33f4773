//! Rules as people write them: what comes of events, what is said about mistakes, and that the documentation holds.

#![allow(clippy::unwrap_used, clippy::panic)]

mod document;
mod documentation;
mod golden;
mod mistakes;
