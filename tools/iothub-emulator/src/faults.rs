//! Faults on request: what a device must live with, made to happen when a test wants it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

/// A fault as `POST /faults` takes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Fault {
    /// Close the listening socket and drop every connection; listen again after the time.
    Down { seconds: f64 },
    /// Answer each CONNECT with return code 5 (not authorized).
    Refuse { seconds: f64 },
    /// Drop every connection, once.
    Drop,
    /// Hold back the PUBACK of each telemetry message for a time.
    DelayPuback { milliseconds: u64, seconds: f64 },
    /// Record the next messages but never acknowledge them.
    SwallowPuback { count: u64 },
    /// Change the twin, but do not tell the device about the next changes of the desired section.
    SwallowDesired { count: u64 },
}

/// A fault in force, as `GET /faults` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct ActiveFault {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    milliseconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count_left: Option<u64>,
}

/// What one telemetry PUBACK has to suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PubackFate {
    Now,
    After(Duration),
    Never,
}

/// The faults in force. Each ends by itself.
#[derive(Debug)]
pub(crate) struct Faults {
    active: Mutex<Active>,
    /// Until when the hub is down: the listener follows it.
    down: watch::Sender<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Active {
    refuse_until: Option<Instant>,
    delay: Option<(Duration, Instant)>,
    swallow: u64,
    swallow_desired: u64,
}

/// Longest duration of a fault; "for ever" is longer than any test.
const LONGEST_SECONDS: f64 = 1e9;

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            active: Mutex::default(),
            down: watch::Sender::new(None),
        }
    }

    /// Puts a fault in force; one of the same kind is replaced. `Drop` has no duration and is the caller's to carry out.
    pub(crate) fn add(&self, fault: &Fault) {
        let until = |seconds: f64| Some(Instant::now() + duration(seconds));
        match *fault {
            Fault::Down { seconds } => {
                self.down.send_replace(until(seconds));
            }
            Fault::Refuse { seconds } => self.lock().refuse_until = until(seconds),
            Fault::Drop => {}
            Fault::DelayPuback {
                milliseconds,
                seconds,
            } => {
                self.lock().delay =
                    until(seconds).map(|until| (Duration::from_millis(milliseconds), until));
            }
            Fault::SwallowPuback { count } => self.lock().swallow = count,
            Fault::SwallowDesired { count } => self.lock().swallow_desired = count,
        }
    }

    /// Ends all of them now.
    pub(crate) fn clear(&self) {
        *self.lock() = Active::default();
        self.down.send_replace(None);
    }

    /// Changes whenever the end of the down time does.
    pub(crate) fn down(&self) -> watch::Receiver<Option<Instant>> {
        self.down.subscribe()
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.borrow().is_some_and(is_ahead)
    }

    pub(crate) fn refuses_connections(&self) -> bool {
        self.lock().refuse_until.is_some_and(is_ahead)
    }

    /// Decides over the PUBACK of the next telemetry message.
    pub(crate) fn puback(&self) -> PubackFate {
        let mut active = self.lock();
        if active.swallow > 0 {
            active.swallow -= 1;
            return PubackFate::Never;
        }
        match active.delay {
            Some((delay, until)) if is_ahead(until) => PubackFate::After(delay),
            _ => PubackFate::Now,
        }
    }

    /// Decides over the next notification about desired properties: whether it gets lost.
    pub(crate) fn swallows_desired(&self) -> bool {
        let mut active = self.lock();
        let swallowed = active.swallow_desired > 0;
        active.swallow_desired = active.swallow_desired.saturating_sub(1);
        swallowed
    }

    pub(crate) fn list(&self) -> Vec<ActiveFault> {
        let left = |until: Instant| {
            Some(
                until
                    .saturating_duration_since(Instant::now())
                    .as_secs_f64(),
            )
        };
        let fault = |kind, seconds_left| ActiveFault {
            kind,
            seconds_left,
            milliseconds: None,
            count_left: None,
        };
        let active = self.lock();
        let mut list = Vec::new();
        if let Some(until) = self.down.borrow().filter(|until| is_ahead(*until)) {
            list.push(fault("down", left(until)));
        }
        if let Some(until) = active.refuse_until.filter(|until| is_ahead(*until)) {
            list.push(fault("refuse", left(until)));
        }
        if let Some((delay, until)) = active.delay.filter(|(_, until)| is_ahead(*until)) {
            let milliseconds = u64::try_from(delay.as_millis()).ok();
            list.push(ActiveFault {
                milliseconds,
                ..fault("delay-puback", left(until))
            });
        }
        for (kind, left) in [
            ("swallow-puback", active.swallow),
            ("swallow-desired", active.swallow_desired),
        ] {
            if left > 0 {
                list.push(ActiveFault {
                    count_left: Some(left),
                    ..fault(kind, None)
                });
            }
        }
        list
    }

    fn lock(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_ahead(until: Instant) -> bool {
    until > Instant::now()
}

fn duration(seconds: f64) -> Duration {
    // NaN becomes 0 here.
    Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST_SECONDS)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn faults_end_by_themselves() {
        let faults = Faults::new();
        faults.add(&Fault::Refuse { seconds: 2.0 });
        faults.add(&Fault::DelayPuback {
            milliseconds: 50,
            seconds: 1.0,
        });
        faults.add(&Fault::SwallowPuback { count: 2 });
        faults.add(&Fault::SwallowDesired { count: 1 });
        assert_eq!(faults.list().len(), 4);
        assert!(faults.swallows_desired() && !faults.swallows_desired());
        let fates: Vec<_> = (0..3).map(|_| faults.puback()).collect();
        assert_eq!(
            fates,
            [
                PubackFate::Never,
                PubackFate::Never,
                PubackFate::After(Duration::from_millis(50))
            ]
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(faults.puback(), PubackFate::Now);
        assert!(faults.refuses_connections());
        faults.clear();
        assert!(!faults.refuses_connections());
        assert!(faults.list().is_empty());
    }

    #[test]
    fn faults_are_read_as_documented() {
        let read = |text| serde_json::from_str::<Fault>(text).unwrap();
        assert_eq!(
            read(r#"{"kind":"down","seconds":30}"#),
            Fault::Down { seconds: 30.0 }
        );
        assert_eq!(read(r#"{"kind":"drop"}"#), Fault::Drop);
        assert_eq!(
            read(r#"{"kind":"delay-puback","milliseconds":5,"seconds":1}"#),
            Fault::DelayPuback {
                milliseconds: 5,
                seconds: 1.0
            }
        );
        assert_eq!(
            read(r#"{"kind":"swallow-puback","count":3}"#),
            Fault::SwallowPuback { count: 3 }
        );
        assert_eq!(
            read(r#"{"kind":"swallow-desired","count":1}"#),
            Fault::SwallowDesired { count: 1 }
        );
    }
}
