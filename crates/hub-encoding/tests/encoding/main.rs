//! The encodings as their users see them. One program, because most of what it takes to build is the same for all of them.

mod batch;
mod common;
mod compact;
mod hostile;
mod opcua;
mod vectors;
