//! A Modbus TCP server that misbehaves on demand, and an engine to test against it. Independent of tokio-modbus.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use measurement::{Envelope, Epoch, Measurements};
use modbus_reader::configuration::Configuration;
use modbus_reader::device_states::DeviceStates;
use modbus_reader::engine::Engine;
use modbus_reader::event_buffer::EventBuffer;
use modbus_reader::link::Outlets;
use modbus_reader::metrics::Metrics;
use modbus_reader::stream::Source;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a unit answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    /// Registers hold their address, odd coils are set, except what was written.
    Well,
    Silent,
    /// After so long.
    Late(Duration),
    Exception(u8),
    Close,
    /// The next request only.
    CloseOnce,
    /// One register less than asked for.
    Short,
}

#[derive(Debug, Default)]
pub(crate) struct Field {
    manners: HashMap<u8, Manner>,
    written: HashMap<(u8, u16), u16>,
    coils: HashMap<(u8, u16), bool>,
    /// Unit, function, address, count or value.
    requests: Vec<(u8, u8, u16, u16)>,
    /// Connections without a request for so long are closed.
    idle: Option<Duration>,
    connections: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    field: Arc<Mutex<Field>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn listen(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            field: Arc::default(),
        };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().serve(stream));
            }
        });
        server
    }

    pub(crate) fn set(&self, unit: u8, manner: Manner) {
        self.field.lock().unwrap().manners.insert(unit, manner);
    }

    pub(crate) fn close_idle(&self, idle: Duration) {
        self.field.lock().unwrap().idle = Some(idle);
    }

    pub(crate) fn connections(&self) -> usize {
        self.field.lock().unwrap().connections
    }

    pub(crate) fn requests_of(&self, unit: u8) -> Vec<(u8, u16, u16)> {
        let field = self.field.lock().unwrap();
        let of_unit = field.requests.iter().filter(|request| request.0 == unit);
        of_unit
            .map(|(_, function, address, count)| (*function, *address, *count))
            .collect()
    }

    async fn serve(self, mut stream: TcpStream) -> Option<()> {
        self.field.lock().unwrap().connections += 1;
        loop {
            let mut header = [0; 7];
            let idle = self.field.lock().unwrap().idle;
            let idle = idle.unwrap_or(Duration::from_secs(3600));
            let read = stream.read_exact(&mut header);
            tokio::time::timeout(idle, read).await.ok()?.ok()?;
            let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
            let mut pdu = vec![0; length - 1];
            stream.read_exact(&mut pdu).await.ok()?;
            let unit = header[6];
            let manner = {
                let mut field = self.field.lock().unwrap();
                field
                    .requests
                    .push((unit, pdu[0], word(&pdu, 1), word(&pdu, 3)));
                let manner = *field.manners.get(&unit).unwrap_or(&Manner::Well);
                if manner == Manner::CloseOnce {
                    field.manners.insert(unit, Manner::Well);
                }
                manner
            };
            let answer = match manner {
                Manner::Silent => continue,
                Manner::Close | Manner::CloseOnce => return None,
                Manner::Exception(code) => vec![pdu[0] | 0x80, code],
                Manner::Late(wait) => {
                    tokio::time::sleep(wait).await;
                    self.answer(unit, &pdu)
                }
                Manner::Short if pdu[0] == 3 => {
                    let mut answer = self.answer(unit, &pdu);
                    answer.truncate(answer.len() - 2);
                    answer[1] -= 2;
                    answer
                }
                Manner::Well | Manner::Short => self.answer(unit, &pdu),
            };
            header[4..6].copy_from_slice(&(answer.len() as u16 + 1).to_be_bytes());
            let mut frame = header.to_vec();
            frame.extend(answer);
            stream.write_all(&frame).await.ok()?;
        }
    }

    fn answer(&self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut field = self.field.lock().unwrap();
        let (function, address, count) = (pdu[0], word(pdu, 1), word(pdu, 3));
        match function {
            1 | 2 => {
                let mut bytes = vec![0u8; usize::from(count).div_ceil(8)];
                for bit in 0..count {
                    let coil = address + bit;
                    let set = field
                        .coils
                        .get(&(unit, coil))
                        .copied()
                        .unwrap_or(coil % 2 == 1);
                    bytes[usize::from(bit / 8)] |= u8::from(set) << (bit % 8);
                }
                [vec![function, bytes.len() as u8], bytes].concat()
            }
            3 | 4 => {
                let mut answer = vec![function, (count * 2) as u8];
                for register in address..address + count {
                    let value = field
                        .written
                        .get(&(unit, register))
                        .copied()
                        .unwrap_or(register);
                    answer.extend(value.to_be_bytes());
                }
                answer
            }
            5 => {
                field.coils.insert((unit, address), count == 0xFF00);
                pdu.to_vec()
            }
            6 => {
                field.written.insert((unit, address), count);
                pdu.to_vec()
            }
            16 => {
                for index in 0..count {
                    let value = word(pdu, 6 + 2 * usize::from(index));
                    field.written.insert((unit, address + index), value);
                }
                pdu[..5].to_vec()
            }
            _ => vec![function | 0x80, 1],
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// An engine and what it made.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) buffer: EventBuffer,
    pub(crate) states: DeviceStates,
    pub(crate) seen: Vec<Measurements>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let metrics = Metrics::register();
        let buffer = EventBuffer::new(64 << 20, 10_000, metrics.clone());
        let states = DeviceStates::default();
        let outlets = Outlets {
            buffer: buffer.clone(),
            states: states.clone(),
            metrics,
        };
        let source = Source {
            appliance: "edge-1".to_owned(),
            module: "modbus-reader".to_owned(),
            epoch: Epoch::new(),
        };
        Self {
            engine: Engine::new(source, outlets),
            buffer,
            states,
            seen: Vec::new(),
        }
    }

    pub(crate) async fn apply(&mut self, text: &str) {
        let loaded = module_runtime::load_str::<Configuration>("test.yaml", text)
            .unwrap_or_else(|error| panic!("{error}\n{text}"));
        self.engine.apply(loaded.configuration).await;
    }

    /// Waits for an event that `wanted` accepts; keeps all in `seen`.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&Measurements) -> bool,
    ) -> Measurements {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let mut found = None;
            while let Some(batch) = self.buffer.take() {
                for event in &batch.events {
                    let data = Envelope::parse(&event.body).unwrap().data.unwrap();
                    let data: Measurements = serde_json::from_str(data.get()).unwrap();
                    found = found.or_else(|| wanted(&data).then(|| data.clone()));
                    self.seen.push(data);
                }
                self.buffer.settle(batch, &[]);
            }
            if let Some(found) = found {
                return found;
            }
            assert!(tokio::time::Instant::now() < deadline, "no event: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Every stream's sequences count up by one from 1.
    pub(crate) fn check_sequences(&self) {
        let mut last: HashMap<(&str, &str), u64> = HashMap::new();
        for event in &self.seen {
            let last = last.entry((&event.device, &event.group)).or_default();
            assert_eq!(
                event.sequence,
                *last + 1,
                "{}/{}",
                event.device,
                event.group
            );
            *last = event.sequence;
        }
    }
}
