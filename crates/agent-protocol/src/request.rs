//! What is asked.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::fault::{Code, Fault};
use crate::{MAX_REQUEST, VERSION};

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Whether the device does its work: what `fieldgate health --json` prints.
    Health,
    /// What runs, and what became of updates and resets: [`crate::Status`].
    UpdateStatus,
    /// Installs a bundle and restarts into it. Answered as soon as it has begun.
    Update(UpdateRequest),
    /// Begins the last update anew, which failed or was cut off.
    Retry {
        /// [`Bundle::id`].
        id: String,
    },
    /// The last update is not wanted any more: it is not to be begun anew. One that is being installed goes on.
    Forget {
        /// [`Bundle::id`].
        id: String,
    },
    /// The factory reset.
    Reset(Reset),
    /// Restarts the device.
    Restart,
}

/// An update and who wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// What to install.
    pub bundle: Bundle,
    /// Who wants it.
    pub origin: Origin,
}

/// Who wants an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Somebody, once.
    Method,
    /// The desired properties, until it is there.
    Desired,
}

/// The factory reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// The device's name: says that this device is meant.
    pub name: String,
    /// What outlives it; nothing for an empty list. Left out: what the provisioning file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve: Option<Vec<Preserved>>,
}

/// What may outlive a factory reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preserved {
    /// Addresses, Wi-Fi, proxy, time.
    Network,
    /// The device's name.
    Name,
    /// The connection string.
    Hub,
    /// The description and the modules' documents.
    Modules,
    /// Keys for SSH.
    Ssh,
}

impl Preserved {
    /// As `fieldgate reset --preserve` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Name => "name",
            Self::Hub => "hub",
            Self::Modules => "modules",
            Self::Ssh => "ssh",
        }
    }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(rename = "version")]
    _version: u32,
    command: String,
    #[serde(default)]
    arguments: Value,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Id {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Command {
    /// Its name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::UpdateStatus => "update-status",
            Self::Update(_) => "update",
            Self::Retry { .. } => "retry",
            Self::Forget { .. } => "forget",
            Self::Reset(_) => "reset",
            Self::Restart => "restart",
        }
    }

    /// The request.
    pub fn to_json(&self) -> Value {
        let arguments = match self {
            Self::Health | Self::UpdateStatus | Self::Restart => json!({}),
            Self::Update(request) => json!(request),
            Self::Retry { id } | Self::Forget { id } => json!({ "id": id }),
            Self::Reset(reset) => json!(reset),
        };
        json!({"version": VERSION, "command": self.name(), "arguments": arguments})
    }

    /// Reads a request and checks all of it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        if bytes.len() > MAX_REQUEST {
            return Err(Fault::new(
                Code::InvalidInput,
                format!("the request is larger than {MAX_REQUEST} bytes"),
            ));
        }
        let invalid = |error| Fault::new(Code::InvalidInput, format!("not a request: {error}"));
        // The version first: what else stands there may be of another one.
        let Versioned { version } = serde_json::from_slice(bytes).map_err(invalid)?;
        if version != VERSION {
            return Err(Fault::new(
                Code::UnknownVersion,
                format!(
                    "this host speaks version {VERSION} of the agent's protocol, not {version}: agent and system are of different releases"
                ),
            ));
        }
        let Envelope {
            command, arguments, ..
        } = serde_json::from_slice(bytes).map_err(invalid)?;
        let arguments = match arguments {
            Value::Null => json!({}),
            other => other,
        };
        let command = match command.as_str() {
            "health" => read::<Nothing>(arguments).map(|_| Self::Health)?,
            "update-status" => read::<Nothing>(arguments).map(|_| Self::UpdateStatus)?,
            "restart" => read::<Nothing>(arguments).map(|_| Self::Restart)?,
            "retry" => Self::Retry {
                id: read::<Id>(arguments)?.id,
            },
            "forget" => Self::Forget {
                id: read::<Id>(arguments)?.id,
            },
            "reset" => Self::Reset(read(arguments)?),
            "update" => {
                let request: UpdateRequest = read(arguments)?;
                request.bundle.check()?;
                Self::Update(request)
            }
            other => {
                return Err(Fault::new(
                    Code::UnknownCommand,
                    format!("there is no command {other:?}"),
                ));
            }
        };
        Ok(command)
    }
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, Fault> {
    serde_json::from_value(arguments)
        .map_err(|error| Fault::new(Code::InvalidInput, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Command, Code> {
        Command::parse(text.as_bytes()).map_err(|fault| fault.code)
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let bundle = Bundle {
            uri: "https://h/x".to_owned(),
            sha256: "0".repeat(64),
            version: None,
            allow_downgrade: true,
        };
        for command in [
            Command::Health,
            Command::UpdateStatus,
            Command::Restart,
            Command::Update(UpdateRequest {
                bundle,
                origin: Origin::Desired,
            }),
            Command::Retry { id: "1".to_owned() },
            Command::Forget { id: "1".to_owned() },
            Command::Reset(Reset {
                name: "gate-7".to_owned(),
                preserve: Some(vec![Preserved::Name, Preserved::Ssh]),
            }),
            Command::Reset(Reset {
                name: "gate-7".to_owned(),
                preserve: None,
            }),
        ] {
            let text = command.to_json().to_string();
            assert_eq!(Command::parse(text.as_bytes()), Ok(command));
        }
        assert_eq!(
            parse(r#"{"version": 1, "command": "health"}"#),
            Ok(Command::Health)
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        use Code::{InvalidInput, UnknownCommand, UnknownVersion};
        for (text, code) in [
            ("", InvalidInput),
            ("[]", InvalidInput),
            (r#"{"command": "health"}"#, InvalidInput),
            (
                r#"{"version": 1, "command": "health", "more": 1}"#,
                InvalidInput,
            ),
            (
                r#"{"version": 1, "command": "health", "arguments": {"x": 1}}"#,
                InvalidInput,
            ),
            (r#"{"version": 1, "command": "shell"}"#, UnknownCommand),
            (r#"{"version": 2, "what": "health"}"#, UnknownVersion),
            (r#"{"version": 1, "command": "reset"}"#, InvalidInput),
            (
                r#"{"version": 1, "command": "reset", "arguments": {"name": "a", "preserve": ["all"]}}"#,
                InvalidInput,
            ),
            (
                r#"{"version": 1, "command": "update", "arguments": {"bundle": {"uri": "file:///x", "sha256": ""}, "origin": "method"}}"#,
                InvalidInput,
            ),
        ] {
            assert_eq!(parse(text), Err(code), "{text}");
        }
        let large = format!(
            r#"{{"version": 1, "command": "health"{}}}"#,
            " ".repeat(MAX_REQUEST)
        );
        assert_eq!(parse(&large), Err(InvalidInput));
    }
}
