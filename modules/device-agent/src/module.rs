//! The module's work from start to shutdown: wires configuration, commands, subscription and agent.

use std::sync::Arc;

use module_runtime::{Runtime, Subscription};
use tokio::sync::{Notify, watch};

use crate::agent::{Agent, BUFFER};
use crate::commands::{self, Caller};
use crate::configuration::Configuration;
use crate::desired::Desired;
use crate::metrics;

/// Runs until the shutdown.
///
/// # Errors
/// None at present: what fails is tried again and reported.
pub async fn run(runtime: Runtime<Configuration>) -> anyhow::Result<()> {
    let Runtime {
        sidecar,
        health,
        shutdown,
        commands,
        status,
        configuration,
        mut watch,
        ..
    } = runtime;
    module_runtime::describe(metrics::ALL);
    let first = configuration.configuration;
    let (in_force, receiver) = watch::channel(Arc::clone(&first));
    let look = Arc::new(Notify::new());
    let caller = Caller {
        configuration: receiver.clone(),
        look: Arc::clone(&look),
    };
    commands::add(&commands, &caller);
    // A change that the host cannot be told of yet is kept: it must neither be lost nor go to the dead letters.
    let events = sidecar.subscribe(Subscription {
        pubsub: first.desired.pubsub.clone(),
        topic: first.desired.topic.clone(),
        dead_letter: None,
        buffer: BUFFER,
    });
    let agent = Agent {
        configuration: receiver,
        health: health.component("host"),
        status: status.clone(),
        look,
        desired: Desired::default(),
        held: Vec::new(),
        refused: None,
    };
    let working = tokio::spawn(agent.run(events, shutdown.clone()));
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = watch.next() => match next {
                Ok(loaded) => {
                    tracing::info!(name = loaded.name, version = loaded.version, hash = loaded.hash, "new configuration");
                    if loaded.configuration.desired != first.desired {
                        tracing::warn!("new configuration in force in part: restart the module for the key desired");
                    }
                    in_force.send_replace(Arc::clone(&loaded.configuration));
                    status.in_force(&loaded);
                }
                Err(error) => status.rejected(&error),
            }
        }
    }
    working.await?;
    Ok(())
}
