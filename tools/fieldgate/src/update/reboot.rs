//! Restarts the machine.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);

/// Asks systemd, which ends everything in order first.
pub(crate) async fn reboot() -> Result<()> {
    let child = Command::new("systemctl")
        .arg("reboot")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, child)
        .await
        .context("`systemctl reboot` did not end")?
        .context("starting `systemctl reboot`")?;
    if !output.status.success() {
        bail!(
            "`systemctl reboot` failed: {}; restart the device by hand",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
