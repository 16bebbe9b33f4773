//! The ledger: the ids of all events that the broker accepted, read from a durable consumer of the demo's own.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::SharedChecker;
use crate::system::TOPIC_DEAD_LETTER;

const BATCH: usize = 500;
/// How long one fetch waits for a full batch.
const FETCH: Duration = Duration::from_millis(500);
/// Pause after a fetch that failed: the broker is down.
const PAUSE: Duration = Duration::from_millis(200);

/// The tasks that read the ledger, one for each stream; they outlive restarts of the broker.
#[derive(Debug)]
pub(crate) struct Ledger {
    consumers: Vec<PullConsumer>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Ledger {
    pub(crate) fn start(consumers: Vec<PullConsumer>, checker: SharedChecker) -> Self {
        let stop = CancellationToken::new();
        let tasks = consumers
            .iter()
            .map(|consumer| {
                let (token, reader, checker) = (stop.clone(), consumer.clone(), checker.clone());
                tokio::spawn(async move {
                    while !token.is_cancelled() {
                        if read(&reader, &checker).await.is_err() {
                            let _ = timeout(PAUSE, token.cancelled()).await;
                        }
                    }
                })
            })
            .collect();
        Self {
            consumers,
            stop,
            tasks,
        }
    }

    /// Returns when everything the broker holds has been read.
    pub(crate) async fn drained(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        for consumer in &self.consumers {
            let mut consumer = consumer.clone();
            loop {
                let left = match timeout(Duration::from_secs(2), consumer.info()).await {
                    Ok(Ok(info)) => info.num_pending + info.num_ack_pending as u64,
                    Ok(Err(_)) | Err(_) => u64::MAX,
                };
                if left == 0 {
                    break;
                }
                if Instant::now() > deadline {
                    bail!(
                        "the ledger could not be read to its end within {} s",
                        within.as_secs()
                    );
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// The event's id in the id of its message: `<topic>/<id>`, with upstream's Dapr component `<id>` alone.
fn event_id<'a>(topic: &str, message_id: &'a str) -> &'a str {
    message_id
        .strip_prefix(topic)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(message_id)
}

async fn read(consumer: &PullConsumer, checker: &SharedChecker) -> Result<()> {
    let fetch = consumer
        .fetch()
        .max_messages(BATCH)
        .expires(FETCH)
        .messages();
    let mut messages = timeout(FETCH * 4, fetch)
        .await
        .context("the broker does not answer")??;
    loop {
        let message = match timeout(FETCH * 4, messages.next())
            .await
            .context("the broker does not answer")?
        {
            None => return Ok(()),
            Some(message) => message.map_err(|error| anyhow::anyhow!("{error}"))?,
        };
        let id = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(NATS_MESSAGE_ID))
            .map_or("", |id| event_id(&message.subject, id.as_str()));
        if message.subject.as_str() == TOPIC_DEAD_LETTER {
            checker.lock().dead_letter(id);
        } else {
            checker.lock().accepted(id);
        }
        // After it is noted: an acknowledgement that is lost brings it again, which changes nothing.
        message
            .ack()
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_in_a_messages_id_is_no_part_of_the_events() {
        let id = "modbus-reader/press-1/fast/e1/42";
        assert_eq!(event_id("telemetry", &format!("telemetry/{id}")), id);
        assert_eq!(event_id("telemetry", id), id);
        assert_eq!(event_id("modbus", id), id);
        assert_eq!(event_id("telemetry", ""), "");
    }
}
