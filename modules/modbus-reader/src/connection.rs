//! One connection to a link: opening it, one request at a time, and what to do after a failure.
//!
//! tokio-modbus 0.17 knows no timeouts and does not check lengths: on TCP that is done here. A serial line is spoken to
//! by [`RtuLine`].

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_modbus::client::{Client, Context};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{Error, Response, Slave};
use tokio_serial::{DataBits, SerialStream, StopBits};

use crate::call_error::CallError;
use crate::configuration::{Link, Parity, Serial, Tcp};
use crate::encode::Encoded;
use crate::line_timing::LineTiming;
use crate::query::Query;
use crate::requests::{Answer, Request};
use crate::rtu_line::RtuLine;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    transport: Transport,
    timeout: Duration,
    /// When the last request ended.
    last_used: Instant,
    /// How long nothing was asked before the last request.
    rested: Duration,
    /// Whether anything was answered on it yet.
    proven: bool,
}

enum Transport {
    Tcp { context: Context, gap: Duration },
    Serial(Box<RtuLine<SerialStream>>),
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Transport::Tcp { gap, .. } => formatter.debug_struct("Tcp").field("gap", gap).finish(),
            Transport::Serial(line) => formatter.debug_tuple("Serial").field(line).finish(),
        }
    }
}

/// A server that closes connections nobody uses does not do so before this time.
const REST: Duration = Duration::from_secs(1);

impl Connection {
    /// Connects within the link's timeout.
    ///
    /// # Errors
    /// With the address or path in the message.
    pub async fn open(link: &Link) -> io::Result<Self> {
        let limit = link.timeout.get();
        let transport = match (&link.tcp, &link.serial) {
            (Some(tcp), _) => Transport::Tcp {
                context: open_tcp(tcp, limit).await?,
                gap: link.request_gap.map_or(Duration::ZERO, |gap| gap.get()),
            },
            (None, Some(serial)) => {
                let timing = LineTiming::new(serial, link.request_gap);
                let line = RtuLine::new(open_serial(serial)?, timing, limit);
                Transport::Serial(Box::new(line))
            }
            (None, None) => return Err(io::Error::other("the link has neither tcp nor serial")),
        };
        Ok(Self {
            transport,
            timeout: limit,
            last_used: Instant::now(),
            rested: Duration::ZERO,
            proven: false,
        })
    }

    /// Whether a failure of the last request says nothing of the device: the connection was good for earlier ones, or a
    /// server may have closed it since nobody used it.
    pub fn was_good(&self) -> bool {
        let tcp = matches!(self.transport, Transport::Tcp { .. });
        self.proven || tcp && self.rested >= REST
    }

    /// When a unit may be asked, since an answer of it may still be on its way; `None` if it may now.
    pub fn quarantine(&self, unit: u8, now: Instant) -> Option<Instant> {
        match &self.transport {
            Transport::Tcp { .. } => None,
            Transport::Serial(line) => line.quarantine().of(unit, now),
        }
    }

    /// When [`Connection::quarantine`] ends next, of any unit.
    pub fn quarantine_end(&self, now: Instant) -> Option<Instant> {
        match &self.transport {
            Transport::Tcp { .. } => None,
            Transport::Serial(line) => line.quarantine().next_end(now),
        }
    }

    /// Reads. The answer holds at least what was asked for.
    ///
    /// Not cancel-safe: drop the connection if this is dropped.
    ///
    /// # Errors
    /// After any but [`CallError::Exception`] call [`Connection::recover`].
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, CallError> {
        let query = Query::Read {
            table: request.table,
            address: request.address,
            count: request.count,
        };
        let (answer, found) = match self.call(unit, &query).await? {
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
                let found = bits.len() / 8;
                (Answer::Bits(bits), found)
            }
            Response::ReadHoldingRegisters(registers) | Response::ReadInputRegisters(registers) => {
                let found = registers.len() * 2;
                (Answer::Registers(registers), found)
            }
            other => return Err(unexpected(&other)),
        };
        if query.data_bytes() != Some(found) {
            let expected = query.data_bytes().unwrap_or_default();
            return Err(CallError::BadResponse(format!(
                "{expected} bytes of data expected, {found} received"
            )));
        }
        Ok(answer)
    }

    /// Writes a coil (function 5), one register (6) or several (16), and checks the echo.
    ///
    /// Not cancel-safe: drop the connection if this is dropped.
    ///
    /// # Errors
    /// As [`Connection::read`]. After a timeout the value may have been written.
    pub async fn write(
        &mut self,
        unit: u8,
        address: u16,
        value: &Encoded,
    ) -> Result<(), CallError> {
        let query = Query::write(address, value);
        let response = self.call(unit, &query).await?;
        if Some(&response) == query.confirmation().as_ref() {
            Ok(())
        } else {
            Err(unexpected(&response))
        }
    }

    /// Makes the connection fit for the next request after an error. False if it must be dropped and opened again.
    pub async fn recover(&mut self, error: &CallError) -> bool {
        match (&mut self.transport, error) {
            (_, CallError::Exception(_)) => true,
            (_, CallError::Transport { .. }) => false,
            (Transport::Serial(line), _) => line.drain().await,
            // The late answer would be taken for the next one's; a new connection does not have it.
            (Transport::Tcp { .. }, _) => false,
        }
    }

    async fn call(&mut self, unit: u8, query: &Query<'_>) -> Result<Response, CallError> {
        self.rested = self.last_used.elapsed();
        let outcome = match &mut self.transport {
            Transport::Tcp { context, gap } => {
                if !gap.is_zero() {
                    sleep_until(self.last_used + *gap).await;
                }
                call_tcp(context, unit, query, self.timeout).await
            }
            Transport::Serial(line) => line.call(unit, query, self.timeout).await,
        };
        self.last_used = Instant::now();
        self.proven |= matches!(outcome, Ok(_) | Err(CallError::Exception(_)));
        outcome
    }
}

async fn call_tcp(
    context: &mut Context,
    unit: u8,
    query: &Query<'_>,
    limit: Duration,
) -> Result<Response, CallError> {
    context.set_slave(Slave(unit));
    let outcome = timeout(limit, context.call(query.pdu()))
        .await
        .map_err(|_| CallError::Timeout(limit))?;
    match outcome {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(exception)) => Err(CallError::Exception(exception.into())),
        Err(Error::Protocol(error)) => Err(CallError::BadResponse(cut(error.to_string()))),
        // The codec's way to say that no frame could be made of what came.
        Err(Error::Transport(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(CallError::BadResponse(cut(error.to_string())))
        }
        Err(Error::Transport(error)) => Err(error.into()),
    }
}

fn unexpected(response: &Response) -> CallError {
    CallError::BadResponse(cut(format!("unexpected {response:?}")))
}

/// An answer may be long, and so its description.
fn cut(text: String) -> String {
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

async fn open_tcp(tcp: &Tcp, limit: Duration) -> io::Result<Context> {
    let Tcp { host, port } = tcp;
    let told = |kind, text: String| {
        io::Error::new(kind, format!("cannot connect to {host}:{port}: {text}"))
    };
    let stream = timeout(limit, TcpStream::connect((host.as_str(), *port)))
        .await
        .map_err(|_| {
            told(
                io::ErrorKind::TimedOut,
                format!("no answer within {limit:?}"),
            )
        })?
        .map_err(|error| told(error.kind(), error.to_string()))?;
    // A request is one small segment; waiting for more to send would cost up to 40 ms.
    stream.set_nodelay(true)?;
    Ok(tokio_modbus::client::tcp::attach_slave(stream, Slave(1)))
}

fn open_serial(serial: &Serial) -> io::Result<SerialStream> {
    let parity = match serial.parity {
        Parity::Even => tokio_serial::Parity::Even,
        Parity::Odd => tokio_serial::Parity::Odd,
        Parity::None => tokio_serial::Parity::None,
    };
    let stop_bits = match serial.stop_bits {
        2 => StopBits::Two,
        _ => StopBits::One,
    };
    let builder = tokio_serial::new(&serial.path, serial.baud_rate)
        .data_bits(DataBits::Eight)
        .parity(parity)
        .stop_bits(stop_bits);
    SerialStream::open(&builder).map_err(|error| {
        let text = format!("cannot open {}: {error}", serial.path);
        io::Error::new(io::Error::from(error).kind(), text)
    })
}
