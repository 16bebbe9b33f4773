//! One connection to a link: opening it, one request at a time, and what to do after a failure.
//!
//! tokio-modbus 0.17 knows no timeouts, takes a late answer for the next one's, and does not check lengths: all of this
//! is done here.

use std::io;
use std::time::Duration;

use measurement::BadReason;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_modbus::client::{Client, Context};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{Error, Request as Pdu, Response, Slave};
use tokio_serial::{DataBits, SerialStream, StopBits};

use crate::configuration::{Link, Parity, Serial, Table, Tcp};
use crate::encode::Encoded;
use crate::line_timing::LineTiming;
use crate::requests::{Answer, Request};
use crate::shared_port::SharedPort;

/// Why a request has no good answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// Nothing, or not all of it, in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The device refused; code of MODBUS Application Protocol V1.1b3, section 7.
    #[error("the device answered exception {0} ({reason})", reason = BadReason::from_modbus_exception(*.0))]
    Exception(u8),
    /// What came is not the answer to what was asked.
    #[error("the answer is wrong: {0}")]
    BadResponse(String),
    /// The connection broke, or there is none.
    #[error("no connection: {text}")]
    Transport {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// In the system's words.
        text: String,
    },
}

impl CallError {
    /// For events.
    pub fn reason(&self) -> BadReason {
        match self {
            CallError::Timeout(_) => BadReason::Timeout,
            CallError::Exception(code) => BadReason::from_modbus_exception(*code),
            CallError::BadResponse(_) => BadReason::BadResponse,
            CallError::Transport { .. } => BadReason::NoConnection,
        }
    }

    /// Whether the device is there and spoke for itself. A gateway's exceptions 10 and 11 say the opposite.
    pub fn is_answer(&self) -> bool {
        matches!(self, CallError::Exception(code) if !matches!(code, 10 | 11))
    }
}

/// An open connection.
pub struct Connection {
    context: Context,
    line: Option<(SharedPort<SerialStream>, LineTiming)>,
    timeout: Duration,
    gap: Duration,
    /// When the last request ended.
    quiet_since: Instant,
    /// Whether anything was answered on it yet.
    proven: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("line", &self.line)
            .field("proven", &self.proven)
            .finish_non_exhaustive()
    }
}

/// A late answer comes within this time after its timeout, or not at all.
const QUIET: Duration = Duration::from_millis(50);
/// But a line that never rests is used again after this long.
const DRAIN_AT_MOST: Duration = Duration::from_millis(500);

impl Connection {
    /// Connects within the link's timeout.
    ///
    /// # Errors
    /// With the address or path in the message.
    pub async fn open(link: &Link) -> io::Result<Self> {
        let limit = link.timeout.get();
        let gap = link.request_gap.map_or(Duration::ZERO, |gap| gap.get());
        let (context, line, gap) = match (&link.tcp, &link.serial) {
            (Some(tcp), _) => (open_tcp(tcp, limit).await?, None, gap),
            (None, Some(serial)) => {
                let port = SharedPort::new(open_serial(serial)?);
                let timing = LineTiming::new(serial, link.request_gap);
                (attach(&port), Some((port, timing)), timing.gap())
            }
            (None, None) => return Err(io::Error::other("the link has neither tcp nor serial")),
        };
        Ok(Self {
            context,
            line,
            timeout: limit,
            gap,
            quiet_since: Instant::now(),
            proven: false,
        })
    }

    /// Whether the other end answered anything since the connection was made.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Reads. The answer holds at least what was asked for.
    ///
    /// Not cancel-safe: drop the connection if this is dropped.
    ///
    /// # Errors
    /// After any but [`CallError::Exception`] call [`Connection::recover`].
    pub async fn read(&mut self, unit: u8, request: &Request) -> Result<Answer, CallError> {
        let (address, count) = (request.address, request.count);
        let pdu = match request.table {
            Table::Coil => Pdu::ReadCoils(address, count),
            Table::DiscreteInput => Pdu::ReadDiscreteInputs(address, count),
            Table::HoldingRegister => Pdu::ReadHoldingRegisters(address, count),
            Table::InputRegister => Pdu::ReadInputRegisters(address, count),
        };
        let transfer = self.transfer(request.table, count);
        let response = self.call(unit, pdu, transfer).await?;
        let (answer, found) = match response {
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => {
                let found = bits.len();
                (Answer::Bits(bits), found)
            }
            Response::ReadHoldingRegisters(registers) | Response::ReadInputRegisters(registers) => {
                let found = registers.len();
                (Answer::Registers(registers), found)
            }
            other => return Err(unexpected(&other)),
        };
        // Bits come in whole bytes (6.1), registers exactly as many as asked for (6.3).
        let expected = match request.table.is_bits() {
            true => usize::from(count).next_multiple_of(8),
            false => usize::from(count),
        };
        if found != expected {
            return Err(CallError::BadResponse(format!(
                "{expected} values expected, {found} received"
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
        let (pdu, echo, count) = match value {
            Encoded::Bit(bit) => (
                Pdu::WriteSingleCoil(address, *bit),
                Response::WriteSingleCoil(address, *bit),
                1,
            ),
            Encoded::Registers(registers) => match registers.as_slice() {
                [register] => (
                    Pdu::WriteSingleRegister(address, *register),
                    Response::WriteSingleRegister(address, *register),
                    1,
                ),
                registers => {
                    let count = u16::try_from(registers.len()).unwrap_or(u16::MAX);
                    (
                        Pdu::WriteMultipleRegisters(address, registers.into()),
                        Response::WriteMultipleRegisters(address, count),
                        count,
                    )
                }
            },
        };
        let transfer = self.transfer(Table::HoldingRegister, count);
        let response = self.call(unit, pdu, transfer).await?;
        if response == echo {
            Ok(())
        } else {
            Err(unexpected(&response))
        }
    }

    /// Makes the connection fit for the next request after an error. False if it must be dropped and opened again.
    pub async fn recover(&mut self, error: &CallError) -> bool {
        let broken = match error {
            CallError::Exception(_) => return true,
            CallError::Timeout(_) | CallError::BadResponse(_) => false,
            // The codec's way to say that no frame could be made of what came.
            CallError::Transport { kind, .. } => *kind != io::ErrorKind::InvalidData,
        };
        // On TCP the late answer would be taken for the next one's; a new connection does not have it.
        let Some((port, _)) = self.line.as_mut().filter(|_| !broken) else {
            return false;
        };
        let drained = drain(port).await;
        self.context = attach(port);
        self.quiet_since = Instant::now();
        drained
    }

    async fn call(
        &mut self,
        unit: u8,
        pdu: Pdu<'_>,
        transfer: Duration,
    ) -> Result<Response, CallError> {
        if !self.gap.is_zero() {
            tokio::time::sleep_until(self.quiet_since + self.gap).await;
        }
        self.context.set_slave(Slave(unit));
        let limit = self.timeout + transfer;
        let outcome = timeout(limit, self.context.call(pdu)).await;
        if !self.gap.is_zero() {
            self.quiet_since = Instant::now();
        }
        let Ok(outcome) = outcome else {
            return Err(CallError::Timeout(limit));
        };
        match outcome {
            Ok(Ok(response)) => {
                self.proven = true;
                Ok(response)
            }
            Ok(Err(exception)) => {
                self.proven = true;
                Err(CallError::Exception(exception.into()))
            }
            Err(Error::Protocol(error)) => Err(CallError::BadResponse(cut(error.to_string()))),
            Err(Error::Transport(error)) => Err(CallError::Transport {
                kind: error.kind(),
                text: error.to_string(),
            }),
        }
    }

    /// What the characters themselves take; on TCP nothing worth counting.
    fn transfer(&self, table: Table, count: u16) -> Duration {
        self.line
            .as_ref()
            .map_or(Duration::ZERO, |(_, timing)| timing.transfer(table, count))
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

fn attach(port: &SharedPort<SerialStream>) -> Context {
    tokio_modbus::client::rtu::attach(port.clone())
}

/// Reads what still comes until the line rests. False if the port is gone.
async fn drain<T: AsyncRead + Unpin>(port: &mut T) -> bool {
    let mut bytes = [0; 256];
    let end = Instant::now() + DRAIN_AT_MOST;
    while Instant::now() < end {
        match timeout(QUIET, port.read(&mut bytes)).await {
            Err(_) => return true,
            Ok(Ok(0) | Err(_)) => return false,
            Ok(Ok(_)) => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test(start_paused = true)]
    async fn draining_takes_what_comes_late_and_ends() {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let late = tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(QUIET / 2).await;
                theirs.write_all(b"late").await.unwrap();
            }
            theirs
        });
        assert!(drain(&mut ours).await);
        drop(late.await.unwrap());
        assert!(!drain(&mut ours).await, "the port is gone");
    }
}
