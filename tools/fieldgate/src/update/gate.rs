//! `fieldgate update gate`: a new system shows that it works before it is kept.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use super::places::Places;
use super::rauc::Rauc;
use super::reboot::reboot;
use super::state::{self, Stage, State};
use crate::health::{HealthTarget, Report, Waiting, wait};
use crate::install::say;

/// What is waited for is kept this often at most: it is for the case that the device does not get to say more.
const KEEP: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Whether an unhealthy system is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Revert,
    /// There is nothing to go back to.
    Stay,
}

/// A system that came by an update can always go back. Of one of which nothing is known, the other slot decides.
pub(crate) fn verdict(state: &State, booted: &str, other_is_good: bool) -> Verdict {
    let by_update = state
        .last
        .as_ref()
        .is_some_and(|last| last.to.slot == booted && last.from.slot != booted);
    if by_update || other_is_good {
        Verdict::Revert
    } else {
        Verdict::Stay
    }
}

/// A mistake in it must not take a good system back.
pub(crate) fn limit_of_environment() -> Duration {
    limit(std::env::var("FIELDGATE_GATE_LIMIT").ok().as_deref())
}

fn limit(text: Option<&str>) -> Duration {
    let Some(text) = text else { return LIMIT };
    crate::duration::parse(text.trim()).unwrap_or_else(|reason| {
        say(&format!(
            "FIELDGATE_GATE_LIMIT is {text:?}: {reason}; 15m is taken"
        ));
        LIMIT
    })
}

pub(crate) async fn run(places: &Places, limit: Duration) -> Result<ExitCode> {
    let Some(booted) = places.booted_slot() else {
        bail!(
            "this machine was not started from a slot (rauc.slot on the kernel's command line); there is nothing to confirm"
        );
    };
    let mut state = State::load(places.root())?;
    let known = state
        .last
        .as_ref()
        .filter(|last| last.to.slot == booted)
        .and_then(|last| last.known.clone());
    say(&format!(
        "slot {booted} is kept if the device is healthy within {} min",
        limit.as_secs().div_ceil(60)
    ));
    let mut waiting = Waiting::default();
    let mut kept: Option<Instant> = None;
    let target = HealthTarget::of(places.root());
    loop {
        let report = wait(&target, known.as_ref(), limit, &mut |report| {
            let Some(line) = waiting.changed(report) else {
                return;
            };
            say(&line);
            if kept.is_none_or(|at| at.elapsed() >= KEEP) {
                kept = Some(Instant::now());
                keep_reasons(places, &mut state, &booted, report);
            }
        })
        .await;
        if report.healthy {
            return confirm(places, &mut state, &booted);
        }
        for line in report.lines() {
            say(&line);
        }
        let rauc = Rauc::find()?;
        if verdict(&state, &booted, other_is_good(&rauc).await) == Verdict::Revert {
            return give_up(places, &rauc, &mut state, &booted, &report).await;
        }
        say("there is no other system to go back to; this one is kept as soon as it is healthy");
    }
}

fn confirm(places: &Places, state: &mut State, booted: &str) -> Result<ExitCode> {
    if let Some(last) = of_slot(state, booted).filter(|last| last.result != Stage::Confirmed) {
        last.reached(Stage::Confirmed, Vec::new(), state::now());
        state.save(places)?;
    }
    say(&format!("slot {booted} works and is kept"));
    Ok(ExitCode::SUCCESS)
}

fn of_slot<'a>(state: &'a mut State, booted: &str) -> Option<&'a mut super::state::Update> {
    state.last.as_mut().filter(|last| last.to.slot == booted)
}

/// For [`super::settle`], should a watchdog or a power cut end this start.
fn keep_reasons(places: &Places, state: &mut State, booted: &str, report: &Report) {
    if let Some(last) = of_slot(state, booted).filter(|last| last.result == Stage::Installed) {
        last.reasons = report.failures();
        if let Err(error) = state.save(places) {
            say(&format!("{error:#}"));
        }
    }
}

async fn other_is_good(rauc: &Rauc) -> bool {
    match rauc.status().await {
        Ok(status) => status.other().is_some_and(|slot| slot.is_good),
        Err(error) => {
            say(&error.to_string());
            false
        }
    }
}

async fn give_up(
    places: &Places,
    rauc: &Rauc,
    state: &mut State,
    booted: &str,
    report: &Report,
) -> Result<ExitCode> {
    if let Some(last) = of_slot(state, booted) {
        last.reached(Stage::Reverted, report.failures(), state::now());
        state.save(places)?;
    }
    // Should this fail, the boot loader's own counting leads back.
    if let Err(error) = rauc.mark_bad().await {
        say(&format!("{error:#}"));
    }
    say(&format!(
        "slot {booted} is given up; restarting into the other one"
    ));
    reboot().await?;
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::super::settle::tests::state;
    use super::*;

    #[test]
    fn a_mistake_in_the_limit_takes_nothing_back() {
        assert_eq!(limit(Some("30m")), Duration::from_secs(1800));
        for text in [None, Some("30 min"), Some("")] {
            assert_eq!(limit(text), LIMIT);
        }
    }

    #[test]
    fn only_a_system_with_something_to_go_back_to_is_given_up() {
        let updated = state(Stage::Installed, "b");
        assert_eq!(verdict(&updated, "b", false), Verdict::Revert);
        assert_eq!(verdict(&updated, "a", false), Verdict::Stay);
        assert_eq!(verdict(&State::default(), "a", true), Verdict::Revert);
        assert_eq!(
            verdict(&State::default(), "a", false),
            Verdict::Stay,
            "a disk that was just written has an empty second slot"
        );
    }
}
