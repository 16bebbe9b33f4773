//! `fieldgate update settle`: at every start, what became of the last update is found out.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use time::OffsetDateTime;

use super::download;
use super::install::running;
use super::places::Places;
use super::state::{self, Stage, State};
use crate::health::Boot;
use crate::install::say;

/// A part of a download is gone on with for so long.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is said of the last update, if this start tells something new of it.
fn settle(
    state: &mut State,
    booted: &str,
    running: &str,
    boot: &str,
    now: OffsetDateTime,
) -> Option<String> {
    let last = state.last.as_mut()?;
    if last.boot == boot {
        return None;
    }
    let (slot, version) = (last.to.slot.clone(), last.to.version.clone());
    match last.result {
        // Whoever installed it was gone before it could say so, and the installation went on without it.
        Stage::Installing | Stage::Failed if slot == booted && version == running => {
            last.reached(Stage::Installed, Vec::new(), now);
            Some(format!(
                "the update to {version} had been installed after all; slot {slot} is being tried"
            ))
        }
        Stage::Installing => {
            let reason = "the device was restarted while it was being installed";
            last.reached(Stage::Failed, vec![reason.to_owned()], now);
            Some(format!(
                "the update to {version} was cut off; it can be begun again"
            ))
        }
        Stage::Installed if slot != booted => {
            let mut reasons = vec![format!("slot {slot} was tried and did not come up")];
            reasons.extend(
                last.reasons
                    .iter()
                    .map(|reason| format!("it was last waiting for {reason}")),
            );
            last.reached(Stage::Reverted, reasons, now);
            Some(format!(
                "the update to {version} was taken back: slot {slot} did not come up"
            ))
        }
        Stage::Confirmed if slot != booted => {
            let reason = format!(
                "slot {slot} had been confirmed, and slot {booted} was started: it was chosen by hand, or {slot} did not come up any more"
            );
            last.reached(Stage::Reverted, vec![reason], now);
            Some(format!("version {version} in slot {slot} runs no more"))
        }
        _ => None,
    }
}

pub(crate) fn run(places: &Places) -> Result<()> {
    let now = state::now();
    let boot = Boot::read(places.root(), now)?;
    boot.keep(places.root())?;
    if let Some(booted) = places.booted_slot() {
        let mut state = State::load(places.root())?;
        let running = running(places).map_or_else(|_| String::new(), |version| version.to_string());
        if let Some(line) = settle(&mut state, &booted, &running, &boot.id, now) {
            state.save(places)?;
            say(&line);
            let reasons = state.last.iter().flat_map(|last| &last.reasons);
            for reason in reasons {
                say(&format!("  {reason}"));
            }
        }
    }
    let bundle = download::bundle(&places.downloads());
    let age = fs::metadata(bundle)
        .and_then(|data| data.modified())
        .map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
    // A folder without a bundle has nothing to go on with.
    if age.map_or(true, |age| age > KEPT) {
        download::clear(&places.downloads())?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use time::macros::datetime;

    use super::super::state::{System, Update};
    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 1:00 UTC);

    pub(in super::super) fn state(result: Stage, slot: &str) -> State {
        let system = |slot: &str, version: &str| System {
            slot: slot.to_owned(),
            version: version.to_owned(),
        };
        let time = datetime!(2026-01-01 0:00 UTC);
        State::with(Update {
            result,
            from: system("a", "0.1.0"),
            to: system(slot, "0.2.0"),
            source: "x".to_owned(),
            started: time,
            time,
            boot: "boot-1".to_owned(),
            reasons: vec!["broker: 0 of 1 pods ready".to_owned()],
            known: None,
            other: serde_json::Map::new(),
        })
    }

    fn after(result: Stage, booted: &str, boot: &str) -> (Stage, Vec<String>, bool) {
        let mut state = state(result, "b");
        let running = if booted == "b" { "0.2.0" } else { "0.1.0" };
        let told = settle(&mut state, booted, running, boot, NOW).is_some();
        let last = state.last.unwrap();
        (last.result, last.reasons, told)
    }

    #[test]
    fn a_slot_that_did_not_come_up_is_told_with_what_it_waited_for() {
        let (result, reasons, told) = after(Stage::Installed, "a", "boot-2");
        assert_eq!((result, told), (Stage::Reverted, true));
        assert_eq!(
            reasons,
            [
                "slot b was tried and did not come up",
                "it was last waiting for broker: 0 of 1 pods ready"
            ]
        );
        assert_eq!(after(Stage::Confirmed, "a", "boot-3").0, Stage::Reverted);
        assert_eq!(after(Stage::Installing, "a", "boot-2").0, Stage::Failed);
    }

    #[test]
    fn what_runs_was_installed_whatever_was_recorded() {
        for recorded in [Stage::Installing, Stage::Failed] {
            let (result, reasons, told) = after(recorded, "b", "boot-2");
            assert_eq!((result, told), (Stage::Installed, true));
            assert!(reasons.is_empty());
        }
        // The slot that was to be written had this system already, and was chosen by hand.
        let mut state = state(Stage::Installing, "b");
        settle(&mut state, "b", "0.1.5", "boot-2", NOW);
        assert_eq!(state.last.unwrap().result, Stage::Failed);
    }

    #[test]
    fn what_is_still_to_come_or_said_already_stays() {
        for (result, booted, boot) in [
            // Not restarted yet; being tried; kept; given up by the gate, with its reasons.
            (Stage::Installed, "a", "boot-1"),
            (Stage::Installed, "b", "boot-2"),
            (Stage::Confirmed, "b", "boot-3"),
            (Stage::Reverted, "a", "boot-3"),
            (Stage::Failed, "a", "boot-3"),
        ] {
            let (now, reasons, told) = after(result.clone(), booted, boot);
            assert_eq!((now, told), (result, false));
            assert_eq!(reasons, ["broker: 0 of 1 pods ready"]);
        }
        assert_eq!(
            settle(&mut State::default(), "a", "0.1.0", "boot-1", NOW),
            None
        );
    }
}
