//! Faults on request: what a device must live with, made to happen when a test wants it.

use std::collections::HashMap;
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
    /// Answer each CONNECT, or each of one client id (`device` or `device/module`), with return code 5 (not authorized).
    Refuse {
        seconds: f64,
        #[serde(default)]
        client: Option<String>,
    },
    /// Drop every connection, or that of one client id, once.
    Drop {
        #[serde(default)]
        client: Option<String>,
    },
    /// Hold back the PUBACK of each telemetry message for a time.
    DelayPuback { milliseconds: u64, seconds: f64 },
    /// Acknowledge so many telemetry messages a second over all connections; the others wait for their turn.
    Throttle { per_second: f64, seconds: f64 },
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
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
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
    refuse_clients: HashMap<String, Instant>,
    delay: Option<(Duration, Instant)>,
    throttle: Option<Throttle>,
    swallow: u64,
    swallow_desired: u64,
}

#[derive(Debug, Clone, Copy)]
struct Throttle {
    per_second: f64,
    /// When the next PUBACK may go.
    next: Instant,
    until: Instant,
}

impl Throttle {
    /// Takes a turn: how long it has to wait.
    fn take(&mut self, now: Instant) -> Duration {
        let turn = self.next.max(now);
        self.next = turn + Duration::from_secs_f64(1.0 / self.per_second);
        turn - now
    }
}

/// Fewest and most PUBACKs a second of a throttle.
const THROTTLE: (f64, f64) = (0.1, 1e6);
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
            Fault::Refuse {
                seconds,
                client: None,
            } => self.lock().refuse_until = until(seconds),
            Fault::Refuse {
                seconds,
                client: Some(ref client),
            } => {
                let mut active = self.lock();
                active.refuse_clients.retain(|_, until| is_ahead(*until));
                active
                    .refuse_clients
                    .insert(client.clone(), Instant::now() + duration(seconds));
            }
            Fault::Drop { .. } => {}
            Fault::DelayPuback {
                milliseconds,
                seconds,
            } => {
                self.lock().delay =
                    until(seconds).map(|until| (Duration::from_millis(milliseconds), until));
            }
            Fault::Throttle {
                per_second,
                seconds,
            } => {
                self.lock().throttle = Some(Throttle {
                    per_second: per_second.clamp(THROTTLE.0, THROTTLE.1),
                    next: Instant::now(),
                    until: Instant::now() + duration(seconds),
                });
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

    /// Whether a client may not in.
    pub(crate) fn refuses(&self, client_id: &str) -> bool {
        let active = self.lock();
        let own = active.refuse_clients.get(client_id).copied();
        active.refuse_until.is_some_and(is_ahead) || own.is_some_and(is_ahead)
    }

    /// Decides over the PUBACK of the next telemetry message.
    pub(crate) fn puback(&self) -> PubackFate {
        let mut active = self.lock();
        if active.swallow > 0 {
            active.swallow -= 1;
            return PubackFate::Never;
        }
        let now = Instant::now();
        let turn = active
            .throttle
            .as_mut()
            .filter(|throttle| throttle.until > now)
            .map(|throttle| throttle.take(now));
        let delay = active.delay.filter(|(_, until)| *until > now);
        match turn.unwrap_or_default() + delay.map_or(Duration::ZERO, |(delay, _)| delay) {
            Duration::ZERO => PubackFate::Now,
            delay => PubackFate::After(delay),
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
            per_second: None,
            client: None,
        };
        let active = self.lock();
        let mut list = Vec::new();
        if let Some(until) = self.down.borrow().filter(|until| is_ahead(*until)) {
            list.push(fault("down", left(until)));
        }
        if let Some(until) = active.refuse_until.filter(|until| is_ahead(*until)) {
            list.push(fault("refuse", left(until)));
        }
        for (client, until) in &active.refuse_clients {
            if is_ahead(*until) {
                list.push(ActiveFault {
                    client: Some(client.clone()),
                    ..fault("refuse", left(*until))
                });
            }
        }
        if let Some(throttle) = active.throttle.filter(|throttle| is_ahead(throttle.until)) {
            list.push(ActiveFault {
                per_second: Some(throttle.per_second),
                ..fault("throttle", left(throttle.until))
            });
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
        faults.add(&Fault::Refuse {
            seconds: 2.0,
            client: None,
        });
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
        assert!(faults.refuses("a"));
        faults.clear();
        assert!(!faults.refuses("a"));
        assert!(faults.list().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_is_refused_and_the_others_are_not() {
        let faults = Faults::new();
        faults.add(&Fault::Refuse {
            seconds: 2.0,
            client: Some("gate/line-1".to_owned()),
        });
        assert!(faults.refuses("gate/line-1") && !faults.refuses("gate"));
        assert_eq!(faults.list().len(), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!faults.refuses("gate/line-1"));
        assert!(faults.list().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttle_lets_pubacks_go_one_by_one() {
        let faults = Faults::new();
        faults.add(&Fault::Throttle {
            per_second: 10.0,
            seconds: 60.0,
        });
        let fates: Vec<_> = (0..3).map(|_| faults.puback()).collect();
        let after = |milliseconds| PubackFate::After(Duration::from_millis(milliseconds));
        assert_eq!(fates, [PubackFate::Now, after(100), after(200)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(faults.puback(), PubackFate::Now);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(faults.puback(), PubackFate::Now);
        assert_eq!(faults.puback(), PubackFate::Now);
    }

    #[test]
    fn faults_are_read_as_documented() {
        let read = |text| serde_json::from_str::<Fault>(text).unwrap();
        assert_eq!(
            read(r#"{"kind":"down","seconds":30}"#),
            Fault::Down { seconds: 30.0 }
        );
        assert_eq!(read(r#"{"kind":"drop"}"#), Fault::Drop { client: None });
        let client = Some("gate/line-1".to_owned());
        assert_eq!(
            read(r#"{"kind":"refuse","seconds":1,"client":"gate/line-1"}"#),
            Fault::Refuse {
                seconds: 1.0,
                client
            }
        );
        assert_eq!(
            read(r#"{"kind":"throttle","per_second":100,"seconds":1}"#),
            Fault::Throttle {
                per_second: 100.0,
                seconds: 1.0
            }
        );
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
