//! Standby: an instance with everything it needs that waits for its turn to work.
//!
//! The order is what makes a rolling update safe. An instance is ready as standby only with a valid configuration and a
//! healthy sidecar, so nothing that lacks one of them makes Kubernetes end the instance at work; and it begins only with the
//! lock, which the other has until its process is gone.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::configuration::{ConfigurationError, ConfigurationWatch, Loaded, ModuleConfiguration};
use crate::health::{Health, HealthFlag};
use crate::lock::{HeldLock, LockError, LockFile};

/// How often the lock is tried.
const TRY_EVERY: Duration = Duration::from_millis(50);
/// After a take-over, parts that are only starting do not make the module not ready for so long.
const STARTING: Duration = Duration::from_secs(10);
/// The part of readiness that stands for the lock until it has been tried.
const COMPONENT: &str = "lock";

/// What this instance begins its work with.
#[derive(Debug)]
pub(crate) struct TakenOver<C> {
    pub(crate) lock: HeldLock,
    /// The newest valid one.
    pub(crate) configuration: Loaded<C>,
    /// A newer one that is not.
    pub(crate) rejected: Option<ConfigurationError>,
}

/// An instance that does not work yet.
#[derive(Debug)]
pub(crate) struct Standby {
    lock: LockFile,
    health: Health,
    /// Whether the sidecar is there.
    sidecar: HealthFlag,
    gauge: metrics::Gauge,
}

impl Standby {
    /// Opens the lock. `module` is the program's name.
    pub(crate) fn new(
        lock: &Path,
        module: &str,
        health: Health,
        sidecar: HealthFlag,
    ) -> Result<Self, LockError> {
        let lock = LockFile::open(lock)?;
        let gauge = crate::figures::standby_gauge(module);
        gauge.set(1.0);
        health.component(COMPONENT);
        Ok(Self {
            lock,
            health,
            sidecar,
            gauge,
        })
    }

    /// Waits for the sidecar, then for the lock; none when the shutdown comes first.
    ///
    /// What the configuration's file becomes meanwhile is checked, too.
    pub(crate) async fn take_over<C: ModuleConfiguration>(
        self,
        mut configuration: Loaded<C>,
        watch: &mut ConfigurationWatch<C>,
        shutdown: &CancellationToken,
    ) -> Result<Option<TakenOver<C>>, LockError> {
        let mut rejected = None;
        let taking = self.take();
        tokio::pin!(taking);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(None),
                lock = &mut taking => {
                    return Ok(Some(TakenOver { lock: lock?, configuration, rejected }));
                }
                next = watch.next() => match next {
                    Ok(loaded) => {
                        tracing::info!(
                            name = loaded.name,
                            version = loaded.version,
                            hash = loaded.hash,
                            "new configuration; it is in force from the take-over on"
                        );
                        configuration = loaded;
                        rejected = None;
                    }
                    Err(error) => {
                        error.log_rejected();
                        rejected = Some(error);
                    }
                }
            }
        }
    }

    async fn take(mut self) -> Result<HeldLock, LockError> {
        let mut waiting_since = None;
        loop {
            self.sidecar_is_there().await;
            if let Some(lock) = self.lock.try_take()? {
                self.health.remove(COMPONENT);
                self.gauge.set(0.0);
                match waiting_since {
                    Some(since) => self.ends(since),
                    None => tracing::info!(lock = %self.lock.path().display(), "lock taken"),
                }
                return Ok(lock);
            }
            if waiting_since.is_none() {
                waiting_since = Some(Instant::now());
                self.begins();
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    /// An instance without its sidecar must not take the place of one that will have it.
    async fn sidecar_is_there(&self) {
        let mut changes = self.health.changes();
        while !self.sidecar.is_ready() {
            // The sender lives in `health`.
            let _ = changes.changed().await;
        }
    }

    fn begins(&self) {
        tracing::info!(lock = %self.lock.path().display(), "standby: another instance has the lock and works");
        self.health.remove(COMPONENT);
        self.health.set_standby();
    }

    fn ends(&self, since: Instant) {
        let waited = since.elapsed();
        tracing::info!(
            lock = %self.lock.path().display(),
            waited_seconds = waited.as_secs_f64(),
            "standby ended: this instance has the lock and begins to work"
        );
        self.health.end_standby(STARTING);
    }
}
