//! Shared access signatures: the key of an identity, and the tokens it signs.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::percent;

/// The symmetric key of a device or module. It never appears in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedAccessKey(Box<[u8]>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the shared access key is not base64; copy the primary key as IoT Hub shows it")]
    NotBase64,
    #[error("the shared access key is empty; copy the primary key as IoT Hub shows it")]
    Empty,
}

impl fmt::Debug for SharedAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedAccessKey({} bytes)", self.0.len())
    }
}

impl SharedAccessKey {
    /// The key as the registry and connection strings hold it.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD
            .decode(text.trim())
            .map_err(|_| KeyError::NotBase64)?;
        Self::from_bytes(&bytes)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self(bytes.into()))
    }

    /// The key in the clear, as a connection string needs it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// The key of one device of a provisioning enrolment group: HMAC-SHA256 of the registration id (device guide of DPS, symmetric keys).
    pub fn derive(&self, registration_id: &str) -> Self {
        Self(
            self.mac(registration_id)
                .finalize()
                .into_bytes()
                .to_vec()
                .into(),
        )
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        // HMAC takes a key of any length; the error type exists for ciphers only.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0)
            .unwrap_or_else(|_| Hmac::new(&Default::default()));
        mac.update(text.as_bytes());
        mac
    }
}

/// A token: `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`, in any order of fields.
///
/// The signature is over `sr` exactly as sent and the expiry, so `sr` is kept as sent: Node's provisioning client sends and signs it without
/// percent-encoding, everything else encodes it (observed).
#[derive(Clone, PartialEq, Eq)]
pub struct SasToken {
    resource_as_sent: String,
    signature: Vec<u8>,
    expiry: u64,
    key_name: Option<String>,
}

/// The signature is a password and is left out.
impl fmt::Debug for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SasToken")
            .field("resource", &self.resource_as_sent)
            .field("expiry", &self.expiry)
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SasError {
    #[error("the password is not a shared access signature")]
    Shape,
    #[error("the shared access signature lacks its field {0}")]
    Missing(&'static str),
    #[error("the shared access signature's field {0} cannot be read")]
    Field(&'static str),
    #[error("the shared access signature ended {ago} s ago; check the clock of the device")]
    Expired { ago: u64 },
    #[error("the shared access signature is for {found:?}, not for {wanted:?}")]
    Resource { found: String, wanted: String },
    #[error("the shared access signature was made with another key")]
    Signature,
}

impl SasToken {
    /// Signs a token for `resource` (not percent-encoded, see [`crate::HubIdentity::sas_resource`]) that ends at `expiry` (unix seconds).
    /// `key_name` is absent for the keys of identities and names the policy otherwise.
    pub fn create(
        resource: &str,
        key: &SharedAccessKey,
        expiry: u64,
        key_name: Option<&str>,
    ) -> Self {
        let resource_as_sent = percent::encode(resource);
        let signature = key
            .mac(&to_sign(&resource_as_sent, expiry))
            .finalize()
            .into_bytes()
            .to_vec();
        Self {
            resource_as_sent,
            signature,
            expiry,
            key_name: key_name.map(str::to_owned),
        }
    }

    pub fn parse(text: &str) -> Result<Self, SasError> {
        let fields = text
            .trim()
            .strip_prefix("SharedAccessSignature")
            .ok_or(SasError::Shape)?;
        let fields = fields
            .strip_prefix(' ')
            .ok_or(SasError::Shape)?
            .trim_start();
        let (mut resource, mut signature, mut expiry, mut key_name) = (None, None, None, None);
        for field in fields.split('&') {
            match field.split_once('=') {
                Some(("sr", value)) => resource = Some(value.to_owned()),
                Some(("sig", value)) => {
                    let decoded = STANDARD.decode(percent::decode(value).as_bytes());
                    signature = Some(decoded.map_err(|_| SasError::Field("sig"))?);
                }
                Some(("se", value)) => {
                    expiry = Some(value.parse().map_err(|_| SasError::Field("se"))?)
                }
                Some(("skn", value)) => {
                    key_name =
                        Some(percent::decode(value).into_owned()).filter(|name| !name.is_empty())
                }
                _ => {}
            }
        }
        Ok(Self {
            resource_as_sent: resource.ok_or(SasError::Missing("sr"))?,
            signature: signature.ok_or(SasError::Missing("sig"))?,
            expiry: expiry.ok_or(SasError::Missing("se"))?,
            key_name,
        })
    }

    /// What the token is for, decoded.
    pub fn resource(&self) -> String {
        percent::decode(&self.resource_as_sent).into_owned()
    }

    /// When the token ends, unix seconds.
    pub fn expiry(&self) -> u64 {
        self.expiry
    }

    pub fn key_name(&self) -> Option<&str> {
        self.key_name.as_deref()
    }

    /// Whether the token opens `resource` at `now` (unix seconds). A token for a prefix of the resource, by segment, opens it as well.
    pub fn verify(&self, key: &SharedAccessKey, resource: &str, now: u64) -> Result<(), SasError> {
        if self.expiry <= now {
            return Err(SasError::Expired {
                ago: now - self.expiry,
            });
        }
        let found = self.resource();
        let covers = resource
            .strip_prefix(found.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && !found.is_empty();
        if !covers {
            return Err(SasError::Resource {
                found,
                wanted: resource.to_owned(),
            });
        }
        self.verify_signature(key)
    }

    /// Whether `key` made the token, whatever it is for and however old it is. Takes the same time for every wrong signature.
    pub fn verify_signature(&self, key: &SharedAccessKey) -> Result<(), SasError> {
        let mac = key.mac(&to_sign(&self.resource_as_sent, self.expiry));
        mac.verify_slice(&self.signature)
            .map_err(|_| SasError::Signature)
    }
}

/// The text that goes into the MQTT password or the `Authorization` header.
impl fmt::Display for SasToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedAccessSignature sr={}&sig=", self.resource_as_sent)?;
        percent::write(&STANDARD.encode(&self.signature), f)?;
        write!(f, "&se={}", self.expiry)?;
        if let Some(name) = &self.key_name {
            f.write_str("&skn=")?;
            percent::write(name, f)?;
        }
        Ok(())
    }
}

fn to_sign(resource_as_sent: &str, expiry: u64) -> String {
    format!("{resource_as_sent}\n{expiry}")
}
