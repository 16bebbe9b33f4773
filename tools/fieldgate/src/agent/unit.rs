//! What goes on after the answer: transient units of systemd.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use agent_protocol::{Code, Fault};
use tokio::process::Command;
use tokio::time::timeout;

/// The unit of an update, one at a time.
const UPDATE: &str = "fieldgate-agent-update.service";
const DEADLINE: Duration = Duration::from_secs(20);

/// Starts `carry-out` in its own unit; it runs when this returns.
pub(super) async fn start_update(root: &Path) -> Result<(), Fault> {
    let mut rest = program()?;
    rest.extend(["agent".into(), "carry-out".into()]);
    if root != Path::new("/") {
        rest.extend(["--root".into(), root.into()]);
    }
    let unit = format!("--unit={UPDATE}");
    let options = [
        unit.as_str(),
        "--description=Update asked for by the device agent",
        "--property=Type=exec",
        // The modules' work comes first.
        "--property=Nice=5",
    ];
    run(&options, rest).await
}

/// Whether an update runs.
pub(super) async fn is_updating() -> bool {
    let asked = Command::new("systemctl")
        .args(["is-active", "--quiet", UPDATE])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status();
    // Without systemd there are no units.
    matches!(timeout(DEADLINE, asked).await, Ok(Ok(status)) if status.success())
}

/// Restarts the device after so long: until then its answer and its status have left it.
pub(super) async fn restart(after: Duration) -> Result<(), Fault> {
    let unit = "--unit=fieldgate-agent-restart";
    later(unit, after, vec!["systemctl".into(), "reboot".into()]).await
}

/// Resets the device after so long.
pub(super) async fn reset(after: Duration, preserve: Option<&str>) -> Result<(), Fault> {
    let mut rest = program()?;
    rest.extend(["reset".into(), "--yes".into(), "--reason=method".into()]);
    if let Some(preserve) = preserve {
        rest.push(format!("--preserve={preserve}").into());
    }
    later("--unit=fieldgate-agent-reset", after, rest).await
}

async fn later(unit: &str, after: Duration, rest: Vec<OsString>) -> Result<(), Fault> {
    let after = format!("--on-active={}", after.as_secs());
    // Not within the minute that timers have by default.
    run(&[unit, &after, "--timer-property=AccuracySec=100ms"], rest).await
}

fn program() -> Result<Vec<OsString>, Fault> {
    std::env::current_exe()
        .map(|path| vec![path.into_os_string()])
        .map_err(|error| Fault::new(Code::Failed, format!("finding this program: {error}")))
}

async fn run(options: &[&str], rest: Vec<OsString>) -> Result<(), Fault> {
    let child = Command::new("systemd-run")
        .args(["--quiet", "--collect"])
        .args(options)
        .arg("--")
        .args(rest)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(DEADLINE, child)
        .await
        .map_err(|_| {
            Fault::new(
                Code::Deadline,
                "systemd did not start it in time; ask again",
            )
        })?
        .map_err(|error| {
            Fault::new(
                Code::NotHere,
                format!("this machine has no systemd to do it ({error})"),
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = super::own::last_line(&output.stderr).unwrap_or_default();
    // Of a unit of that name: it was asked for already, and is about to happen.
    if said.contains("already loaded") || said.contains("already exists") {
        return Err(Fault::new(
            Code::Busy,
            "it is under way already; the device restarts in a moment",
        ));
    }
    Err(Fault::new(Code::Failed, format!("systemd-run: {said}")))
}
