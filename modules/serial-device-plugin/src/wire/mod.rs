//! gRPC over Unix sockets: messages of the three interfaces that are spoken, and how a call is made and answered.

mod answer;
mod call;
pub mod device_plugin;
pub mod runtime;

pub use answer::{no_such_method, server_stream, unary};
pub use call::{CallError, Peer};
