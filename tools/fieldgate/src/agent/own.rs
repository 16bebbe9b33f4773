//! This program's own other commands, called as processes: what they print with `--json` is passed on.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use agent_protocol::{Code, Fault};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// A command of this program, for the device whose file tree is below `root`.
pub(super) fn command(root: &Path, arguments: &[&str]) -> Result<Command, Fault> {
    let program = std::env::current_exe()
        .map_err(|error| Fault::new(Code::Failed, format!("finding this program: {error}")))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if root != Path::new("/") {
        command.arg("--root").arg(root);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// The JSON that a command prints, whatever its exit status says of the device.
pub(super) async fn json(
    root: &Path,
    arguments: &[&str],
    deadline: Duration,
) -> Result<Value, Fault> {
    let words = format!("fieldgate {}", arguments.join(" "));
    let output = timeout(deadline, command(root, arguments)?.output())
        .await
        .map_err(|_| {
            let seconds = deadline.as_secs();
            Fault::new(
                Code::Deadline,
                format!("`{words}` did not end within {seconds} s; the device is busy: ask again"),
            )
        })?
        .map_err(|error| Fault::new(Code::Failed, format!("starting `{words}`: {error}")))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = last_line(&output.stderr).unwrap_or_else(|| output.status.to_string());
        Fault::new(Code::Failed, format!("`{words}`: {said}"))
    })
}

/// The last line that says something.
pub(super) fn last_line(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty()).map(str::to_owned)
}
