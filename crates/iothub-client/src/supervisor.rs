//! The client's task: one connection after the other, with waits between them.

use std::sync::Arc;
use std::time::Duration;

use iothub_protocol::Interruption;
use tokio::time::sleep;

use crate::client::{Shared, Slot};
use crate::connection::{self, Ended};
use crate::event::HubEvent;
use crate::outbox::Outbox;
use crate::state::{ConnectionState, DisconnectReason};

/// A connection that held this long was a success: the next wait starts small again.
const STABLE: Duration = Duration::from_secs(10);

pub(crate) async fn run(shared: Arc<Shared>, mut outbox: Outbox) {
    let mut generation = 0;
    let mut attempt = 0;
    let mut last_error = None;
    while !shared.stop.is_cancelled() {
        shared.state.send_replace(ConnectionState::Connecting {
            attempt,
            last_error: last_error.clone(),
        });
        let Ended { reason, held_for } =
            Box::pin(connection::run(&shared, &mut outbox, generation + 1)).await;
        if held_for.is_some() {
            generation += 1;
            outbox.push_change(HubEvent::Disconnected {
                reason: reason.clone(),
            });
        }
        if reason == DisconnectReason::Stopped {
            break;
        }
        if reason == DisconnectReason::Renewal {
            attempt = 0;
            last_error = None;
            continue;
        }
        if held_for.is_some_and(|held| held >= STABLE) {
            attempt = 0;
        }
        let cause = if reason.is_refusal() {
            Interruption::Refused
        } else {
            Interruption::Lost
        };
        let wait = shared.options.retry.delay(cause, attempt, rand::random());
        tracing::warn!(identity = %shared.options.identity, attempt, wait_seconds = wait.as_secs_f64(), "no connection to IoT Hub: {reason}");
        attempt = attempt.saturating_add(1);
        shared.state.send_replace(ConnectionState::Disconnected {
            attempt,
            reason: reason.clone(),
            retry_in: wait,
        });
        last_error = Some(reason);
        outbox
            .during(async {
                tokio::select! {
                    () = sleep(wait) => {}
                    () = shared.stop.cancelled() => {}
                }
            })
            .await;
    }
    shared.session.send_replace(Slot::Stopped);
    shared.state.send_replace(ConnectionState::Stopped);
}
