//! The commands `read` and `write`.

use std::collections::BTreeMap;
use std::time::Duration;

use measurement::{Reading, Value, rfc3339_micros};
use module_runtime::{CommandError, Commands};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};

use crate::call_error::CallError;
use crate::configuration::{Configuration, Device, Tag};
use crate::decode::Codec;
use crate::encode::EncodeError;
use crate::engine::InForce;
use crate::link_commands::{Done, LinkCommand, QUEUE, Work};
use crate::requests;

/// A command that is not done by then is given up; if its turn has not come, it never will.
const DEADLINE: Duration = Duration::from_secs(30);

/// A read is done in one go between two polls.
const MOST_REQUESTS: usize = 50;

/// Reads tags now, in between the polls.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadInput {
    /// The device's name.
    device: String,
    /// One tag.
    #[serde(default)]
    tag: Option<String>,
    /// Several tags, at most 1000.
    #[serde(default)]
    tags: Vec<String>,
}

/// What was read.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReadOutput {
    /// Good values by tag, in engineering units.
    values: BTreeMap<String, serde_json::Value>,
    /// Reasons by tag, for tags without a good value.
    bad: BTreeMap<String, String>,
    /// When the values were complete, RFC 3339, UTC.
    timestamp: String,
}

/// Writes one tag.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteInput {
    /// The device's name.
    device: String,
    /// The tag; it must be configured as writable.
    tag: String,
    /// In engineering units: a number, true or false, or a text, as the tag's type says.
    value: serde_json::Value,
}

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WriteOutput {
    /// The value as given.
    written: serde_json::Value,
    /// When the device confirmed, RFC 3339, UTC.
    timestamp: String,
}

/// Offers the commands.
pub fn add(commands: &Commands, in_force: &watch::Receiver<InForce>) {
    let receiver = in_force.clone();
    commands.add(
        "read",
        "Reads tags of a device now: {\"device\", \"tag\" or \"tags\"}",
        move |input: ReadInput| {
            let in_force = receiver.borrow().clone();
            async move { read(&in_force, input).await }
        },
    );
    let receiver = in_force.clone();
    commands.add(
        "write",
        "Writes a writable tag of a device: {\"device\", \"tag\", \"value\"}, value in engineering units",
        move |input: WriteInput| {
            let in_force = receiver.borrow().clone();
            async move { write(&in_force, input).await }
        },
    );
}

async fn read(in_force: &InForce, input: ReadInput) -> Result<ReadOutput, CommandError> {
    let configuration = &in_force.configuration;
    let device = find_device(configuration, &input.device)?;
    let names: Vec<(String, &String)> = input
        .tag
        .iter()
        .map(|tag| ("tag".to_owned(), tag))
        .chain((input.tags.iter().enumerate()).map(|(index, tag)| (format!("tags[{index}]"), tag)))
        .collect();
    if names.is_empty() {
        let message = "name a tag, or several in tags";
        return Err(CommandError::bad_request("no-tag", message).at("tag"));
    }
    if names.len() > 1000 {
        let message = format!("{} tags are too many; at most 1000", names.len());
        return Err(CommandError::bad_request("too-many-tags", message).at("tags"));
    }
    let mut tags = Vec::with_capacity(names.len());
    for (field, name) in &names {
        tags.push(find_tag(configuration, device, name, field)?);
    }
    let requests = requests::plan(device, tags.iter().copied());
    if requests.len() > MOST_REQUESTS {
        let message = format!(
            "these tags need {} requests, which would hold up the polls; at most {MOST_REQUESTS}: read fewer tags at a time",
            requests.len()
        );
        return Err(CommandError::bad_request("too-many-tags", message).at("tags"));
    }
    let work = Work::Read {
        requests,
        tags: tags.len(),
    };
    let Done::Read(readings) = ask(in_force, device, work).await? else {
        return Err(CommandError::new(
            500,
            "internal",
            "a read was answered as a write",
        ));
    };
    let (mut values, mut bad) = (BTreeMap::new(), BTreeMap::new());
    for (tag, reading) in tags.iter().zip(readings) {
        match reading {
            Reading::Good(value) => {
                values.insert(tag.name.clone(), json_of(value));
            }
            Reading::Bad(reason) => {
                bad.insert(tag.name.clone(), reason.as_str().to_owned());
            }
        }
    }
    Ok(ReadOutput {
        values,
        bad,
        timestamp: now(),
    })
}

async fn write(in_force: &InForce, input: WriteInput) -> Result<WriteOutput, CommandError> {
    let configuration = &in_force.configuration;
    let device = find_device(configuration, &input.device)?;
    let tag = find_tag(configuration, device, &input.tag, "tag")?;
    if !tag.writable {
        let message = format!(
            "tag {:?} of device {:?} is not writable; its configuration must say writable: true",
            tag.name, device.name
        );
        return Err(CommandError::new(403, "not-writable", message).at("tag"));
    }
    let value = Codec::new(tag).encode(&input.value).map_err(|error| {
        let code = match error {
            EncodeError::Range { .. } => "out-of-range",
            _ => "wrong-value",
        };
        let message = format!("tag {:?} of device {:?}: {error}", tag.name, device.name);
        CommandError::new(422, code, message).at("value")
    })?;
    let work = Work::Write {
        address: tag.address,
        value,
    };
    ask(in_force, device, work).await?;
    tracing::info!(device = device.name, tag = tag.name, value = %input.value, "written");
    Ok(WriteOutput {
        written: input.value,
        timestamp: now(),
    })
}

fn find_device<'a>(
    configuration: &'a Configuration,
    name: &str,
) -> Result<&'a Device, CommandError> {
    configuration.device(name).ok_or_else(|| {
        let known: Vec<&str> = (configuration.devices.iter().take(8))
            .map(|device| device.name.as_str())
            .collect();
        let message = format!(
            "there is no device {name:?} in the configuration in force; there are: {}",
            known.join(", ")
        );
        CommandError::not_found("unknown-device", message).at("device")
    })
}

fn find_tag<'a>(
    configuration: &'a Configuration,
    device: &'a Device,
    name: &str,
    field: &str,
) -> Result<&'a Tag, CommandError> {
    configuration.tag(&device.name, name).ok_or_else(|| {
        let message = format!("device {:?} has no tag {name:?}", device.name);
        CommandError::not_found("unknown-tag", message).at(field)
    })
}

/// Has the device's link do the work.
async fn ask(in_force: &InForce, device: &Device, work: Work) -> Result<Done, CommandError> {
    let gone = || {
        let message = format!("link {:?} is being changed; try again", device.link);
        CommandError::unavailable("link-changing", message)
    };
    let link = in_force.links.get(&device.link).ok_or_else(gone)?;
    let (reply, answer) = oneshot::channel();
    let command = LinkCommand {
        unit: device.unit,
        work,
        reply,
    };
    link.try_send(command).map_err(|error| match error {
        TrySendError::Closed(_) => gone(),
        TrySendError::Full(_) => {
            let message = format!(
                "{QUEUE} commands wait for link {:?} already; try later",
                device.link
            );
            CommandError::new(429, "busy", message)
        }
    })?;
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(error))) => Err(failed(device, &error)),
        Ok(Err(_)) => Err(gone()),
        Err(_) => {
            let message = format!("device {:?}: not done within {DEADLINE:?}", device.name);
            Err(CommandError::new(504, "deadline", message))
        }
    }
}

/// What the device or its link answered. 5xx: the caller can only try again.
fn failed(device: &Device, error: &CallError) -> CommandError {
    let message = format!(
        "device {:?} on link {:?}: {error}",
        device.name, device.link
    );
    match error {
        CallError::Timeout(_) => CommandError::new(504, "timeout", message),
        CallError::Transport { .. } => CommandError::unavailable("no-connection", message),
        CallError::BadResponse(_) => CommandError::new(502, "bad-response", message),
        // MODBUS Application Protocol V1.1b3, section 7: the value, or the combination, is not allowed.
        CallError::Exception(3) => {
            CommandError::new(422, "illegal-data-value", message).at("value")
        }
        CallError::Exception(_) => CommandError::new(502, error.reason().as_str(), message),
    }
}

fn json_of(value: Value) -> serde_json::Value {
    match value {
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::UInt(value) => value.into(),
        Value::Float(value) => value.into(),
        Value::Text(value) => serde_json::Value::String(value.into()),
    }
}

fn now() -> String {
    rfc3339_micros(OffsetDateTime::now_utc())
}
