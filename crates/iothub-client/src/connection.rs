//! One connection from CONNECT to its end.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, ManualAck, Outgoing, Packet, PublishOptions,
    SubscribeReasonCode,
};
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use crate::client::{Shared, Slot};
use crate::event::HubEvent;
use crate::explain::explain;
use crate::in_flight::InFlight;
use crate::outbox::Outbox;
use crate::request::{TwinAnswer, TwinQuestion};
use crate::session::{self, Session, SessionEnd};
use crate::state::{ConnectionState, DisconnectReason};
use crate::transport;

mod desired;
mod incoming;

use desired::Desired;
use incoming::Questions;

/// What users of a session ask of its connection beside telemetry.
#[derive(Debug)]
pub(crate) enum Control {
    /// The answer to a direct method.
    Publish { topic: String, payload: Bytes },
    /// PUBACK of a cloud-to-device message.
    Ack(ManualAck),
    Twin {
        question: TwinQuestion,
        answer: oneshot::Sender<TwinAnswer>,
    },
    /// The caller takes the connection for dead, after this time without PUBACK.
    GiveUp { waited: Duration },
}

/// How a connection ended. `held_for` is absent where CONNECT did not succeed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) reason: DisconnectReason,
    pub(crate) held_for: Option<Duration>,
}

/// Messages taken from the session at once.
const BATCH: usize = 64;
/// How long the farewell may take.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest life of a connection that is planned for.
/// Of the token's life: a renewal that answers to method calls have put off comes no later.
const LATEST_RENEWAL: f64 = 0.95;
/// So often it is looked whether they are there.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub(crate) async fn run(shared: &Shared, outbox: &mut Outbox, generation: u64) -> Ended {
    let signed = Instant::now();
    let (client, mut event_loop) = match transport::connection(shared) {
        Ok(pair) => pair,
        Err(error) => {
            let reason = DisconnectReason::Lost {
                host: shared.options.host.clone(),
                detail: error.to_string(),
            };
            return Ended {
                reason,
                held_for: None,
            };
        }
    };
    if let Err(reason) = connect(shared, outbox, &mut event_loop).await {
        return Ended {
            reason,
            held_for: None,
        };
    }
    let since = Instant::now();
    let (session, end) = Session::new(generation, &shared.options.identity, shared.options.window);
    let mut connection = Connection::new(shared, outbox, client, &session, end, signed);
    connection
        .outbox
        .push_change(HubEvent::Connected { generation });
    shared.state.send_replace(ConnectionState::Connected {
        generation,
        since: SystemTime::now(),
    });
    shared.session.send_replace(Slot::Live(session));
    tracing::info!(identity = %shared.options.identity, generation, "connected to IoT Hub {}", shared.options.hub_name);

    let reason = match connection.start() {
        Ok(()) => connection.drive(&mut event_loop).await,
        Err(reason) => reason,
    };
    shared.session.send_replace(Slot::Waiting);
    if reason.is_planned() {
        connection.say_farewell(&mut event_loop).await;
    }
    // First the library, so that nothing more can be written; then everything that waits fails.
    drop(event_loop);
    connection.end().await;
    Ended {
        reason,
        held_for: Some(since.elapsed()),
    }
}

async fn connect(
    shared: &Shared,
    outbox: &mut Outbox,
    event_loop: &mut EventLoop,
) -> Result<(), DisconnectReason> {
    let options = &shared.options;
    let attempt = async {
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => Err(DisconnectReason::Stopped),
            // The first thing to come is CONNACK or an error.
            result = timeout(options.connect_timeout, event_loop.poll()) => match result {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(explain(&error, options, false)),
                Err(_) => Err(DisconnectReason::ConnectTimeout { host: options.host.clone(), after: options.connect_timeout }),
            },
        }
    };
    outbox.during(attempt).await
}

struct Connection<'a> {
    shared: &'a Shared,
    outbox: &'a mut Outbox,
    client: AsyncClient,
    end: SessionEnd,
    control: tokio::sync::mpsc::Sender<Control>,
    in_flight: InFlight,
    questions: Questions,
    desired: Desired,
    /// Subscriptions without SUBACK.
    subscribing: usize,
    subscribe_by: Instant,
    renew_at: Instant,
    /// For answers to method calls it waits so long at most.
    renew_at_latest: Instant,
    /// Each method call that was not answered holds it.
    unanswered: Arc<()>,
    /// Until then a message that is over time, but excused by progress, is not looked at again.
    excused_until: Instant,
    /// Packet ids of cloud-to-device messages without PUBACK. The library ends the connection over a PUBACK that is not due.
    completable: HashSet<u16>,
    /// Set while the connection is being closed: why, and until when PUBACKs are waited for.
    closing: Option<(DisconnectReason, Instant)>,
    stopping: bool,
    publishes_open: bool,
    control_open: bool,
}

impl<'a> Connection<'a> {
    fn new(
        shared: &'a Shared,
        outbox: &'a mut Outbox,
        client: AsyncClient,
        session: &Session,
        end: SessionEnd,
        signed: Instant,
    ) -> Self {
        let options = &shared.options;
        let now = Instant::now();
        // Somewhere from 80 to 85 % of the token's life, so that a fleet does not renew in step.
        let renew_after = options
            .sas_lifetime
            .mul_f64(0.80 + 0.05 * rand::random::<f64>());
        Self {
            shared,
            outbox,
            client,
            end,
            control: session.control_sender(),
            in_flight: InFlight::default(),
            questions: Questions::new(session.generation()),
            desired: Desired::new(),
            subscribing: 0,
            subscribe_by: now + options.puback_timeout,
            renew_at: signed + renew_after.min(YEAR),
            renew_at_latest: signed + options.sas_lifetime.mul_f64(LATEST_RENEWAL).min(YEAR),
            unanswered: Arc::default(),
            excused_until: now,
            completable: HashSet::new(),
            closing: None,
            stopping: false,
            publishes_open: true,
            control_open: true,
        }
    }

    /// Runs until the connection ends or has drained for a planned end.
    async fn drive(&mut self, event_loop: &mut EventLoop) -> DisconnectReason {
        let mut batch = Vec::with_capacity(BATCH);
        let mut armed = self.deadline();
        let timer = sleep_until(armed);
        let stop = self.shared.stop.cancelled();
        tokio::pin!(timer, stop);
        loop {
            // The future is kept until it is ready: dropping it half way could lose what it is about to write.
            let polled = {
                let poll = event_loop.poll();
                tokio::pin!(poll);
                loop {
                    // Deadlines mostly move away; the timer is only touched when one comes nearer.
                    let deadline = self.deadline();
                    if deadline < armed {
                        armed = deadline;
                        timer.as_mut().reset(armed);
                    }
                    let step = tokio::select! {
                        biased;
                        () = &mut stop, if !self.stopping => {
                            self.stopping = true;
                            self.close(DisconnectReason::Stopped);
                            Ok(())
                        }
                        taken = self.end.publishes.recv_many(&mut batch, BATCH), if self.publishes_open => {
                            self.publishes_open = taken > 0;
                            self.send(&mut batch)
                        }
                        control = self.end.control.recv(), if self.control_open => match control {
                            Some(control) => self.control(control),
                            None => {
                                self.control_open = false;
                                Ok(())
                            }
                        },
                        () = &mut timer => {
                            let result = self.check_deadlines();
                            armed = self.deadline();
                            timer.as_mut().reset(armed);
                            result
                        }
                        () = self.outbox.flush(), if self.outbox.has_backlog() => Ok(()),
                        polled = &mut poll => break polled,
                    };
                    if let Err(reason) = step {
                        return reason;
                    }
                    if let Some(reason) = self.drained() {
                        return reason;
                    }
                }
            };
            let step = match polled {
                Ok(event) => self.handle(event),
                Err(error) => Err(self.broken(&error)),
            };
            if let Err(reason) = step {
                return reason;
            }
            if let Some(reason) = self.drained() {
                return reason;
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), DisconnectReason> {
        match event {
            Event::Outgoing(Outgoing::Publish(id)) if id != 0 => {
                self.in_flight.write(id, Instant::now())
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                self.in_flight.acknowledge(ack.pkid, Instant::now());
            }
            Event::Incoming(Packet::Publish(publish)) => return self.receive(publish),
            Event::Incoming(Packet::SubAck(ack)) => {
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                    tracing::error!(identity = %self.shared.options.identity, "IoT Hub refused a subscription; what it would bring will not arrive");
                }
                self.subscribing = self.subscribing.saturating_sub(1);
                if self.subscribing == 0 {
                    return self.get_desired();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Hands messages to the library, in order.
    fn send(&mut self, batch: &mut Vec<session::Outgoing>) -> Result<(), DisconnectReason> {
        let now = Instant::now();
        for message in batch.drain(..) {
            self.client
                .try_publish(message.topic, message.body, PublishOptions::at_least_once())
                .map_err(|error| self.refused_request(&error))?;
            self.in_flight.accept(message.ticket, now);
        }
        Ok(())
    }

    fn control(&mut self, control: Control) -> Result<(), DisconnectReason> {
        match control {
            Control::Publish { topic, payload } => self.publish_once(topic, payload),
            Control::Ack(ack) => self.complete(ack),
            Control::Twin { question, answer } => self.ask(question, answer),
            Control::GiveUp { waited } => Err(match &self.closing {
                Some((reason, _)) => reason.clone(),
                None => DisconnectReason::AckTimeout {
                    host: self.shared.options.host.clone(),
                    after: waited,
                },
            }),
        }
    }

    /// QoS 0: the request has a timeout of its own, and a PUBACK would say nothing about the answer.
    fn publish_once(&self, topic: String, payload: Bytes) -> Result<(), DisconnectReason> {
        self.client
            .try_publish(topic, payload, PublishOptions::at_most_once())
            .map_err(|error| self.refused_request(&error))
    }

    fn refused_request(&self, error: &rumqttc::ClientError) -> DisconnectReason {
        DisconnectReason::Lost {
            host: self.shared.options.host.clone(),
            detail: format!("the MQTT library took no request: {error}"),
        }
    }

    fn broken(&self, error: &ConnectionError) -> DisconnectReason {
        match &self.closing {
            // The end that was under way anyway.
            Some((reason, _)) if self.in_flight.is_empty() => reason.clone(),
            _ => explain(error, &self.shared.options, true),
        }
    }

    /// The next time something is due.
    fn deadline(&self) -> Instant {
        let puback = self.in_flight.deadline(self.shared.options.puback_timeout);
        let puback = puback.map(|at| at.max(self.excused_until));
        if let Some((_, until)) = &self.closing {
            return puback.map_or(*until, |at| at.min(*until));
        }
        let mut next = self.renew_at;
        let subscribe = (self.subscribing > 0).then_some(self.subscribe_by);
        for at in [puback, subscribe, self.desired.deadline()]
            .into_iter()
            .flatten()
        {
            next = next.min(at);
        }
        next
    }

    fn check_deadlines(&mut self) -> Result<(), DisconnectReason> {
        let now = Instant::now();
        let options = &self.shared.options;
        let late = || DisconnectReason::AckTimeout {
            host: options.host.clone(),
            after: options.puback_timeout,
        };
        let overdue = self.in_flight.is_overdue(options.puback_timeout, now);
        match &self.closing {
            // A PUBACK that is over time is not waited for, although there may be time left.
            Some((reason, until)) if overdue || now >= *until => return Err(reason.clone()),
            Some(_) => {}
            None if overdue || (self.subscribing > 0 && now >= self.subscribe_by) => {
                return Err(late());
            }
            None => {}
        }
        if self
            .in_flight
            .deadline(options.puback_timeout)
            .is_some_and(|at| at <= now)
        {
            self.excused_until = now + options.puback_timeout / 4;
        }
        if self.closing.is_some() {
            return Ok(());
        }
        if now >= self.renew_at {
            // The hub takes an answer on the connection that brought the call, and on no other.
            if Arc::strong_count(&self.unanswered) > 1 && now < self.renew_at_latest {
                self.renew_at = (now + LOOK_AGAIN).min(self.renew_at_latest);
                return Ok(());
            }
            self.close(DisconnectReason::Renewal);
            return Ok(());
        }
        if self.desired.deadline().is_some_and(|at| now >= at) {
            return self.get_desired();
        }
        Ok(())
    }

    /// Begins a planned end: no more messages come in, what is in flight gets time for its PUBACK.
    fn close(&mut self, reason: DisconnectReason) {
        // A stop in the middle of a renewal makes it a stop, with the time that is left.
        if let Some((planned, _)) = &mut self.closing {
            *planned = reason;
            return;
        }
        self.shared.session.send_replace(Slot::Waiting);
        self.end.stop_intake();
        self.closing = Some((reason, Instant::now() + self.shared.options.drain_timeout));
    }

    /// The reason of a planned end once nothing is in flight any more.
    fn drained(&self) -> Option<DisconnectReason> {
        let (reason, _) = self.closing.as_ref()?;
        let empty =
            !self.publishes_open && self.in_flight.is_empty() && self.end.control.is_empty();
        empty.then(|| reason.clone())
    }

    /// DISCONNECT; without it the hub would take the end for a failure.
    async fn say_farewell(&self, event_loop: &mut EventLoop) {
        // The library's patient way also writes what it was handed before, but never ends while a PUBACK is missing.
        let asked = if self.in_flight.is_empty() {
            self.client.try_disconnect_with_timeout(DISCONNECT_TIMEOUT)
        } else {
            self.client.try_disconnect_now()
        };
        if asked.is_ok() {
            let _ = timeout(DISCONNECT_TIMEOUT, async {
                while event_loop.poll().await.is_ok() {}
            })
            .await;
        }
    }

    async fn end(self) {
        drop(self.in_flight);
        drop(self.questions);
        self.end.end().await;
    }
}
