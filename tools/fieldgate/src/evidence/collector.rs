//! Reads what arrived at the hub, for as long as the run lasts.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::SharedChecker;
use crate::system::{Emulator, HubMessage};

/// Pause when there is nothing new, or the hub does not answer.
const PAUSE: Duration = Duration::from_millis(100);
const BATCH: usize = 500;

/// The task that feeds the checker.
#[derive(Debug)]
pub(crate) struct Collector {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Collector {
    pub(crate) fn start(emulator: Emulator, checker: SharedChecker) -> Self {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let task = tokio::spawn(async move {
            let mut after = 0;
            while !token.is_cancelled() {
                // A hub that is being killed answers nothing or half; the next round asks again from the same place.
                let more = read(&emulator, &checker, &mut after).await.unwrap_or(false);
                if !more {
                    let _ = tokio::time::timeout(PAUSE, token.cancelled()).await;
                }
            }
        });
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// One batch; `true` if something arrived.
async fn read(emulator: &Emulator, checker: &SharedChecker, after: &mut u64) -> Result<bool> {
    let answer = emulator.messages(*after, BATCH).await?;
    let mut any = false;
    for line in answer
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let message: HubMessage<'_> =
            serde_json::from_slice(line).context("a message of the hub")?;
        checker.lock().arrived(&message);
        *after = message.index;
        any = true;
    }
    Ok(any)
}
