//! Commands to a mounted disk: one JSON object a line on standard input, one answer a line on standard output.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use faulty_disk::{Disk, DiskError, Failing, Mount, Survival};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
enum Control {
    /// The power fails, now or instead of a change.
    Cut { after: Option<u64> },
    /// Answers when the power has failed, or after a time.
    Wait { milliseconds: u64 },
    /// The power is back. Programs must have closed their files.
    PowerUp { survival: Survival, seed: u64 },
    /// Bytes that there is room for; without a number there is no bound.
    Capacity { bytes: Option<u64> },
    /// Nothing may be changed.
    ReadOnly { on: bool },
    /// Each sync takes so long.
    SyncTakes { milliseconds: u64 },
    /// These operations fail, and no others.
    Fail { operations: Vec<Failing> },
    /// Flips a bit.
    Flip { file: String, at: u64, bit: u8 },
    /// Makes a sector unreadable.
    LoseSector { file: String, at: u64 },
    /// Writes all files into a folder outside.
    Save { folder: PathBuf },
    /// Says how the disk is.
    Status,
}

/// Serves a disk until standard input ends.
pub(crate) fn serve(folder: &Path, from: Option<&Path>) -> anyhow::Result<()> {
    let disk = Disk::new();
    if let Some(from) = from {
        disk.load(from)?;
    }
    let _mount = Mount::new(Arc::clone(&disk), folder)?;
    answer(&status(&disk))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let result = match serde_json::from_str(&line) {
            Ok(control) => obey(&disk, control).map_err(|error| error.to_string()),
            Err(error) => Err(format!("not a command: {error}")),
        };
        answer(&result.unwrap_or_else(|error| json!({ "error": error })))?;
    }
    Ok(())
}

fn obey(disk: &Disk, control: Control) -> Result<Value, DiskError> {
    match control {
        Control::Cut { after: None } => disk.cut(),
        Control::Cut { after: Some(after) } => disk.cut_after(after.max(1)),
        Control::Wait { milliseconds } => {
            let cut = disk.wait_for_cut(Duration::from_millis(milliseconds));
            return Ok(json!({ "cut": cut }));
        }
        Control::PowerUp { survival, seed } => {
            disk.power_up(survival, &mut StdRng::seed_from_u64(seed));
        }
        Control::Capacity { bytes } => disk.set_faults(|faults| faults.capacity = bytes),
        Control::ReadOnly { on } => disk.set_faults(|faults| faults.read_only = on),
        Control::SyncTakes { milliseconds } => {
            disk.set_faults(|faults| faults.sync_takes = Duration::from_millis(milliseconds));
        }
        Control::Fail { operations } => disk.set_faults(|faults| faults.failing = operations),
        Control::Flip { file, at, bit } => disk.flip(&file, at, bit)?,
        Control::LoseSector { file, at } => disk.lose_sector(&file, at)?,
        Control::Save { folder } => disk.save(&folder)?,
        Control::Status => {}
    }
    Ok(status(disk))
}

fn status(disk: &Disk) -> Value {
    let files: serde_json::Map<_, _> = disk
        .image()
        .into_iter()
        .map(|(name, bytes)| (name.to_string_lossy().into_owned(), bytes.len().into()))
        .collect();
    json!({
        "cut": disk.wait_for_cut(Duration::ZERO),
        "files": files,
        "used": disk.used(),
        "synced": disk.is_synced(),
        "syncs": disk.syncs(),
    })
}

fn answer(value: &Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}
