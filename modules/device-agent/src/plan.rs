//! What to do about the update that the desired properties want. No I/O.

use std::time::Duration;

use agent_protocol::{Bundle, Origin, RequestState, RequestStatus, Status};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::desired::Wanted;

/// From a failure that may pass to the next attempt: the first time, doubled each time, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(6 * 3600));

/// What to ask of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// To install this.
    Install(Bundle),
    /// To begin the last update anew, after so long.
    Retry {
        /// Which one.
        id: String,
        /// From now.
        after: Duration,
    },
    /// Not to begin the last update anew.
    Forget {
        /// Which one.
        id: String,
    },
}

/// How the device stands to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No update is wanted.
    Nothing,
    /// The property cannot be understood.
    Invalid,
    /// That version runs.
    Current,
    /// It is to be asked for, or was just now.
    Asked,
    /// Another update is being installed.
    Waiting,
    /// It is being installed.
    Running,
    /// It is installed, and the device starts it or tries it.
    Installed,
    /// An attempt failed, and there is to be another one.
    Again,
    /// It was tried and failed; another one has to be wanted.
    GivenUp,
}

impl Standing {
    /// As the status has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Invalid => "invalid",
            Self::Current => "current",
            Self::Asked => "asked",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Installed => "installed",
            Self::Again => "again",
            Self::GivenUp => "given-up",
        }
    }
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to ask of the host.
    pub step: Step,
    /// How things stand.
    pub standing: Standing,
    /// Why it stands so, where that is worth a word.
    pub reason: Option<String>,
}

impl Plan {
    fn rest(standing: Standing, reason: Option<String>) -> Self {
        Self {
            step: Step::Rest,
            standing,
            reason,
        }
    }
}

/// Compares what is wanted with what the host knows.
pub fn plan(wanted: &Wanted, status: &Status, now: OffsetDateTime) -> Plan {
    let request = status.request.as_ref();
    // One that would be begun anew.
    let open = request.filter(|one| {
        one.origin == Origin::Desired && one.retry && one.state != RequestState::Running
    });
    let without = |standing, reason| {
        let mut plan = Plan::rest(standing, reason);
        if let Some(open) = open {
            plan.step = Step::Forget {
                id: open.id.clone(),
            };
        }
        plan
    };
    let bundle = match wanted {
        // What was wanted last, before this instance began.
        Wanted::Untold => {
            return match open {
                Some(open) if running_version(status) != open.version.as_deref() => {
                    again(open, now)
                }
                _ => Plan::rest(Standing::Nothing, None),
            };
        }
        Wanted::Nothing => return without(Standing::Nothing, None),
        Wanted::Invalid(reason) => return without(Standing::Invalid, Some(reason.clone())),
        Wanted::Bundle(bundle) => bundle,
    };
    if running_version(status) == bundle.version.as_deref() {
        return without(Standing::Current, None);
    }
    let id = bundle.id();
    match request {
        Some(request)
            if request.id == id
                && (!request.forgotten || request.state == RequestState::Running) =>
        {
            of_request(request, status, now)
        }
        Some(request) if request.state == RequestState::Running => Plan::rest(
            Standing::Waiting,
            Some("another update is being installed".to_owned()),
        ),
        _ => Plan {
            step: Step::Install(bundle.clone()),
            standing: Standing::Asked,
            reason: None,
        },
    }
}

/// The version of the running system.
pub fn running_version(status: &Status) -> Option<&str> {
    status.system["version"].as_str()
}

/// The last update, if it is that to this version.
fn last<'a>(status: &'a Status, version: Option<&str>) -> Option<&'a Value> {
    let last = &status.system["last"];
    (last["to"]["version"].as_str().is_some() && last["to"]["version"].as_str() == version)
        .then_some(last)
}

/// Why the last update failed or was taken back, as one text.
pub fn reasons(last: &Value) -> Option<String> {
    let reasons: Vec<&str> = last["reasons"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// It was asked for before.
fn of_request(request: &RequestStatus, status: &Status, now: OffsetDateTime) -> Plan {
    match request.state {
        RequestState::Running => Plan::rest(Standing::Running, request.progress.clone()),
        RequestState::Failed | RequestState::Interrupted if request.retry => again(request, now),
        RequestState::Failed | RequestState::Interrupted => {
            Plan::rest(Standing::GivenUp, request.reason.clone())
        }
        RequestState::Done => {
            let last = last(status, request.version.as_deref());
            match last.and_then(|last| last["result"].as_str()) {
                Some("reverted" | "failed") => {
                    Plan::rest(Standing::GivenUp, last.and_then(reasons))
                }
                Some("confirmed") => Plan::rest(
                    Standing::GivenUp,
                    Some(
                        "it was installed and confirmed, and another version was started since"
                            .to_owned(),
                    ),
                ),
                Some(_) => Plan::rest(Standing::Installed, last.and_then(reasons)),
                // Another update came after it.
                None => Plan::rest(
                    Standing::GivenUp,
                    Some("it was installed, and another version runs since".to_owned()),
                ),
            }
        }
    }
}

fn again(request: &RequestStatus, now: OffsetDateTime) -> Plan {
    let doublings = request.attempts.saturating_sub(1).min(16);
    let pause = (AGAIN.0 * 2_u32.pow(doublings)).min(AGAIN.1);
    let ended = request.ended.as_ref().unwrap_or(&request.begun);
    let elapsed = OffsetDateTime::parse(ended, &Rfc3339)
        .ok()
        .and_then(|ended| Duration::try_from(now - ended).ok())
        // A clock that was set back: from now on.
        .unwrap_or_default();
    Plan {
        step: Step::Retry {
            id: request.id.clone(),
            after: pause.saturating_sub(elapsed),
        },
        standing: Standing::Again,
        reason: request.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use agent_protocol::ResetStatus;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);

    fn bundle(version: &str) -> Bundle {
        Bundle {
            uri: "https://h/x".to_owned(),
            sha256: "0".repeat(64),
            version: Some(version.to_owned()),
            allow_downgrade: false,
        }
    }

    fn wanted(version: &str) -> Wanted {
        Wanted::Bundle(bundle(version))
    }

    fn request(version: &str, state: RequestState, retry: bool) -> RequestStatus {
        RequestStatus {
            id: bundle(version).id(),
            uri: "https://h/x".to_owned(),
            sha256: "0".repeat(64),
            version: Some(version.to_owned()),
            origin: Origin::Desired,
            state,
            progress: None,
            reason: Some("because".to_owned()),
            attempts: 1,
            retry,
            forgotten: false,
            begun: "2026-01-01T11:50:00Z".to_owned(),
            ended: Some("2026-01-01T11:58:00Z".to_owned()),
        }
    }

    /// A device that runs 0.1.0.
    fn status(request: Option<RequestStatus>, last: Value) -> Status {
        Status {
            name: "gate-7".to_owned(),
            system: json!({"version": "0.1.0", "last": last}),
            request,
            reset: ResetStatus::default(),
        }
    }

    fn last(result: &str) -> Value {
        json!({"result": result, "to": {"slot": "b", "version": "0.2.0"}, "reasons": ["broker: not ready"]})
    }

    fn of(wanted: &Wanted, request: Option<RequestStatus>, last: Value) -> (Step, Standing) {
        let plan = plan(wanted, &status(request, last), NOW);
        (plan.step, plan.standing)
    }

    #[test]
    fn a_version_that_does_not_run_is_asked_for_once() {
        use RequestState::{Done, Failed, Running};
        let new = wanted("0.2.0");
        let install = Step::Install(bundle("0.2.0"));
        assert_eq!(
            of(&new, None, Value::Null),
            (install.clone(), Standing::Asked)
        );
        assert_eq!(
            of(&wanted("0.1.0"), None, Value::Null),
            (Step::Rest, Standing::Current)
        );
        for (state, last, standing) in [
            (Running, Value::Null, Standing::Running),
            (Failed, Value::Null, Standing::GivenUp),
            (Done, last("installed"), Standing::Installed),
            (Done, last("reverted"), Standing::GivenUp),
            (Done, last("confirmed"), Standing::GivenUp),
            (Done, Value::Null, Standing::GivenUp),
        ] {
            let request = request("0.2.0", state, false);
            assert_eq!(
                of(&new, Some(request), last.clone()),
                (Step::Rest, standing),
                "{last}"
            );
        }
        // Another one came between.
        let other = request("0.3.0", Failed, false);
        assert_eq!(
            of(&new, Some(other), Value::Null),
            (install, Standing::Asked)
        );
        let other = request("0.3.0", Running, false);
        assert_eq!(
            of(&new, Some(other), Value::Null),
            (Step::Rest, Standing::Waiting)
        );
    }

    #[test]
    fn why_it_was_taken_back_is_told() {
        let request = request("0.2.0", RequestState::Done, false);
        let plan = plan(
            &wanted("0.2.0"),
            &status(Some(request), last("reverted")),
            NOW,
        );
        assert_eq!(plan.reason.as_deref(), Some("broker: not ready"));
    }

    #[test]
    fn what_may_pass_is_tried_again_later_and_later() {
        let failed = |attempts: u32| RequestStatus {
            attempts,
            ..request("0.2.0", RequestState::Failed, true)
        };
        for wanted in [wanted("0.2.0"), Wanted::Untold] {
            for (attempts, seconds) in [(1, 180), (2, 480), (20, 6 * 3600 - 120)] {
                let step = Step::Retry {
                    id: bundle("0.2.0").id(),
                    after: Duration::from_secs(seconds),
                };
                assert_eq!(
                    of(&wanted, Some(failed(attempts)), Value::Null),
                    (step, Standing::Again)
                );
            }
        }
        let late = RequestStatus {
            ended: Some("2026-01-02T00:00:00Z".to_owned()),
            ..failed(1)
        };
        let (step, _) = of(&wanted("0.2.0"), Some(late), Value::Null);
        assert!(
            matches!(step, Step::Retry { after, .. } if after == AGAIN.0),
            "{step:?}"
        );
        // Nobody wanted more than one attempt.
        let once = RequestStatus {
            origin: Origin::Method,
            ..failed(1)
        };
        assert_eq!(
            of(&Wanted::Untold, Some(once), Value::Null),
            (Step::Rest, Standing::Nothing)
        );
    }

    #[test]
    fn what_is_wanted_no_more_is_not_begun_anew() {
        let failed = request("0.2.0", RequestState::Failed, true);
        let forget = Step::Forget {
            id: failed.id.clone(),
        };
        for wanted in [
            Wanted::Nothing,
            Wanted::Invalid("x".to_owned()),
            wanted("0.1.0"),
        ] {
            let (step, _) = of(&wanted, Some(failed.clone()), Value::Null);
            assert_eq!(step, forget, "{wanted:?}");
        }
        // And wanted again after all.
        let forgotten = RequestStatus {
            retry: false,
            forgotten: true,
            ..failed
        };
        assert_eq!(
            of(&wanted("0.2.0"), Some(forgotten.clone()), Value::Null),
            (Step::Install(bundle("0.2.0")), Standing::Asked)
        );
        assert_eq!(
            of(&Wanted::Nothing, Some(forgotten), Value::Null).0,
            Step::Rest
        );
    }
}
