//! Topics in both directions, and the filters a client may subscribe to.
//!
//! Sources: device guide, "Communicate with your IoT hub using the MQTT protocol"; every form was observed with both SDKs. Request ids
//! (`$rid`) are carried as sent, so that an answer holds exactly the bytes of its question.

use std::borrow::Cow;
use std::fmt;

use crate::identity::HubIdentity;
use crate::percent;

/// What a device or module publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceTopic<'a> {
    /// `devices/{device}[/modules/{module}]/messages/events/{bag}`; the bag is still encoded.
    Telemetry {
        device: &'a str,
        module: Option<&'a str>,
        bag: &'a str,
    },
    /// `$iothub/twin/GET/?$rid={rid}`
    TwinGet { rid: &'a str },
    /// `$iothub/twin/PATCH/properties/reported/?$rid={rid}`
    Reported { rid: &'a str },
    /// `$iothub/methods/res/{status}/?$rid={rid}`
    MethodResponse { status: i32, rid: &'a str },
}

/// What IoT Hub publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubTopic<'a> {
    /// `$iothub/twin/res/{status}/?$rid={rid}[&$version={version}]`
    TwinResponse {
        status: u16,
        rid: &'a str,
        version: Option<u64>,
    },
    /// `$iothub/twin/PATCH/properties/desired/?$version={version}`
    Desired { version: Option<u64> },
    /// `$iothub/methods/POST/{name}/?$rid={rid}`; the name is decoded.
    Method { name: Cow<'a, str>, rid: &'a str },
    /// `devices/{device}/messages/devicebound/{bag}`; the bag is still encoded.
    CloudMessage { device: &'a str, bag: &'a str },
    /// `devices/{device}/modules/{module}/inputs/{input}/{bag}`, through an IoT Edge hub only; the bag is still encoded.
    ModuleInput {
        device: &'a str,
        module: &'a str,
        input: Cow<'a, str>,
        bag: &'a str,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    #[error("topic {0:?} is not one of IoT Hub's")]
    Unknown(String),
    #[error("topic {0:?} carries no $rid")]
    Rid(String),
    #[error("topic {0:?} carries a status that is not a number")]
    Status(String),
}

impl<'a> DeviceTopic<'a> {
    /// The telemetry topic of `identity` with an encoded bag.
    pub fn telemetry(identity: &'a HubIdentity, bag: &'a str) -> Self {
        Self::Telemetry {
            device: identity.device(),
            module: identity.module(),
            bag,
        }
    }

    /// Reads a topic a device published. Lenient: with or without the slash after `events`, with or without one after the bag and with or
    /// without the `?` of a query. IoT Edge's hub accepts the same.
    pub fn parse(topic: &'a str) -> Result<Self, TopicError> {
        let unknown = || TopicError::Unknown(topic.to_owned());
        if let Some(rest) = topic.strip_prefix("$iothub/") {
            if let Some(query) = rest.strip_prefix("twin/GET/") {
                return Ok(Self::TwinGet {
                    rid: rid(topic, query)?,
                });
            }
            if let Some(query) = rest.strip_prefix("twin/PATCH/properties/reported/") {
                return Ok(Self::Reported {
                    rid: rid(topic, query)?,
                });
            }
            let rest = rest.strip_prefix("methods/res/").ok_or_else(unknown)?;
            let (status, query) = rest.split_once('/').ok_or_else(unknown)?;
            let status = status
                .parse()
                .map_err(|_| TopicError::Status(topic.to_owned()))?;
            return Ok(Self::MethodResponse {
                status,
                rid: rid(topic, query)?,
            });
        }
        let rest = topic.strip_prefix("devices/").ok_or_else(unknown)?;
        let (device, rest) = rest.split_once('/').ok_or_else(unknown)?;
        let (module, rest) = match rest.strip_prefix("modules/") {
            Some(rest) => {
                let (module, rest) = rest.split_once('/').ok_or_else(unknown)?;
                (Some(module), rest)
            }
            None => (None, rest),
        };
        let bag = match rest.strip_prefix("messages/events") {
            Some("") => "",
            Some(rest) => rest.strip_prefix('/').ok_or_else(unknown)?,
            None => return Err(unknown()),
        };
        if device.is_empty() || module == Some("") {
            return Err(unknown());
        }
        Ok(Self::Telemetry {
            device,
            module,
            bag,
        })
    }
}

impl fmt::Display for DeviceTopic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Telemetry {
                device,
                module: None,
                bag,
            } => write!(f, "devices/{device}/messages/events/{bag}"),
            Self::Telemetry {
                device,
                module: Some(module),
                bag,
            } => write!(f, "devices/{device}/modules/{module}/messages/events/{bag}"),
            Self::TwinGet { rid } => write!(f, "$iothub/twin/GET/?$rid={rid}"),
            Self::Reported { rid } => {
                write!(f, "$iothub/twin/PATCH/properties/reported/?$rid={rid}")
            }
            Self::MethodResponse { status, rid } => {
                write!(f, "$iothub/methods/res/{status}/?$rid={rid}")
            }
        }
    }
}

impl<'a> HubTopic<'a> {
    /// Reads a topic IoT Hub published.
    pub fn parse(topic: &'a str) -> Result<Self, TopicError> {
        let unknown = || TopicError::Unknown(topic.to_owned());
        if let Some(rest) = topic.strip_prefix("$iothub/") {
            if let Some(rest) = rest.strip_prefix("twin/res/") {
                let (status, query) = rest.split_once('/').ok_or_else(unknown)?;
                let status = status
                    .parse()
                    .map_err(|_| TopicError::Status(topic.to_owned()))?;
                return Ok(Self::TwinResponse {
                    status,
                    rid: rid(topic, query)?,
                    version: version(query),
                });
            }
            if let Some(query) = rest.strip_prefix("twin/PATCH/properties/desired/") {
                return Ok(Self::Desired {
                    version: version(query),
                });
            }
            let rest = rest.strip_prefix("methods/POST/").ok_or_else(unknown)?;
            let (name, query) = rest.split_once('/').ok_or_else(unknown)?;
            return Ok(Self::Method {
                name: percent::decode(name),
                rid: rid(topic, query)?,
            });
        }
        let rest = topic.strip_prefix("devices/").ok_or_else(unknown)?;
        let (device, rest) = rest.split_once('/').ok_or_else(unknown)?;
        if let Some(rest) = rest.strip_prefix("modules/") {
            let (module, rest) = rest.split_once('/').ok_or_else(unknown)?;
            let rest = rest.strip_prefix("inputs/").ok_or_else(unknown)?;
            let (input, bag) = rest.split_once('/').unwrap_or((rest, ""));
            return Ok(Self::ModuleInput {
                device,
                module,
                input: percent::decode(input),
                bag,
            });
        }
        match rest.strip_prefix("messages/devicebound") {
            Some("") => Ok(Self::CloudMessage { device, bag: "" }),
            Some(rest) => Ok(Self::CloudMessage {
                device,
                bag: rest.strip_prefix('/').ok_or_else(unknown)?,
            }),
            None => Err(unknown()),
        }
    }
}

impl fmt::Display for HubTopic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TwinResponse {
                status,
                rid,
                version: None,
            } => write!(f, "$iothub/twin/res/{status}/?$rid={rid}"),
            Self::TwinResponse {
                status,
                rid,
                version: Some(version),
            } => write!(
                f,
                "$iothub/twin/res/{status}/?$rid={rid}&$version={version}"
            ),
            Self::Desired { version: None } => {
                f.write_str("$iothub/twin/PATCH/properties/desired/")
            }
            Self::Desired {
                version: Some(version),
            } => write!(
                f,
                "$iothub/twin/PATCH/properties/desired/?$version={version}"
            ),
            Self::Method { name, rid } => {
                f.write_str("$iothub/methods/POST/")?;
                percent::write(name, f)?;
                write!(f, "/?$rid={rid}")
            }
            Self::CloudMessage { device, bag } => {
                write!(f, "devices/{device}/messages/devicebound/{bag}")
            }
            Self::ModuleInput {
                device,
                module,
                input,
                bag,
            } => {
                write!(f, "devices/{device}/modules/{module}/inputs/")?;
                percent::write(input, f)?;
                write!(f, "/{bag}")
            }
        }
    }
}

/// What a device or module may subscribe to (device guide: the documented filters only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// `$iothub/twin/res/#`
    TwinResponses,
    /// `$iothub/twin/PATCH/properties/desired/#`
    Desired,
    /// `$iothub/methods/POST/#`
    Methods,
    /// `devices/{device}/messages/devicebound/#`, devices only
    CloudMessages,
    /// `devices/{device}/modules/{module}/#` or `…/inputs/#`, modules only
    ModuleInputs,
}

impl Subscription {
    /// What this product's client subscribes to, in the order in which it does.
    pub fn all(identity: &HubIdentity) -> Vec<Self> {
        let mut all = vec![Self::TwinResponses, Self::Desired, Self::Methods];
        if identity.module().is_none() {
            all.push(Self::CloudMessages);
        }
        all
    }

    /// The filter for `identity`.
    pub fn filter(self, identity: &HubIdentity) -> String {
        match self {
            Self::TwinResponses => "$iothub/twin/res/#".to_owned(),
            Self::Desired => "$iothub/twin/PATCH/properties/desired/#".to_owned(),
            Self::Methods => "$iothub/methods/POST/#".to_owned(),
            Self::CloudMessages => format!("devices/{}/messages/devicebound/#", identity.device()),
            Self::ModuleInputs => format!(
                "devices/{}/modules/{}/inputs/#",
                identity.device(),
                identity.module().unwrap_or("")
            ),
        }
    }

    /// What `filter` asks for, or nothing where `identity` may not subscribe to it.
    pub fn parse(filter: &str, identity: &HubIdentity) -> Option<Self> {
        match filter {
            "$iothub/twin/res/#" => Some(Self::TwinResponses),
            "$iothub/twin/PATCH/properties/desired/#" => Some(Self::Desired),
            "$iothub/methods/POST/#" => Some(Self::Methods),
            filter => {
                let rest = filter
                    .strip_prefix("devices/")?
                    .strip_prefix(identity.device())?
                    .strip_prefix('/')?;
                match identity.module() {
                    None => (rest == "messages/devicebound/#").then_some(Self::CloudMessages),
                    Some(module) => {
                        let rest = rest.strip_prefix("modules/")?.strip_prefix(module)?;
                        matches!(rest, "/#" | "/inputs/#").then_some(Self::ModuleInputs)
                    }
                }
            }
        }
    }
}

/// A parameter of the query after the topic, as sent.
fn parameter<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    let query = query.strip_prefix('?').unwrap_or(query);
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let name = name
            .strip_prefix("%24")
            .or_else(|| name.strip_prefix('$'))?;
        (name == key).then_some(value)
    })
}

fn rid<'a>(topic: &str, query: &'a str) -> Result<&'a str, TopicError> {
    parameter(query, "rid")
        .filter(|rid| !rid.is_empty())
        .ok_or_else(|| TopicError::Rid(topic.to_owned()))
}

fn version(query: &str) -> Option<u64> {
    parameter(query, "version")?.parse().ok()
}
