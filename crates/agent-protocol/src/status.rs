//! What is known of the device: the answer to `update-status`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::request::Origin;

/// The device as its host sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The device's name.
    pub name: String,
    /// What `fieldgate update status --json` prints: version, slots, the last update.
    pub system: Value,
    /// The last update that was asked for here.
    pub request: Option<RequestStatus>,
    /// Factory resets.
    pub reset: ResetStatus,
}

/// An update that was asked for, up to the restart into it; what became of it then is in [`Status::system`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestStatus {
    /// [`crate::Bundle::id`].
    pub id: String,
    /// Without user, password and query.
    pub uri: String,
    /// Of the bundle.
    pub sha256: String,
    /// Which one it must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Who wants it.
    pub origin: Origin,
    /// How far it is.
    pub state: RequestState,
    /// What it does just now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Why it failed, or that there was nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was begun.
    pub attempts: u32,
    /// Whether another attempt may go better, with nothing changed.
    pub retry: bool,
    /// Nobody wanted it any more ([`crate::Command::Forget`]); who wants it again asks anew.
    #[serde(default)]
    pub forgotten: bool,
    /// When it was begun last, RFC 3339, UTC.
    pub begun: String,
    /// When it ended, RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// How far an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestState {
    /// It is fetched, checked or installed.
    Running,
    /// It is in the other slot, and the device restarts into it; or there was nothing to do.
    Done,
    /// It was not installed.
    Failed,
    /// A power cut or a restart came in between.
    Interrupted,
}

impl RequestState {
    /// As it stands in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Factory resets of a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ResetStatus {
    /// One that is asked for, and carried out at the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Value>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Value>,
}
