//! The least of an IoT Hub that the client's tests need: TLS, MQTT, SAS, twin answers, and switches for what goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail this way"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt};
use iothub_client::protocol::twin::{merge_patch, with_version};
use iothub_client::protocol::{
    DeviceTopic, HubIdentity, HubTopic, RetryPolicy, SasToken, SharedAccessKey,
};
use iothub_client::{Client, ClientOptions, HubEvent, Trust};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Codec, ConnAck, Connect, ConnectAuth, ConnectReturnCode, Packet, PubAck, Publish, SubAck,
    SubscribeReasonCode,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::codec::Framed;

pub(crate) const HUB: &str = "hub.example";
pub(crate) const KEY: &str = "c2VjcmV0a2V5";

/// What the hub does with device-to-cloud messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acks {
    Send,
    Hold,
}

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) connection: usize,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) acks: Acks,
    /// Messages whose PUBACK is swallowed, counted down.
    pub(crate) swallow: usize,
    /// Twin answers that are swallowed, counted down.
    pub(crate) swallow_twin: usize,
    /// The connection is dropped when this many more messages arrived.
    pub(crate) drop_after: VecDeque<usize>,
    pub(crate) received: Vec<Received>,
    /// Packet ids of PUBACKs from the device.
    pub(crate) completed: Vec<u16>,
    pub(crate) passwords: Vec<String>,
    pub(crate) subscriptions: Vec<(String, QoS)>,
    pub(crate) connections: usize,
    pub(crate) disconnects: usize,
    pub(crate) twin_gets: Vec<String>,
    pub(crate) desired: Value,
    pub(crate) desired_version: u64,
    pub(crate) reported: Value,
    pub(crate) method_answers: Vec<(i32, String, Value)>,
    commands: Option<mpsc::Sender<Command>>,
}

#[derive(Debug)]
enum Command {
    Publish(String, Vec<u8>, QoS, u16),
    Drop,
}

pub(crate) struct Hub {
    pub(crate) port: u16,
    pub(crate) ca: Vec<u8>,
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::start_for("localhost").await
    }

    pub(crate) async fn start_for(name: &str) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(
            certified.signing_key.serialize_der(),
        ));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = config
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            acks: Acks::Send,
            swallow: 0,
            swallow_twin: 0,
            drop_after: VecDeque::new(),
            received: Vec::new(),
            completed: Vec::new(),
            passwords: Vec::new(),
            subscriptions: Vec::new(),
            connections: 0,
            disconnects: 0,
            twin_gets: Vec::new(),
            desired: json!({"interval": 5}),
            desired_version: 1,
            reported: json!({}),
            method_answers: Vec::new(),
            commands: None,
        }));
        let changes = watch::Sender::new(0);
        let task = tokio::spawn(accept(listener, acceptor, state.clone(), changes.clone()));
        Self {
            port,
            ca: certified.cert.pem().into_bytes(),
            state,
            changes,
            task,
        }
    }

    pub(crate) fn options(&self) -> ClientOptions {
        let identity = HubIdentity::device_only("dev1").unwrap();
        let mut options =
            ClientOptions::new(HUB, identity, SharedAccessKey::from_base64(KEY).unwrap());
        options.host = "localhost".to_owned();
        options.port = self.port;
        options.trust = Trust::Pem(self.ca.clone());
        options.retry = RetryPolicy {
            lost: (Duration::from_millis(5), Duration::from_millis(50)),
            refused: (Duration::from_millis(20), Duration::from_millis(50)),
        };
        options
    }

    pub(crate) fn client(&self) -> (Client, mpsc::Receiver<HubEvent>) {
        Client::start(self.options()).unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until the hub's state fulfils `condition`.
    pub(crate) async fn wait(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let mut changes = self.changes.subscribe();
        let met = changes.wait_for(|_| condition(&self.state.lock().unwrap()));
        assert!(
            tokio::time::timeout(Duration::from_secs(20), met)
                .await
                .is_ok(),
            "waited in vain: {what}"
        );
    }

    pub(crate) async fn drop_connection(&self) {
        self.command(Command::Drop).await;
    }

    pub(crate) async fn publish(&self, topic: &HubTopic<'_>, payload: &[u8], id: u16) {
        let qos = if id == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        self.command(Command::Publish(
            topic.to_string(),
            payload.to_vec(),
            qos,
            id,
        ))
        .await;
    }

    /// Changes the desired section and tells the device, or keeps silent.
    pub(crate) async fn desire(&self, patch: Value, tell: bool) {
        let version = {
            let mut state = self.state();
            merge_patch(&mut state.desired, &patch);
            state.desired_version += 1;
            state.desired_version
        };
        if tell {
            let payload = with_version(&patch, version).to_string();
            self.publish(
                &HubTopic::Desired {
                    version: Some(version),
                },
                payload.as_bytes(),
                0,
            )
            .await;
        }
    }

    async fn command(&self, command: Command) {
        let sender = self
            .state()
            .commands
            .clone()
            .expect("a device is connected");
        sender.send(command).await.unwrap();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let (acceptor, state, changes) = (acceptor.clone(), state.clone(), changes.clone());
        connections.spawn(async move {
            let _ = serve(stream, acceptor, state, changes.clone()).await;
            changes.send_modify(|count| *count += 1);
        });
    }
}

/// Serves one connection; `None` where it broke, which is the tests' daily bread.
async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
) -> Option<()> {
    let stream = acceptor.accept(stream).await.ok()?;
    let mut framed = Framed::new(
        stream,
        Codec {
            max_incoming_size: 1 << 20,
            max_outgoing_size: 1 << 20,
        },
    );
    let Packet::Connect(connect) = framed.next().await?.ok()? else {
        return None;
    };
    let granted = authenticate(&connect, &state);
    let code = if granted {
        ConnectReturnCode::Success
    } else {
        ConnectReturnCode::NotAuthorized
    };
    let connection = {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        state.connections
    };
    framed
        .send(Packet::ConnAck(ConnAck::new(code, false)))
        .await
        .ok()?;
    changes.send_modify(|count| *count += 1);
    if !granted {
        return None;
    }
    let (sender, mut commands) = mpsc::channel(16);
    state.lock().unwrap().commands = Some(sender);
    loop {
        let answers = tokio::select! {
            packet = framed.next() => handle(packet?.ok()?, connection, &state)?,
            command = commands.recv() => match command? {
                Command::Drop => return None,
                Command::Publish(topic, payload, qos, id) => {
                    let mut publish = Publish::new(topic, qos, payload);
                    publish.pkid = id;
                    vec![Packet::Publish(publish)]
                }
            },
        };
        for answer in answers {
            framed.feed(answer).await.ok()?;
        }
        framed.flush().await.ok()?;
        changes.send_modify(|count| *count += 1);
    }
}

fn authenticate(connect: &Connect, state: &Mutex<State>) -> bool {
    let ConnectAuth::UsernamePassword { username, password } = &connect.auth else {
        return false;
    };
    let password = String::from_utf8_lossy(password).into_owned();
    assert!(!connect.clean_session, "the session is kept");
    assert!(
        username
            .starts_with("hub.example/dev1/?api-version=2021-04-12&DeviceClientType=fieldgate%2F"),
        "{username}"
    );
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let key = SharedAccessKey::from_base64(KEY).unwrap();
    let verdict = SasToken::parse(&password)
        .and_then(|token| token.verify(&key, "hub.example/devices/dev1", now));
    state.lock().unwrap().passwords.push(password);
    verdict.is_ok()
}

/// What to answer; `None` ends the connection.
fn handle(packet: Packet, connection: usize, state: &Mutex<State>) -> Option<Vec<Packet>> {
    let mut state = state.lock().unwrap();
    match packet {
        Packet::Subscribe(subscribe) => {
            let codes = subscribe
                .filters
                .iter()
                .map(|filter| SubscribeReasonCode::Success(filter.qos))
                .collect();
            state.subscriptions.extend(
                subscribe
                    .filters
                    .into_iter()
                    .map(|filter| (filter.path, filter.qos)),
            );
            Some(vec![Packet::SubAck(SubAck::new(subscribe.pkid, codes))])
        }
        Packet::Publish(publish) => {
            let topic = String::from_utf8(publish.topic.to_vec()).unwrap();
            match DeviceTopic::parse(&topic).unwrap() {
                DeviceTopic::Telemetry { .. } => {
                    telemetry(&mut state, connection, &topic, &publish)
                }
                other => Some(request(&mut state, &other, &publish.payload)),
            }
        }
        Packet::PubAck(ack) => {
            state.completed.push(ack.pkid);
            Some(Vec::new())
        }
        Packet::PingReq => Some(vec![Packet::PingResp]),
        Packet::Disconnect => {
            state.disconnects += 1;
            None
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn telemetry(
    state: &mut State,
    connection: usize,
    topic: &str,
    publish: &Publish,
) -> Option<Vec<Packet>> {
    assert_eq!(publish.qos, QoS::AtLeastOnce);
    assert!(
        !publish.dup,
        "the MQTT library must never send again by itself"
    );
    state.received.push(Received {
        connection,
        topic: topic.to_owned(),
        payload: publish.payload.to_vec(),
    });
    if let Some(left) = state.drop_after.front_mut() {
        *left -= 1;
        if *left == 0 {
            state.drop_after.pop_front();
            return None;
        }
    }
    if state.acks == Acks::Hold {
        return Some(Vec::new());
    }
    if state.swallow > 0 {
        state.swallow -= 1;
        return Some(Vec::new());
    }
    Some(vec![Packet::PubAck(PubAck::new(publish.pkid))])
}

fn request(state: &mut State, topic: &DeviceTopic<'_>, payload: &[u8]) -> Vec<Packet> {
    let (answer, body) = match topic {
        DeviceTopic::TwinGet { rid } => {
            state.twin_gets.push((*rid).to_owned());
            let twin = json!({"desired": with_version(&state.desired, state.desired_version), "reported": with_version(&state.reported, 1)});
            (
                HubTopic::TwinResponse {
                    status: 200,
                    rid,
                    version: None,
                },
                twin.to_string(),
            )
        }
        DeviceTopic::Reported { rid } => {
            merge_patch(
                &mut state.reported,
                &serde_json::from_slice(payload).unwrap(),
            );
            (
                HubTopic::TwinResponse {
                    status: 204,
                    rid,
                    version: Some(42),
                },
                String::new(),
            )
        }
        DeviceTopic::MethodResponse { status, rid } => {
            let payload = serde_json::from_slice(payload).unwrap();
            state
                .method_answers
                .push((*status, (*rid).to_owned(), payload));
            return Vec::new();
        }
        DeviceTopic::Telemetry { .. } => return Vec::new(),
    };
    if state.swallow_twin > 0 {
        state.swallow_twin -= 1;
        return Vec::new();
    }
    vec![Packet::Publish(Publish::new(
        answer.to_string(),
        QoS::AtMostOnce,
        body,
    ))]
}
