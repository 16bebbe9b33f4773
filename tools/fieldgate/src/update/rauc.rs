//! The `rauc` command: what it says of the device and of a bundle, and how it installs one.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use semver::Version;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::error::UpdateError;
use crate::install::find_program;

const QUESTION: Duration = Duration::from_secs(60);
/// Reading a bundle on a slow stick.
const BUNDLE: Duration = Duration::from_secs(300);
/// Without a word from rauc for so long, the installation has failed: a full image on a slow card says something every few seconds.
const SILENCE: Duration = Duration::from_secs(900);
/// Of what rauc writes on its standard error, bytes.
const MAX_ERRORS: u64 = 64 << 10;

/// What `rauc status` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RaucStatus {
    pub(crate) compatible: String,
    pub(crate) slots: Vec<Slot>,
}

/// A slot that can be booted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// What the boot loader calls it.
    pub(crate) bootname: String,
    pub(crate) is_booted: bool,
    /// It comes first at the next start.
    pub(crate) is_primary: bool,
    /// The boot loader would start it.
    pub(crate) is_good: bool,
    /// Of the bundle that was installed; none for what the disk was written with.
    pub(crate) version: Option<String>,
    pub(crate) installed: Option<String>,
}

/// A bundle whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BundleInfo {
    pub(crate) compatible: String,
    pub(crate) version: Version,
}

/// A step of `rauc install`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) percent: u8,
    pub(crate) what: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Rauc {
    program: PathBuf,
}

impl Rauc {
    pub(crate) fn find() -> Result<Self, UpdateError> {
        find_program("rauc")
            .map(|program| Self { program })
            .ok_or_else(|| {
                UpdateError::NotUpdatable(
                    "it has no rauc; only the appliance's images have two slots for it".to_owned(),
                )
            })
    }

    async fn run(
        &self,
        arguments: &[&str],
        file: Option<&Path>,
        within: Duration,
    ) -> Result<Output> {
        let words = format!("rauc {}", arguments.join(" "));
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        timeout(within, command.output())
            .await
            .with_context(|| format!("`{words}` did not end within {} s", within.as_secs()))?
            .with_context(|| format!("starting `{words}`"))
    }

    /// Asks the service for the slots.
    pub(crate) async fn status(&self) -> Result<RaucStatus, UpdateError> {
        let arguments = ["status", "--output-format=json", "--detailed"];
        let output = self.run(&arguments, None, QUESTION).await?;
        if !output.status.success() {
            return Err(UpdateError::NotUpdatable(format!(
                "{}; systemctl status rauc",
                said(&output.stderr)
            )));
        }
        Ok(status(&String::from_utf8_lossy(&output.stdout))?)
    }

    /// Reads a bundle's manifest, and checks its signature with the device's keyring.
    pub(crate) async fn info(&self, bundle: &Path) -> Result<BundleInfo, UpdateError> {
        let arguments = ["info", "--output-format=json"];
        let output = self.run(&arguments, Some(bundle), BUNDLE).await?;
        let what = bundle.display().to_string();
        if !output.status.success() {
            return Err(refused(what, said(&output.stderr)));
        }
        info(&String::from_utf8_lossy(&output.stdout))
            .map_err(|reason| UpdateError::NoBundle { what, reason })
    }

    /// Installs into the other slot, which rauc makes the first of the next start.
    pub(crate) async fn install(
        &self,
        bundle: &Path,
        progress: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), UpdateError> {
        let mut child = Command::new(&self.program)
            .arg("install")
            .arg(bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting `rauc install`")?;
        let (Some(out), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(anyhow!("`rauc install` has no output").into());
        };
        let errors = tokio::spawn(async move {
            let mut text = Vec::new();
            let mut errors = errors.take(MAX_ERRORS);
            // What is missing of it is missing in a message.
            let _ = errors.read_to_end(&mut text).await;
            // Nobody is kept waiting by a full pipe.
            let _ = tokio::io::copy(&mut errors.into_inner(), &mut tokio::io::sink()).await;
            text
        });
        let mut last = None;
        let mut lines = BufReader::new(out).lines();
        loop {
            let line = match timeout(SILENCE, lines.next_line()).await {
                Ok(Ok(Some(line))) => line,
                Ok(_) => break,
                Err(_) => {
                    let silence = SILENCE.as_secs() / 60;
                    return Err(UpdateError::Failed(format!(
                        "it said nothing for {silence} min; journalctl -u rauc"
                    )));
                }
            };
            if let Some(error) = line.strip_prefix("LastError: ") {
                last = Some(error.to_owned());
            } else if let Some(step) = step(&line) {
                progress(step);
            }
        }
        let status = timeout(QUESTION, child.wait())
            .await
            .context("`rauc install` did not end")?
            .context("waiting for `rauc install`")?;
        if status.success() {
            return Ok(());
        }
        let errors = timeout(QUESTION, errors).await;
        let errors = errors.ok().and_then(Result::ok).unwrap_or_default();
        let text = String::from_utf8_lossy(&errors);
        if text.contains("Already processing") {
            return Err(UpdateError::Busy);
        }
        // The service writes it on either.
        let written = text
            .lines()
            .find_map(|line| line.strip_prefix("LastError: "));
        let reason = last.or_else(|| written.map(str::to_owned));
        let reason = reason.unwrap_or_else(|| said(&errors));
        Err(
            match refused(bundle.display().to_string(), reason.clone()) {
                error @ UpdateError::WrongSignature { .. } => error,
                _ => UpdateError::Failed(reason),
            },
        )
    }

    /// Tells the boot loader to start the running slot no more.
    pub(crate) async fn mark_bad(&self) -> Result<()> {
        let output = self
            .run(&["status", "mark-bad", "booted"], None, QUESTION)
            .await?;
        if output.status.success() {
            return Ok(());
        }
        Err(anyhow!(
            "rauc status mark-bad booted: {}",
            said(&output.stderr)
        ))
    }
}

impl RaucStatus {
    pub(crate) fn booted(&self) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.is_booted)
    }

    /// The one that an update goes into, and that is gone back to.
    pub(crate) fn other(&self) -> Option<&Slot> {
        self.slots.iter().find(|slot| !slot.is_booted)
    }
}

/// Reads what `rauc status --output-format=json --detailed` wrote (RAUC 1.8 to 1.15).
fn status(text: &str) -> Result<RaucStatus> {
    #[derive(Deserialize)]
    struct Document {
        compatible: String,
        #[serde(default)]
        boot_primary: Option<String>,
        slots: Vec<Map<String, Value>>,
    }
    let document: Document = serde_json::from_str(text).context("what `rauc status` wrote")?;
    let mut slots = Vec::new();
    for (name, slot) in document.slots.iter().flatten() {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let Some(bootname) = text(&slot["bootname"]) else {
            continue;
        };
        slots.push(Slot {
            bootname,
            is_booted: slot["state"] == "booted",
            is_primary: document.boot_primary.as_ref() == Some(name),
            is_good: slot["boot_status"] == "good",
            version: text(&slot["slot_status"]["bundle"]["version"]),
            installed: text(&slot["slot_status"]["installed"]["timestamp"]),
        });
    }
    slots.sort_by(|a, b| a.bootname.cmp(&b.bootname));
    Ok(RaucStatus {
        compatible: document.compatible,
        slots,
    })
}

/// Reads what `rauc info --output-format=json` wrote.
fn info(text: &str) -> Result<BundleInfo, String> {
    #[derive(Deserialize)]
    struct Document {
        compatible: Option<String>,
        version: Option<String>,
    }
    let document: Document =
        serde_json::from_str(text).map_err(|error| format!("rauc says of it: {error}"))?;
    let version = document.version.unwrap_or_default();
    Ok(BundleInfo {
        compatible: document.compatible.unwrap_or_default(),
        version: Version::parse(&version).map_err(|error| {
            format!("its version {version:?} is no semantic version such as 1.4.2: {error}")
        })?,
    })
}

fn refused(what: String, reason: String) -> UpdateError {
    if reason.contains("signature verification failed") {
        UpdateError::WrongSignature { what, reason }
    } else {
        UpdateError::NoBundle { what, reason }
    }
}

/// The last line that is not a log of what it does.
fn said(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let mut lines = text.lines().rev().map(str::trim);
    lines
        .find(|line| {
            !line.is_empty()
                && !line.starts_with("rauc-")
                && !line.starts_with("(rauc:")
                && !line.starts_with("D-Bus error while installing")
        })
        .unwrap_or("rauc gave no reason")
        .to_owned()
}

/// ` 46% Copying image to rootfs.1`
fn step(line: &str) -> Option<Step> {
    let (percent, what) = line.trim().split_once("% ")?;
    let percent = percent.parse().ok().filter(|percent| *percent <= 100)?;
    Some(Step {
        percent,
        what: what.trim_end_matches('.').to_owned(),
    })
}

#[cfg(test)]
mod tests;
