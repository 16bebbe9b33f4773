//! `fieldgate update status`: slots, versions, and what became of the last update.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::install::running;
use super::places::Places;
use super::rauc::Rauc;
use super::state::{State, Update};

/// For people, for `--json`, and for whoever reports it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    /// Of the running system.
    pub(crate) version: Option<String>,
    pub(crate) compatible: Option<String>,
    pub(crate) booted: Option<String>,
    pub(crate) slots: Vec<SlotStatus>,
    pub(crate) last: Option<Update>,
    /// What could not be learnt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct SlotStatus {
    pub(crate) name: String,
    pub(crate) booted: bool,
    pub(crate) next: bool,
    pub(crate) good: bool,
    pub(crate) version: Option<String>,
    pub(crate) installed: Option<String>,
}

/// What is not known is left out and said: a status always tells what it can.
pub(crate) async fn status(places: &Places) -> anyhow::Result<Status> {
    let mut errors = Vec::new();
    let version = match running(places) {
        Ok(version) => Some(version.to_string()),
        Err(error) => {
            errors.push(error.to_string());
            None
        }
    };
    let rauc = match Rauc::find() {
        Ok(rauc) => rauc.status().await,
        Err(error) => Err(error),
    };
    let mut booted = None;
    let (compatible, slots) = match rauc {
        Ok(rauc) => {
            booted = rauc.booted().map(|slot| slot.bootname.clone());
            let slots = rauc.slots.into_iter().map(|slot| SlotStatus {
                // Of the disk that was flashed rauc does not know it.
                version: match slot.version {
                    None if slot.is_booted => version.clone(),
                    other => other,
                },
                name: slot.bootname,
                booted: slot.is_booted,
                next: slot.is_primary,
                good: slot.is_good,
                installed: slot.installed,
            });
            (Some(rauc.compatible), slots.collect())
        }
        Err(error) => {
            errors.push(error.to_string());
            (None, Vec::new())
        }
    };
    Ok(Status {
        version,
        compatible,
        booted: places.booted_slot().or(booted),
        slots,
        last: State::load(places.root())?.last,
        errors,
    })
}

impl Status {
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let (Some(version), Some(compatible)) = (&self.version, &self.compatible) {
            lines.push(format!("version {version} for {compatible}"));
        }
        for slot in &self.slots {
            let mut words = vec![
                slot.version
                    .clone()
                    .unwrap_or_else(|| "unknown version".to_owned()),
            ];
            if slot.booted {
                words.push("runs".to_owned());
            }
            if slot.next {
                words.push("starts next".to_owned());
            }
            if !slot.good {
                words.push("is not started any more".to_owned());
            }
            lines.push(format!("slot {}: {}", slot.name, words.join(", ")));
        }
        match &self.last {
            None => lines.push("no update yet".to_owned()),
            Some(last) => {
                lines.push(format!(
                    "last update: {} to {} (slot {}) {} {}",
                    last.from.version,
                    last.to.version,
                    last.to.slot,
                    last.result.words(),
                    time(last.time)
                ));
                lines.push(format!("  from {}", last.source));
                lines.extend(last.reasons.iter().map(|reason| format!("  {reason}")));
            }
        }
        lines.extend(self.errors.iter().cloned());
        lines
    }
}

fn time(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}
