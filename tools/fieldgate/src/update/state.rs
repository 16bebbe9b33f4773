//! What is known of the last update: state.json on the data partition, which both slots read and write, of whichever version they are.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::places::Places;
use crate::health::Known;
use crate::whole_file;

/// Goes up when a field changes its meaning; new fields need no new number, because what is not known is kept.
const SCHEMA: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    schema: u32,
    #[serde(default)]
    pub(crate) last: Option<Update>,
    /// Of a newer version.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// One attempt to bring a version into the other slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(crate) result: Stage,
    pub(crate) from: System,
    pub(crate) to: System,
    /// File or URL, without user, password and query.
    pub(crate) source: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) started: OffsetDateTime,
    /// When the result was reached.
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) time: OffsetDateTime,
    /// The boot in which it was installed, by the kernel's id.
    pub(crate) boot: String,
    /// Why it failed or was taken back; while the new system is tried, what it waits for.
    #[serde(default)]
    pub(crate) reasons: Vec<String>,
    /// What worked before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) known: Option<Known>,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct System {
    pub(crate) slot: String,
    pub(crate) version: String,
}

/// How far an update came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// The other slot is being written.
    Installing,
    /// It is written and comes next; not tried yet, or being tried.
    Installed,
    /// It runs, and the health check passed.
    Confirmed,
    /// It was tried and given up.
    Reverted,
    /// It could not be written.
    Failed,
    /// Of a newer version.
    #[serde(untagged)]
    Other(String),
}

impl Stage {
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Installing => "installing",
            Self::Installed => "installed",
            Self::Confirmed => "confirmed",
            Self::Reverted => "reverted",
            Self::Failed => "failed",
            Self::Other(word) => word,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            last: None,
            other: Map::new(),
        }
    }
}

impl State {
    /// No file is no update yet. One that cannot be read is set aside: it must not keep the device from its next update.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let path = Places::new(root).state();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        match serde_json::from_slice(&text) {
            Ok(state) => Ok(state),
            Err(error) => {
                let aside = path.with_extension("json.unreadable");
                eprintln!(
                    "{} cannot be read ({error}); it is set aside as {}",
                    path.display(),
                    aside.display()
                );
                // Without the right to, as an ordinary user, it stays.
                let _ = fs::rename(&path, &aside);
                Ok(Self::default())
            }
        }
    }

    /// There whole or not at all, also after a power cut.
    pub(crate) fn save(&self, places: &Places) -> Result<()> {
        places.make_folder()?;
        let mut text = serde_json::to_string_pretty(self).context("writing the update's state")?;
        text.push('\n');
        whole_file::write(&places.state(), text.as_bytes(), 0o644)
    }

    #[cfg(test)]
    pub(super) fn with(last: Update) -> Self {
        Self {
            last: Some(last),
            ..Self::default()
        }
    }

    /// What worked before the last update.
    pub(crate) fn known(&self) -> Option<&Known> {
        self.last.as_ref()?.known.as_ref()
    }
}

/// The time, to the second.
pub(crate) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

impl Update {
    pub(crate) fn reached(&mut self, result: Stage, reasons: Vec<String>, now: OffsetDateTime) {
        self.result = result;
        self.reasons = reasons;
        self.time = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a later version may write it.
    const NEWER: &str = r#"{"schema": 2, "channel": "stable", "last": {"result": "staged", "from": {"slot": "a", "version": "0.1.0"},
      "to": {"slot": "b", "version": "0.3.0"}, "source": "x", "started": "2026-01-01T00:00:00Z", "time": "2026-01-01T00:01:00Z",
      "boot": "1", "delta": {"bytes": 7}, "known": {"time": "2026-01-01T00:00:00Z", "modules": {"m": {"ready": true, "rate": 3}}, "opc": true}}}"#;

    #[test]
    fn an_older_version_reads_and_keeps_what_a_newer_one_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(folder.path());
        places.make_folder().unwrap();
        fs::write(places.state(), NEWER).unwrap();
        let state = State::load(folder.path()).unwrap();
        let last = state.last.as_ref().unwrap();
        assert_eq!(last.result, Stage::Other("staged".to_owned()));
        assert!(state.known().unwrap().modules["m"].ready);
        state.save(&places).unwrap();
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let (mut now, then) = (
            read(&fs::read_to_string(places.state()).unwrap()),
            read(NEWER),
        );
        // What the newer one left out has its default.
        now["last"].as_object_mut().unwrap().remove("reasons");
        let known = &mut now["last"]["known"];
        known.as_object_mut().unwrap().remove("hub");
        for key in ["events", "seconds"] {
            known["modules"]["m"].as_object_mut().unwrap().remove(key);
        }
        assert_eq!(now, then);
    }

    #[test]
    fn a_damaged_state_is_set_aside_and_none_is_no_update() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(folder.path());
        assert_eq!(State::load(folder.path()).unwrap(), State::default());
        places.make_folder().unwrap();
        for damaged in [b"{\"schema\"".as_slice(), b"\xff\xfe"] {
            fs::write(places.state(), damaged).unwrap();
            assert_eq!(State::load(folder.path()).unwrap(), State::default());
            assert!(places.state().with_extension("json.unreadable").exists());
            assert!(!places.state().exists());
        }
    }
}
