//! Runs the tools this program builds with.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command to its end and returns what it printed. What it says about its progress is shown; on failure the error names the command.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let done = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| {
            format!("starting `{line}`: is it installed? scripts/build-images sees to that")
        })?;
    if !done.status.success() {
        bail!("`{line}` failed ({}); its reason is above", done.status);
    }
    String::from_utf8(done.stdout).with_context(|| format!("what `{line}` printed"))
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
