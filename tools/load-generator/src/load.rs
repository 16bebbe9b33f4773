//! Makes what is due and publishes it, again and again until the broker has confirmed it.

use std::sync::Arc;
use std::time::Duration;

use module_runtime::{
    BoxFuture, HealthFlag, OutgoingEvent, PublishReport, Runtime, Sidecar, SidecarError,
};
use time::OffsetDateTime;
use tokio::time::{Instant, MissedTickBehavior};

use crate::configuration::Configuration;
use crate::figures::{ALL, CONFIRMED, DUE, RATE, REPEATED};
use crate::schedule::Schedule;
use crate::source::Source;

/// What becomes due in this time goes in one call.
const TICK: Duration = Duration::from_millis(20);
/// Events of one call at most.
const BATCH: u64 = 500;
/// Wait after a failure: first and longest.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

type Call = BoxFuture<'static, (Vec<OutgoingEvent>, Result<PublishReport, SidecarError>)>;

/// The work between the schedule and the sidecar. One call runs at a time, so each stream reaches the broker in its order.
struct Load {
    sidecar: Arc<dyn Sidecar>,
    pubsub: String,
    topic: String,
    source: Source,
    schedule: Schedule,
    started: Instant,
    /// The first event that has not been made.
    next: u64,
    /// Made, not confirmed, in no call.
    waiting: Vec<OutgoingEvent>,
    call: Option<Call>,
    failures: u32,
    health: HealthFlag,
}

/// Runs until the shutdown; what is due then is still published, for at most half of the grace period.
///
/// # Errors
/// None at present: what fails is repeated.
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
        mut watch,
        ..
    } = runtime;
    module_runtime::describe(ALL);
    let first = configuration.configuration;
    let published = health.component("publish");
    published.ready();
    let started = OffsetDateTime::now_utc();
    let mut load = Load {
        sidecar,
        pubsub: args.pubsub,
        topic: first.topic.clone(),
        source: Source::new(&appliance, &module, first.streams, first.tags, started),
        schedule: Schedule::new(first.rate, first.limit),
        started: Instant::now(),
        next: 0,
        waiting: Vec::new(),
        call: None,
        failures: 0,
        health: published,
    };
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    load.change(first.rate, first.limit);
    let mut ends: Option<Instant> = None;
    loop {
        if ends.is_some() && load.is_done() {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled(), if ends.is_none() => {
                load.change(0, None);
                ends = Some(Instant::now() + args.grace_period.get() / 2);
            }
            () = until(ends) => {
                tracing::error!(events = load.behind(), "the broker did not take every event before the end");
                return Ok(());
            }
            (events, outcome) = finished(&mut load.call) => load.settle(events, outcome),
            next = watch.next(), if ends.is_none() => match next {
                Ok(loaded) => {
                    let new = &loaded.configuration;
                    tracing::info!(rate = new.rate, limit = new.limit, hash = loaded.hash, "new configuration");
                    if first.restart_needed_for(new) {
                        tracing::warn!("new configuration in force in part: restart for streams, tags and topic");
                    }
                    load.change(new.rate, new.limit);
                    status.in_force(&loaded);
                }
                Err(error) => status.rejected(&error),
            },
            _ = tick.tick() => load.advance(),
        }
    }
}

impl Load {
    fn due(&self) -> u64 {
        self.schedule.due(self.started.elapsed())
    }

    fn change(&mut self, rate: u32, limit: Option<u64>) {
        self.schedule.change(self.started.elapsed(), rate, limit);
        // Together: whoever sees a rate of 0 sees all that is due.
        self.show_due();
        metrics::gauge!(RATE.name).set(f64::from(rate));
    }

    fn show_due(&self) {
        // Counts stay below 2^53 in any run.
        metrics::gauge!(DUE.name).set(self.due() as f64);
    }

    /// Everything that is due is confirmed.
    fn is_done(&self) -> bool {
        self.call.is_none() && self.waiting.is_empty() && self.next >= self.due()
    }

    /// Events that are due and neither made nor, if they wait for another call, confirmed.
    fn behind(&self) -> u64 {
        self.due().saturating_sub(self.next) + self.waiting.len() as u64
    }

    /// Makes what is due, as long as it fits into one call, and begins it.
    fn advance(&mut self) {
        self.show_due();
        if self.call.is_some() {
            return;
        }
        let due = self.due();
        if self.waiting.is_empty() {
            let most = BATCH.min(self.source.most_at_once());
            let end = due.min(self.next.saturating_add(most));
            while self.next < end {
                let at = self.schedule.time_of(self.next);
                self.waiting.extend(self.source.event(self.next, at));
                self.next += 1;
            }
        }
        if !self.waiting.is_empty() {
            let events = std::mem::take(&mut self.waiting);
            self.call = Some(self.publish(events));
        }
    }

    fn publish(&self, events: Vec<OutgoingEvent>) -> Call {
        let sidecar = Arc::clone(&self.sidecar);
        let (pubsub, topic) = (self.pubsub.clone(), self.topic.clone());
        let wait = match self.failures {
            0 => Duration::ZERO,
            failures => WAIT.1.min(WAIT.0 * 2_u32.saturating_pow(failures - 1)),
        };
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            let outcome = sidecar.publish(&pubsub, &topic, &events).await;
            (events, outcome)
        })
    }

    /// Keeps what was not confirmed, and goes on at once where there is more.
    fn settle(&mut self, events: Vec<OutgoingEvent>, outcome: Result<PublishReport, SidecarError>) {
        self.call = None;
        let all = events.len();
        match outcome {
            Ok(report) => {
                let mut failed = report.failed.iter().peekable();
                for (position, event) in events.into_iter().enumerate() {
                    if failed.next_if(|(at, _)| *at == position).is_some() {
                        self.waiting.push(event);
                    }
                }
                if let Some((_, error)) = report.failed.first() {
                    self.failed(error);
                }
            }
            Err(error) => {
                self.waiting = events;
                self.failed(&error.to_string());
            }
        }
        if self.waiting.is_empty() {
            self.failures = 0;
            self.health.ready();
        }
        metrics::counter!(CONFIRMED.name).increment((all - self.waiting.len()) as u64);
        metrics::counter!(REPEATED.name).increment(self.waiting.len() as u64);
        if !self.waiting.is_empty() || self.next < self.due() {
            self.advance();
        }
    }

    fn failed(&mut self, error: &str) {
        if self.failures == 0 {
            tracing::warn!(error, "a publish failed; it is repeated until it succeeds");
        }
        self.failures = self.failures.saturating_add(1);
        self.health
            .not_ready(format!("the last publish failed: {error}"));
    }
}

async fn finished(
    call: &mut Option<Call>,
) -> (Vec<OutgoingEvent>, Result<PublishReport, SidecarError>) {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use module_runtime::Health;
    use module_runtime::test_support::TestSidecar;

    use super::*;

    fn load(sidecar: Arc<TestSidecar>, rate: u32, limit: u64) -> Load {
        Load {
            sidecar,
            pubsub: "pubsub".to_owned(),
            topic: "telemetry".to_owned(),
            source: Source::new("gate", "load", 7, 1, OffsetDateTime::UNIX_EPOCH),
            schedule: Schedule::new(rate, Some(limit)),
            started: Instant::now(),
            next: 0,
            waiting: Vec::new(),
            call: None,
            failures: 0,
            health: Health::new().component("publish"),
        }
    }

    async fn to_the_end(load: &mut Load) {
        loop {
            load.advance();
            if load.is_done() {
                return;
            }
            tokio::select! {
                (events, outcome) = finished(&mut load.call) => load.settle(events, outcome),
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_broker_refused_comes_again_before_what_follows_it() {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let sidecar = TestSidecar::with_publish(Duration::from_millis(3), move |_, _, events| {
            let call = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let failed = match call % 3 {
                0 => vec![(events.len() - 1, "full".to_owned())],
                _ => Vec::new(),
            };
            if call % 5 == 4 {
                return Err(SidecarError::Unavailable("test".to_owned()));
            }
            Ok(PublishReport { failed })
        });
        let mut load = load(Arc::clone(&sidecar), 1000, 500);
        tokio::time::advance(Duration::from_secs(1)).await;
        to_the_end(&mut load).await;
        let mut streams: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (topic, event) in sidecar.published() {
            assert_eq!(topic, "telemetry");
            let sequence = event["data"]["sequence"].as_u64().unwrap();
            let key = event["partitionkey"].as_str().unwrap().to_owned();
            streams.entry(key).or_default().push(sequence);
        }
        assert_eq!(streams.values().map(Vec::len).sum::<usize>(), 500);
        for (key, sequences) in streams {
            let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
            assert_eq!(sequences, expected, "{key}");
        }
    }
}
