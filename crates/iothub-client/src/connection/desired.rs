//! Keeping up with the desired section: the whole of it after each connect and after a gap, patches in between.

use iothub_protocol::twin::parse_desired;
use iothub_protocol::{DesiredTracker, TwinDocument, VersionStep};
use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::request::TwinAnswer;

/// Before the section is asked for again after an answer that was no use.
const AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Desired {
    tracker: DesiredTracker,
    get: Get,
}

#[derive(Debug)]
enum Get {
    Idle,
    Due(Instant),
    /// Asked; `newest` is the highest version that was announced meanwhile.
    Asked {
        rid: String,
        until: Instant,
        newest: u64,
    },
}

/// What a notification or answer led to.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Nothing,
    /// Ask for the whole section.
    Ask,
    Tell {
        version: u64,
        patch: Value,
        complete: bool,
    },
}

impl Desired {
    pub(super) fn new() -> Self {
        Self {
            tracker: DesiredTracker::new(),
            get: Get::Idle,
        }
    }

    pub(super) fn asked(&mut self, rid: String, until: Instant) {
        self.get = Get::Asked {
            rid,
            until,
            newest: 0,
        };
    }

    /// Something could not be handed on: read the whole section again later.
    pub(super) fn forget(&mut self) {
        self.tracker = DesiredTracker::new();
        self.get = Get::Due(Instant::now() + AGAIN);
    }

    pub(super) fn is_answer(&self, rid: &str) -> bool {
        matches!(&self.get, Get::Asked { rid: asked, .. } if asked == rid)
    }

    /// When to ask again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.get {
            Get::Idle => None,
            Get::Due(at) | Get::Asked { until: at, .. } => Some(at),
        }
    }

    pub(super) fn notify(&mut self, payload: &[u8], topic_version: Option<u64>) -> Outcome {
        let (patch, version) = match parse_desired(payload, topic_version) {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!("a desired-properties notification was dropped: {error}");
                return Outcome::Nothing;
            }
        };
        if let Get::Asked { newest, .. } = &mut self.get {
            // The answer under way may be older than this: it decides.
            *newest = version.max(*newest);
            return Outcome::Nothing;
        }
        match self.tracker.step(version) {
            VersionStep::Next => Outcome::Tell {
                version,
                patch,
                complete: false,
            },
            VersionStep::Stale => Outcome::Nothing,
            VersionStep::Gap => Outcome::Ask,
        }
    }

    pub(super) fn answer(&mut self, answer: &TwinAnswer) -> Outcome {
        let newest = match std::mem::replace(&mut self.get, Get::Idle) {
            Get::Asked { newest, .. } => newest,
            Get::Idle | Get::Due(_) => 0,
        };
        let twin = if answer.status == 200 {
            TwinDocument::parse(&answer.payload).map_err(|error| error.to_string())
        } else {
            Err(format!("status {}", answer.status))
        };
        match twin {
            Ok(twin) if twin.desired_version < newest => Outcome::Ask,
            Ok(twin) => {
                self.tracker.complete(twin.desired_version);
                Outcome::Tell {
                    version: twin.desired_version,
                    patch: twin.desired,
                    complete: true,
                }
            }
            Err(error) => {
                tracing::warn!(
                    "reading the twin failed, trying again in {} s: {error}",
                    AGAIN.as_secs()
                );
                self.get = Get::Due(Instant::now() + AGAIN);
                Outcome::Nothing
            }
        }
    }
}
