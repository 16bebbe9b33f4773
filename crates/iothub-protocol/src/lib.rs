//! IoT Hub on the wire, free of I/O: SAS, topics, property bags, twin and method correlation, limits.
//!
//! The device-side client and the emulator share this crate, so both sides speak one dialect. Building follows what Microsoft's SDKs send;
//! parsing is lenient where they differ. Nothing here panics on input, reads a clock or draws a random number: the caller hands these in.
//!
//! Sources named in the comments: "device guide" is Microsoft's IoT Hub device developer guide ("Communicate with your IoT hub using the
//! MQTT protocol", "Understand and use device twins", "Understand direct methods", "IoT Hub quotas and throttling"); "observed" means
//! seen on the wire from Microsoft's unmodified SDKs (Python azure-iot-device 2.14.0, Node azure-iot-device 1.18.4).

pub mod connection_string;
pub mod identity;
pub mod limits;
pub mod message;
pub mod method;
mod percent;
pub mod property_bag;
pub mod retry;
pub mod sas;
pub mod topic;
pub mod twin;

pub use connection_string::{ConnectionString, ConnectionStringError};
pub use identity::{API_VERSION, HubIdentity, IdentityError, Username, UsernameError};
pub use message::{Message, MessageError};
pub use method::{MethodError, MethodRequest};
pub use property_bag::PropertyBag;
pub use retry::{Interruption, RetryPolicy};
pub use sas::{KeyError, SasError, SasToken, SharedAccessKey};
pub use topic::{DeviceTopic, HubTopic, Subscription, TopicError};
pub use twin::{DesiredTracker, TwinDocument, TwinError, VersionStep};
