//! Whether a version may be installed. Decisions only.

use semver::Version;

use super::error::UpdateError;
use super::rauc::BundleInfo;
use super::state::{Stage, State};

/// What the caller wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) version: Option<Version>,
    pub(crate) allow_downgrade: bool,
    pub(crate) reinstall: bool,
}

/// The device, as far as it decides.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    pub(crate) compatible: String,
    pub(crate) running: Version,
    pub(crate) booted: String,
    pub(crate) boot: String,
}

/// What to do with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Install,
    /// It runs.
    Same,
    /// It is installed, and only the restart is missing.
    Pending,
}

/// Whether there may be an installation at all.
pub(crate) fn ready(device: &Device, state: &State) -> Result<(), UpdateError> {
    match &state.last {
        Some(last)
            if last.result == Stage::Installed
                && last.to.slot == device.booted
                && last.boot != device.boot =>
        {
            Err(UpdateError::NotConfirmed {
                slot: device.booted.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// Known before the bundle is there, so that nothing is fetched in vain.
pub(crate) fn version(
    version: &Version,
    device: &Device,
    wishes: &Wishes,
    state: &State,
) -> Result<Verdict, UpdateError> {
    let pending = state.last.as_ref().is_some_and(|last| {
        last.result == Stage::Installed
            && last.boot == device.boot
            && last.to.version == version.to_string()
    });
    if pending && !wishes.reinstall {
        return Ok(Verdict::Pending);
    }
    if *version == device.running {
        return Ok(if wishes.reinstall {
            Verdict::Install
        } else {
            Verdict::Same
        });
    }
    // Builds of one version are neither older nor newer.
    if version.cmp_precedence(&device.running).is_lt() && !wishes.allow_downgrade {
        return Err(UpdateError::Older {
            found: version.clone(),
            running: device.running.clone(),
        });
    }
    Ok(Verdict::Install)
}

/// For a bundle that nobody named: the stick it lies on is searched at every start, and a version that does not work here must not come again
/// and again.
pub(crate) fn untried(
    version: &Version,
    wishes: &Wishes,
    state: &State,
) -> Result<(), UpdateError> {
    match &state.last {
        Some(last)
            if last.result == Stage::Reverted
                && last.to.version == version.to_string()
                && !wishes.reinstall =>
        {
            Err(UpdateError::TakenBack {
                found: version.clone(),
                reasons: last.reasons.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// A bundle that is there.
pub(crate) fn bundle(
    what: &str,
    bundle: &BundleInfo,
    device: &Device,
    wishes: &Wishes,
    state: &State,
) -> Result<Verdict, UpdateError> {
    if bundle.compatible != device.compatible {
        return Err(UpdateError::OtherHardware {
            what: what.to_owned(),
            found: bundle.compatible.clone(),
            compatible: device.compatible.clone(),
        });
    }
    if let Some(expected) = wishes
        .version
        .as_ref()
        .filter(|one| **one != bundle.version)
    {
        return Err(UpdateError::WrongVersion {
            what: what.to_owned(),
            found: bundle.version.clone(),
            expected: expected.clone(),
        });
    }
    version(&bundle.version, device, wishes, state)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::state::{System, Update};
    use super::*;

    fn device() -> Device {
        Device {
            compatible: "fieldgate-amd64-uefi".to_owned(),
            running: Version::new(0, 2, 0),
            booted: "a".to_owned(),
            boot: "boot-2".to_owned(),
        }
    }

    fn state(result: Stage, slot: &str, boot: &str) -> State {
        let system = |slot: &str, version: &str| System {
            slot: slot.to_owned(),
            version: version.to_owned(),
        };
        let time = datetime!(2026-01-01 0:00 UTC);
        let last = Update {
            result,
            from: system("a", "0.2.0"),
            to: system(slot, "0.3.0"),
            source: "x".to_owned(),
            started: time,
            time,
            boot: boot.to_owned(),
            reasons: Vec::new(),
            known: None,
            other: serde_json::Map::new(),
        };
        State::with(last)
    }

    fn of(compatible: &str, version: &str, wishes: &Wishes) -> Result<Verdict, u8> {
        let info = BundleInfo {
            compatible: compatible.to_owned(),
            version: Version::parse(version).unwrap(),
        };
        bundle("x.raucb", &info, &device(), wishes, &State::default())
            .map_err(|error| error.exit_status())
    }

    #[test]
    fn newer_is_installed_older_only_when_asked_and_the_same_not_again() {
        let none = Wishes::default();
        let own = "fieldgate-amd64-uefi";
        assert_eq!(of(own, "0.3.0", &none), Ok(Verdict::Install));
        assert_eq!(of(own, "0.2.0", &none), Ok(Verdict::Same));
        assert_eq!(of(own, "0.2.0+build.2", &none), Ok(Verdict::Install));
        assert_eq!(of(own, "0.1.9", &none), Err(12));
        assert_eq!(
            of(own, "0.2.0-rc.1", &none),
            Err(12),
            "a candidate comes before its version"
        );
        assert_eq!(of("fieldgate-rpi4", "0.3.0", &none), Err(11));
        let down = Wishes {
            allow_downgrade: true,
            ..none.clone()
        };
        assert_eq!(of(own, "0.1.9", &down), Ok(Verdict::Install));
        let again = Wishes {
            reinstall: true,
            ..none.clone()
        };
        assert_eq!(of(own, "0.2.0", &again), Ok(Verdict::Install));
        let other = Wishes {
            version: Some(Version::new(0, 4, 0)),
            ..none
        };
        assert_eq!(of(own, "0.3.0", &other), Err(14));
    }

    #[test]
    fn what_is_installed_only_needs_its_restart() {
        let new = Version::new(0, 3, 0);
        let verdict = |state: &State| version(&new, &device(), &Wishes::default(), state).unwrap();
        assert_eq!(
            verdict(&state(Stage::Installed, "b", "boot-2")),
            Verdict::Pending
        );
        assert_eq!(
            verdict(&state(Stage::Reverted, "b", "boot-1")),
            Verdict::Install
        );
    }

    #[test]
    fn the_slot_to_go_back_to_is_not_overwritten_before_the_running_one_is_confirmed() {
        let refused = |state: &State| ready(&device(), state).map_err(|error| error.exit_status());
        assert_eq!(refused(&state(Stage::Installed, "a", "boot-1")), Err(22));
        assert_eq!(refused(&state(Stage::Confirmed, "a", "boot-1")), Ok(()));
        assert_eq!(refused(&state(Stage::Installed, "b", "boot-2")), Ok(()));
        assert_eq!(refused(&State::default()), Ok(()));
    }

    #[test]
    fn what_was_taken_back_is_tried_again_when_it_is_asked_for_only() {
        let reverted = state(Stage::Reverted, "b", "boot-1");
        let version = |text: &str| Version::parse(text).unwrap();
        let found = |text, reinstall, state| {
            let wishes = Wishes {
                reinstall,
                ..Wishes::default()
            };
            untried(&version(text), &wishes, state).map_err(|error| error.exit_status())
        };
        assert_eq!(found("0.3.0", false, &reverted), Err(23));
        assert_eq!(found("0.3.0", true, &reverted), Ok(()));
        assert_eq!(found("0.3.1", false, &reverted), Ok(()));
        // Cut off, not taken back.
        let failed = state(Stage::Failed, "b", "boot-1");
        assert_eq!(found("0.3.0", false, &failed), Ok(()));
    }
}
