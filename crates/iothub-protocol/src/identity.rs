//! Who connects: a device or one of its modules, and how that is written into client id, username and SAS resource.

use std::fmt;

use crate::limits::ID_CHARS;
use crate::percent;

/// The api-version this product names (observed: Node azure-iot-device 1.18.4 sends the same).
pub const API_VERSION: &str = "2021-04-12";

/// A device, or a module of a device.
///
/// Ids are 1 to 128 ASCII letters, digits and `- . % _ * ? ! ( ) , : = @ $ '` (device guide, identity registry). The registry also allows
/// `#` and `+`; these and `/` cannot work in MQTT topics and are refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubIdentity {
    device: Box<str>,
    module: Option<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    #[error("{what} id is empty; name the identity as it is registered at IoT Hub")]
    Empty { what: &'static str },
    #[error("{what} id has {length} characters; IoT Hub allows {ID_CHARS}")]
    TooLong { what: &'static str, length: usize },
    #[error(
        "{what} id {id:?} contains {found:?}, which cannot be used over MQTT; register it under a name of letters, digits and - . _ : @"
    )]
    Character {
        what: &'static str,
        id: String,
        found: char,
    },
    #[error("client id {0:?} is neither a device id nor device/module")]
    ClientId(String),
}

impl HubIdentity {
    /// A device.
    pub fn device_only(device: &str) -> Result<Self, IdentityError> {
        Self::new(device, None)
    }

    /// A device, or the module `module` of it.
    pub fn new(device: &str, module: Option<&str>) -> Result<Self, IdentityError> {
        check("device", device)?;
        if let Some(module) = module {
            check("module", module)?;
        }
        Ok(Self {
            device: device.into(),
            module: module.map(Into::into),
        })
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    pub fn module(&self) -> Option<&str> {
        self.module.as_deref()
    }

    /// MQTT client id: `{device}` or `{device}/{module}`, never percent-encoded (observed with both SDKs).
    pub fn client_id(&self) -> String {
        self.to_string()
    }

    /// The identity a client id names.
    pub fn from_client_id(client_id: &str) -> Result<Self, IdentityError> {
        match client_id.split_once('/') {
            None => Self::new(client_id, None),
            Some((_, module)) if module.contains('/') => {
                Err(IdentityError::ClientId(client_id.to_owned()))
            }
            Some((device, module)) => Self::new(device, Some(module)),
        }
    }

    /// The resource a SAS token of this identity is for, not percent-encoded: `{hub}/devices/{device}[/modules/{module}]`.
    pub fn sas_resource(&self, hub: &str) -> String {
        match &self.module {
            None => format!("{hub}/devices/{}", self.device),
            Some(module) => format!("{hub}/devices/{}/modules/{module}", self.device),
        }
    }

    /// The MQTT username with this product's api-version; `client_type` says who connects, e.g. `fieldgate/0.1.0`.
    pub fn username(&self, hub: &str, client_type: &str) -> String {
        Username {
            hub: hub.to_owned(),
            identity: self.clone(),
            api_version: API_VERSION.to_owned(),
            client_type: Some(client_type.to_owned()),
            model_id: None,
            other: Vec::new(),
        }
        .to_string()
    }
}

/// The client id.
impl fmt::Display for HubIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.module {
            None => f.write_str(&self.device),
            Some(module) => write!(f, "{}/{module}", self.device),
        }
    }
}

fn check(what: &'static str, id: &str) -> Result<(), IdentityError> {
    if id.is_empty() {
        return Err(IdentityError::Empty { what });
    }
    let length = id.chars().count();
    if length > ID_CHARS {
        return Err(IdentityError::TooLong { what, length });
    }
    match id
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || "-.%_*?!(),:=@$'".contains(*c)))
    {
        Some(found) => Err(IdentityError::Character {
            what,
            id: id.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

/// The MQTT username: `{hub}/{device}[/{module}]/?api-version=…&DeviceClientType=…[&model-id=…]`.
///
/// Ids are not percent-encoded, query values are (observed with both SDKs). Parsing takes the `?` or leaves it out, requires `api-version`
/// without checking its value and keeps what it does not know (IoT Edge hub, MQTT username parser).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username {
    pub hub: String,
    pub identity: HubIdentity,
    pub api_version: String,
    pub client_type: Option<String>,
    pub model_id: Option<String>,
    pub other: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsernameError {
    #[error("username {0:?} is not HUB/DEVICE[/MODULE]/?api-version=…")]
    Shape(String),
    #[error("username {0:?} names no api-version")]
    ApiVersion(String),
    #[error("username: {0}")]
    Identity(#[from] IdentityError),
}

impl Username {
    pub fn parse(text: &str) -> Result<Self, UsernameError> {
        let shape = || UsernameError::Shape(text.to_owned());
        let (hub, rest) = text.split_once('/').ok_or_else(shape)?;
        let (device, rest) = rest.split_once('/').ok_or_else(shape)?;
        if hub.is_empty() {
            return Err(shape());
        }
        // What follows is a module only if it can be one. An unescaped agent string may hold a slash as well, and a module's id may begin
        // with `?`: then a second one begins the query.
        let (module, query) = match rest.split_once('/') {
            Some((module, query))
                if !module.contains('&')
                    && (!module.starts_with('?') || query.starts_with('?')) =>
            {
                (Some(module), query)
            }
            _ => (None, rest),
        };
        let identity = HubIdentity::new(device, module)?;
        let query = query.strip_prefix('?').unwrap_or(query);
        let (mut api_version, mut client_type, mut model_id, mut other) =
            (None, None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent::decode(value).into_owned();
            match key {
                "api-version" => api_version = Some(value),
                "DeviceClientType" => client_type = Some(value),
                "model-id" => model_id = Some(value),
                key => other.push((percent::decode(key).into_owned(), value)),
            }
        }
        let api_version = api_version
            .filter(|version| !version.is_empty())
            .ok_or_else(|| UsernameError::ApiVersion(text.to_owned()))?;
        Ok(Self {
            hub: hub.to_owned(),
            identity,
            api_version,
            client_type,
            model_id,
            other,
        })
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/?api-version=", self.hub, self.identity)?;
        percent::write(&self.api_version, f)?;
        for (key, value) in [
            ("DeviceClientType", &self.client_type),
            ("model-id", &self.model_id),
        ] {
            if let Some(value) = value {
                write!(f, "&{key}=")?;
                percent::write(value, f)?;
            }
        }
        for (key, value) in &self.other {
            f.write_str("&")?;
            percent::write(key, f)?;
            f.write_str("=")?;
            percent::write(value, f)?;
        }
        Ok(())
    }
}
