//! Chaos: kills every process in turn and takes the hub away, and waits for recovery after each.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep, timeout};

use crate::notes::Notes;
use crate::system::{Process, System};

/// Steady running before the first fault and after each recovery.
const FIRST: Duration = Duration::from_secs(8);
const BETWEEN: Duration = Duration::from_secs(4);
const OUTAGE_SECONDS: u64 = 30;
/// A fault that has not healed in this time counts as not healed, and the next one follows.
const HEALED_WITHIN: Duration = Duration::from_secs(45);

/// What chaos did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ChaosReport {
    pub(crate) faults: u32,
    pub(crate) healed: u32,
}

/// Faults in all.
pub(crate) const FAULTS: u32 = 7;

/// Runs all faults, reporting each; `report` is kept up to date so that an interrupted run can tell how far it came.
pub(crate) async fn run(system: &System, notes: &Notes, report: &mut ChaosReport) -> Result<()> {
    wait_for_event_after(system, SystemTime::now()).await;
    sleep(FIRST).await;
    let processes = &system.processes;
    for process in [
        &processes.broker,
        &processes.reader_sidecar,
        &processes.hub_sidecar,
        &processes.reader,
        &processes.hub,
        &processes.emulator,
    ] {
        report.faults += 1;
        notes.say(format!(
            "chaos {}/{FAULTS}: kill -9 {}",
            report.faults,
            process.name()
        ));
        if process.name() == processes.reader.name() {
            system.checker.lock().reader_was_killed();
        }
        kill(process).await?;
        report.healed += u32::from(healed(system, notes, SystemTime::now(), HEALED_WITHIN).await);
        sleep(BETWEEN).await;
    }
    report.faults += 1;
    notes.say(format!(
        "chaos {FAULTS}/{FAULTS}: the hub is away for {OUTAGE_SECONDS} s"
    ));
    take_hub_away(system).await?;
    let back = Duration::from_secs(OUTAGE_SECONDS);
    sleep(back).await;
    report.healed += u32::from(healed(system, notes, SystemTime::now(), HEALED_WITHIN).await);
    Ok(())
}

/// A process that is being restarted has no id for a moment.
async fn kill(process: &Process) -> Result<()> {
    let attempt = async {
        while process.kill().is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(10), attempt)
        .await
        .with_context(|| format!("{} is not running, so it cannot be killed", process.name()))
}

async fn take_hub_away(system: &System) -> Result<()> {
    // The emulator was killed before: the first call may meet a connection of its former life.
    for _ in 0..20 {
        if system.emulator.go_down(OUTAGE_SECONDS).await.is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(250)).await;
    }
    system.emulator.go_down(OUTAGE_SECONDS).await
}

async fn healed(system: &System, notes: &Notes, since: SystemTime, within: Duration) -> bool {
    let started = Instant::now();
    let healed = timeout(within, wait_for_event_after(system, since))
        .await
        .is_ok();
    if healed {
        notes.say(format!(
            "  healed: an event made after the fault arrived {:.1} s later",
            started.elapsed().as_secs_f64()
        ));
    } else {
        notes.say(format!("  NOT healed within {} s", within.as_secs()));
    }
    healed
}

async fn wait_for_event_after(system: &System, since: SystemTime) {
    while system
        .checker
        .lock()
        .newest_event()
        .is_none_or(|newest| newest <= since)
    {
        sleep(Duration::from_millis(50)).await;
    }
}
