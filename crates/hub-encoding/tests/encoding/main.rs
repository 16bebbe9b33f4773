//! The encodings as their users see them. One program, because most of what it takes to build is the same for all of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, which clippy takes for something else"
)]

mod batch;
mod common;
mod compact;
mod hostile;
mod opcua;
mod vectors;
