//! One task per link: polls its devices by schedule, one request at a time, with commands in between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use measurement::BadReason;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::call_error::CallError;
use crate::configuration::{Device, Link};
use crate::connection::Connection;
use crate::device_states::{Condition, DeviceStates};
use crate::event_buffer::EventBuffer;
use crate::link_commands::LinkCommand;
use crate::metrics::Metrics;
use crate::parking::Parking;
use crate::scheduler::{Released, Schedule};
use crate::stream::Stream;

/// Attempts to connect are at most this far apart.
const LONGEST_RECONNECT: Duration = Duration::from_secs(30);
/// A connection that had to be dropped is usually back within a round trip.
const RECONNECTING: Duration = Duration::from_millis(250);

/// Commands that wait for units in quarantine; beyond these, commands for other units wait with them.
const HELD: usize = 32;

/// Where a link's results go; shared by all links.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// Events.
    pub buffer: EventBuffer,
    /// How the devices are doing.
    pub states: DeviceStates,
    /// Figures.
    pub metrics: Metrics,
}

/// A device of the link.
#[derive(Debug)]
struct LinkDevice {
    name: String,
    unit: u8,
    retries: u8,
    parking: Parking,
    condition: Condition,
}

/// The state of the connection.
enum Line {
    Up(Connection),
    Connecting {
        attempt: BoxFuture<'static, std::io::Result<Connection>>,
        /// Until then cycles wait for the attempt even beyond their deadline.
        patience: Instant,
        /// Of cycles that do not wait any longer.
        reason: BadReason,
    },
    /// Until the next attempt.
    Waiting(Instant),
}

/// The task of one link.
pub struct LinkTask {
    link: Arc<Link>,
    devices: Vec<LinkDevice>,
    streams: Vec<Stream>,
    schedule: Schedule,
    line: Line,
    backoff: Backoff,
    commands: mpsc::Receiver<LinkCommand>,
    /// Commands taken over that wait, some for the end of their unit's quarantine. At most [`HELD`].
    held: VecDeque<LinkCommand>,
    stop: CancellationToken,
    outlets: Outlets,
    released: Vec<Released>,
}

impl std::fmt::Debug for LinkTask {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LinkTask")
            .field("link", &self.link.name)
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

impl LinkTask {
    /// `streams` name devices by position; `schedule` has their slots in the same order.
    pub fn new(
        link: Link,
        devices: &[&Device],
        streams: Vec<Stream>,
        schedule: Schedule,
        commands: mpsc::Receiver<LinkCommand>,
        stop: CancellationToken,
        outlets: Outlets,
    ) -> Self {
        let devices = devices
            .iter()
            .map(|device| LinkDevice {
                name: device.name.clone(),
                unit: device.unit,
                retries: device.retries,
                parking: Parking::new(device.park_after, device.park_for.get()),
                condition: Condition::Starting,
            })
            .collect();
        let backoff = Backoff::new(link.reconnect.get(), LONGEST_RECONNECT);
        Self {
            line: Line::Waiting(Instant::now()),
            link: Arc::new(link),
            devices,
            streams,
            schedule,
            backoff,
            commands,
            held: VecDeque::with_capacity(HELD),
            stop,
            outlets,
            released: Vec::new(),
        }
    }

    /// Runs until the token given is cancelled; then the connection is closed. A write that was begun is finished.
    pub async fn run(mut self) {
        self.connect(None);
        while !self.stop.is_cancelled() {
            self.release();
            match self.line {
                Line::Up(_) => self.work().await,
                Line::Connecting { .. } => self.connecting().await,
                Line::Waiting(until) => self.waiting(until).await,
            }
        }
    }

    /// Begins the cycles that are due. A parked device's ends at once, without the link.
    fn release(&mut self) {
        let now = Instant::now();
        let mut released = std::mem::take(&mut self.released);
        self.schedule.release(now, &mut released);
        for Released { stream, skipped } in released.drain(..) {
            if skipped > 0 {
                self.outlets.metrics.overruns.increment(skipped);
            }
            let device = self.streams[stream].device;
            if !self.devices[device].parking.admit(stream, now) {
                self.give_up(stream, BadReason::Parked);
            }
        }
        self.released = released;
    }

    /// One command and one request, or waits for the next of either.
    async fn work(&mut self) {
        if let Some(command) = self.next_command() {
            self.execute(command).await;
        }
        let Line::Up(connection) = &self.line else {
            return;
        };
        let now = Instant::now();
        let may_go_on = |index: usize| {
            let device = &self.devices[self.streams[index].device];
            // A cycle that only has to be broken off need not wait.
            connection.quarantine(device.unit, now).is_none() || !device.parking.may_ask(index)
        };
        if let Some(stream) = self.schedule.earliest(may_go_on) {
            return self.poll(stream).await;
        }
        let due = self.schedule.next_due(now);
        let wake = connection
            .quarantine_end(now)
            .map_or(due, |end| end.min(due));
        let room = self.held.len() < HELD;
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            Some(command) = self.commands.recv(), if room => self.held.push_back(command),
            () = sleep_until(wake) => {}
        }
    }

    /// The first command whose unit may be asked.
    fn next_command(&mut self) -> Option<LinkCommand> {
        while self.held.len() < HELD
            && let Ok(command) = self.commands.try_recv()
        {
            self.held.push_back(command);
        }
        let Line::Up(connection) = &self.line else {
            return None;
        };
        let now = Instant::now();
        let free = |command: &LinkCommand| connection.quarantine(command.unit, now).is_none();
        let position = self.held.iter().position(free)?;
        self.held.remove(position)
    }

    /// Sends the next request of a running cycle.
    async fn poll(&mut self, index: usize) {
        let Line::Up(connection) = &mut self.line else {
            return;
        };
        let stream = &mut self.streams[index];
        let device = &mut self.devices[stream.device];
        if !device.parking.may_ask(index) {
            return self.give_up(index, BadReason::Parked);
        }
        let Some(request) = stream.request() else {
            return self.finish(index);
        };
        let metrics = &self.outlets.metrics;
        if stream.is_fresh() {
            metrics.polls.increment(1);
            if let Some(due) = self.schedule.due(index) {
                metrics.lateness.record(due.elapsed().as_secs_f64());
            }
        }
        metrics.requests.increment(1);
        let outcome = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            outcome = connection.read(device.unit, request) => outcome,
        };
        match outcome {
            Ok(answer) => {
                stream.answered(&answer);
                self.answered(index);
            }
            Err(error) => {
                metrics.request_errors.increment(1);
                let text = explain(&error, request);
                if error.is_answer() {
                    self.outlets
                        .states
                        .set(&device.name, device.condition, Some(&text));
                    stream.refused(error.reason());
                    self.answered(index);
                } else {
                    self.unanswered(index, &error, &text).await;
                }
            }
        }
    }

    /// The device spoke; if that was the last request, the cycle succeeded.
    fn answered(&mut self, index: usize) {
        let stream = &self.streams[index];
        if stream.request().is_some() {
            return;
        }
        let device = &mut self.devices[stream.device];
        device.parking.succeeded();
        if device.condition != Condition::Connected {
            device.condition = Condition::Connected;
            self.outlets
                .states
                .set(&device.name, Condition::Connected, None);
        }
        self.finish(index);
    }

    /// No valid answer: the connection is mended, the request repeated or the cycle broken off.
    async fn unanswered(&mut self, index: usize, error: &CallError, text: &str) {
        let was_good = matches!(&self.line, Line::Up(connection) if connection.was_good());
        self.mend(error).await;
        let stream = &mut self.streams[index];
        let device = &mut self.devices[stream.device];
        // A server may close a connection that was idle: that costs no attempt, once.
        let closed = error.is_transport() && was_good;
        if closed && stream.attempts == 0 {
            return;
        }
        let usable = !matches!(self.line, Line::Waiting(_));
        if usable && device.parking.may_retry() && stream.attempts < device.retries {
            stream.attempts += 1;
            return;
        }
        let parked = device.parking.failed(Instant::now());
        device.condition = if parked {
            Condition::Parked
        } else {
            Condition::Failing
        };
        self.outlets
            .states
            .set(&device.name, device.condition, Some(text));
        stream.give_up(error.reason());
        self.finish(index);
    }

    /// Makes the connection usable again after an error, or replaces it.
    async fn mend(&mut self, error: &CallError) {
        let Line::Up(connection) = &mut self.line else {
            return;
        };
        let was_good = connection.was_good();
        if connection.recover(error).await {
            return;
        }
        if error.is_transport() && !was_good {
            // It accepts connections and closes them: as good as none.
            self.wait(&error.to_string());
        } else {
            self.connect(Some(error));
        }
    }

    /// Begins an attempt; `after` is why the last connection was dropped, if one was up until now.
    fn connect(&mut self, after: Option<&CallError>) {
        self.outlets.metrics.connects.increment(1);
        let link = Arc::clone(&self.link);
        let attempt = Box::pin(async move { Connection::open(&link).await });
        let patience = after.map_or(Duration::ZERO, |_| RECONNECTING);
        // The old connection was given up because of an answer: that connecting fails is yet to be seen.
        let reason = match after {
            Some(error) if !error.is_transport() => BadReason::Timeout,
            _ => BadReason::NoConnection,
        };
        self.line = Line::Connecting {
            attempt,
            patience: Instant::now() + patience,
            reason,
        };
    }

    /// Waits before the next attempt to connect.
    fn wait(&mut self, reason: &str) {
        let wait = self.backoff.next_wait();
        tracing::debug!(link = self.link.name, reason, ?wait, "no connection");
        self.no_connection(Some(reason));
        self.line = Line::Waiting(Instant::now() + wait);
        for command in self.held.drain(..) {
            command.refuse(&self.link.name);
        }
    }

    fn no_connection(&mut self, reason: Option<&str>) {
        for device in &mut self.devices {
            device.condition = Condition::NoConnection;
            self.outlets
                .states
                .set(&device.name, Condition::NoConnection, reason);
        }
    }

    /// While an attempt to connect runs, cycles wait for it, at a first connection until their deadline.
    async fn connecting(&mut self) {
        let Line::Connecting {
            attempt,
            patience,
            reason,
        } = &mut self.line
        else {
            return;
        };
        let (patience, reason) = (*patience, *reason);
        let deadline = self.schedule.running().map(|(_, deadline)| deadline).min();
        let due = self.schedule.next_due(Instant::now());
        let wake = deadline.map_or(due, |deadline| deadline.max(patience).min(due));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            outcome = attempt.as_mut() => match outcome {
                Ok(connection) => self.connected(connection),
                Err(error) => self.wait(&error.to_string()),
            },
            () = sleep_until(wake) => self.give_up_overdue(patience, reason),
        }
    }

    fn connected(&mut self, connection: Connection) {
        self.backoff.reset();
        self.line = Line::Up(connection);
        for device in &mut self.devices {
            if device.parking.is_parked() {
                device.condition = Condition::Parked;
                let states = &self.outlets.states;
                states.set(&device.name, Condition::Parked, None);
            }
        }
    }

    fn give_up_overdue(&mut self, patience: Instant, reason: BadReason) {
        let now = Instant::now();
        if now < patience {
            return;
        }
        let running = self.schedule.running();
        let overdue: Vec<usize> = running
            .filter(|(_, deadline)| *deadline <= now)
            .map(|(stream, _)| stream)
            .collect();
        for stream in overdue {
            self.give_up(stream, reason);
        }
    }

    /// Between attempts to connect, cycles end at once.
    async fn waiting(&mut self, until: Instant) {
        while let Some(stream) = self.schedule.earliest(|_| true) {
            self.give_up(stream, BadReason::NoConnection);
        }
        let now = Instant::now();
        if now >= until {
            return self.connect(None);
        }
        let due = self.schedule.next_due(now);
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            Some(command) = self.commands.recv() => command.refuse(&self.link.name),
            () = sleep_until(until.min(due)) => {}
        }
    }

    async fn execute(&mut self, command: LinkCommand) {
        let Line::Up(connection) = &mut self.line else {
            return command.refuse(&self.link.name);
        };
        self.outlets.metrics.requests.increment(command.requests());
        let reading = command.is_read();
        let error = tokio::select! {
            biased;
            // The connection goes with the task, and with it the answer that nobody waits for any more.
            () = self.stop.cancelled(), if reading => return,
            error = command.execute(connection) => error,
        };
        if let Some(error) = error {
            self.outlets.metrics.request_errors.increment(1);
            self.mend(&error).await;
        }
    }

    fn give_up(&mut self, index: usize, reason: BadReason) {
        let stream = &mut self.streams[index];
        stream.give_up(reason);
        self.devices[stream.device].parking.abandoned(index);
        self.finish(index);
    }

    /// The cycle's event goes out, good or bad.
    fn finish(&mut self, index: usize) {
        self.schedule.finish(index);
        let stream = &mut self.streams[index];
        let (number, event) = stream.complete();
        self.outlets.metrics.events.increment(1);
        self.outlets.metrics.points.increment(stream.tags() as u64);
        self.outlets.buffer.push(number, event);
    }
}

fn explain(error: &CallError, request: &crate::requests::Request) -> String {
    let hint = match error {
        CallError::Exception(2) if request.has_gaps() => {
            "; addresses between tags are read along: if it refuses these, set the device's max_gap to 0"
        }
        _ => "",
    };
    format!("{request}: {error}{hint}")
}
