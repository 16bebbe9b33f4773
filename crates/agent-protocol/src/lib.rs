//! What the device agent asks of its host and what it is answered; no I/O.
//!
//! The agent (modules/device-agent) is in a pod and reaches its host by a socket and nothing else. Behind the socket systemd starts
//! `fieldgate agent` for each connection, which takes one request and gives one answer, both one JSON object:
//!
//! ```text
//! {"version": 1, "command": "update", "arguments": {"bundle": {"uri": …, "sha256": …}, "origin": "method"}}
//! {"version": 1, "result": …}   or   {"version": 1, "error": {"code": …, "message": …, "field": …}}
//! ```
//!
//! The agent closes its direction after the request. Whatever reaches the socket is taken for hostile: sizes are bounded, and what is not
//! known is refused.

mod answer;
mod bundle;
mod fault;
mod request;
mod status;

pub use answer::Answer;
pub use bundle::Bundle;
pub use fault::{Code, Fault};
pub use request::{Command, Origin, Preserved, Reset, UpdateRequest};
pub use status::{RequestState, RequestStatus, ResetStatus, Status};

/// Of this protocol. Goes up when either side could misunderstand the other.
pub const VERSION: u32 = 1;
/// The largest request, in bytes.
pub const MAX_REQUEST: usize = 16 << 10;
/// The largest answer, in bytes.
pub const MAX_ANSWER: usize = 1 << 20;
/// The group that may connect; the pod's by `supplementalGroups`, and of nobody else.
pub const GROUP: u32 = 65_531;
