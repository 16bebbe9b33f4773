//! Carries out the update that was asked for: `fieldgate update install`, its outcome into the record, the restart.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use agent_protocol::{Bundle, Fault};
use anyhow::{Context, Result};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::own;
use super::record::{End, Records};
use super::unit;
use crate::update::SOURCE_VARIABLE;

/// Exit statuses of `fieldgate update install` after which another attempt may go better: another installation runs, no space, the download
/// failed, the running system is not confirmed yet.
const PASSING: [i32; 4] = [15, 19, 20, 22];
/// The outcome is to reach the hub before the device is gone.
const RESTART_AFTER: Duration = Duration::from_secs(15);
/// A reason fits into a twin.
const LONGEST_REASON: usize = 500;
const STATUS: Duration = Duration::from_secs(120);

pub(super) async fn run(root: &Path) -> Result<ExitCode> {
    let records = Records::new(root);
    let mut record = records
        .load()?
        .context("no update was asked for; this is started by `fieldgate agent`")?;
    let mut end = match install(root, &records, &record.bundle).await {
        Ok(Outcome {
            status: Some(0), ..
        }) => End {
            time: OffsetDateTime::now_utc(),
            installed: true,
            reason: None,
            retry: false,
        },
        Ok(Outcome { status, said }) => failure(
            said.unwrap_or_else(|| format!("`fieldgate update install` ended with {status:?}")),
            // Without an exit status something ended it.
            status.is_none_or(|status| PASSING.contains(&status)),
        ),
        Err(error) => failure(error.to_string(), false),
    };
    let mut restart = false;
    if end.installed {
        match own::json(root, &["update", "status", "--json"], STATUS).await {
            Ok(status) => restart = starts_another(&status),
            Err(fault) => end = failure(fault.to_string(), true),
        }
        if end.installed && !restart {
            end.reason = Some("that version runs already".to_owned());
        }
    }
    if let Some(reason) = &end.reason {
        eprintln!("{reason}");
    }
    let is_installed = end.installed;
    // Meanwhile nobody may have wanted it any more.
    if let Some(now) = records.load()? {
        record.forgotten = now.forgotten;
    }
    record.end = Some(end);
    records.save(&record)?;
    records.clear_progress();
    if restart {
        let seconds = RESTART_AFTER.as_secs();
        eprintln!("it is installed; the device restarts in {seconds} s");
        unit::restart(RESTART_AFTER).await?;
    }
    Ok(if is_installed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Outcome {
    /// None: a signal ended it.
    status: Option<i32>,
    /// Its last line.
    said: Option<String>,
}

/// Every line that it says is its progress, the last one of a failure the reason.
async fn install(root: &Path, records: &Records, bundle: &Bundle) -> Result<Outcome, Fault> {
    let mut arguments = vec![
        "update",
        "install",
        "--no-reboot",
        "--sha256",
        &bundle.sha256,
    ];
    if let Some(version) = &bundle.version {
        arguments.extend(["--version", version]);
    }
    if bundle.allow_downgrade {
        arguments.push("--allow-downgrade");
    }
    let failed = |error: std::io::Error| {
        Fault::new(
            agent_protocol::Code::Failed,
            format!("running `fieldgate update install`: {error}"),
        )
    };
    let mut child = own::command(root, &arguments)?
        // It may hold a key; arguments can be read by everybody.
        .env(SOURCE_VARIABLE, &bundle.uri)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = None;
    if let Some(errors) = child.stderr.take() {
        let mut lines = BufReader::new(errors).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("{line}");
            if !line.trim().is_empty() {
                records.progress(line.trim());
                said = Some(line.trim().to_owned());
            }
        }
    }
    let status = child.wait().await.map_err(failed)?;
    Ok(Outcome {
        status: status.code(),
        said,
    })
}

/// Whether the next start is into another slot than the one that runs.
fn starts_another(status: &Value) -> bool {
    let slots = status["slots"].as_array().into_iter().flatten();
    slots
        .into_iter()
        .any(|slot| slot["next"] == true && slot["booted"] == false)
}

fn failure(reason: String, retry: bool) -> End {
    End {
        time: OffsetDateTime::now_utc(),
        installed: false,
        reason: Some(reason.chars().take(LONGEST_REASON).collect()),
        retry,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_device_restarts_only_into_another_slot() {
        let status = |next: &str| {
            let slot = |name: &str, booted: bool| json!({"name": name, "booted": booted, "next": name == next});
            json!({"slots": [slot("a", true), slot("b", false)]})
        };
        assert!(starts_another(&status("b")));
        assert!(!starts_another(&status("a")));
        assert!(!starts_another(&json!({"slots": []})));
        assert!(!starts_another(&json!({})));
    }
}
