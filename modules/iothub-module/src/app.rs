//! Puts the parts together and takes them apart again.

mod hub_side;
mod reload;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::Stream;
use futures_util::stream::{self, SelectAll};
use module_runtime::{Delivery, Runtime, Sidecar, Subscription};
use routes::Routes;
use serde_json::Value;
use store_forward::{Queue, QueueError, QueueOptions};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::configuration::{Configuration, Destination, QueueConfiguration};
use crate::dead_letter::DeadLetters;
use crate::figures::{self, Board, Figures, HubState};
use crate::intake::{Intake, Settings};
use crate::methods::Methods;
use crate::publisher::Publisher;
use crate::queue_view;
use crate::sequencer::Limits;
use hub_side::HubSide;

/// Status events in flight; the newest counts, so few are enough.
const STATUS_BUFFER: usize = 16;
const QUEUE_CLOSE: Duration = Duration::from_secs(5);

/// Runs the module until its shutdown.
///
/// # Errors
/// When the queue cannot be opened, or a part ended that should not have: the process is to be started anew.
pub async fn run(runtime: Runtime<Configuration>) -> anyhow::Result<()> {
    let Runtime {
        args,
        appliance,
        module,
        sidecar,
        health,
        shutdown,
        status,
        configuration,
        watch,
        ..
    } = runtime;
    module_runtime::describe(crate::metrics::ALL);
    let first = configuration.configuration;
    let queue_health = health.component("queue");
    let subscriptions_health = health.component("subscriptions");
    let queue = open(&first.queue).await?;
    queue_health.ready();

    let (settings, settings_now) = watch::channel(settings_of(&first, &first));
    let (in_force, in_force_now) = watch::channel(Arc::clone(&first));
    let (restart, restart_needed) = watch::channel(Vec::new());
    let (hub_state, hub_state_now) = watch::channel(HubState::default());
    let (board, board_now) = watch::channel(Board::default());
    let (own, own_status) = watch::channel(Value::Null);
    let publisher = Arc::new(Publisher::new(
        Arc::clone(&sidecar),
        args.pubsub,
        &appliance,
        &module,
    ));
    let dead_letters = DeadLetters::new(Arc::clone(&publisher), first.dead_letter_topic.clone());
    let figures = Figures::new(queue.clone(), hub_state_now, board_now, restart_needed);

    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    tasks.spawn(ended(queue_view::run(
        queue.clone(),
        first.queue.clone(),
        shutdown.clone(),
    )));
    let (leave, left) = oneshot::channel();
    let queued = subscribe(&*sidecar, &first, Destination::Queue);
    if !queued.is_empty() {
        let mut intake = Intake::new(
            Arc::new(queue.clone()),
            settings_now.borrow().clone(),
            dead_letters.clone(),
            queue_health,
        );
        match queue.take_note() {
            Some(note) => intake.recall(&note),
            None => tracing::info!(
                "nothing is known of the streams before this start; the first event of each may wait for those before it (intake.reorder_wait)"
            ),
        }
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let ran = intake.run(queued, settings_now, shutdown).await;
            // It is received after all tasks have ended.
            let _ = leave.send(ran.context("taking in events")?);
            Ok(())
        });
    }
    let methods = {
        let (status, figures) = (status.clone(), figures.clone());
        let now = Box::new(move || {
            let mut data = status.data();
            data["details"] = figures.details();
            data
        });
        Arc::new(Methods::new(
            Arc::clone(&sidecar),
            in_force_now.clone(),
            now,
        ))
    };
    let hub_side = HubSide {
        statuses: subscribe(&*sidecar, &first, Destination::Reported),
        sidecar,
        configuration: Arc::clone(&first),
        in_force: in_force_now,
        queue: queue.clone(),
        publisher,
        dead_letters,
        methods,
        own_status,
        state: hub_state,
        board,
    };
    subscriptions_health.ready();
    tasks.spawn(hub_side.run(shutdown.clone()));
    let reload = reload::Reload {
        first,
        in_force,
        settings,
        restart,
    };
    tasks.spawn(ended(reload.run(watch, status.clone(), shutdown.clone())));
    tasks.spawn(ended(figures::run(figures, status, own, shutdown.clone())));

    let outcome = supervise(tasks, &shutdown).await;
    match tokio::time::timeout(QUEUE_CLOSE, close(queue, left)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the queue did not close cleanly"),
        Err(_) => tracing::warn!("the queue did not close in time; what it acknowledged is safe"),
    }
    outcome
}

/// Closes the queue, with the note of the intake if that came to its end.
async fn close(queue: Queue, mut note: oneshot::Receiver<Vec<u8>>) -> Result<(), QueueError> {
    match note.try_recv() {
        Ok(note) => queue.close_with_note(note.into()).await,
        Err(_) => queue.close().await,
    }
}

/// Waits for the shutdown, then for every task. A task that ends before the shutdown takes the module with it.
async fn supervise(
    mut tasks: JoinSet<anyhow::Result<()>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while let Some(joined) = tasks.join_next().await {
        let result = joined
            .context("a part of the module panicked")
            .and_then(|result| result);
        let result = match result {
            Ok(()) if !shutdown.is_cancelled() => Err(anyhow::anyhow!(
                "a part of the module ended without being asked to"
            )),
            result => result,
        };
        if let Err(error) = result {
            tracing::error!(error = format!("{error:#}"), "stopping");
            shutdown.cancel();
            outcome = outcome.and(Err(error));
        }
    }
    outcome
}

async fn ended(work: impl Future<Output = ()>) -> anyhow::Result<()> {
    work.await;
    Ok(())
}

async fn open(configuration: &QueueConfiguration) -> anyhow::Result<Queue> {
    let options = QueueOptions::new(
        &configuration.path,
        configuration.max_bytes.get(),
        configuration.when_full.into(),
    );
    // Repairing a queue takes its time; health must answer meanwhile.
    let queue = tokio::task::spawn_blocking(move || Queue::open(options))
        .await
        .context("opening the queue")??;
    let stats = queue.stats();
    tracing::info!(path = %configuration.path.display(), events = stats.depth, bytes = stats.file_bytes, "queue open");
    Ok(queue)
}

/// What the intake works by: what can change from `now`, the rest as at the start.
fn settings_of(first: &Configuration, now: &Configuration) -> Settings {
    let limits = Limits {
        reorder_wait: now.intake.reorder_wait.get(),
        redelivery_wait: now.intake.redelivery_wait.get(),
        // Room for those that are awaited must stay, or waiting would keep them out.
        held_events: first.intake.max_in_flight * 2 / 3,
        ..Limits::default()
    };
    Settings {
        limits,
        routes: Arc::new(Routes::compile(&now.routes)),
    }
}

/// All subscriptions with one destination, as one stream.
fn subscribe(
    sidecar: &dyn Sidecar,
    configuration: &Configuration,
    to: Destination,
) -> SelectAll<impl Stream<Item = Delivery> + Unpin + Send + use<>> {
    let wanted = configuration
        .subscriptions
        .iter()
        .filter(|subscription| subscription.destination() == to);
    let streams = wanted.map(|subscription| {
        let mut deliveries = sidecar.subscribe(Subscription {
            pubsub: subscription.pubsub.clone(),
            topic: subscription.topic.clone(),
            // The sidecar would move an event there at its first retry; dead letters are this module's to write.
            dead_letter: None,
            buffer: match to {
                Destination::Queue => configuration.intake.max_in_flight,
                Destination::Reported => STATUS_BUFFER,
            },
        });
        stream::poll_fn(move |context| deliveries.poll_recv(context))
    });
    stream::select_all(streams)
}
