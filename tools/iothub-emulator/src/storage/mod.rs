//! What survives a kill: the messages (append-only) and the state (one JSON file).

pub(crate) mod atomic_file;
pub(crate) mod message_log;
pub(crate) mod record;
pub(crate) mod state;
pub(crate) mod store;
