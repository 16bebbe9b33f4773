//! The module's work from start to shutdown: wires configuration, engine, publisher, commands and status.

use std::sync::Arc;
use std::time::Duration;

use measurement::Epoch;
use module_runtime::{Runtime, StatusPublisher};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::commands;
use crate::configuration::{Configuration, Publish};
use crate::device_states::DeviceStates;
use crate::engine::Engine;
use crate::event_buffer::EventBuffer;
use crate::link::Outlets;
use crate::metrics::Metrics;
use crate::publisher::Publisher;
use crate::stream::Source;

/// How long requests that have begun may take at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Runs until the shutdown; then polling stops and what waits is published, for at most half of the grace period.
///
/// # Errors
/// None at present: what fails is retried and reported.
pub async fn run(runtime: Runtime<Configuration>) -> anyhow::Result<()> {
    let Runtime {
        args,
        appliance,
        module,
        sidecar,
        health,
        shutdown,
        commands,
        status,
        configuration,
        mut watch,
        ..
    } = runtime;
    let metrics = Metrics::register();
    let (settings, receiver) = watch::channel(configuration.configuration.publish.clone());
    let buffer = EventBuffer::new(0, 0, metrics.clone());
    set_limits(&buffer, &configuration.configuration.publish);
    let published = health.component("publish");
    // Until something fails: whether the sidecar is there is told by the runtime.
    published.ready();
    let publisher = Publisher {
        sidecar,
        pubsub: args.pubsub.clone(),
        settings: receiver,
        buffer: buffer.clone(),
        metrics: metrics.clone(),
        health: published,
    };
    let finish = CancellationToken::new();
    let flush = args.grace_period.get() / 2;
    let publishing = tokio::spawn(publisher.run(finish.clone(), flush));

    let states = DeviceStates::default();
    let outlets = Outlets {
        buffer: buffer.clone(),
        states: states.clone(),
        metrics,
    };
    let source = Source {
        appliance,
        module,
        epoch: Epoch::new(),
    };
    let mut engine = Engine::new(source, outlets);
    commands::add(&commands, &engine.in_force());
    engine.apply(configuration.configuration).await;

    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = states.changed() => report(&status, &states),
            next = watch.next() => match next {
                Ok(loaded) => {
                    tracing::info!(name = loaded.name, version = loaded.version, hash = loaded.hash, "new configuration");
                    let publish = loaded.configuration.publish.clone();
                    set_limits(&buffer, &publish);
                    settings.send_replace(publish);
                    engine.apply(Arc::clone(&loaded.configuration)).await;
                    status.in_force(&loaded);
                }
                Err(error) => status.rejected(&error),
            }
        }
    }
    // A write that waits for a slow device must not take the time in which events are still published.
    if tokio::time::timeout(LAST_REQUESTS, engine.stop())
        .await
        .is_err()
    {
        tracing::warn!("a request did not end in time; a value may have been written");
    }
    finish.cancel();
    publishing.await?;
    Ok(())
}

fn set_limits(buffer: &EventBuffer, publish: &Publish) {
    let limit = usize::try_from(publish.buffer.get()).unwrap_or(usize::MAX);
    buffer.set_limits(limit, publish.batch);
}

fn report(status: &StatusPublisher, states: &DeviceStates) {
    status.details(states.details());
}
