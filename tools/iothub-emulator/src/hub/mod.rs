//! The hub itself: registry, twins, methods, cloud-to-device messages and who is connected. No sockets in here.

pub(crate) mod cloud_messages;
pub(crate) mod connections;
pub(crate) mod error;
pub(crate) mod identities;
pub(crate) mod methods;
pub(crate) mod twins;

use std::path::Path;

use crate::faults::Faults;
use crate::options::Options;
use crate::storage::message_log::{MessageLog, MessageLogError};
use crate::storage::store::{Store, StoreError};
use connections::Connections;

/// One hub, shared by all connections and the control interface.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) options: Options,
    pub(crate) messages: MessageLog,
    pub(crate) connections: Connections,
    pub(crate) faults: Faults,
    store: Store,
}

/// A file of the hub cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The messages.
    #[error(transparent)]
    Messages(#[from] MessageLogError),
    /// The state.
    #[error(transparent)]
    State(#[from] StoreError),
}

impl Hub {
    /// Opens the hub's files in the data folder.
    pub(crate) fn open(options: Options) -> Result<Self, OpenError> {
        let file = |name| Path::new(&options.data).join(name);
        // First the messages: their lock tells whether another emulator works in this folder.
        let messages = MessageLog::open(&file("messages.ndjson"))?;
        let store = Store::open(&file("state.json"))?;
        Ok(Self {
            messages,
            store,
            connections: Connections::new(),
            faults: Faults::new(),
            options,
        })
    }
}
