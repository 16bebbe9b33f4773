//! The commands `update`, `update-status`, `health`, `reset` and `restart`.

use std::sync::Arc;

use agent_protocol::{Bundle, Command, Origin, Reset, UpdateRequest};
use module_runtime::{CommandError, Commands};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::configuration::Configuration;
use crate::host::{self, HostError};
use crate::metrics::UPDATES;

/// No input.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The update has begun; update-status tells how it goes on.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Begun {
    /// Of this bundle, as update-status has it.
    id: String,
    /// Which attempt it is.
    attempt: u32,
}

/// The device ends all connections in so long.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Soon {
    /// Until then.
    seconds: u64,
}

/// What commands need.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The configuration in force.
    pub configuration: watch::Receiver<Arc<Configuration>>,
    /// Told when something has changed.
    pub look: Arc<Notify>,
}

impl Caller {
    async fn ask(&self, command: Command) -> Result<Value, CommandError> {
        let socket = self.configuration.borrow().socket.clone();
        Ok(host::ask(&socket, &command).await?)
    }

    async fn change<T: serde::de::DeserializeOwned>(
        &self,
        command: Command,
    ) -> Result<T, CommandError> {
        let socket = self.configuration.borrow().socket.clone();
        let value = host::ask(&socket, &command).await?;
        tracing::info!(command = command.name(), "the host takes it");
        self.look.notify_one();
        serde_json::from_value(value).map_err(|error| {
            let reason = format!("{} was taken, and answered oddly: {error}", command.name());
            HostError::Broken { socket, reason }.into()
        })
    }
}

/// Offers the commands.
pub fn add(commands: &Commands, caller: &Caller) {
    let own = caller.clone();
    commands.add(
        "update",
        "Installs a bundle and restarts into it; goes back by itself if it does not work: {\"uri\", \"sha256\", \"version\", \"allow_downgrade\"}",
        move |bundle: Bundle| {
            let caller = own.clone();
            async move {
                bundle
                    .check()
                    .map_err(|fault| CommandError::from(HostError::Refused(fault)))?;
                let request = UpdateRequest {
                    bundle,
                    origin: Origin::Method,
                };
                let begun: Begun = caller.change(Command::Update(request)).await?;
                metrics::counter!(UPDATES.name, "origin" => "method").increment(1);
                Ok(begun)
            }
        },
    );
    let own = caller.clone();
    commands.add(
        "update-status",
        "What runs, the last update and what became of it, factory resets",
        move |_: Nothing| {
            let caller = own.clone();
            async move { caller.ask(Command::UpdateStatus).await }
        },
    );
    let own = caller.clone();
    commands.add(
        "health",
        "Whether the device does its work, and if not, why and what to do",
        move |_: Nothing| {
            let caller = own.clone();
            async move { caller.ask(Command::Health).await }
        },
    );
    let own = caller.clone();
    commands.add(
        "reset",
        "Factory reset, with the device's name as a confirmation: {\"name\", \"preserve\": [network, name, hub, modules, ssh]}",
        move |reset: Reset| {
            let caller = own.clone();
            async move { caller.change::<Soon>(Command::Reset(reset)).await }
        },
    );
    let own = caller.clone();
    commands.add("restart", "Restarts the device", move |_: Nothing| {
        let caller = own.clone();
        async move { caller.change::<Soon>(Command::Restart).await }
    });
}
