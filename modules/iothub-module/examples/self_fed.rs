//! iothub-module as it is, but for its sidecar: a source in the same process delivers the events. scripts/bench runs it, to measure the way from
//! intake to hub without what Dapr and the broker cost.
//!
//! A number N in a line of standard input: events are to be made until there are N. What the module has not confirmed stays within
//! `intake.max_in_flight`, as with a sidecar. `SELF_FED_BYTES`: bytes of each event (default 300). The source's threads are called `source`, so
//! that their share of the processor can be left out.

use std::collections::{BTreeMap, VecDeque};
use std::io::BufRead as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use measurement::{Epoch, MEASUREMENTS_TYPE};
use module_runtime::{
    BoxFuture, Delivery, InvokeReply, Outcome, OutgoingEvent, PublishReport, Sidecar, SidecarError,
    Subscription,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Streams by turns, each a device with a key of its own.
const STREAMS: u64 = 200;
/// Numbers beyond might not fit into an event.
const MOST: u64 = 1_000_000_000_000;
/// As the broker: it delivers again so long after a refusal.
const AGAIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    module_runtime::run(module_runtime::module!(), async |mut runtime| {
        runtime.sidecar = Arc::new(Source::start()?);
        iothub_module::app::run(runtime).await
    })
}

/// Events of one epoch, all of the same size. Their shape is that of measurements.
#[derive(Debug, Clone)]
struct Events {
    epoch: String,
    bytes: usize,
}

impl Events {
    fn new(bytes: usize) -> anyhow::Result<Self> {
        let epoch = Epoch::new().as_str().to_owned();
        let events = Self { epoch, bytes };
        let least = events.text(MOST - 1, 0).len();
        anyhow::ensure!(
            bytes >= least,
            "SELF_FED_BYTES is {bytes}: an event has at least {least} bytes"
        );
        Ok(events)
    }

    fn text(&self, number: u64, padding: usize) -> String {
        let (epoch, device, sequence) = (&self.epoch, number % STREAMS, number / STREAMS + 1);
        format!(
            r#"{{"specversion":"1.0","id":"bench/d{device}/b/{epoch}/{sequence}","source":"/fieldgate/bench/bench","type":"{MEASUREMENTS_TYPE}","subject":"d{device}/b","partitionkey":"d{device}","sequence":"{sequence}","data":{{"values":{{"t":"{:x<padding$}"}}}}}}"#,
            ""
        )
    }

    fn event(&self, number: u64) -> Bytes {
        let padding = self.bytes - self.text(number, 0).len();
        Bytes::from(self.text(number, padding))
    }
}

/// Takes what is published, delivers what it makes, and knows nothing else.
#[derive(Debug)]
struct Source {
    events: Events,
    orders: watch::Receiver<u64>,
}

impl Source {
    fn start() -> anyhow::Result<Self> {
        let bytes = match std::env::var("SELF_FED_BYTES") {
            Ok(text) => text
                .parse()
                .with_context(|| format!("SELF_FED_BYTES is {text:?}, expected a number"))?,
            Err(_) => 300,
        };
        let events = Events::new(bytes)?;
        let (order, orders) = watch::channel(0);
        thread(move || {
            for line in std::io::stdin().lock().lines() {
                match line.as_deref().map(str::parse) {
                    Ok(Ok(number)) => {
                        order.send_replace(number);
                    }
                    Ok(Err(_)) => tracing::error!(?line, "expected how many events are to be made"),
                    Err(error) => tracing::error!(%error, "standard input"),
                }
            }
        })?;
        Ok(Self { events, orders })
    }
}

impl Sidecar for Source {
    fn publish<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a [OutgoingEvent],
    ) -> BoxFuture<'a, Result<PublishReport, SidecarError>> {
        Box::pin(async { Ok(PublishReport::default()) })
    }

    fn subscribe(&self, subscription: Subscription) -> mpsc::Receiver<Delivery> {
        let (sender, receiver) = mpsc::channel(subscription.buffer);
        let (events, orders) = (self.events.clone(), self.orders.clone());
        let started = thread(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(deliver(events, orders, subscription, sender)),
                Err(error) => tracing::error!(%error, "the source has no runtime"),
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "the source cannot start");
        }
        receiver
    }

    fn invoke<'a>(
        &'a self,
        app: &'a str,
        _: &'a str,
        _: Bytes,
        _: Duration,
    ) -> BoxFuture<'a, Result<InvokeReply, SidecarError>> {
        Box::pin(async move { Err(SidecarError::Unavailable(format!("{app} is not here"))) })
    }

    fn secret<'a>(
        &'a self,
        store: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<BTreeMap<String, String>, SidecarError>> {
        Box::pin(async move { Err(SidecarError::Unavailable(format!("{store} is not here"))) })
    }

    fn healthy(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { true })
    }
}

fn thread(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let builder = std::thread::Builder::new().name("source".to_owned());
    builder.spawn(work).map(drop)
}

/// Until nobody receives any more.
async fn deliver(
    events: Events,
    mut orders: watch::Receiver<u64>,
    subscription: Subscription,
    deliveries: mpsc::Sender<Delivery>,
) {
    let mut next = 0;
    let mut unanswered: VecDeque<(u64, oneshot::Receiver<Outcome>)> = VecDeque::new();
    loop {
        while unanswered.len() < subscription.buffer && next < MOST.min(*orders.borrow_and_update())
        {
            let body = events.event(next);
            let (delivery, outcome) = Delivery::for_test(subscription.topic.as_str(), body);
            if deliveries.send(delivery).await.is_err() {
                return;
            }
            unanswered.push_back((next, outcome));
            next += 1;
        }
        let Some((number, outcome)) = unanswered.front_mut() else {
            tokio::select! {
                () = deliveries.closed() => return,
                // After the end of standard input there is nothing more to do.
                Ok(()) = orders.changed() => continue,
            }
        };
        let (number, outcome) = (*number, outcome.await);
        unanswered.pop_front();
        if !matches!(outcome, Ok(Outcome::Accepted)) {
            tokio::time::sleep(AGAIN).await;
            let (delivery, outcome) =
                Delivery::for_test(subscription.topic.as_str(), events.event(number));
            if deliveries.send(delivery).await.is_err() {
                return;
            }
            unanswered.push_back((number, outcome));
        }
    }
}
