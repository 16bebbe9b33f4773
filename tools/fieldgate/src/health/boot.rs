//! This boot of the machine, so that nothing that is left of the one before counts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

/// In memory: gone with the boot it tells of.
const MARK: &str = "run/fieldgate/boot.json";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boot {
    /// The kernel's own name for it, which the kubelet reports, too.
    pub(crate) id: String,
    /// When it began, by the clock that was the earliest.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) since: OffsetDateTime,
}

impl Boot {
    /// This boot. A clock that was set since makes what was started before look as if it were older than the boot, hence the mark of
    /// [`Self::keep`].
    pub(crate) fn read(root: &Path, now: OffsetDateTime) -> Result<Self> {
        let read = |path: &str| -> Result<String> {
            let path = root.join(path);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let id = read("proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let uptime = read("proc/uptime")?;
        let uptime: f64 = uptime
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
            .context("/proc/uptime does not begin with seconds")?;
        let since = now - Duration::seconds_f64(uptime);
        let kept: Option<Self> = fs::read_to_string(mark(root))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        Ok(match kept {
            Some(kept) if kept.id == id && kept.since < since => kept,
            _ => Self { id, since },
        })
    }

    /// Keeps when this boot began by the clock of now, before the network sets it. To be called once the clock is that of the last run or
    /// later (systemd's time-set.target), or what was started in an earlier boot would count.
    pub(crate) fn keep(&self, root: &Path) -> Result<()> {
        let path = mark(root);
        let context = || format!("writing {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(root)).with_context(context)?;
        let text = serde_json::to_string(self).context("writing the time of this boot")?;
        fs::write(&path, text).with_context(context)
    }
}

fn mark(root: &Path) -> PathBuf {
    root.join(MARK)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_clock_that_was_set_does_not_move_the_boot_behind_what_was_started_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert!(Boot::read(root, datetime!(2026-01-01 0:00 UTC)).is_err());
        fs::create_dir_all(root.join("proc/sys/kernel/random")).unwrap();
        fs::write(root.join("proc/sys/kernel/random/boot_id"), "b-1\n").unwrap();
        fs::write(root.join("proc/uptime"), "60.50 100.0\n").unwrap();
        let early = Boot::read(root, datetime!(2026-01-01 0:01:00.5 UTC)).unwrap();
        assert_eq!(early.since, datetime!(2026-01-01 0:00 UTC));
        early.keep(root).unwrap();
        let later = Boot::read(root, datetime!(2026-05-05 0:00 UTC)).unwrap();
        assert_eq!(later, early);
        let back = Boot::read(root, datetime!(2025-01-01 0:01:00.5 UTC)).unwrap();
        assert_eq!(back.since, datetime!(2025-01-01 0:00 UTC));

        fs::write(root.join("proc/sys/kernel/random/boot_id"), "b-2\n").unwrap();
        let next = Boot::read(root, datetime!(2026-05-05 0:01:00.5 UTC)).unwrap();
        assert_eq!(next.since, datetime!(2026-05-05 0:00 UTC));
    }
}
