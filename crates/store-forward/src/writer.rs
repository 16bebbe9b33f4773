//! The thread that owns the database.
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use crate::command::Command;
use crate::error::OpenError;
use crate::item::Sequence;
use crate::options::QueueOptions;
use crate::stats::Counters;

pub(crate) fn start(
    options: QueueOptions,
    commands: mpsc::Receiver<Command>,
    counters: Arc<Counters>,
) -> Result<watch::Receiver<Sequence>, OpenError> {
    drop((commands, counters));
    Err(OpenError::InUse { path: options.path })
}
