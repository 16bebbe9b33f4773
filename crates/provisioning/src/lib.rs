//! The provisioning file of a device: checked as a whole, put onto the data partition, its secrets wiped from the medium.
//!
//! [`load`] reads `fieldgate-provision.yaml` ([`Provision`]) and what lies beside it, and lists every problem. [`plan`] says which files
//! that makes, [`apply`] writes them below a root and removes those of an earlier document, [`wipe`] takes the secrets off the medium.
//! [`provision`] does all of it, in an order in which it may be cut off anywhere and repeated. A document on the boot partition is found again
//! at every start; [`superseded_by`] says whether a later one from elsewhere is in force. [`request_reset`] and [`apply_reset`] are the
//! way back: everything on the data partition goes but the parts that are preserved.
//!
//! Nothing here starts, stops or restarts anything.
#![forbid(unsafe_code)]

mod apply;
mod boot;
mod check;
mod disk;
mod document;
mod load;
mod medium;
mod places;
mod plan;
mod redact;
mod reset;
mod run;
mod secrets;
mod stored;
#[cfg(test)]
mod test_documents;

pub use apply::{Applied, ApplyError, InForce, Outcome, Status, StatusError, apply};
pub use boot::superseded_by;
pub use document::{
    Attestation, Dps, FactoryReset, Hub, Interface, Ipv6, Network, Part, Provision, Proxy, Sas,
    Secret, SecretFile, TAKEN, Time, Wifi, WifiSecurity, X509, provision_schema,
};
pub use load::{Loaded, load, load_text};
pub use medium::{ERRORS, FILE, WipeError, search, wipe};
pub use plan::{PlannedFile, plan};
pub use reset::{
    LastReset, ResetError, ResetRequest, apply_reset, default_preserve, kept_files, last_reset,
    pending_reset, request_reset,
};
pub use run::{ProvisionError, Provisioned, provision, provision_typed_in};
pub use stored::Stored;

pub use module_runtime::ConfigurationError;
