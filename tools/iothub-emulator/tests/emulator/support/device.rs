//! A device that sends and expects single MQTT packets, so that a test sees what a client library would hide.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iothub_protocol::{HubIdentity, SharedAccessKey};
use rumqttc::mqttbytes::v4::{ConnAck, Connect, LastWill, Packet, PubAck, Publish, Subscribe};
use rumqttc::mqttbytes::{Error, QoS};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{HUB, PATIENCE, now, token};

const LARGEST: usize = 1024 * 1024;

/// Everything in a CONNECT; tests bend it.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) identity: HubIdentity,
    pub(crate) key: SharedAccessKey,
    pub(crate) client_id: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) clean_session: bool,
    pub(crate) keep_alive: u16,
    pub(crate) will: Option<LastWill>,
}

impl Login {
    pub(crate) fn new(identity: HubIdentity, key: SharedAccessKey) -> Self {
        Self {
            client_id: identity.client_id(),
            username: identity.username(HUB, "test/1"),
            password: token(&identity, &key, now() + 3600),
            clean_session: false,
            keep_alive: 60,
            will: None,
            identity,
            key,
        }
    }
}

pub(crate) struct Device {
    stream: TlsStream<TcpStream>,
    input: BytesMut,
    pub(crate) identity: HubIdentity,
    pkid: u16,
}

impl Device {
    pub(crate) async fn connect(
        port: u16,
        tls: Arc<ClientConfig>,
        login: &Login,
    ) -> (Self, u8, bool) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from(HUB).unwrap();
        let stream = TlsConnector::from(tls).connect(name, stream).await.unwrap();
        let mut device = Self {
            stream,
            input: BytesMut::new(),
            identity: login.identity.clone(),
            pkid: 0,
        };
        let mut connect = Connect::new(login.client_id.clone());
        connect.keep_alive = login.keep_alive;
        connect.clean_session = login.clean_session;
        connect.last_will = login.will.clone();
        connect.set_credentials(login.username.clone(), login.password.clone());
        device.send(&Packet::Connect(connect)).await;
        match device.receive().await {
            Packet::ConnAck(ConnAck {
                session_present,
                code,
            }) => (device, code as u8, session_present),
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    pub(crate) async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, LARGEST).unwrap();
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // The emulator may have closed; then the test sees it when it reads.
        let _ = timeout(PATIENCE, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        })
        .await
        .expect("the emulator takes nothing");
    }

    /// The next packet; fails when the connection ends.
    pub(crate) async fn receive(&mut self) -> Packet {
        self.try_receive().await.expect("the connection was closed")
    }

    /// The next packet, or nothing when the connection ends.
    pub(crate) async fn try_receive(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.input, LARGEST) {
                Ok(packet) => return Some(packet),
                Err(Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error}"),
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input))
                .await
                .expect("nothing came");
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn expect_closed(&mut self) {
        if let Some(packet) = self.try_receive().await {
            panic!("{packet:?} instead of the end of the connection");
        }
    }

    /// Nothing was sent before the answer to a PINGREQ.
    pub(crate) async fn expect_silence(&mut self) {
        self.send(&Packet::PingReq).await;
        assert_eq!(self.receive().await, Packet::PingResp);
    }

    pub(crate) async fn expect_publish(&mut self) -> (String, Publish) {
        match self.receive().await {
            Packet::Publish(publish) => {
                (String::from_utf8(publish.topic.to_vec()).unwrap(), publish)
            }
            other => panic!("{other:?} instead of PUBLISH"),
        }
    }

    pub(crate) async fn expect_puback(&mut self, pkid: u16) {
        assert_eq!(self.receive().await, Packet::PubAck(PubAck::new(pkid)));
    }

    /// Publishes at QoS 1 without waiting; returns the packet id.
    pub(crate) async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) -> u16 {
        self.pkid += 1;
        let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload.into());
        publish.pkid = self.pkid;
        self.send(&Packet::Publish(publish)).await;
        self.pkid
    }

    /// Publishes JSON telemetry and waits for the PUBACK.
    pub(crate) async fn tell(&mut self, body: &str) {
        let topic = self.telemetry("%24.ct=application%2Fjson&%24.ce=utf-8");
        let pkid = self.publish(&topic, body.to_owned()).await;
        self.expect_puback(pkid).await;
    }

    pub(crate) fn telemetry(&self, bag: &str) -> String {
        iothub_protocol::DeviceTopic::telemetry(&self.identity, bag).to_string()
    }

    /// Subscribes at QoS 1 and returns the SUBACK's code.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> u8 {
        self.pkid += 1;
        let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = self.pkid;
        self.send(&Packet::Subscribe(subscribe)).await;
        match self.receive().await {
            Packet::SubAck(suback) if suback.pkid == self.pkid => match suback.return_codes[0] {
                rumqttc::mqttbytes::v4::SubscribeReasonCode::Success(qos) => qos as u8,
                rumqttc::mqttbytes::v4::SubscribeReasonCode::Failure => 0x80,
            },
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    /// Sends a twin request at QoS 0; returns the answer's topic and JSON.
    pub(crate) async fn twin(&mut self, topic: &str, payload: &str) -> (String, Value) {
        self.send(&Packet::Publish(Publish::new(
            topic,
            QoS::AtMostOnce,
            payload,
        )))
        .await;
        let (topic, publish) = self.expect_publish().await;
        (
            topic,
            serde_json::from_slice(&publish.payload).unwrap_or(Value::Null),
        )
    }
}
