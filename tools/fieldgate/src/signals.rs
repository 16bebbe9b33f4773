//! Ctrl-C, SIGTERM and SIGHUP: the first asks for an orderly stop, the second for an immediate one.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What signals asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// Stop in order.
    pub(crate) stop: CancellationToken,
    /// Stop at once; nothing will be proven.
    pub(crate) abort: CancellationToken,
}

impl Signals {
    /// Starts to listen; must be called in the runtime.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening to signals");
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hangup = listen(SignalKind::hangup())?;
        let signals = Self::default();
        let (stop, abort) = (signals.stop.clone(), signals.abort.clone());
        tokio::spawn(async move {
            loop {
                any(&mut interrupt, &mut terminate, &mut hangup).await;
                // The keyboard may have asked to stop already.
                if stop.is_cancelled() {
                    return abort.cancel();
                }
                stop.cancel();
            }
        });
        Ok(signals)
    }
}

async fn any(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
