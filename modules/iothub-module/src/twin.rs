//! Status events and this module's own status become reported properties of the twin: merged, and not too often.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use measurement::Envelope;
use module_runtime::Delivery;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::configuration::Configuration;
use crate::dead_letter::{DeadLetter, DeadLetters, Reason};
use crate::hub::Twin;
use crate::reported::Reported;

/// Wait after a failed report, and the longest.
const WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// What the task watches.
#[derive(Debug)]
pub struct Inputs<S> {
    /// Status events; never ends while a subscription runs.
    pub statuses: S,
    /// This module's own status.
    pub own: watch::Receiver<Value>,
    /// The number of the connection, none while there is none.
    pub connection: watch::Receiver<Option<u64>>,
    /// For the report interval.
    pub configuration: watch::Receiver<Arc<Configuration>>,
}

/// What was asked of the hub.
enum Exchange {
    /// Its reported section.
    Found(Value),
    /// To hold this.
    Reported(Value),
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Reports until `shutdown`. `module` is this module's name: its status comes from `own`, not from the broker.
pub async fn run<T, S>(
    twin: T,
    module: String,
    mut inputs: Inputs<S>,
    dead_letters: DeadLetters,
    shutdown: CancellationToken,
) where
    T: Twin + Clone,
    S: Stream<Item = Delivery> + Unpin,
{
    let mut reported = Reported::default();
    let mut report: Option<Work<(Exchange, Result<(), String>)>> = None;
    let mut not_before = Instant::now();
    let mut wait = WAIT.0;
    let mut statuses_end = false;
    set_own(&mut reported, &module, &mut inputs.own);
    loop {
        let connected = inputs.connection.borrow().is_some();
        if report.is_none() && connected && Instant::now() >= not_before {
            if reported.knows_hub() {
                let wanted = reported.wanted();
                if let Some(patch) = reported.patch(&wanted) {
                    let twin = twin.clone();
                    report = Some(Box::pin(async move {
                        let result = twin.report(&patch).await;
                        (Exchange::Reported(wanted), result)
                    }));
                }
            } else {
                // A patch alone would leave what an earlier run reported and nobody reports any more.
                let twin = twin.clone();
                report = Some(Box::pin(async move {
                    match twin.reported().await {
                        Ok(section) => (Exchange::Found(section), Ok(())),
                        Err(error) => (Exchange::Found(Value::Null), Err(error)),
                    }
                }));
            }
        }
        // Without a report to make, the next change wakes the task.
        let due = report.is_none() && connected && Instant::now() < not_before;
        tokio::select! {
            () = shutdown.cancelled() => return,
            (exchange, result) = running(&mut report) => {
                report = None;
                match (result, exchange) {
                    (Ok(()), Exchange::Found(section)) => reported.found(&section),
                    (Ok(()), Exchange::Reported(wanted)) => {
                        reported.confirmed(wanted);
                        wait = WAIT.0;
                        not_before = Instant::now() + inputs.configuration.borrow().twin.report_interval.get();
                    }
                    (Err(error), _) => {
                        tracing::warn!(error, "the status could not be reported; trying again");
                        reported.forget_hub();
                        not_before = Instant::now() + wait;
                        wait = (wait * 2).min(WAIT.1);
                    }
                }
            }
            () = tokio::time::sleep_until(not_before), if due => {}
            Ok(()) = inputs.connection.changed() => {
                if inputs.connection.borrow_and_update().is_some() {
                    // The answer to a report on the old connection would be about another state of the hub.
                    report = None;
                    reported.forget_hub();
                    not_before = Instant::now();
                }
            }
            Ok(()) = inputs.own.changed() => set_own(&mut reported, &module, &mut inputs.own),
            delivery = inputs.statuses.next(), if !statuses_end => match delivery {
                Some(delivery) => take(&mut reported, &module, delivery, &dead_letters).await,
                None => statuses_end = true,
            },
        }
    }
}

fn set_own(reported: &mut Reported, module: &str, own: &mut watch::Receiver<Value>) {
    let status = own.borrow_and_update().clone();
    if !status.is_null() {
        reported.set(module, Some(status), OffsetDateTime::now_utc());
    }
}

async fn take(reported: &mut Reported, own: &str, delivery: Delivery, dead_letters: &DeadLetters) {
    match read(&delivery.body) {
        Ok((module, status, at)) => {
            if module != own {
                reported.set(&module, status, at);
            }
            delivery.accept();
        }
        Err((reason, detail)) => {
            let letter = DeadLetter {
                reason,
                detail,
                topic: delivery.topic.clone(),
                original: delivery.body.clone(),
            };
            match dead_letters.publish(&letter).await {
                Ok(()) => delivery.accept(),
                Err(_) => delivery.retry(),
            }
        }
    }
}

/// The module, its status (none removes it) and when it was.
fn read(body: &[u8]) -> Result<(String, Option<Value>, OffsetDateTime), (Reason, String)> {
    let envelope =
        Envelope::parse(body).map_err(|error| (Reason::NotACloudEvent, error.to_string()))?;
    let data = match envelope.data {
        Some(data) => serde_json::from_str(data.get())
            .map_err(|error| (Reason::InvalidStatus, error.to_string()))?,
        None => Value::Null,
    };
    let named = data
        .get("module")
        .and_then(Value::as_str)
        .or(envelope.source.rsplit('/').next())
        .unwrap_or_default();
    if named.is_empty() {
        return Err((
            Reason::InvalidStatus,
            "neither data.module nor the source names a module".to_owned(),
        ));
    }
    let at = envelope
        .time
        .as_deref()
        .and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok())
        .unwrap_or_else(OffsetDateTime::now_utc);
    let named = named.to_owned();
    match data {
        Value::Null => Ok((named, None, at)),
        Value::Object(_) => Ok((named, Some(data), at)),
        _ => Err((
            Reason::InvalidStatus,
            "data is not an object; a status is an object, or null to remove it".to_owned(),
        )),
    }
}

async fn running<T>(work: &mut Option<Work<T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
